public import HTTP3

/// Requests for TCP tunnels, and the answers to them (RFC 9114 §4.4).
public enum ConnectTCP {
  // RFC 9114 §4.4: "The :scheme and :path pseudo-header fields are omitted"
  public static func request(_ target: Target, fields: [Field] = []) -> HeaderList {
    var list: HeaderList = [":method": "CONNECT", ":authority": target.authority]
    list.fields += fields
    return list
  }

  public static func isRequest(_ list: HeaderList) -> Bool {
    list.method == "CONNECT" && list.connectProtocol == nil
  }

  /// The target of a request. Throws what to answer instead.
  public static func target(of list: HeaderList) throws(Rejection) -> Target {
    guard isRequest(list) else { throw Rejection(status: 501, "not a CONNECT request") }
    guard list.scheme == nil, list.path == nil, let authority = list.authority else {
      throw Rejection(status: 400, "malformed CONNECT", error: .httpRequestError)
    }
    do throws(Target.Invalid) {
      return try Target(authority: authority)
    } catch {
      throw Rejection(status: 400, error == .host ? "invalid host" : "invalid port", error: .httpRequestError)
    }
  }

  // RFC 9110 §9.3.6: a successful response carries neither Content-Length nor Transfer-Encoding.
  public static var success: HeaderList { [":status": "200"] }

  /// Judges the final response; returns when the tunnel is open.
  public static func accept(_ response: HeaderList) throws(TunnelRefused) {
    // RFC 9110 §9.3.6: a client ignores Content-Length in a successful response to CONNECT.
    guard response.isSuccessful else { throw TunnelRefused(response) }
  }
}
