public import HTTP3
public import QUIC
public import Ring
public import Wire

/// One CONNECT tunnel (RFC 9114 §4.4): a request stream on one side, a TCP connection on the other.
///
/// The same at both ends. At a PoP it is bound to its stream at once and connected to the target once the
/// request has been judged; at a client it sends the request and is given the application's connection
/// when the PoP has agreed. What one side cannot take holds the other back: nothing is buffered here.
public actor TCPTunnel {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let session: HTTP3Session
  private var stream: StreamID?
  private var connection: TCPConnection?
  private let idleTimeout: Interval
  private var idleTimer: RingTimer?
  private var lastActivity = Instant.zero
  private var onEnd: (@Sendable (Traffic) -> Void)?
  private var connecting: CheckedContinuation<Void, any Error>?
  private var awaitingResponse: CheckedContinuation<HeaderList, any Error>?
  private var response: HeaderList?
  private var endReason: RequestStreamEnd?
  private var streamEnded = false
  private var connectionEnded = false
  private var isOver = false
  public private(set) var traffic = Traffic()

  /// Payload bytes that crossed the tunnel.
  public struct Traffic: Hashable, Sendable {
    public var bytesToConnection: UInt64 = 0
    public var bytesToStream: UInt64 = 0
    public init() {}
  }

  /// - Parameters:
  ///   - stream: the request's at a PoP; nil at a client, which opens one with ``request(_:)``.
  ///   - idleTimeout: silence both ways after which the tunnel ends.
  ///   - onEnd: called once on the ring, however the tunnel ends. A client gives it to ``attach(_:first:onEnd:)``.
  public init(
    session: HTTP3Session, stream: StreamID?, idleTimeout: Interval, onEnd: (@Sendable (Traffic) -> Void)? = nil
  ) {
    ring = session.ring
    self.session = session
    self.stream = stream
    self.idleTimeout = idleTimeout
    self.onEnd = onEnd
  }

  // MARK: Opening

  /// Connects to the target. Throws ``Ring/RingError``, or ``RequestStreamEnd`` when the client left first.
  public func connect(to target: SocketAddress, timeout: Interval) async throws {
    if let endReason { throw endReason }
    try await withCheckedThrowingContinuation { continuation in
      connecting = continuation
      do {
        connection = try TCPConnection.connect(on: ring, to: target, timeout: timeout, delegate: self)
        // Nothing is read from the target before the client has been told of it.
        connection?.pauseReading()
      } catch {
        connecting = nil
        continuation.resume(throwing: error)
      }
    }
  }

  /// Answers the client of a connected tunnel, and lets bytes flow.
  public func accept(_ response: HeaderList) {
    guard !isOver, let stream else { return }
    session.assumeIsolated { $0.respond(response, on: stream, finish: false) }
    begin()
  }

  /// Refuses the request with a response that says why.
  public func refuse(_ response: HeaderList) {
    guard !isOver, let stream else { return }
    session.assumeIsolated {
      $0.respond(response, on: stream, finish: true)
      $0.release(stream)
    }
    end()
  }

  /// Sends a client's request and waits for the final response. Throws ``RequestStreamEnd``, or
  /// ``TunnelError/noStream`` when the PoP allows no more streams now.
  public func request(_ fields: HeaderList) async throws -> HeaderList {
    let opened = try await session.request(fields, finish: false, handler: self)
    guard let opened else { throw TunnelError.noStream }
    stream = opened
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        if let response { return continuation.resume(returning: response) }
        if let endReason { return continuation.resume(throwing: endReason) }
        awaitingResponse = continuation
      }
    } onCancel: {
      Task { await self.abandon() }
    }
  }

  /// Binds the application's connection to the agreed tunnel, and lets bytes flow.
  ///
  /// - Parameters:
  ///   - first: what the application sent ahead; at most a few hundred bytes, so it fits the stream's window.
  ///   - onEnd: called once on the ring, however the tunnel ends; at once if it has ended already.
  public func attach(
    _ connection: RingBound<TCPConnection>, first: [UInt8], onEnd: @escaping @Sendable (Traffic) -> Void
  ) {
    let connection = connection.value
    guard !isOver, let stream else {
      connection.abort()
      return onEnd(traffic)
    }
    self.connection = connection
    self.onEnd = onEnd
    if !first.isEmpty {
      session.assumeIsolated { session in first.withUnsafeBytes { _ = session.send($0, finish: false, on: stream) } }
    }
    connection.start(delegate: self)
    begin()
  }

  /// Gives the tunnel up both ways.
  public func abandon() {
    guard !isOver else { return }
    if let stream { session.assumeIsolated { $0.cancel(stream, code: .requestCancelled) } }
    streamIsOver(.reset(code: HTTP3.ErrorCode.requestCancelled.rawValue))
  }

  private func begin() {
    lastActivity = ring.now
    if idleTimeout != .infinite {
      let timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.checkIdle() } }
      timer.schedule(at: ring.now + idleTimeout)
      idleTimer = timer
    }
    connection?.resumeReading()
    if let stream { session.assumeIsolated { $0.resumeReading(stream) } }
  }

  private func checkIdle() {
    guard !isOver else { return }
    let due = lastActivity + idleTimeout
    if due <= ring.now {
      abandon()
    } else {
      idleTimer?.schedule(at: due)
    }
  }

  // MARK: Stream to connection

  private func receive(_ data: UnsafeRawBufferPointer) -> Int {
    guard !isOver, let connection else { return isOver ? data.count : 0 }
    let written = connection.write(data)
    traffic.bytesToConnection += UInt64(written)
    lastActivity = ring.now
    return written
  }

  /// Before the response this is a refusal that is about to be explained; later, bytes would be lost.
  private func peerStoppedReading(_ code: UInt64) {
    guard !isOver, connection != nil, let stream else { return }
    session.assumeIsolated { $0.cancel(stream, code: .requestCancelled) }
    streamIsOver(.reset(code: code))
  }

  private func receiveStreamEnd() {
    guard !isOver else { return }
    streamEnded = true
    connection?.shutdownWrite()
    endIfBothSidesHave()
  }

  // MARK: Connection to stream

  private func received(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isOver, let stream else { return 0 }
    lastActivity = ring.now
    let bytes = RingBound(bytes)
    let taken = session.assumeIsolated { $0.send(bytes.value, finish: false, on: stream) }
    traffic.bytesToStream += UInt64(taken)
    return taken
  }

  private func receivedConnectionEnd() {
    guard !isOver, let stream else { return }
    connectionEnded = true
    session.assumeIsolated { _ = $0.send(UnsafeRawBufferPointer(start: nil, count: 0), finish: true, on: stream) }
    endIfBothSidesHave()
  }

  private func connectionFailed(_ error: RingError) {
    connection = nil
    if let waiter = connecting {
      connecting = nil
      waiter.resume(throwing: error)
      return
    }
    guard !isOver else { return }
    // RFC 9114 §4.4: a TCP connection error is signalled by resetting with H3_CONNECT_ERROR.
    if let stream { session.assumeIsolated { $0.cancel(stream, code: .connectError) } }
    end()
  }

  // MARK: The end

  private func endIfBothSidesHave() {
    guard streamEnded, connectionEnded else { return }
    connection?.closeWhenSent()
    connection = nil
    end()
  }

  private func streamIsOver(_ reason: RequestStreamEnd) {
    guard !isOver else { return }
    endReason = reason
    // RFC 9114 §4.4: an abrupt end of the stream is passed on as a reset of the TCP connection.
    connection?.abort()
    connection = nil
    connecting?.resume(throwing: reason)
    connecting = nil
    awaitingResponse?.resume(throwing: reason)
    awaitingResponse = nil
    end()
  }

  private func end() {
    guard !isOver else { return }
    isOver = true
    idleTimer?.cancel()
    idleTimer = nil
    connection?.abort()
    connection = nil
    onEnd?(traffic)
    onEnd = nil
  }
}

