import AsyncHTTPClient
import CBActors
import NIOCore
import NIOHTTP1
import Ring
import Synchronization
import Wire

/// One HTTP/1.1 request through a tunnel: async-http-client speaks HTTP and TLS, and reaches the target by
/// a SOCKS5 listener that lives only as long as the request.
enum TunnelledRequest {
  static func perform(
    _ request: GetRequest, ring: RingExecutor, flows: Flows
  ) async throws(ClientError) -> GetResponse {
    guard request.url.hasPrefix("http://") || request.url.hasPrefix("https://") else {
      throw ClientError(.usage, "'\(request.url)' is no http:// or https:// URL")
    }
    let failure = LastFailure()
    let listener = ProxyListener(ring: ring) { ring, done in
      NegotiatingConnection(SOCKS5.Negotiation(), ring: ring, flows: flows, failed: { failure.error = $0 }, done: done)
    }
    let address = try await listener.start(on: SocketAddress(.v4(.loopback), port: 0), called: "get")
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    configuration.proxy = .socksServer(host: "\(address.ip)", port: Int(address.port))
    configuration.timeout.connect = .seconds(20)
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    let end: @Sendable () async -> Void = {
      try? await client.shutdown()
      await listener.stop()
    }
    do {
      var outgoing = HTTPClientRequest(url: request.url)
      outgoing.method = request.headOnly ? .HEAD : .GET
      outgoing.headers.add(name: "user-agent", value: "cbterm/0.1")
      outgoing.headers.add(name: "accept", value: "*/*")
      let response = try await client.execute(outgoing, deadline: .distantFuture)
      let head = GetResponse.Head(
        status: Int(response.status.code), reason: response.status.reasonPhrase,
        fields: response.headers.map { GetResponse.Field(name: $0.name, value: $0.value) })
      let body = Body(response.body, url: request.url, end: end)
      return GetResponse(head: head) { () async throws(ClientError) in try await body.next() }
    } catch {
      await end()
      throw failure.error ?? explain(error, request.url)
    }
  }

  fileprivate static func explain(_ error: any Error, _ url: String) -> ClientError {
    switch error {
    case let error as ClientError: error
    case is CancellationError: ClientError(.cancelled, "cancelled")
    case let error as HTTPClientError: explain(error, url)
    default: ClientError(.failure, "\(url): \(error)")
    }
  }

  private static func explain(_ error: HTTPClientError, _ url: String) -> ClientError {
    switch error {
    case .cancelled: ClientError(.cancelled, "cancelled")
    case .invalidURL, .emptyHost, .emptyScheme: ClientError(.usage, "'\(url)' is no usable URL")
    case .connectTimeout, .readTimeout: ClientError(.connectionLost, "\(url): no answer in time")
    default: ClientError(.failure, "\(url): \(error)")
    }
  }

  /// The body of one response. An actor, since pulls come from any task.
  private actor Body {
    private var iterator: HTTPClientResponse.Body.AsyncIterator?
    private let url: String
    private let end: @Sendable () async -> Void

    init(_ body: HTTPClientResponse.Body, url: String, end: @escaping @Sendable () async -> Void) {
      iterator = body.makeAsyncIterator()
      self.url = url
      self.end = end
    }

    func next() async throws(ClientError) -> [UInt8]? {
      guard var iterator else { return nil }
      do {
        let chunk = try await iterator.next(isolation: self)
        self.iterator = iterator
        if let chunk { return Array(buffer: chunk) }
        self.iterator = nil
        await end()
        return nil
      } catch {
        self.iterator = nil
        await end()
        throw TunnelledRequest.explain(error, url)
      }
    }

    /// Dropped before its end: the connection is closed, which aborts the transfer. Ending twice is no harm.
    deinit {
      let end = end
      Task { await end() }
    }
  }

  /// Why the tunnel of the request could not be opened.
  private final class LastFailure: Sendable {
    private let value = Mutex<ClientError?>(nil)
    var error: ClientError? {
      get { value.withLock { $0 } }
      set { value.withLock { $0 = newValue } }
    }
  }
}
