import Yams

/// A YAML file as it stands, each value with its line: for what no schema describes.
public struct YAMLTree: Sendable {
  public indirect enum Value: Sendable {
    /// Empty for null.
    case text(String)
    case list([YAMLTree])
    /// In the order of the file.
    case keys([(key: String, value: YAMLTree)])
  }

  public let value: Value
  /// Counts from 1.
  public let line: Int

  /// Reads a file of at most ``SettingsFile/maximumSize`` octets.
  public init(path: String) throws(SettingsError) {
    try self.init(text: try SettingsFile.contents(of: path), path: path)
  }

  /// Reads text as if `path` held it.
  public init(text: String, path: String) throws(SettingsError) {
    var left = 100_000
    let root = try SettingsFile.compose(text, path: path)
    self =
      try root.map { node throws(SettingsError) in try Self.tree(node, path, 1, &left) }
      ?? YAMLTree(value: .text(""), line: 1)
  }

  private init(value: Value, line: Int) {
    self.value = value
    self.line = line
  }

  /// - Parameter left: nodes that may still be made. Aliases of aliases make many of few.
  private static func tree(_ node: Node, _ path: String, _ parent: Int, _ left: inout Int) throws(SettingsError)
    -> YAMLTree
  {
    let line = node.mark?.line ?? parent
    left -= 1
    guard left > 0 else { throw SettingsError([.init(.file(path, line: line), "its aliases make too much of it")]) }
    switch node {
    case .scalar(let scalar):
      let isNull = scalar.style == .plain && ["~", "null"].contains(scalar.string)
      return YAMLTree(value: .text(isNull ? "" : scalar.string), line: line)
    case .sequence(let sequence):
      var all: [YAMLTree] = []
      for one in sequence { all.append(try tree(one, path, line, &left)) }
      return YAMLTree(value: .list(all), line: line)
    case .mapping(let mapping):
      var all: [(key: String, value: YAMLTree)] = []
      for (key, value) in mapping {
        guard let name = key.scalar?.string else {
          throw SettingsError([.init(.file(path, line: key.mark?.line ?? line), "a key must be plain text")])
        }
        all.append((name, try tree(value, path, key.mark?.line ?? line, &left)))
      }
      return YAMLTree(value: .keys(all), line: line)
    default: throw SettingsError([.init(.file(path, line: line), "an alias that stands for nothing")])
    }
  }
}
