import Configuration
import Foundation
import Yams

/// A YAML file that a schema has judged: its values by path, each with the line that it stands on.
public struct SettingsFile: Sendable {
  public let path: String
  /// Keyed as swift-configuration keys: `["tunnels", "0", "name"]`.
  let values: [AbsoluteConfigKey: ConfigValue]
  let lines: [String: Int]
  let sectionCounts: [String: Int]

  /// Larger files are refused unread.
  public static let maximumSize = 256 * 1024

  /// Reads and checks a file. Every fault found is in the error, with its line.
  public init(path: String, schema: Schema) throws(SettingsError) {
    try self.init(text: try Self.contents(of: path), path: path, schema: schema)
  }

  /// The text of a file that is not too large.
  static func contents(of path: String) throws(SettingsError) -> String {
    let data: Data
    do {
      let attributes = try FileManager.default.attributesOfItem(atPath: path)
      guard let size = attributes[.size] as? Int, size <= Self.maximumSize else {
        throw SettingsError([.init(.file(path, line: nil), "larger than \(Self.maximumSize / 1024) KiB")])
      }
      data = try Data(contentsOf: URL(fileURLWithPath: path))
    } catch let error as SettingsError {
      throw error
    } catch {
      throw SettingsError([.init(.file(path, line: nil), "cannot be read: \(Self.reason(error))")])
    }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw SettingsError([.init(.file(path, line: nil), "is not UTF-8 text")])
    }
    return text
  }

  /// Checks text as if `path` held it.
  public init(text: String, path: String, schema: Schema) throws(SettingsError) {
    let root = try Self.compose(text, path: path)
    var walk = SchemaWalk(path: path)
    switch root {
    case nil: break
    case .mapping(let mapping): walk.section(mapping, schema: schema, at: [], root: schema)
    case .scalar(let scalar) where scalar.string.isEmpty: break
    default: walk.fault(root?.mark?.line, "", "expected a mapping of keys at the top of the file")
    }
    guard walk.problems.isEmpty else { throw SettingsError(walk.problems) }
    self.path = path
    values = walk.values
    lines = walk.lines
    sectionCounts = walk.sectionCounts
  }

  /// The nodes of YAML that is neither too large nor too deep; nil for none.
  static func compose(_ text: String, path: String) throws(SettingsError) -> Node? {
    let origin = SettingsOrigin.file(path, line: nil)
    guard text.utf8.count <= Self.maximumSize else {
      throw SettingsError([.init(origin, "larger than \(Self.maximumSize / 1024) KiB")])
    }
    // The YAML composer recurses once a level: what no schema could accept must not spend the stack.
    if let line = Self.lineNestedBeyond(32, in: text) {
      throw SettingsError([.init(.file(path, line: line), "nested too deeply")])
    }
    do {
      return try Yams.compose(yaml: text, .basic)
    } catch let error as YamlError {
      throw SettingsError([Self.problem(of: error, path: path)])
    } catch {
      throw SettingsError([.init(origin, "is not YAML: \(error)")])
    }
  }

  /// The first line that opens more flow brackets, or is indented by more steps, than `limit`.
  private static func lineNestedBeyond(_ limit: Int, in text: String) -> Int? {
    var line = 1
    var brackets = 0
    var leading = 0
    var isLeading = true
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\n"):
        line += 1
        leading = 0
        isLeading = true
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        brackets += 1
        isLeading = false
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        brackets = max(0, brackets - 1)
        isLeading = false
      // `- - - x` and `? ? ? x` nest by one level a mark.
      case UInt8(ascii: " "), UInt8(ascii: "-"), UInt8(ascii: "?"), UInt8(ascii: ":"):
        if isLeading { leading += 1 }
      default: isLeading = false
      }
      if brackets > limit || leading > 4 * limit { return line }
    }
    return nil
  }

  private static func reason(_ error: any Error) -> String {
    let error = error as NSError
    if let underlying = error.userInfo[NSUnderlyingErrorKey] as? NSError, underlying.domain == NSPOSIXErrorDomain {
      return String(cString: strerror(Int32(underlying.code)))
    }
    switch CocoaError.Code(rawValue: error.code) {
    case .fileReadNoSuchFile, .fileNoSuchFile: return "no such file"
    case .fileReadNoPermission: return "permission denied"
    default: return error.localizedDescription
    }
  }

  private static func problem(of error: YamlError, path: String) -> SettingsError.Problem {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      .init(.file(path, line: mark.line), "is not YAML: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      .init(
        .file(path, line: context.mark.line),
        "these keys stand twice: \(duplicates.map { "\($0)" }.sorted().joined(separator: ", "))")
    default: .init(.file(path, line: nil), "is not YAML: \(error)")
    }
  }
}

/// Walks a tree of YAML nodes along a schema. Its depth is the schema's, whatever the file holds.
private struct SchemaWalk {
  let path: String
  var values: [AbsoluteConfigKey: ConfigValue] = [:]
  var lines: [String: Int] = [:]
  var sectionCounts: [String: Int] = [:]
  var problems: [SettingsError.Problem] = []

  mutating func fault(_ line: Int?, _ key: String, _ message: String) {
    // A file of nothing but faults is not worth more than a screen.
    if problems.count < 50 { problems.append(.init(.file(path, line: line), key: key, message)) }
  }

