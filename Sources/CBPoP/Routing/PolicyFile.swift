public import BGP
public import Settings

extension PolicyDocument {
  /// Reads a policy file. Every fault found is in the error, with its line.
  public init(path: String) throws(SettingsError) {
    let tree = try YAMLTree(path: path)
    do throws(PolicyFaults) {
      try self.init(Self.node(tree))
    } catch {
      throw SettingsError(error.faults.map { .init(.file(path, line: $0.line), $0.message) })
    }
  }

  private static func node(_ tree: YAMLTree) -> PolicyNode {
    let value: PolicyNode.Value =
      switch tree.value {
      case .text(let text): .text(text)
      case .list(let all): .list(all.map(node))
      case .keys(let all): .keys(all.map { (key: $0.key, value: node($0.value)) })
      }
    return PolicyNode(value, line: tree.line)
  }
}
