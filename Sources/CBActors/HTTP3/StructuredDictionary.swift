/// A dictionary of structured fields (RFC 8941 §3.2), as far as its members are integers or booleans.
///
/// All of it is checked, and members of other kinds are passed over: what does not parse is nothing at all.
struct StructuredDictionary {
  enum Value: Hashable {
    case integer(Int64)
    case boolean(Bool)
    /// Decimals, strings, tokens, byte sequences and inner lists.
    case other
  }

  private(set) var members: [String: Value] = [:]

  subscript(key: String) -> Value? { members[key] }

  /// Nil when `text` is not a dictionary.
  init?(_ text: String) {
    var parser = Parser(rest: text.utf8[...])
    parser.skip(while: { $0 == 0x20 })
    while !parser.isAtEnd {
      guard let key = parser.key() else { return nil }
      var value = Value.boolean(true)
      if parser.take(UInt8(ascii: "=")) {
        guard let parsed = parser.itemOrInnerList() else { return nil }
        value = parsed
      }
      guard parser.parameters() else { return nil }
      members[key] = value
      parser.skip(while: Parser.isSpace)
      if parser.isAtEnd { return }
      guard parser.take(UInt8(ascii: ",")) else { return nil }
      parser.skip(while: Parser.isSpace)
      // RFC 8941 §4.2.2: a comma at the end fails the parsing.
      if parser.isAtEnd { return nil }
    }
  }

  private struct Parser {
    var rest: Substring.UTF8View

    var isAtEnd: Bool { rest.isEmpty }

    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
    private static func isLower(_ byte: UInt8) -> Bool { byte >= 0x61 && byte <= 0x7a }
    private static func isAlpha(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }

    mutating func skip(while condition: (UInt8) -> Bool) { rest = rest.drop(while: condition) }

    mutating func take(_ byte: UInt8) -> Bool {
      guard rest.first == byte else { return false }
      rest = rest.dropFirst()
      return true
    }

    /// RFC 8941 §4.2.3.3.
    mutating func key() -> String? {
      guard let first = rest.first, Self.isLower(first) || first == UInt8(ascii: "*") else { return nil }
      let key = rest.prefix { Self.isLower($0) || Self.isDigit($0) || "_-.*".utf8.contains($0) }
      rest = rest[key.endIndex...]
      return String(Substring(key))
    }

    /// RFC 8941 §4.2.3.2.
    mutating func parameters() -> Bool {
      while take(UInt8(ascii: ";")) {
        skip(while: { $0 == 0x20 })
        guard key() != nil else { return false }
        if take(UInt8(ascii: "=")), item() == nil { return false }
      }
      return true
    }

    mutating func itemOrInnerList() -> Value? {
      guard take(UInt8(ascii: "(")) else { return item() }
      while true {
        skip(while: { $0 == 0x20 })
        if take(UInt8(ascii: ")")) { return .other }
        guard item() != nil, parameters() else { return nil }
        guard rest.first == 0x20 || rest.first == UInt8(ascii: ")") else { return nil }
      }
    }

    private mutating func item() -> Value? {
      switch rest.first {
      case UInt8(ascii: "?"):
        rest = rest.dropFirst()
        if take(UInt8(ascii: "1")) { return .boolean(true) }
        return take(UInt8(ascii: "0")) ? .boolean(false) : nil
      case UInt8(ascii: "\""): return string()
      case UInt8(ascii: ":"):
        rest = rest.dropFirst()
        skip(while: { Self.isAlpha($0) || Self.isDigit($0) || "+/=".utf8.contains($0) })
        return take(UInt8(ascii: ":")) ? .other : nil
      case let byte? where Self.isAlpha(byte) || byte == UInt8(ascii: "*"):
        skip(while: { MessageRules.isTokenCharacter($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "/") })
        return .other
      case let byte? where Self.isDigit(byte) || byte == UInt8(ascii: "-"): return number()
      default: return nil
      }
    }

    private mutating func string() -> Value? {
      rest = rest.dropFirst()
      while let byte = rest.first {
        rest = rest.dropFirst()
        if byte == UInt8(ascii: "\"") { return .other }
        if byte == UInt8(ascii: "\\") {
          guard let escaped = rest.first, escaped == UInt8(ascii: "\"") || escaped == UInt8(ascii: "\\") else {
            return nil
          }
          rest = rest.dropFirst()
        } else if byte < 0x20 || byte > 0x7e {
          return nil
        }
      }
      return nil
    }

    /// RFC 8941 §4.2.4: fifteen digits, or twelve and three behind the point.
    private mutating func number() -> Value? {
      let isNegative = take(UInt8(ascii: "-"))
      let whole = rest.prefix(while: Self.isDigit)
      rest = rest[whole.endIndex...]
      guard (1...15).contains(whole.count) else { return nil }
      if take(UInt8(ascii: ".")) {
        let fraction = rest.prefix(while: Self.isDigit)
        rest = rest[fraction.endIndex...]
        return whole.count <= 12 && (1...3).contains(fraction.count) ? .other : nil
      }
      guard let value = Int64(Substring(whole)) else { return nil }
      return .integer(isNegative ? -value : value)
    }
  }
}
