/// The one thing sign-in asks of the network: a request, answered whole and within a bound.
///
/// Tests answer from a script; the programs use ``HTTPClientFetch``. An implementation follows no
/// redirect: OAuth's endpoints come from discovery, and a token must not travel to where an
/// intermediary points.
public protocol HTTPFetch: Sendable {
  func fetch(_ request: FetchRequest) async throws(FetchFailure) -> FetchResponse
}

public struct FetchRequest: Sendable {
  public enum Method: Sendable, Equatable { case get, post }

  public var method: Method
  public var url: EndpointURL
  public var headers: [(name: String, value: String)]
  public var body: [UInt8]
  /// The answer's greatest length in bytes; a longer one is ``FetchFailure/tooLarge(limit:)``.
  public var responseLimit: Int

  public init(
    _ method: Method = .get, url: EndpointURL, headers: [(name: String, value: String)] = [], body: [UInt8] = [],
    responseLimit: Int
  ) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
    self.responseLimit = responseLimit
  }
}

public struct FetchResponse: Sendable {
  public var status: Int
  /// Names in lower case.
  public var headers: [String: String]
  public var body: [UInt8]

  public init(status: Int, headers: [String: String] = [:], body: [UInt8] = []) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}

public enum FetchFailure: Error, Sendable, Equatable, CustomStringConvertible {
  case timedOut
  case unreachable(String)
  case tooLarge(limit: Int)
  case cancelled

  public var description: String {
    switch self {
    case .timedOut: "no answer in time"
    case .unreachable(let reason): "unreachable: \(reason)"
    case .tooLarge(let limit): "the answer exceeds \(limit) bytes"
    case .cancelled: "cancelled"
    }
  }
}
