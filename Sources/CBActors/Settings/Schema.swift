/// The keys that a settings file may hold, with their kinds, defaults and explanations.
///
/// One schema serves everything that has to agree: the strict check of a file, the names of the environment
/// variables, the defaults, and the commented example that ships (``example(preface:)``).
public struct Schema: Sendable {
  public var keys: [Key]

  public init(_ keys: [Key]) { self.keys = keys }

  public struct Key: Sendable {
    public var name: String
    /// One or two sentences for the reader of the example file.
    public var summary: String
    public var content: Content
    /// Whether a file without it is wrong (where neither flag nor environment gives it either).
    public var isRequired = false
    /// Whether the sample stands in the example file without being commented out.
    public var isExampleShown = false
    /// Whether the sample of a list of sections is commented out, the list itself being empty.
    public var isExampleCommentedOut = false
    /// A second environment variable, besides the one that the key's path makes.
    public var environmentAlias: String?

    public indirect enum Content: Sendable {
      /// `example` stands, commented out, in the example file where there is no default.
      case value(ValueKind, default: String?, example: String?)
      case list(ValueKind, default: [String], example: [String])
      case section(Schema)
      /// A list of sections; `example` is one of them by key.
      case sections(Schema, example: [[String: String]])
    }
  }
}

extension Schema.Key {
  public static func value(
    _ name: String, _ kind: ValueKind, default: String? = nil, example: String? = nil, required: Bool = false,
    shown: Bool = false, environment: String? = nil, _ summary: String
  ) -> Self {
    Self(
      name: name, summary: summary, content: .value(kind, default: `default`, example: example), isRequired: required,
      isExampleShown: shown, environmentAlias: environment)
  }

  public static func list(
    _ name: String, _ kind: ValueKind, default: [String] = [], example: [String] = [], required: Bool = false,
    _ summary: String
  ) -> Self {
    Self(
      name: name, summary: summary, content: .list(kind, default: `default`, example: example), isRequired: required)
  }

  public static func section(_ name: String, _ summary: String, _ keys: [Schema.Key]) -> Self {
    Self(name: name, summary: summary, content: .section(Schema(keys)))
  }

  public static func sections(
    _ name: String, example: [[String: String]], commentedOut: Bool = false, _ summary: String, _ keys: [Schema.Key]
  ) -> Self {
    Self(
      name: name, summary: summary, content: .sections(Schema(keys), example: example),
      isExampleCommentedOut: commentedOut)
  }
}

extension Schema {
  subscript(_ name: String) -> Key? { keys.first { $0.name == name } }

  /// Every value and list outside lists of sections, by its dotted path: what a flag or an environment
  /// variable can set.
  var leaves: [(path: String, key: Key)] {
    keys.flatMap { key -> [(path: String, key: Key)] in
      switch key.content {
      case .value, .list: [(key.name, key)]
      case .section(let inner): inner.leaves.map { ("\(key.name).\($0.path)", $0.key) }
      case .sections: []
      }
    }
  }

  /// Every path, with lists of sections as `tunnels[].name`.
  public var paths: [String] {
    keys.flatMap { key -> [String] in
      switch key.content {
      case .value, .list: [key.name]
      case .section(let inner): inner.paths.map { "\(key.name).\($0)" }
      case .sections(let inner, _): inner.paths.map { "\(key.name)[].\($0)" }
      }
    }
  }
}
