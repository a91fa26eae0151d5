public import HTTP3
public import QUIC
import QUICTLS
public import Ring
public import Wire

/// Who is told of a session's life. Called synchronously on the session's ring.
public protocol HTTP3SessionDelegate: AnyObject, Sendable {
  /// The handshake is complete and the peer's SETTINGS are known: requests may be sent.
  nonisolated func sessionBecameReady(_ session: HTTP3Session)

  /// A server got a request. Returns what its stream is bound to, or nil when the delegate has
  /// answered it already with ``HTTP3Session/respond(_:on:finish:)``.
  nonisolated func session(
    _ session: HTTP3Session, request fields: HeaderList, on stream: StreamID, finished: Bool
  ) -> (any RequestStreamHandler)?

  /// The last call.
  nonisolated func session(_ session: HTTP3Session, closed reason: CloseReason)
}

/// One QUIC connection that speaks HTTP/3, as an actor: it owns both cores and drives them on its ring.
///
/// The endpoint hands it datagrams; request handlers are told what came; whatever anyone wrote is
/// sent once, when the ring's batch of completions ends.
public actor HTTP3Session {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  /// Where the peer was when the session began.
  public nonisolated let remote: SocketAddress
  public nonisolated let role: Role

  private let tls: any TLSSession
  private var quic: QUIC.Connection
  private var http: HTTP3.Connection
  private let endpoint: QUICEndpoint
  /// That of the active path first.
  private var sockets: [UDPSocket]
  private let maximumSegments: Int
  private var delegate: (any HTTP3SessionDelegate)?
  private var handlers: [StreamID: BoundStream] = [:]
  private var timer: RingTimer?
  private var routedIDs: Set<ConnectionID> = []
  private var isHandshaking = true
  private var isDirty = false
  private var cancellations: [(StreamID, HTTP3.ErrorCode)] = []
  private var closeReason: CloseReason?
  private var isReady = false
  /// The server's SETTINGS as they are remembered, for requests in early data (RFC 9114 §7.2.4.2).
  private let remembered: HTTP3.Settings?
  private var readyWaiters: [CheckedContinuation<Void, any Error>] = []
  private var closedWaiters: [CheckedContinuation<Void, Never>] = []

  /// Datagrams that overtook their request (RFC 9297 §2.1 lets a receiver keep them for about a round trip).
  private var early: [(stream: StreamID, payload: [UInt8])] = []
  private static let earlyLimit = 64

  private struct BoundStream {
    var handler: any RequestStreamHandler
    var readingEnded = false
    var writingEnded = false
  }

  /// How a session begins.
  enum Opening {
    case client(token: [UInt8])
    case server(InitialRequest)
  }

  init(
    _ opening: Opening, _ configuration: QUIC.Configuration, tls: RingBound<any TLSSession>, path: Path, now: Instant,
    settings: HTTP3.Settings, endpoint: QUICEndpoint, sockets: RingBound<[UDPSocket]>
  ) {
    self.tls = tls.value
    switch opening {
    case .client(let token):
      role = .client
      quic = QUIC.Connection(
        client: configuration, tls: tls.value, path: path, now: now, entropy: SystemEntropy.shared, token: token)
    case .server(let request):
      role = .server
      quic = QUIC.Connection(
        server: configuration, tls: tls.value, path: path, initial: request, now: now, entropy: SystemEntropy.shared)
    }
    remembered = (tls.value as? TLSClientSession)?.rememberedApplicationState.flatMap { HTTP3.Settings(encoded: $0) }
    http = HTTP3.Connection(
      role: role, settings: settings, remembered: remembered, greaseSeed: SystemEntropy.shared.nextUInt64())
    ring = endpoint.ring
    remote = path.remote
    self.endpoint = endpoint
    var sockets = sockets.value
    if let index = sockets.firstIndex(where: { $0.isBound(to: path.local) }) { sockets.swapAt(0, index) }
    self.sockets = sockets
    maximumSegments = 44
  }

  /// Before the first datagram.
  func setDelegate(_ delegate: (any HTTP3SessionDelegate)?) { self.delegate = delegate }

  // MARK: Fed by the endpoint

  /// One train of equal-sized datagrams as GRO delivered it; decrypted in place.
  func receive(_ train: UnsafeMutableRawBufferPointer, segmentSize: Int, path: Path, ecn: ECN, now: Instant) {
    var offset = 0
    while offset < train.count {
      let end = min(offset + segmentSize, train.count)
      quic.receive(UnsafeMutableRawBufferPointer(rebasing: train[offset..<end]), path: path, ecn: ecn, now: now)
      offset = end
    }
    markDirty()
  }

  /// Asks the endpoint to call ``flush()`` when the ring's batch ends.
  func markDirty() {
    guard !isDirty else { return }
    isDirty = true
    endpoint.assumeIsolated { $0.sessionBecameDirty(self) }
  }

  /// Delivers what came, sends what can be sent, and sets the timer for what must come next.
  func flush() {
    isDirty = false
    deliverEvents()
    for (stream, code) in cancellations { cancel(stream, code: code) }
    cancellations.removeAll(keepingCapacity: true)
    let now = ring.now
    var blocked = false
    sending: while true {
      var produced: Transmission?
      let hadSlot = sockets[0].withSharedSendBuffer { buffer in
        produced = quic.transmit(into: buffer, maxSegments: maximumSegments, now: now)
        return produced.map { (UDPSend($0), sender(from: $0.path.local)) }
      }
      guard hadSlot else {
        blocked = true
        break sending
      }
      if produced == nil { break sending }
    }
    // A write may have found room only now, and sending may have ended the connection.
    deliverEvents()
    if blocked { endpoint.assumeIsolated { $0.sessionIsBlocked(self) } }
    if quic.isDrained {
      timer?.cancel()
      timer = nil
      let ids = routedIDs
      routedIDs = []
      endpoint.assumeIsolated { endpoint in
        for id in ids { endpoint.unroute(id) }
        endpoint.remove(self)
      }
    } else if let deadline = quic.deadline {
      if timer == nil {
        timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } }
      }
      timer?.schedule(at: deadline)
    } else {
      timer?.cancel()
    }
  }

  // MARK: Sockets

  private func sender(from local: SocketAddress) -> UDPSocket {
    sockets.count == 1 ? sockets[0] : sockets.first { $0.isBound(to: local) } ?? sockets[0]
  }

  /// Puts the socket of the active path first.
  private func choose(_ local: SocketAddress) {
    guard sockets.count > 1, let index = sockets.firstIndex(where: { $0.isBound(to: local) }) else { return }
    sockets.swapAt(0, index)
  }

  /// Begins to send from another socket of the endpoint's. False, with nothing changed, when the connection may not
  /// migrate (RFC 9000 §9): its handshake is not confirmed, or the server forbids it or has left no connection ID.
  func move(to socket: RingBound<UDPSocket>) -> Bool {
    let path = Path(local: socket.value.localAddress, remote: quic.path.remote)
    guard closeReason == nil, quic.migrate(to: path, now: ring.refreshNow()) else { return false }
    sockets.insert(socket.value, at: 0)
    markDirty()
    return true
  }

  /// The socket is to be closed. False when the active path needs it.
  func letGo(of socket: RingBound<UDPSocket>) -> Bool {
    if sockets[0] === socket.value { return false }
    sockets.removeAll { $0 === socket.value }
    return true
  }

  /// The path that packets take now.
  public var path: Path { quic.path }

  private func timerFired() {
    quic.handleTimeout(now: ring.now)
    flush()
  }

  // MARK: Events

  func deliverEvents() {
    while let event = quic.nextEvent() {
      switch event {
      case .connectionIDIssued(let id):
        routedIDs.insert(id)
        endpoint.assumeIsolated { $0.route(id, to: self) }
      case .connectionIDRetired(let id):
        routedIDs.remove(id)
        endpoint.assumeIsolated { $0.unroute(id) }
      case .tokenReceived(let token):
        if let server = ReceivedTokens.Server(tls, at: remote) {
          endpoint.assumeIsolated { $0.keep(token, from: server) }
        }
      case .handshakeCompleted:
        handshakeEnded()
        http.start(on: &quic)
      case .earlyDataReady:
        // A client's requests need settings to go by; a server's SETTINGS need not wait for the client's Finished.
        if role == .server || remembered != nil { http.start(on: &quic) }
      case .pathChanged(let path):
        choose(path.local)
        if role == .client { endpoint.assumeIsolated { $0.expectResets(from: path.remote, for: self) } }
      case .streamFinished(let stream):
        http.handle(event, on: &quic)
        finishedWriting(stream)
      case .closed(let reason):
        http.handle(event, on: &quic)
        connectionClosed(reason)
      default: http.handle(event, on: &quic)
      }
      deliverHTTPEvents()
    }
    deliverHTTPEvents()
  }

  private func deliverHTTPEvents() {
    while let event = http.nextEvent() {
      switch event {
      case .settingsReceived(let settings):
        isReady = true
        (tls as? TLSClientSession)?.rememberApplicationState(settings.encoded)
        for waiter in readyWaiters { waiter.resume() }
        readyWaiters = []
        delegate?.sessionBecameReady(self)
      case .requestReceived(let stream, let fields, let finished):
        guard let delegate else { break }
        if let handler = delegate.session(self, request: fields, on: stream, finished: finished) {
          bind(stream, to: handler)
          if finished { finishedReading(stream) }
        }
      case .responseReceived(let stream, let fields, let finished):
        handlers[stream]?.handler.receive(fields: fields, finished: finished)
        if finished { finishedReading(stream) }
      case .interimResponseReceived(let stream, let fields), .trailersReceived(let stream, let fields):
        handlers[stream]?.handler.receive(fields: fields, finished: false)
      case .dataReadable(let stream): read(stream)
      case .dataWritable(let stream): handlers[stream]?.handler.writable()
      case .streamReset(let stream, let code): end(stream, .reset(code: code.rawValue))
      case .streamStopped(let stream, let code):
        handlers[stream]?.handler.peerStoppedReading(code: code.rawValue)
        finishedWriting(stream)
      case .streamFailed(let stream, let error): end(stream, .reset(code: error.code.rawValue))
      case .datagramsReceived:
        http.readDatagrams(on: &quic) { stream, payload in
          if let bound = handlers[stream] {
            bound.handler.receive(datagram: payload)
          } else if role == .server, early.count < Self.earlyLimit {
            early.append((stream, Array(payload)))
          }
        }
      case .goAway, .requestsAvailable, .datagramsSendable, .connectionError, .closed: break
      }
    }
  }

  private func read(_ stream: StreamID) {
    guard let bound = handlers[stream] else {
      // A request answered without reading its content: the rest is unwanted.
      http.stopReading(stream, code: .noError, on: &quic)
      return
    }
    var ended = false
    reading: while true {
      let outcome = http.readData(stream, on: &quic) { bytes, _ in
        bytes.isEmpty ? 0 : bound.handler.receive(data: bytes)
      }
      switch outcome {
      case .progressed: continue
      case .blocked: break reading
      case .ended:
        ended = true
        break reading
      }
    }
    if ended { finishedReading(stream) }
  }

  private func finishedReading(_ stream: StreamID) {
    guard let bound = handlers[stream], !bound.readingEnded else { return }
    handlers[stream]?.readingEnded = true
    bound.handler.receiveEnd()
    releaseIfOver(stream)
  }

  private func finishedWriting(_ stream: StreamID) {
    handlers[stream]?.writingEnded = true
    releaseIfOver(stream)
  }

  private func releaseIfOver(_ stream: StreamID) {
    if let bound = handlers[stream], bound.readingEnded, bound.writingEnded { handlers[stream] = nil }
  }

  private func end(_ stream: StreamID, _ reason: RequestStreamEnd) {
    guard let bound = handlers.removeValue(forKey: stream) else { return }
    bound.handler.ended(reason)
  }

  private func handshakeEnded() {
    guard isHandshaking else { return }
    isHandshaking = false
    guard role == .server else { return }
    let (isResumed, earlyData) = (quic.isResumed, quic.earlyData)
    endpoint.assumeIsolated { $0.handshakeEnded(isResumed: isResumed, earlyData: earlyData) }
  }

  private func connectionClosed(_ reason: CloseReason) {
    guard closeReason == nil else { return }
    closeReason = reason
    handshakeEnded()
    let bound = handlers
    handlers = [:]
    for stream in bound.values { stream.handler.ended(.connectionClosed(reason)) }
    for waiter in readyWaiters { waiter.resume(throwing: reason) }
    readyWaiters = []
    for waiter in closedWaiters { waiter.resume() }
    closedWaiters = []
    delegate?.session(self, closed: reason)
    delegate = nil
  }
}

