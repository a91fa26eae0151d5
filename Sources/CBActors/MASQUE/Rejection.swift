public import HTTP3

/// Why a proxy does not open a tunnel: a status code, and what Proxy-Status says with it.
public struct Rejection: Error, Hashable, Sendable {
  /// Of the response (RFC 9110 §15).
  public var status: Int
  /// For the log, and for `details` of Proxy-Status.
  public var reason: String
  /// RFC 9209 §2.3; nil when the failure is not one of proxying.
  public var error: ProxyStatus.ErrorType?

  public init(status: Int, _ reason: String, error: ProxyStatus.ErrorType? = nil) {
    self.status = status
    self.reason = reason
    self.error = error
  }

  /// With the status code that RFC 9209 §2.3 recommends for the error.
  public init(_ error: ProxyStatus.ErrorType, _ reason: String) {
    self.init(status: error.httpStatus, reason, error: error)
  }

  /// The response that says so. It carries no Capsule-Protocol field.
  // RFC 9297 §3.4: "The Capsule-Protocol header field MUST NOT be used on HTTP responses with a status code that is both
  // different from 101 and outside the 2xx range."
  public func response(proxy: String, rcode: String? = nil) -> HeaderList {
    var list: HeaderList = [":status": String(status)]
    if let error {
      let proxyStatus = ProxyStatus(proxy: proxy, error: error, details: reason, rcode: rcode)
      list.append(ProxyStatus.fieldName, proxyStatus.fieldValue)
    }
    return list
  }
}

/// Why a client's request for a tunnel came to nothing.
public enum TunnelRefused: Error, Hashable, Sendable {
  /// A final response other than success, and the proxy's account if it gave one.
  case status(Int, ProxyStatus?)
  /// A response that breaks the rules of the tunnel's protocol; the stream is to be cancelled.
  case malformed(String)

  init(_ response: HeaderList) {
    let account = response.values(ProxyStatus.fieldName).last.flatMap(ProxyStatus.init(fieldValue:))
    self = .status(response.status ?? 0, account)
  }
}
