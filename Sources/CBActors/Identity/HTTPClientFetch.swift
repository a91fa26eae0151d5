public import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// ``HTTPFetch`` over async-http-client.
public struct HTTPClientFetch: HTTPFetch {
  /// A client for the life of the process, with the system's trust roots and without redirects.
  public static let shared = HTTPClientFetch(client: sharedClient)

  // Lives until the process ends, so it is never shut down.
  private static let sharedClient = HTTPClient(
    eventLoopGroupProvider: .singleton,
    configuration: HTTPClient.Configuration(
      redirectConfiguration: .disallow,
      timeout: HTTPClient.Configuration.Timeout(connect: .seconds(5), read: .seconds(10))))

  private let client: HTTPClient
  private let timeout: TimeAmount

  /// - Parameters:
  ///   - client: the caller shuts it down. It should not follow redirects.
  ///   - timeoutSeconds: for one whole exchange.
  public init(client: HTTPClient, timeoutSeconds: Int64 = 15) {
    self.client = client
    timeout = .seconds(timeoutSeconds)
  }

  public func fetch(_ request: FetchRequest) async throws(FetchFailure) -> FetchResponse {
    var outgoing = HTTPClientRequest(url: request.url.text)
    outgoing.method = request.method == .get ? .GET : .POST
    for (name, value) in request.headers { outgoing.headers.add(name: name, value: value) }
    if request.method == .post { outgoing.body = .bytes(request.body) }
    do {
      let answer = try await client.execute(outgoing, timeout: timeout)
      let body = try await answer.body.collect(upTo: request.responseLimit)
      var headers: [String: String] = [:]
      for (name, value) in answer.headers { headers[name.lowercased()] = value }
      return FetchResponse(status: Int(answer.status.code), headers: headers, body: [UInt8](body.readableBytesView))
    } catch is CancellationError {
      throw .cancelled
    } catch is NIOTooManyBytesError {
      throw .tooLarge(limit: request.responseLimit)
    } catch let error as HTTPClientError {
      switch error {
      case .cancelled: throw .cancelled
      case .connectTimeout, .readTimeout, .deadlineExceeded: throw .timedOut
      default: throw .unreachable(error.shortDescription)
      }
    } catch {
      throw .unreachable("\(error)".printable(limit: 200))
    }
  }
}