// MARK: - Requests

extension HTTP3Session {
  /// Waits until requests can be sent. Throws the ``CloseReason`` when the connection ends before.
  public func ready() async throws {
    if let closeReason { throw closeReason }
    if isReady { return }
    try await withCheckedThrowingContinuation { readyWaiters.append($0) }
  }

  /// Requests can be sent in early data. Only what may be replayed without harm belongs there, and what was refused
  /// ends with H3_REQUEST_REJECTED and may be sent again (RFC 8470 §3).
  public var takesEarlyRequests: Bool { role == .client && http.isOpen && !quic.isHandshakeComplete }

  /// What has come so far, came before the client's handshake was complete: it may be a replay (RFC 8470 §4).
  public var isInEarlyData: Bool { role == .server && !quic.isHandshakeComplete }

  /// Requests are being served, or their answers have not all arrived.
  public var isServing: Bool { !handlers.isEmpty }

  /// Sends a request; nil when the peer's stream limit is reached or the connection is gone.
  public func request(_ fields: HeaderList, finish: Bool, handler: any RequestStreamHandler) throws -> StreamID? {
    guard closeReason == nil, let stream = try http.sendRequest(fields, finish: finish, on: &quic) else { return nil }
    bind(stream, to: handler)
    markDirty()
    return stream
  }

