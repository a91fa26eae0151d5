/// A proxy's account of a failure, in the Proxy-Status field (RFC 9209).
public struct ProxyStatus: Hashable, Sendable {
  /// The proxy error types of RFC 9209 §2.3 that a tunnel can end with.
  public enum ErrorType: String, Sendable, CaseIterable {
    case dnsTimeout = "dns_timeout"
    case dnsError = "dns_error"
    case destinationNotFound = "destination_not_found"
    case destinationUnavailable = "destination_unavailable"
    case destinationIPProhibited = "destination_ip_prohibited"
    case destinationIPUnroutable = "destination_ip_unroutable"
    case connectionRefused = "connection_refused"
    case connectionTerminated = "connection_terminated"
    case connectionTimeout = "connection_timeout"
    case connectionReadTimeout = "connection_read_timeout"
    case connectionWriteTimeout = "connection_write_timeout"
    case connectionLimitReached = "connection_limit_reached"
    case httpRequestError = "http_request_error"
    case httpRequestDenied = "http_request_denied"
    case httpProtocolError = "http_protocol_error"
    case proxyInternalError = "proxy_internal_error"
    case proxyConfigurationError = "proxy_configuration_error"
    case proxyLoopDetected = "proxy_loop_detected"

    /// The status code that RFC 9209 §2.3 recommends with it.
    public var httpStatus: Int {
      switch self {
      case .dnsTimeout, .connectionTimeout, .connectionReadTimeout, .connectionWriteTimeout: 504
      case .destinationUnavailable, .connectionLimitReached: 503
      case .httpRequestError: 400
      case .httpRequestDenied: 403
      case .destinationNotFound, .proxyInternalError, .proxyConfigurationError: 500
      case .dnsError, .destinationIPProhibited, .destinationIPUnroutable, .connectionRefused, .connectionTerminated,
        .httpProtocolError, .proxyLoopDetected:
        502
      }
    }
  }

  /// Which proxy speaks.
  public var proxy: String
  public var error: ErrorType
  /// For people to read (RFC 9209 §2.1.5). Must not say more than the client may know.
  public var details: String?
  /// With `dnsError`, the resolver's answer, such as `NXDOMAIN` (RFC 9209 §2.3.2).
  public var rcode: String?

  public init(proxy: String, error: ErrorType, details: String? = nil, rcode: String? = nil) {
    self.proxy = proxy
    self.error = error
    self.details = details
    self.rcode = rcode
  }

  public static let fieldName = "proxy-status"

  /// The field's value: one list member with its parameters (RFC 9209 §2, RFC 8941 §4.1).
  public var fieldValue: String {
    var text = Self.isToken(proxy) ? proxy : Self.quote(proxy)
    text += "; error=" + error.rawValue
    if let rcode { text += "; rcode=" + Self.quote(rcode) }
    if let details { text += "; details=" + Self.quote(details) }
    return text
  }

  /// Reads the field as a peer sent it; of several members the last, which is the proxy nearest to us
  /// (RFC 9209 §2). Nil when it is not well formed, or names no error known here.
  public init?(fieldValue: String) {
    guard fieldValue.utf8.count <= 4096 else { return nil }
    var found: ProxyStatus?
    var rest = Substring(fieldValue)
    while true {
      guard let name = Self.readBareItem(&rest) else { return nil }
      var parameters: [String: String] = [:]
      while Self.skip(";", &rest) {
        let key = Self.readToken(&rest)
        guard !key.isEmpty else { return nil }
        if Self.skip("=", &rest, spaces: false) {
          guard let value = Self.readBareItem(&rest) else { return nil }
          parameters[key] = value
        } else {
          parameters[key] = "?1"
        }
      }
      found = parameters["error"].flatMap(ErrorType.init).map {
        ProxyStatus(proxy: name, error: $0, details: parameters["details"], rcode: parameters["rcode"])
      }
      if Self.skip(",", &rest) { continue }
      guard rest.allSatisfy({ $0 == " " }), let found else { return nil }
      self = found
      return
    }
  }

  // MARK: The part of RFC 8941 that this field uses

  /// RFC 8941 §3.3.4, with the characters of RFC 8941 §3.1.2's keys among them.
  private static func isToken(_ text: String) -> Bool {
    guard let first = text.utf8.first, URITemplate.isAlphanumeric(first) || first == UInt8(ascii: "*"),
      !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first)
    else { return false }
    return text.allSatisfy(isTokenCharacter)
  }

  private static func isTokenCharacter(_ character: Character) -> Bool {
    guard let byte = character.asciiValue else { return false }
    return URITemplate.isAlphanumeric(byte) || "!#$%&'*+-.^_`|~:/".contains(character)
  }

  /// RFC 8941 §4.1.6. Characters that a string cannot hold become question marks.
  private static func quote(_ text: String) -> String {
    var output = "\""
    for scalar in text.unicodeScalars {
      if scalar == "\"" || scalar == "\\" { output += "\\" }
      output.unicodeScalars.append((0x20...0x7e).contains(scalar.value) ? scalar : "?")
    }
    return output + "\""
  }

  private static func skip(_ character: Character, _ rest: inout Substring, spaces: Bool = true) -> Bool {
    let ahead = spaces ? rest.drop { $0 == " " || $0 == "\t" } : rest
    guard ahead.first == character else { return false }
    rest = spaces ? ahead.dropFirst().drop { $0 == " " || $0 == "\t" } : ahead.dropFirst()
    return true
  }

  private static func readToken(_ rest: inout Substring) -> String {
    let token = rest.prefix(while: isTokenCharacter)
    rest = rest.dropFirst(token.count)
    return String(token)
  }

  /// A token, a number or a Boolean as it stands, or a string without its quotes.
  private static func readBareItem(_ rest: inout Substring) -> String? {
    guard rest.first == "\"" else {
      let isBoolean = rest.first == "?"
      if isBoolean { rest = rest.dropFirst() }
      let token = readToken(&rest)
      return token.isEmpty ? nil : (isBoolean ? "?" : "") + token
    }
    rest = rest.dropFirst()
    var text = ""
    while let character = rest.popFirst() {
      if character == "\"" { return text }
      if character == "\\" {
        guard let escaped = rest.popFirst(), escaped == "\"" || escaped == "\\" else { return nil }
        text.append(escaped)
      } else {
        guard let byte = character.asciiValue, (0x20...0x7e).contains(byte) else { return nil }
        text.append(character)
      }
    }
    return nil
  }
}
