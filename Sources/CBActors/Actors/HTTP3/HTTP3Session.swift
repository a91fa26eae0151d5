import HTTP3
public import QUIC
import QUICTLS
public import Ring
public import Wire

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

  let tls: any TLSSession
  var quic: QUIC.Connection
  var http: HTTP3.Connection
  let endpoint: QUICEndpoint
  /// That of the active path first.
  var sockets: [UDPSocket]
  private let maximumSegments: Int
  var delegate: (any HTTP3SessionDelegate)?
  var handlers: [StreamID: BoundStream] = [:]
  private var timer: RingTimer?
  var routedIDs: Set<ConnectionID> = []
  var isHandshaking = true
  private var isDirty = false
  var cancellations: [(StreamID, HTTP3.ErrorCode)] = []
  var closeReason: CloseReason?
  var isReady = false
  /// The server's SETTINGS as they are remembered, for requests in early data (RFC 9114 §7.2.4.2).
  let remembered: HTTP3.Settings?
  var readyWaiters: [CheckedContinuation<Void, any Error>] = []
  var closedWaiters: [CheckedContinuation<Void, Never>] = []
  var movedWaiters: [CheckedContinuation<Void, Never>] = []
  var whereabouts = Whereabouts()
  var shutdown = Shutdown.none
  var shutdownTimer: RingTimer?
  var goingAwayWaiters: [CheckedContinuation<Void, Never>] = []

  /// Datagrams that overtook their request (RFC 9297 §2.1 lets a receiver keep them for about a round trip).
  var early: [(stream: StreamID, payload: [UInt8])] = []
  static let earlyLimit = 64

  struct BoundStream {
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
        return produced.map { (send(of: $0), sender(from: $0.path.local)) }
      }
      guard hadSlot else {
        blocked = true
        break sending
      }
      guard let produced else { break sending }
      let refused = sender(from: produced.path.local).takeRefusedSize()
      if refused > 0 { quic.datagramRefused(size: refused, on: produced.path, now: now) }
    }
    // A write may have found room only now, and sending may have ended the connection.
    deliverEvents()
    if http.isGoingAway { closeIfDrained() }
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
  func choose(_ local: SocketAddress) {
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

  /// The path that packets take now. Its local address is that of the socket.
  public var path: Path { quic.path }

  private func timerFired() {
    quic.handleTimeout(now: ring.now)
    flush()
  }
}

extension UDPSend {
  init(_ transmission: Transmission) {
    self.init(
      byteCount: transmission.byteCount, segmentSize: transmission.segmentSize, destination: transmission.path.remote,
      source: transmission.path.local.ip, ecn: transmission.ecn.rawValue)
  }
}