  /// Sends a response. What is malformed by RFC 9114 §4.3.2 is our own mistake, and is dropped.
  public func respond(_ fields: HeaderList, on stream: StreamID, finish: Bool) {
    guard closeReason == nil else { return }
    // A stream that ended meanwhile has nobody to tell.
    try? http.sendResponse(fields, to: stream, finish: finish, on: &quic)
    markDirty()
  }

  /// Sends a whole response; `body` must fit the stream's send buffer.
  public func respond(_ fields: HeaderList, body: [UInt8], on stream: StreamID) {
    respond(fields, on: stream, finish: body.isEmpty)
    if !body.isEmpty { body.withUnsafeBytes { _ = send($0, finish: true, on: stream) } }
  }

  /// Queues content and returns how many bytes were taken; after a short count the handler is told when there is room.
  public func send(_ bytes: UnsafeRawBufferPointer, finish: Bool, on stream: StreamID) -> Int {
    guard closeReason == nil else { return bytes.count }
    let taken = http.sendData(stream, bytes, finish: finish, on: &quic)
    markDirty()
    return taken
  }

  /// Queues an HTTP datagram for a stream. False when it is too large or the peer takes none: it is dropped.
  public func sendDatagram(_ payload: UnsafeRawBufferPointer, contextID: UInt64, on stream: StreamID) -> Bool {
    guard closeReason == nil else { return false }
    let taken = http.sendDatagram(stream, contextID: contextID, payload, on: &quic)
    markDirty()
    return taken
  }

