import Foundation
public import Settings

/// The folders that hold profiles, and which of them is in use.
public struct ProfileLibrary: Sendable {
  /// In the order of precedence: a profile hides those of the same name in later folders.
  public let folders: [String]
  private let environment: [String: String]
  private let stateFolder: String?

  /// - Parameters:
  ///   - given: `--profile-dir`; looked at before all others.
  ///   - environment: for `XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `HOME` and, within profiles, `CBR_*`.
  ///   - executable: the running program's own path. A `profiles` folder in one of the four folders above it
  ///     is the last resort, so that a program built from a checkout finds the checkout's profiles.
  public init(
    folder given: String? = nil, environment: [String: String], workingDirectory: String = ".",
    executable: String? = nil
  ) {
    var folders: [String] = []
    if let given { folders.append(given) }
    // XDG Base Directory Specification: relative paths in these variables are to be ignored.
    if let home = Self.baseFolder("XDG_CONFIG_HOME", fallback: ".config", environment) {
      folders.append("\(home)/cloudbridge/profiles")
    }
    folders.append(workingDirectory == "." ? "profiles" : "\(workingDirectory)/profiles")
    if let executable {
      var folder = URL(fileURLWithPath: executable).resolvingSymlinksInPath().deletingLastPathComponent()
      for _ in 0..<5 {
        let candidate = folder.appendingPathComponent("profiles").path
        if FileManager.default.fileExists(atPath: candidate) {
          folders.append(candidate)
          break
        }
        folder.deleteLastPathComponent()
      }
    }
    self.folders = folders
    self.environment = environment
    stateFolder = Self.baseFolder("XDG_STATE_HOME", fallback: ".local/state", environment).map { "\($0)/cloudbridge" }
  }

  /// `$XDG_STATE_HOME/cloudbridge`, where history, tokens and the choice of profile are kept; nil without a home.
  public var stateDirectory: String? { stateFolder }

  private static func baseFolder(_ variable: String, fallback: String, _ environment: [String: String]) -> String? {
    if let folder = environment[variable], folder.hasPrefix("/") { return folder }
    return environment["HOME"].flatMap { $0.isEmpty ? nil : "\($0)/\(fallback)" }
  }

  // MARK: - Finding

  public struct Entry: Hashable, Codable, Sendable {
    public var name: String
    public var path: String
    public var description: String?
    /// The first fault, where the profile cannot be used.
    public var problem: String?

    public init(name: String, path: String, description: String? = nil, problem: String? = nil) {
      self.name = name
      self.path = path
      self.description = description
      self.problem = problem
    }
  }

  /// Every profile by name, in alphabetical order; those with faults too.
  public func entries() -> [Entry] {
    names().compactMap { name -> Entry? in
      guard let path = path(of: name) else { return nil }
      do throws(SettingsError) {
        return Entry(name: name, path: path, description: try Profile(path: path, environment: environment).description)
      } catch {
        return Entry(name: name, path: path, problem: error.problems.first?.description)
      }
    }
  }

  public func names() -> [String] {
    var names: Set<String> = []
    for folder in folders {
      let files = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
      names.formUnion(files.filter(Self.isProfileFile).map(Self.name(ofFile:)).filter(ValueKind.isIdentifier))
    }
    return names.sorted()
  }

  /// Reads a profile by its name, or by its path where that has a `/` or ends in `.yaml` or `.yml`.
  public func profile(
    _ name: String, flags: [(path: String, value: String, flag: String)] = []
  ) throws(SettingsError) -> Profile {
    try Profile(path: try file(of: name), flags: flags, environment: environment)
  }

  /// Every setting of a profile with where it comes from.
  public func settings(
    _ name: String, flags: [(path: String, value: String, flag: String)] = []
  ) throws(SettingsError) -> [ResolvedSettings.Effective] {
    let file = try SettingsFile(path: try file(of: name), schema: Profile.schema)
    return try ResolvedSettings(schema: Profile.schema, file: file, flags: flags, environment: environment).effective
  }

  private func file(of name: String) throws(SettingsError) -> String {
    if name.contains("/") || Self.isProfileFile(name) { return name }
    guard let path = path(of: name) else {
      let near = nearest(to: name, in: names()).map { "; did you mean \($0)?" } ?? ""
      throw SettingsError([
        .init(.flag("profile '\(name)'"), "not found in \(folders.joined(separator: ", "))\(near)")
      ])
    }
    return path
  }

  /// What a profile that was given by name or path is called.
  public static func displayName(_ given: String) -> String { name(ofFile: given) }

  private func path(of name: String) -> String? {
    for folder in folders {
      for suffix in [".yaml", ".yml"] {
        let path = "\(folder)/\(name)\(suffix)"
        if FileManager.default.fileExists(atPath: path) { return path }
      }
    }
    return nil
  }

  private static func isProfileFile(_ name: String) -> Bool { name.hasSuffix(".yaml") || name.hasSuffix(".yml") }

  static func name(ofFile path: String) -> String {
    let file = path.split(separator: "/").last.map(String.init) ?? path
    return isProfileFile(file) ? String(file[..<(file.lastIndex(of: ".") ?? file.endIndex)]) : file
  }

  // MARK: - The choice

  /// The profile to begin with: `CBR_PROFILE`, else what ``remember(_:)`` was told, else `local`, else the only one.
  public func defaultName() -> String? {
    if let name = environment["CBR_PROFILE"], !name.isEmpty { return name }
    let names = names()
    if let choice = remembered(), names.contains(choice) { return choice }
    return names.contains("local") ? "local" : names.count == 1 ? names[0] : nil
  }

  /// Makes a profile the one that later runs begin with.
  public func remember(_ name: String) throws(ClientError) {
    guard let stateFolder else { throw ClientError(.configuration, "there is no HOME to keep the choice in") }
    do {
      try FileManager.default.createDirectory(
        atPath: stateFolder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      try Data((name + "\n").utf8).write(to: URL(fileURLWithPath: "\(stateFolder)/profile"), options: .atomic)
    } catch {
      throw ClientError(.failure, "cannot keep the choice in \(stateFolder): \(error.localizedDescription)")
    }
  }

  private func remembered() -> String? {
    guard let stateFolder, let data = FileManager.default.contents(atPath: "\(stateFolder)/profile"),
      data.count <= 128, let text = String(data: data, encoding: .utf8)
    else { return nil }
    let name = text.trimmingCharacters(in: .whitespacesAndNewlines)
    return ValueKind.isIdentifier(name) ? name : nil
  }
}
