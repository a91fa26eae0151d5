/// Where a setting came from.
public enum SettingsOrigin: Hashable, Sendable {
  /// `line` counts from 1; nil where the whole file is meant.
  case file(String, line: Int?)
  case environment(String)
  case flag(String)
  case defaultValue
}

extension SettingsOrigin: CustomStringConvertible {
  public var description: String {
    switch self {
    case .file(let path, let line): line.map { "\(path):\($0)" } ?? path
    case .environment(let name): "environment variable \(name)"
    case .flag(let name): name
    case .defaultValue: "default"
    }
  }
}

/// Everything that is wrong with a set of settings, so that one attempt shows it all.
public struct SettingsError: Error, Hashable, Sendable {
  public struct Problem: Hashable, Sendable {
    public var origin: SettingsOrigin
    /// The dotted path, such as `pop.trust.caFile` or `tunnels[0].listen`; empty where no key is meant.
    public var key: String
    public var message: String

    public init(_ origin: SettingsOrigin, key: String = "", _ message: String) {
      self.origin = origin
      self.key = key
      self.message = message
    }
  }

  /// At least one, in the order of the file.
  public var problems: [Problem]

  public init(_ problems: [Problem]) { self.problems = problems }
}

extension SettingsError.Problem: CustomStringConvertible {
  /// Such as `profiles/x.yaml:12: pop.domian: unknown key; did you mean domain?`
  public var description: String { key.isEmpty ? "\(origin): \(message)" : "\(origin): \(key): \(message)" }
}

extension SettingsError: CustomStringConvertible {
  public var description: String { problems.map(\.description).joined(separator: "\n") }
}
