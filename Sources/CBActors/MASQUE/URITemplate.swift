/// The URI Template that a UDP proxy is configured with (RFC 9298 §2, RFC 6570 up to level 3).
public struct URITemplate: Hashable, Sendable {
  public let scheme: String
  public let authority: String
  /// The whole template as it was given.
  public let text: String
  let parts: [Part]

  enum Part: Hashable, Sendable {
    case literal(String)
    case expression(Operator, [String])
  }

  enum Operator: Character, Sendable {
    /// `{a,b}`: the values, with commas between.
    case simple = " "
    /// `{?a,b}`: `?a=…&b=…`.
    case query = "?"
    /// `{&a,b}`: `&a=…&b=…`.
    case continuation = "&"
  }

  /// Which requirement of RFC 9298 §2 a template breaks.
  public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
  }

  /// RFC 9298 §2: where a proxy known by host and port alone is asked.
  public static func `default`(authority: String) throws(Invalid) -> URITemplate {
    try URITemplate("https://\(authority)/.well-known/masque/udp/{target_host}/{target_port}/")
  }

  // RFC 9298 §2: "the client MUST reject its configuration and abort the request without sending it to the UDP proxy"
  public init(_ text: String) throws(Invalid) {
    // RFC 9298 §2: "MUST only contain ASCII characters in the range 0x21-0x7E inclusive"
    guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
      throw Invalid("characters outside of 0x21-0x7E")
    }
    // RFC 9298 §2: "The URI Template MUST be in absolute form and MUST include non-empty scheme, authority, and path
    // components."
    guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else {
      throw Invalid("not in absolute form")
    }
    scheme = text[..<colon].lowercased()
    let afterScheme = text[text.index(colon, offsetBy: 3)...]
    let end = afterScheme.firstIndex { "/?#{".contains($0) } ?? afterScheme.endIndex
    authority = String(afterScheme[..<end])
    guard let first = scheme.utf8.first, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first),
      scheme.utf8.allSatisfy(Self.isSchemeCharacter)
    else { throw Invalid("invalid scheme") }
    guard !authority.isEmpty, !authority.contains("}"), !authority.contains("@") else {
      throw Invalid("invalid authority")
    }
    let rest = afterScheme[end...]
    // RFC 9298 §2: "The path component of the URI Template MUST start with a slash ("/")."
    guard rest.hasPrefix("/") else { throw Invalid("the path does not start with a slash") }
    parts = try Self.parse(rest)
    self.text = text

    let names = parts.flatMap { part -> [String] in
      if case .expression(_, let names) = part { names } else { [] }
    }
    // RFC 9298 §2: "The URI Template MUST contain the two variables "target_host" and "target_port""
    guard names.contains(Variable.host), names.contains(Variable.port) else {
      throw Invalid("target_host or target_port is missing")
    }
  }

  enum Variable {
    static let host = "target_host"
    static let port = "target_port"
  }

  private static func parse(_ text: Substring) throws(Invalid) -> [Part] {
    var parts: [Part] = []
    var rest = text
    while let first = rest.first {
      if first == "{" {
        guard let close = rest.firstIndex(of: "}") else { throw Invalid("an expression is not closed") }
        parts.append(try expression(rest[rest.index(after: rest.startIndex)..<close]))
        rest = rest[rest.index(after: close)...]
      } else {
        let end = rest.firstIndex(of: "{") ?? rest.endIndex
        let literal = rest[..<end]
        guard !literal.contains(where: { "}#\"'<>\\^`|".contains($0) }) else {
          throw Invalid("a character that a template cannot hold")
        }
        parts.append(.literal(String(literal)))
        rest = rest[end...]
      }
    }
    return parts
  }

  private static func expression(_ text: Substring) throws(Invalid) -> Part {
    guard let first = text.first else { throw Invalid("empty expression") }
    let kind: Operator
    switch first {
    case "?": kind = .query
    case "&": kind = .continuation
    // RFC 9298 §2: "The URI Template MUST NOT use Reserved Expansion ("+" operator), Fragment Expansion ("#"
    // operator), Label Expansion with Dot-Prefix, Path Segment Expansion with Slash-Prefix, nor Path-Style Parameter
    // Expansion with Semicolon-Prefix."
    case "+", "#", ".", "/", ";": throw Invalid("operator \(first) is not allowed")
    case "=", ",", "!", "@", "|": throw Invalid("operator \(first) is reserved")
    default: kind = .simple
    }
    let list = kind == .simple ? text : text.dropFirst()
    let names = list.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    for name in names {
      // RFC 9298 §2: "The URI Template MUST be a level 3 template or lower."
      guard !name.contains("*"), !name.contains(":") else { throw Invalid("a modifier of level 4") }
      guard !name.isEmpty, name.utf8.allSatisfy(isNameCharacter) else { throw Invalid("invalid variable name") }
    }
    return .expression(kind, names)
  }

  private static func isSchemeCharacter(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte) || [UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ".")].contains(byte)
  }

  /// RFC 6570 §2.3.
  private static func isNameCharacter(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte) || [UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "%")].contains(byte)
  }

  static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
}