public enum TunnelError: Error, Hashable, Sendable {
  /// The peer's limit of concurrent streams is reached.
  case noStream
}

extension TCPTunnel: RequestStreamHandler {
  public nonisolated func receive(fields: HeaderList, finished: Bool) {
    assumeIsolated { tunnel in
      // Interim responses (RFC 9110 §15.2) say nothing that a tunnel needs.
      if let status = fields.status, (100..<200).contains(status) { return }
      tunnel.response = fields
      tunnel.awaitingResponse?.resume(returning: fields)
      tunnel.awaitingResponse = nil
    }
  }
  public nonisolated func receive(data: UnsafeRawBufferPointer) -> Int {
    let data = RingBound(data)
    return assumeIsolated { $0.receive(data.value) }
  }
  public nonisolated func receiveEnd() { assumeIsolated { $0.receiveStreamEnd() } }
  public nonisolated func writable() { assumeIsolated { $0.connection?.resumeReading() } }
  public nonisolated func peerStoppedReading(code: UInt64) { assumeIsolated { $0.peerStoppedReading(code) } }
  public nonisolated func ended(_ reason: RequestStreamEnd) { assumeIsolated { $0.streamIsOver(reason) } }
}

extension TCPTunnel: TCPConnectionDelegate {
  public nonisolated func tcpConnectionEstablished(_ connection: TCPConnection) {
    assumeIsolated {
      $0.connecting?.resume()
      $0.connecting = nil
    }
  }
  public nonisolated func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    let bytes = RingBound(bytes)
    return assumeIsolated { $0.received(bytes.value) }
  }
  public nonisolated func tcpConnectionReceivedEnd(_ connection: TCPConnection) {
    assumeIsolated { $0.receivedConnectionEnd() }
  }
  public nonisolated func tcpConnectionWritable(_ connection: TCPConnection) {
    assumeIsolated { tunnel in
      if let stream = tunnel.stream { tunnel.session.assumeIsolated { $0.resumeReading(stream) } }
    }
  }
  public nonisolated func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    assumeIsolated { $0.connectionFailed(error) }
  }
}
