/// What makes a message malformed, judged by its field sections (RFC 9114 §4.1.2, §4.2, §4.3).
enum MessageRules {
  /// What a request asks for, as far as framing depends on it.
  enum RequestKind: UInt8, Sendable {
    case ordinary
    case head
    /// RFC 9114 §4.4.
    case connect
    /// RFC 9220.
    case extendedConnect

    var isConnect: Bool { self == .connect || self == .extendedConnect }
  }

  struct Malformed: Error, Hashable {
    let reason: String
    init(_ reason: String) { self.reason = reason }
  }

  /// Checks a request's header section. `connectProtocol` says whether the server has announced RFC 9220.
  static func checkRequest(
    _ list: HeaderList, connectProtocol: Bool
  ) throws(Malformed) -> (kind: RequestKind, contentLength: UInt64?) {
    let pseudo = try scan(list, allowed: [":method", ":scheme", ":authority", ":path", ":protocol"], isRequest: true)
    guard let method = pseudo[":method"], !method.isEmpty, method.utf8.allSatisfy(isTokenCharacter) else {
      throw Malformed("no valid :method")
    }
    let kind: RequestKind
    if let upgrade = pseudo[":protocol"] {
      guard method == "CONNECT" else { throw Malformed(":protocol without CONNECT") }
      guard connectProtocol else { throw Malformed(":protocol was not enabled") }
      guard !upgrade.isEmpty, upgrade.utf8.allSatisfy(isTokenCharacter) else { throw Malformed("invalid :protocol") }
      // RFC 8441 §4: with :protocol, :scheme and :path are there as in any other request.
      guard let authority = pseudo[":authority"], !authority.isEmpty else { throw Malformed("no :authority") }
      kind = .extendedConnect
    } else if method == "CONNECT" {
      // RFC 9114 §4.4: "The :scheme and :path pseudo-header fields are omitted"
      guard pseudo[":scheme"] == nil, pseudo[":path"] == nil else { throw Malformed("CONNECT with :scheme or :path") }
      guard let authority = pseudo[":authority"], !authority.isEmpty else { throw Malformed("CONNECT to nowhere") }
      kind = .connect
    } else {
      kind = method == "HEAD" ? .head : .ordinary
    }
    if kind != .connect { try checkTarget(pseudo, list, method) }
    return (kind, try contentLength(list))
  }

  // RFC 9114 §4.3.1: "All HTTP/3 requests MUST include exactly one value for the :method, :scheme, and :path
  // pseudo-header fields, unless the request is a CONNECT request"
  private static func checkTarget(
    _ pseudo: [String: String], _ list: HeaderList, _ method: String
  ) throws(Malformed) {
    guard let scheme = pseudo[":scheme"], !scheme.isEmpty else { throw Malformed("no :scheme") }
    guard let path = pseudo[":path"] else { throw Malformed("no :path") }
    let lowered = scheme.lowercased()
    guard lowered == "http" || lowered == "https" else { return }
    // RFC 9114 §4.3.1: "This pseudo-header field MUST NOT be empty for "http" or "https" URIs"
    guard path.hasPrefix("/") || path == "*" && method == "OPTIONS" else { throw Malformed("invalid :path") }
    guard path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x23 }) else { throw Malformed("invalid :path") }

    let hosts = list.values("host")
    guard hosts.count <= 1 else { throw Malformed("host occurs twice") }
    let authority = pseudo[":authority"]
    // RFC 9114 §4.3.1: "the request MUST contain either an :authority pseudo-header field or a Host header field."
    guard let named = authority ?? hosts.first, !named.isEmpty else { throw Malformed("no authority") }
    // RFC 9114 §4.3.1: "If both fields are present, they MUST contain the same value."
    if let authority, let host = hosts.first, authority != host { throw Malformed("host differs from :authority") }
    // RFC 9114 §4.3.1: "The authority MUST NOT include the deprecated userinfo subcomponent"
    guard !named.contains("@") else { throw Malformed("userinfo in the authority") }
  }

  /// Checks a response's header section. A 1xx status is an interim response.
  static func checkResponse(_ list: HeaderList) throws(Malformed) -> (status: Int, contentLength: UInt64?) {
    _ = try scan(list, allowed: [":status"], isRequest: false)
    // RFC 9114 §4.3.2: "This pseudo-header field MUST be included in all responses"
    guard let status = list.status, (100..<600).contains(status) else { throw Malformed("no valid :status") }
    // RFC 9114 §4.5: HTTP/3 does not support the 101 status code.
    guard status != 101 else { throw Malformed(":status is 101") }
    return (status, try contentLength(list))
  }

  // RFC 9114 §4.3: "Pseudo-header fields MUST NOT appear in trailer sections."
  static func checkTrailers(_ list: HeaderList) throws(Malformed) {
    _ = try scan(list, allowed: [], isRequest: false)
  }

  /// Checks every line, and returns the pseudo-header fields.
  private static func scan(
    _ list: HeaderList, allowed: Set<String>, isRequest: Bool
  ) throws(Malformed) -> [String: String] {
    var pseudo: [String: String] = [:]
    var sawRegular = false
    for field in list.fields {
      // RFC 9114 §10.3: characters outside of the field-value grammar make a message malformed.
      guard field.value.utf8.allSatisfy(isValueCharacter) else { throw Malformed("invalid character in a value") }
      if field.name.hasPrefix(":") {
        // RFC 9114 §4.3: "Endpoints MUST treat a request or response that contains undefined or invalid
        // pseudo-header fields as malformed."
        guard allowed.contains(field.name) else { throw Malformed("pseudo-header field out of place") }
        // RFC 9114 §4.3: "All pseudo-header fields MUST appear in the header section before regular header fields."
        guard !sawRegular else { throw Malformed("\(field.name) after a regular field") }
        guard pseudo.updateValue(field.value, forKey: field.name) == nil else {
          throw Malformed("\(field.name) occurs twice")
        }
        continue
      }
      sawRegular = true
      // RFC 9114 §4.2: "A request or response containing uppercase characters in field names MUST be treated as
      // malformed."
      guard !field.name.isEmpty, field.name.utf8.allSatisfy(isNameCharacter) else {
        throw Malformed("invalid field name")
      }
      switch field.name {
      // RFC 9114 §4.2: "any message containing connection-specific fields MUST be treated as malformed."
      case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
        throw Malformed("connection-specific field \(field.name)")
      // RFC 9114 §4.2: "it MUST NOT contain any value other than "trailers"."
      case "te":
        guard isRequest, field.value.lowercased() == "trailers" else { throw Malformed("te other than trailers") }
      default: break
      }
    }
    return pseudo
  }

  /// RFC 9110 §8.6: digits; said more than once, the same each time.
  private static func contentLength(_ list: HeaderList) throws(Malformed) -> UInt64? {
    var length: UInt64?
    for field in list.fields where field.name == "content-length" {
      guard !field.value.isEmpty, field.value.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
        let value = UInt64(field.value), length == nil || length == value
      else { throw Malformed("invalid content-length") }
      length = value
    }
    return length
  }

  /// RFC 9110 §5.6.2: tchar.
  static func isTokenCharacter(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"),
      UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
      true
    default: false
    }
  }

  private static func isNameCharacter(_ byte: UInt8) -> Bool {
    isTokenCharacter(byte) && !(UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
  }

  /// RFC 9110 §5.5: visible characters, bytes from 0x80 on, space and tab.
  private static func isValueCharacter(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte != 0x7f || byte == 0x09
  }
}