  mutating func section(_ mapping: Node.Mapping, schema: Schema, at parents: [String], root: Schema) {
    for (keyNode, node) in mapping {
      let line = keyNode.mark?.line
      guard let name = keyNode.scalar?.string else {
        fault(line, Self.dotted(parents), "a key must be plain text")
        continue
      }
      let components = parents + [name]
      let dotted = Self.dotted(components)
      guard let key = schema[name] else {
        fault(line, dotted, "unknown key" + Self.suggestion(for: name, in: schema, at: parents, root: root))
        continue
      }
      lines[dotted] = line
      if case .scalar(let scalar) = node, Self.isNull(scalar) { continue }
      read(node, key: key, at: components, line: line, root: root)
    }
  }

  private mutating func read(_ node: Node, key: Schema.Key, at components: [String], line: Int?, root: Schema) {
    let dotted = Self.dotted(components)
    let configKey = AbsoluteConfigKey(components)
    switch (key.content, node) {
    case (.value(let kind, _, _), .scalar(let scalar)):
      if let problem = kind.problem(with: scalar.string) {
        fault(node.mark?.line ?? line, dotted, problem)
      } else {
        values[configKey] = kind.configValue(scalar.string)
      }
    case (.value, _): fault(line, dotted, "expected a single value, found \(Self.shape(node))")
    case (.list(let kind, _, _), .sequence(let sequence)):
      var texts: [String] = []
      for (index, item) in sequence.enumerated() {
        let place = "\(dotted)[\(index)]"
        guard let scalar = item.scalar else {
          fault(item.mark?.line ?? line, place, "expected a single value, found \(Self.shape(item))")
          continue
        }
        lines[place] = item.mark?.line
        if let problem = kind.problem(with: scalar.string) { fault(item.mark?.line ?? line, place, problem) }
        texts.append(scalar.string)
      }
      values[configKey] = ConfigValue(.stringArray(texts), isSecret: false)
    case (.list, _): fault(line, dotted, "expected a list, found \(Self.shape(node))")
    case (.section(let schema), .mapping(let mapping)):
      section(mapping, schema: schema, at: components, root: root)
    case (.section, _): fault(line, dotted, "expected a section of keys, found \(Self.shape(node))")
    case (.sections(let schema, _), .sequence(let sequence)):
      sectionCounts[dotted] = sequence.count
      for (index, item) in sequence.enumerated() {
        let place = components + [String(index)]
        guard case .mapping(let mapping) = item else {
          fault(item.mark?.line ?? line, Self.dotted(place), "expected a section of keys, found \(Self.shape(item))")
          continue
        }
        lines[Self.dotted(place)] = item.mark?.line
        section(mapping, schema: schema, at: place, root: root)
        addDefaults(of: schema, at: place)
        for key in schema.keys where key.isRequired && mapping.keys.allSatisfy({ $0.scalar?.string != key.name }) {
          fault(item.mark?.line ?? line, Self.dotted(place), "lacks the key \(key.name)")
        }
      }
    case (.sections, _): fault(line, dotted, "expected a list of sections, found \(Self.shape(node))")
    }
  }

  /// The layer of defaults cannot know how many sections a list has.
  private mutating func addDefaults(of schema: Schema, at components: [String]) {
    for key in schema.keys {
      let configKey = AbsoluteConfigKey(components + [key.name])
      guard values[configKey] == nil else { continue }
      switch key.content {
      case .value(let kind, let text?, _): values[configKey] = kind.configValue(text)
      case .list(_, let texts, _): values[configKey] = ConfigValue(.stringArray(texts), isSecret: false)
      default: break
      }
    }
  }

  /// `["tunnels", "0", "name"]` as `tunnels[0].name`.
  static func dotted(_ components: [String]) -> String {
    var text = ""
    for component in components {
      if Int(component) != nil {
        text += "[\(component)]"
      } else {
        text += text.isEmpty ? component : ".\(component)"
      }
    }
    return text
  }

  private static func suggestion(for name: String, in schema: Schema, at parents: [String], root: Schema) -> String {
    if let near = nearest(to: name, in: schema.keys.map(\.name)) { return didYouMean(near) }
    // A known key in the wrong section.
    if let elsewhere = root.leaves.first(where: { $0.path.split(separator: ".").last.map(String.init) == name }) {
      return didYouMean(elsewhere.path)
    }
    return "; valid here are \(schema.keys.map(\.name).joined(separator: ", "))"
  }

  private static func isNull(_ scalar: Node.Scalar) -> Bool {
    scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
  }

  private static func shape(_ node: Node) -> String {
    switch node {
    case .scalar(let scalar): quoted(scalar.string)
    case .sequence: "a list"
    case .mapping: "a section"
    case .alias: "an alias"
    }
  }
}

extension ValueKind {
  /// The value as swift-configuration keeps it; `text` has been judged.
  func configValue(_ text: String) -> ConfigValue {
    switch self {
    case .boolean: ConfigValue(.bool(text == "true"), isSecret: false)
    case .integer: ConfigValue(.int(Int(text) ?? 0), isSecret: false)
    default: ConfigValue(.string(text), isSecret: false)
    }
  }
}