  /// Offers a stream's data again to a handler that had consumed less than it was given.
  public func resumeReading(_ stream: StreamID) {
    guard closeReason == nil else { return }
    read(stream)
    markDirty()
  }

  /// Abandons a stream in both directions; its handler hears nothing more.
  public func cancel(_ stream: StreamID, code: HTTP3.ErrorCode) {
    handlers[stream] = nil
    guard closeReason == nil else { return }
    http.cancel(stream, code: code, on: &quic)
    markDirty()
  }

  /// Abandons a stream once the session's present work is done. The one call that is allowed from
  /// inside ``RequestStreamHandler/receive(data:)`` and ``RequestStreamHandler/receive(datagram:)``.
  public func cancelSoon(_ stream: StreamID, code: HTTP3.ErrorCode) {
    cancellations.append((stream, code))
    markDirty()
  }

  /// Unbinds a stream whose response has been sent and whose content is unwanted.
  public func release(_ stream: StreamID) {
    handlers[stream] = nil
    guard closeReason == nil else { return }
    http.stopReading(stream, code: .noError, on: &quic)
    markDirty()
  }

  private func bind(_ stream: StreamID, to handler: any RequestStreamHandler) {
    handlers[stream] = BoundStream(handler: handler)
    guard !early.isEmpty else { return }
    let waiting = early
    early = waiting.filter { $0.stream > stream }
    for datagram in waiting where datagram.stream == stream {
      datagram.payload.withUnsafeBytes { handler.receive(datagram: $0) }
    }
  }
}

// MARK: - The connection

extension HTTP3Session {
  public var statistics: QUIC.Statistics { quic.statistics }
  /// The TLS group and cipher suite that were agreed on, as IANA names them; nil before that.
  public var keyExchange: String? { (tls as? TLSHandshake)?.keyExchangeGroup }
  public var cipherSuite: String? { (tls as? TLSHandshake)?.cipherSuiteName }

  /// The session was resumed, and whether with early data.
  public var isResumed: Bool { quic.isResumed }
  public var earlyData: EarlyDataState { quic.earlyData }

  /// Ends the connection with an HTTP/3 error code, H3_NO_ERROR for a proper end (RFC 9114 §8.1).
  public func close(_ code: HTTP3.ErrorCode = .noError, reason: String = "") {
    guard closeReason == nil else { return }
    quic.close(code: code.rawValue, reason: reason)
    markDirty()
  }

  /// Tells the peer to send no new requests here (RFC 9114 §5.2).
  public func goAway() {
    guard closeReason == nil else { return }
    http.goAway(final: true, on: &quic)
    markDirty()
  }

  /// Returns when the connection has ended.
  public func waitUntilClosed() async -> CloseReason {
    while true {
      if let closeReason { return closeReason }
      await withCheckedContinuation { closedWaiters.append($0) }
    }
  }
}

extension UDPSend {
  init(_ transmission: Transmission) {
    self.init(
      byteCount: transmission.byteCount, segmentSize: transmission.segmentSize, destination: transmission.path.remote,
      source: transmission.path.local.ip, ecn: transmission.ecn.rawValue)
  }
}
