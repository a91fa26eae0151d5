import FoundationEssentials

/// A JSON document whose shape is the peer's to choose: a token's claims, a key set, an answer.
///
/// Claims carry names that no `Codable` type can list (`urn:zitadel:iam:org:project:{id}:roles`), and
/// a key set must be read key by key, so that one strange key does not sink the others.
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  /// Nesting beyond this is refused before parsing. The deepest honest document has five levels.
  public static let maximumDepth = 32

  /// Parses a whole document; nil when it is not JSON, or nested beyond ``maximumDepth``.
  public init?(parsing bytes: [UInt8]) {
    guard JSONValue.depth(of: bytes) <= JSONValue.maximumDepth else { return nil }
    guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)) else { return nil }
    self = value
  }

  public subscript(name: String) -> JSONValue? {
    if case .object(let members) = self { members[name] } else { nil }
  }

  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var number: Double? { if case .number(let value) = self { value } else { nil } }
  public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
  public var object: [String: JSONValue]? { if case .object(let value) = self { value } else { nil } }

  /// A number of whole seconds within `range`; numbers sent as strings are accepted, as some
  /// servers send `"expires_in": "300"`. Values outside are clamped.
  public func seconds(clampedTo range: ClosedRange<Int>) -> Int? {
    let value: Double? =
      switch self {
      case .number(let number): number
      case .string(let text): Double(text)
      default: nil
      }
    guard let value, value.isFinite else { return nil }
    return Int(min(max(value, Double(range.lowerBound)), Double(range.upperBound)))
  }

  /// The strings of an array, or the one string that stands in its place.
  public var strings: [String]? {
    switch self {
    case .string(let one): [one]
    case .array(let values):
      values.allSatisfy { $0.string != nil } ? values.compactMap(\.string) : nil
    default: nil
    }
  }

  private static func depth(of bytes: [UInt8]) -> Int {
    var depth = 0
    var deepest = 0
    var inString = false
    var escaped = false
    for byte in bytes {
      if inString {
        if escaped {
          escaped = false
        } else if byte == UInt8(ascii: "\\") {
          escaped = true
        } else if byte == UInt8(ascii: "\"") {
          inString = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "\""): inString = true
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        depth += 1
        deepest = max(deepest, depth)
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      default: break
      }
    }
    return deepest
  }
}

extension JSONValue: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode([String: JSONValue].self) {
      self = .object(value)
    } else {
      self = .array(try container.decode([JSONValue].self))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .bool(let value): try container.encode(value)
    case .number(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    case .array(let value): try container.encode(value)
    case .object(let value): try container.encode(value)
    }
  }

  /// The document's bytes, members in the order of their names.
  public var serialized: [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Encoding fails only for a number that JSON cannot write; such a value has no serialization.
    return (try? encoder.encode(self)).map { [UInt8]($0) } ?? []
  }
}
