public import HTTP3

/// Requests for UDP tunnels, and the answers to them (RFC 9298 §3).
public enum ConnectUDP {
  /// The upgrade token.
  public static let token = "connect-udp"

  /// RFC 9298 §3.4. `fields` follow, such as the credentials that the proxy wants.
  public static func request(_ template: URITemplate, _ target: Target, fields: [Field] = []) -> HeaderList {
    var list: HeaderList = [
      ":method": "CONNECT",
      ":protocol": token,
      ":scheme": template.scheme,
      ":authority": template.authority,
      ":path": template.expand(target),
      CapsuleProtocol.fieldName: "?1",
    ]
    list.fields += fields
    return list
  }

  /// Whether a request asks for a UDP tunnel; ``target(of:_:)`` then judges it.
  public static func isRequest(_ list: HeaderList) -> Bool {
    list.method == "CONNECT" && list.connectProtocol == token
  }

  /// The target of a request that was made with the proxy's template. Throws what to answer instead.
  public static func target(of list: HeaderList, _ template: URITemplate) throws(Rejection) -> Target {
    guard isRequest(list) else { throw Rejection(status: 501, "not a connect-udp request") }
    // RFC 9298 §3.4: "The :path and :scheme pseudo-header fields SHALL NOT be empty."
    guard let scheme = list.scheme, !scheme.isEmpty, let path = list.path, !path.isEmpty,
      let authority = list.authority, !authority.isEmpty
    else { throw Rejection(status: 400, "a pseudo-header field is missing", error: .httpRequestError) }
    if let reason = CapsuleProtocol.violation(list) { throw Rejection(status: 400, reason, error: .httpRequestError) }
    do throws(URITemplate.MatchError) {
      return try template.match(path)
    } catch {
      switch error {
      case .noMatch: throw Rejection(status: 404, "no such resource")
      case .invalid(.host): throw Rejection(status: 400, "invalid target_host", error: .httpRequestError)
      case .invalid(.port): throw Rejection(status: 400, "invalid target_port", error: .httpRequestError)
      }
    }
  }

  /// RFC 9298 §3.5.
  public static var success: HeaderList { [":status": "200", CapsuleProtocol.fieldName: "?1"] }

  /// Judges the final response; returns when the tunnel is open.
  // RFC 9298 §3.5: "the client MUST treat this proxying attempt as failed and abort the request"
  public static func accept(_ response: HeaderList) throws(TunnelRefused) {
    guard response.isSuccessful else { throw TunnelRefused(response) }
    // RFC 9297 §3.2: "HTTP status codes 204 (No Content), 205 (Reset Content), and 206 (Partial Content) MUST NOT be
    // sent on responses that use the Capsule Protocol."
    guard let status = response.status, !(204...206).contains(status) else {
      throw .malformed("a status without a data stream")
    }
    if let reason = CapsuleProtocol.violation(response) { throw .malformed(reason) }
  }
}

/// What the Capsule Protocol asks of the messages that start it (RFC 9297 §3.2, §3.4).
public enum CapsuleProtocol {
  public static let fieldName = "capsule-protocol"

  // RFC 9297 §3.2: "The Capsule Protocol MUST NOT be used with messages that contain Content-Length, Content-Type, or
  // Transfer-Encoding header fields."
  static func violation(_ list: HeaderList) -> String? {
    for name in ["content-length", "content-type", "transfer-encoding"] where list[name] != nil {
      return "\(name) with the Capsule Protocol"
    }
    return nil
  }

  /// Whether the field is there, once, as a Boolean that is true. Parameters are ignored.
  // RFC 9297 §3.4: "its value MUST be a Boolean; any other value type MUST be handled as if the field were not present"
  public static func isAnnounced(_ list: HeaderList) -> Bool {
    let values = list.values(fieldName)
    guard values.count == 1, let value = values.first else { return false }
    let item = value.split(separator: ";", maxSplits: 1, omittingEmptySubsequences: false)[0]
    return item.drop { $0 == " " }.prefix { $0 != " " } == "?1"
  }
}
