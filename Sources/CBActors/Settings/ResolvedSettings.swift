import Configuration
public import Wire

/// Settings in layers: flags, then `CBR_*` environment variables, then a YAML file, then defaults.
///
/// Each layer was judged by the schema before it was let in, so that a read can only meet a value of the
/// kind that the schema names.
public struct ResolvedSettings: Sendable {
  private let reader: ConfigReader
  private let origins: [String: SettingsOrigin]
  private let sectionCounts: [String: Int]
  private let file: SettingsFile?
  private let schema: Schema
  /// What the beginning of a path may stand for.
  private let folders: [(prefix: String, folder: String)]

  /// - Parameters:
  ///   - flags: values by dotted path; the flag's own spelling is for messages.
  ///   - environment: all variables; only those that the schema names are looked at. An empty one is as if unset.
  /// - Throws: every fault of the flags and the environment, and required keys that no layer gives.
  public init(
    schema: Schema, file: SettingsFile?, flags: [(path: String, value: String, flag: String)] = [],
    environment: [String: String]
  ) throws(SettingsError) {
    var problems: [SettingsError.Problem] = []
    var origins: [String: SettingsOrigin] = [:]
    var defaults: [AbsoluteConfigKey: ConfigValue] = [:]
    var variables: [String: String] = [:]
    let leaves = schema.leaves

    for (path, key) in leaves {
      let configKey = AbsoluteConfigKey(path.split(separator: ".").map(String.init))
      switch key.content {
      case .value(let kind, let text?, _): defaults[configKey] = kind.configValue(text)
      case .list(_, let texts, _): defaults[configKey] = ConfigValue(.stringArray(texts), isSecret: false)
      default: break
      }
      if let file, let line = file.lines[path], file.values[configKey] != nil {
        origins[path] = .file(file.path, line: line)
      }
      let name = Self.environmentName(of: path)
      for candidate in [name, key.environmentAlias].compactMap({ $0 }) {
        guard let text = environment[candidate], !text.isEmpty else { continue }
        if let problem = key.problem(withCommaSeparated: text) {
          problems.append(.init(.environment(candidate), key: path, problem))
        }
        variables[name] = text
        origins[path] = .environment(candidate)
        break
      }
    }

    var overrides: [AbsoluteConfigKey: ConfigValue] = [:]
    for (path, text, flag) in flags {
      guard let key = leaves.first(where: { $0.path == path })?.key else {
        let near = nearest(to: path, in: leaves.map(\.path))
        problems.append(.init(.flag(flag), key: path, "unknown key" + didYouMean(near)))
        continue
      }
      if let problem = key.problem(withCommaSeparated: text) {
        problems.append(.init(.flag(flag), key: path, problem))
      }
      let configKey = AbsoluteConfigKey(path.split(separator: ".").map(String.init))
      switch key.content {
      case .value(let kind, _, _): overrides[configKey] = kind.configValue(text)
      default: overrides[configKey] = ConfigValue(.stringArray(commaSeparated(text)), isSecret: false)
      }
      origins[path] = .flag(flag)
    }

    for (path, key) in leaves where key.isRequired && origins[path] == nil {
      problems.append(
        .init(
          file.map { .file($0.path, line: nil) } ?? .defaultValue, key: path,
          "is required (here, or as \(Self.environmentName(of: path)))"))
    }
    guard problems.isEmpty else { throw SettingsError(problems) }

    self.file = file
    self.schema = schema
    let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 }
    let state = environment["XDG_STATE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    folders = [
      ("~/", home), ("$XDG_STATE_HOME/", state ?? home.map { "\($0)/.local/state" }),
    ].compactMap { prefix, folder in folder.map { (prefix, $0) } }
    self.origins = origins
    sectionCounts = file?.sectionCounts ?? [:]
    reader = ConfigReader(providers: [
      InMemoryProvider(name: "flags", values: overrides),
      EnvironmentVariablesProvider(environmentVariables: variables).prefixKeys(with: "cbr"),
      InMemoryProvider(name: file?.path ?? "no file", values: file?.values ?? [:]),
      InMemoryProvider(name: "defaults", values: defaults),
    ])
  }

  /// `pop.trust.caFile` is `CBR_POP_TRUST_CA_FILE`.
  public static func environmentName(of path: String) -> String {
    var name = "CBR"
    for component in path.split(separator: ".") {
      name += "_"
      var previousIsLower = false
      for character in component {
        if character.isUppercase, previousIsLower { name += "_" }
        previousIsLower = character.isLowercase
        name += character.uppercased()
      }
    }
    return name
  }

  /// A setting as it counts, for showing.
  public struct Effective: Hashable, Sendable {
    public var path: String
    /// A list's items are separated by commas.
    public var text: String
    public var origin: SettingsOrigin
  }

  /// Every setting that has a value, in the schema's order.
  public var effective: [Effective] { effective(schema, at: "") }

  private func effective(_ schema: Schema, at prefix: String) -> [Effective] {
    schema.keys.flatMap { key -> [Effective] in
      let path = prefix + key.name
      func setting(_ text: String) -> [Effective] { [Effective(path: path, text: text, origin: origin(of: path))] }
      switch key.content {
      case .value(.boolean, let standard, _):
        return standard == nil ? [] : setting(boolean(path) ? "true" : "false")
      case .value(.integer, let standard, _): return standard == nil ? [] : setting(String(integer(path)))
      case .value: return text(path).map(setting) ?? []
      case .list:
        let items = list(path)
        return items.isEmpty ? [] : setting(items.joined(separator: ", "))
      case .section(let inner): return effective(inner, at: path + ".")
      case .sections(let inner, _):
        return (0..<sectionCount(path)).flatMap { effective(inner, at: "\(path)[\($0)].") }
      }
    }
  }

  // MARK: - Reading

  public func text(_ path: String) -> String? { reader.string(forKey: ConfigKey(Self.components(path))) }

  // These three are for keys with a default: the checked layers always give a value.
  public func boolean(_ path: String) -> Bool {
    given(reader.bool(forKey: ConfigKey(Self.components(path))), path, else: false)
  }
  public func integer(_ path: String) -> Int {
    given(reader.int(forKey: ConfigKey(Self.components(path))), path, else: 0)
  }
  public func interval(_ path: String) -> Interval {
    given(text(path).flatMap(Interval.init(settingsText:)), path, else: .zero)
  }

  private func given<Value>(_ value: Value?, _ path: String, else neutral: Value) -> Value {
    assert(value != nil, "the schema gives \(path) no default")
    return value ?? neutral
  }

  public func list(_ path: String) -> [String] {
    (reader.stringArray(forKey: ConfigKey(Self.components(path))) ?? []).map(trimmed).filter { !$0.isEmpty }
  }

  /// How many sections a list of sections has; read them as `tunnels[0].name`.
  public func sectionCount(_ path: String) -> Int { sectionCounts[path] ?? 0 }

  /// A file named by a key. `~/` and `$XDG_STATE_HOME/` are expanded; a relative one in a file is meant from
  /// that file's folder.
  public func path(_ path: String) -> String? {
    guard let text = text(path) else { return nil }
    for (prefix, folder) in folders where text.hasPrefix(prefix) { return folder + "/" + text.dropFirst(prefix.count) }
    guard !text.hasPrefix("/"), let file, case .file = origin(of: path), let slash = file.path.lastIndex(of: "/") else {
      return text
    }
    return "\(file.path[..<slash])/\(text)"
  }

  /// Where a value came from, for messages about values that do not fit together.
  public func origin(of path: String) -> SettingsOrigin {
    if let origin = origins[path] { return origin }
    if let file, let line = file.lines[path] { return .file(file.path, line: line) }
    return .defaultValue
  }

  /// A fault that only several values together show.
  public func problem(_ path: String, _ message: String) -> SettingsError.Problem {
    .init(origin(of: path), key: path, message)
  }

  private static func components(_ path: String) -> [String] {
    path.split { ".[]".contains($0) }.map(String.init)
  }
}

extension Schema.Key {
  /// Judges the text of a flag or variable, where a list is separated by commas.
  func problem(withCommaSeparated text: String) -> String? {
    switch content {
    case .value(let kind, _, _): kind.problem(with: text)
    case .list(let kind, _, _): commaSeparated(text).lazy.compactMap(kind.problem(with:)).first
    default: nil
    }
  }
}

private func commaSeparated(_ text: String) -> [String] {
  text.split(separator: ",").map { trimmed(String($0)) }.filter { !$0.isEmpty }
}

private func trimmed(_ text: String) -> String {
  var text = text[...]
  while text.first?.isWhitespace == true { text.removeFirst() }
  while text.last?.isWhitespace == true { text.removeLast() }
  return String(text)
}
