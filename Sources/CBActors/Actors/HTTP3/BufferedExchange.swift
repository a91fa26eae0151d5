public import HTTP3
import QUIC
public import Ring

/// One request whose whole response fits in memory, such as a PoP's own pages.
public actor BufferedExchange {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let session: HTTP3Session
  private let limit: Int
  private var fields: HeaderList?
  private var body: [UInt8] = []
  private var outcome: Result<Response, any Error>?
  private var waiter: CheckedContinuation<Response, any Error>?

  public struct Response: Sendable {
    public var fields: HeaderList
    public var body: [UInt8]
  }

  public enum Failure: Error, Hashable, Sendable {
    /// The body is longer than the limit, in bytes.
    case tooLarge(Int)
  }

  private init(session: HTTP3Session, limit: Int) {
    ring = session.ring
    self.session = session
    self.limit = limit
  }

  /// Sends a request without content and returns the response.
  ///
  /// - Parameter limit: bytes of body beyond which the request is given up.
  /// - Throws: ``Failure``, ``RequestStreamEnd``, ``TunnelError`` or `HTTP3.SendError`.
  public static func perform(
    _ request: HeaderList, on session: HTTP3Session, limit: Int = 65_536
  ) async throws -> Response {
    try await BufferedExchange(session: session, limit: limit).run(request)
  }

  private func run(_ request: HeaderList) async throws -> Response {
    let stream = try await session.request(request, finish: true, handler: self)
    guard let stream else { throw TunnelError.noStream }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        if let outcome { return continuation.resume(with: outcome) }
        waiter = continuation
      }
    } onCancel: {
      Task { await self.cancel(stream) }
    }
  }

  private func cancel(_ stream: StreamID) {
    session.assumeIsolated { $0.cancel(stream, code: .requestCancelled) }
    finish(.failure(CancellationError()))
  }

  private func finish(_ result: Result<Response, any Error>) {
    guard outcome == nil else { return }
    outcome = result
    waiter?.resume(with: result)
    waiter = nil
  }

  private func append(_ data: UnsafeRawBufferPointer) {
    guard body.count + data.count <= limit else { return finish(.failure(Failure.tooLarge(limit))) }
    body += data
  }

  private func complete() {
    if let fields { finish(.success(Response(fields: fields, body: body))) }
  }
}

extension BufferedExchange: RequestStreamHandler {
  public nonisolated func receive(fields: HeaderList, finished: Bool) {
    assumeIsolated { exchange in
      if let status = fields.status, status >= 200 { exchange.fields = fields }
    }
  }
  public nonisolated func receive(data: UnsafeRawBufferPointer) -> Int {
    let bytes = RingBound(data)
    assumeIsolated { $0.append(bytes.value) }
    return data.count
  }
  public nonisolated func receiveEnd() { assumeIsolated { $0.complete() } }
  public nonisolated func writable() {}
  public nonisolated func ended(_ reason: RequestStreamEnd) { assumeIsolated { $0.finish(.failure(reason)) } }
}
