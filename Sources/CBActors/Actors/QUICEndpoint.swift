public import HTTP3
public import Logging
public import QUIC
import QUICTLS
public import Ring
import Synchronization
public import Wire

/// One UDP socket and the connections behind it, on one ring: a PoP's front door, or a client's way out.
public actor QUICEndpoint {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private var core: QUIC.Endpoint<HTTP3Session>
  private let configuration: QUIC.Configuration
  private let acceptance: Acceptance?
  private let logger: Logger
  private let reply = ReplyBuffer()
  /// The one that connections begin on first.
  private var sockets: [UDPSocket] = []
  private var abandonment: RingTimer?
  private var sessions: [ObjectIdentifier: HTTP3Session] = [:]
  private var dirty: [HTTP3Session] = []
  private var flushing: [HTTP3Session] = []
  private var blocked: [HTTP3Session] = []
  /// A client's, for its next connections.
  private var tokens = ReceivedTokens()
  private var siblings: [QUICEndpoint] = []
  /// Datagrams on their way to other rings.
  private var tossing = 0
  private static let mostTossing = 256
  private var stoppedWaiters: [CheckedContinuation<Void, Never>] = []
  private var counts = Counters()

  /// What a server needs to take new connections.
  public struct Acceptance: Sendable {
    public var settings: HTTP3.Settings
    /// Makes the owner of a connection, on the ring that serves it.
    public var makeDelegate: @Sendable (RingExecutor, SocketAddress) throws -> any HTTP3SessionDelegate
    /// Makes the server's side of a handshake.
    public var makeTLS: @Sendable () -> any TLSSession
    /// How many connections there may be, over all endpoints that this value, or a copy of it, is given to.
    let connections: ConnectionCount
    public var retry: QUIC.Endpoint<HTTP3Session>.RetryPolicy

    /// - Parameter maximumConnections: beyond so many connections new ones are not answered.
    public init(
      settings: HTTP3.Settings = .tunnel, maximumConnections: Int,
      retry: QUIC.Endpoint<HTTP3Session>.RetryPolicy = .underLoad(halfOpen: 1_000),
      makeDelegate: @escaping @Sendable (RingExecutor, SocketAddress) throws -> any HTTP3SessionDelegate,
      makeTLS: @escaping @Sendable () -> any TLSSession
    ) {
      self.settings = settings
      connections = ConnectionCount(limit: maximumConnections)
      self.retry = retry
      self.makeDelegate = makeDelegate
      self.makeTLS = makeTLS
    }
  }

  /// What came in, and what became of datagrams that reached no connection.
  public struct Counters: Sendable, Hashable {
    public var datagramsReceived: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    public var connectionsAccepted: UInt64 = 0
    public var connectionsRefused: UInt64 = 0
    /// Clients that came back with a token, and proved their address by it.
    public var tokensAccepted: UInt64 = 0
    /// Connections that resumed a session, and those of them whose early data was accepted.
    public var resumed: UInt64 = 0
    public var earlyDataAccepted: UInt64 = 0
    /// Version Negotiation, Retry and stateless reset packets.
    public var repliesSent: UInt64 = 0
    /// Handed to the endpoint of another ring, which their connection ID names.
    public var tossed: UInt64 = 0
    /// Not handed on, because too many were on their way.
    public var tossesDropped: UInt64 = 0
    public var socketErrors: UInt64 = 0
    /// Datagrams of no connection, by why they were dropped.
    public var drops: [QUIC.Endpoint<HTTP3Session>.DropReason: UInt64] = [:]
    /// Packets that connections dropped, those of connections that are over included.
    public var packetDrops = PacketDrops()

    public init() {}

    public mutating func add(_ other: Counters) {
      datagramsReceived += other.datagramsReceived
      bytesReceived += other.bytesReceived
      connectionsAccepted += other.connectionsAccepted
      connectionsRefused += other.connectionsRefused
      tokensAccepted += other.tokensAccepted
      resumed += other.resumed
      earlyDataAccepted += other.earlyDataAccepted
      repliesSent += other.repliesSent
      tossed += other.tossed
      tossesDropped += other.tossesDropped
      socketErrors += other.socketErrors
      drops.merge(other.drops, uniquingKeysWith: +)
      packetDrops.add(other.packetDrops)
    }
  }

  /// Everything counted since the beginning.
  public var counters: Counters {
    var sum = counts
    sum.drops = core.drops
    for session in sessions.values { sum.packetDrops.add(session.assumeIsolated { $0.statistics.drops }) }
    return sum
  }

  /// - Parameters:
  ///   - configuration: of every connection. A server's `statelessResetKey` and `addressTokens` are made here when it
  ///     has none, so that a reset ends what this process forgot, but not what an earlier one did, and no token outlives
  ///     the process.
  ///   - acceptance: nil for a client.
  public init(ring: RingExecutor, configuration: QUIC.Configuration, acceptance: Acceptance?, logger: Logger) {
    self.ring = ring
    self.acceptance = acceptance
    self.logger = logger
    var configuration = configuration
    if acceptance != nil {
      configuration.statelessResetKey = configuration.statelessResetKey ?? SystemEntropy.shared.bytes(32)
      configuration.addressTokens = configuration.addressTokens ?? AddressTokens(entropy: SystemEntropy.shared)
    }
    self.configuration = configuration
    var endpoint = QUIC.Endpoint<HTTP3Session>.Configuration(acceptsConnections: acceptance != nil)
    endpoint.connectionIDs = configuration.connectionIDs
    endpoint.statelessResetKey = configuration.statelessResetKey
    endpoint.addressTokens = configuration.addressTokens
    if let acceptance { endpoint.retry = acceptance.retry }
    core = QUIC.Endpoint(endpoint, entropy: SystemEntropy.shared)
  }

  // MARK: Life

  /// Binds a socket and begins to receive. Returns the address really bound. A server may be started on several
  /// addresses: its connections may move from one to another (RFC 9000 §9.6).
  ///
  /// The endpoints of several rings that share the address, as `connectionIDs.ring` of their configurations says, are
  /// started one after the other, in the order of their rings, and then made known to each other by ``join(_:)``.
  @discardableResult
  public func start(on address: SocketAddress) throws -> SocketAddress {
    var options = UDPSocketOptions.endpoint
    if let ring = configuration.connectionIDs.ring, ring.count > 1 {
      options.reusePort = true
      options.steeredSockets = ring.count
    }
    let socket = try UDPSocket(on: ring, bind: address, options: options, delegate: self)
    sockets.append(socket)
    return socket.localAddress
  }

  /// Moves a client's connections to another local address with all that they carry, as when the network has changed
  /// (RFC 9000 §9.2). New connections begin there too. Returns how many moved; the others stay where they were.
  ///
  /// What was left goes on receiving for ``abandonPeriod``, and as long as a connection found no better way.
  @discardableResult
  public func move(to address: SocketAddress) throws -> Int {
    guard acceptance == nil, !sockets.isEmpty else { throw QUICEndpointError.notStarted }
    let socket = try UDPSocket(on: ring, bind: address, options: .endpoint, delegate: self)
    sockets.insert(socket, at: 0)
    var moved = 0
    for session in sessions.values {
      let shared = RingBound(socket)
      if session.assumeIsolated({ $0.move(to: shared) }) { moved += 1 }
    }
    scheduleAbandonment()
    return moved
  }

  /// Longer than it takes to give up the validation of a path.
  private static let abandonPeriod = Interval.seconds(10)

  private func scheduleAbandonment() {
    if abandonment == nil {
      abandonment = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.abandonSockets() } }
    }
    abandonment?.schedule(at: ring.refreshNow() + Self.abandonPeriod)
  }

  /// Closes the sockets that connections have moved away from.
  private func abandonSockets() {
    for socket in sockets.dropFirst() {
      let shared = RingBound(socket)
      let isFree = sessions.values.reduce(true) { free, session in
        session.assumeIsolated { $0.letGo(of: shared) } && free
      }
      guard isFree else { continue }
      socket.close()
      sockets.removeAll { $0 === socket }
    }
    if sockets.count > 1 { scheduleAbandonment() }
  }

  /// The socket of an address of ours.
  private func socket(for local: SocketAddress) -> UDPSocket? {
    sockets.count == 1 ? sockets[0] : sockets.first { $0.isBound(to: local) }
  }

  func expectResets(from remote: SocketAddress, for session: HTTP3Session) { core.add(peer: remote, session) }

  /// Takes note of the endpoints, itself among them, that share its address, by the index of their rings.
  public func join(_ endpoints: [QUICEndpoint]) { siblings = endpoints }

  /// Closes every connection, waits until each has said so, and closes the socket.
  public func stop() async {
    for session in sessions.values { await session.close() }
    if !sessions.isEmpty { await withCheckedContinuation { stoppedWaiters.append($0) } }
    for socket in sockets { socket.close() }
    sockets = []
    abandonment?.cancel()
    siblings = []
  }

  /// Tells every client to take its next requests elsewhere (RFC 9114 §5.2).
  public func goAway() {
    for session in sessions.values { session.assumeIsolated { $0.goAway() } }
  }

  /// Opens a connection. It is usable after ``HTTP3Session/ready()``.
  ///
  /// - Throws: ``QUICEndpointError/notStarted`` before ``start(on:)`` and after ``stop()``.
  public func connect(
    to remote: SocketAddress, settings: HTTP3.Settings = .tunnel, tls: RingBound<any TLSSession>,
    delegate: (any HTTP3SessionDelegate)?
  ) throws -> HTTP3Session {
    guard let socket = sockets.first else { throw QUICEndpointError.notStarted }
    let path = Path(local: socket.localAddress, remote: remote)
    let token = ReceivedTokens.Server(tls.value, at: remote).flatMap { tokens.take(for: $0) }
    let session = HTTP3Session(
      .client(token: token ?? []), configuration, tls: tls, path: path, now: ring.refreshNow(),
      settings: settings, endpoint: self, sockets: RingBound([socket]))
    sessions[ObjectIdentifier(session)] = session
    core.add(peer: remote, session)
    session.assumeIsolated {
      $0.setDelegate(delegate)
      $0.markDirty()
    }
    return session
  }

  // MARK: What sessions ask

  func route(_ id: ConnectionID, to session: HTTP3Session) { core.add(id, session) }
  func unroute(_ id: ConnectionID) { core.remove(id) }
  /// A server's handshake is complete, or its client has left before that.
  func handshakeEnded(isResumed: Bool, earlyData: EarlyDataState) {
    core.halfOpen -= 1
    if isResumed { counts.resumed += 1 }
    if earlyData == .accepted { counts.earlyDataAccepted += 1 }
  }
  func keep(_ token: [UInt8], from server: ReceivedTokens.Server) { tokens.store(token, from: server) }

  func sessionBecameDirty(_ session: HTTP3Session) {
    if dirty.isEmpty { ring.atBatchEnd(self) }
    dirty.append(session)
  }

  func sessionIsBlocked(_ session: HTTP3Session) { blocked.append(session) }

  func remove(_ session: HTTP3Session) {
    guard sessions.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
    counts.packetDrops.add(session.assumeIsolated { $0.statistics.drops })
    acceptance?.connections.release()
    if acceptance == nil { core.removePeers { $0 === session } }
    guard sessions.isEmpty else { return }
    for waiter in stoppedWaiters { waiter.resume() }
    stoppedWaiters = []
  }

  private func flushDirty() {
    swap(&dirty, &flushing)
    for session in flushing { session.assumeIsolated { $0.flush() } }
    flushing.removeAll(keepingCapacity: true)
  }

  // MARK: What the socket brings

  /// Hands runs of datagrams for one connection on together.
  private func receive(_ train: UnsafeMutableRawBufferPointer, segmentSize: Int, path: Path, ecn: ECN) {
    let now = ring.now
    var run: (session: HTTP3Session, start: Int)?
    var offset = 0
    counts.bytesReceived += UInt64(train.count)
    func finishRun(_ end: Int) {
      guard let current = run else { return }
      let part = RingBound(UnsafeMutableRawBufferPointer(rebasing: train[current.start..<end]))
      current.session.assumeIsolated {
        $0.receive(part.value, segmentSize: segmentSize, path: path, ecn: ecn, now: now)
      }
      run = nil
    }
    while offset < train.count {
      let end = min(offset + segmentSize, train.count)
      counts.datagramsReceived += 1
      let datagram = UnsafeMutableRawBufferPointer(rebasing: train[offset..<end])
      switch core.route(UnsafeRawBufferPointer(datagram), from: path, now: now, reply: reply.bytes) {
      case .connection(let session):
        if run?.session !== session {
          finishRun(offset)
          run = (session, offset)
        }
      case .accept(let request):
        finishRun(offset)
        accept(request, datagram, path: path, ecn: ecn, now: now)
      case .reply(let count):
        finishRun(offset)
        counts.repliesSent += 1
        _ = socket(for: path.local)?.send(
          UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(reply.bytes)[..<count]),
          UDPSend(byteCount: count, segmentSize: count, destination: path.remote, source: path.local.ip))
      case .ring(let index):
        finishRun(offset)
        toss(UnsafeRawBufferPointer(datagram), to: index, path: path, ecn: ecn)
      case .drop:
        finishRun(offset)
      }
      offset = end
    }
    finishRun(offset)
  }

  /// Hands a datagram to the ring that its connection ID names. Rare, since the kernel steers by the same bits: it joins
  /// datagrams of one sender to trains, whatever their connections.
  private func toss(_ datagram: UnsafeRawBufferPointer, to index: Int, path: Path, ecn: ECN) {
    guard index < siblings.count, tossing < Self.mostTossing else {
      counts.tossesDropped += 1
      return
    }
    counts.tossed += 1
    tossing += 1
    let (sibling, bytes) = (siblings[index], [UInt8](datagram))
    Task.detached {
      await sibling.receive(tossed: bytes, path: path, ecn: ecn)
      await self.tossed()
    }
  }

  private func tossed() { tossing -= 1 }

  private func receive(tossed datagram: [UInt8], path: Path, ecn: ECN) {
    guard !sockets.isEmpty else { return }
    var datagram = datagram
    datagram.withUnsafeMutableBytes { receive($0, segmentSize: $0.count, path: path, ecn: ecn) }
  }

  private func accept(
    _ request: InitialRequest, _ datagram: UnsafeMutableRawBufferPointer, path: Path, ecn: ECN, now: Instant
  ) {
    guard let acceptance, !sockets.isEmpty, acceptance.connections.acquire() else {
      counts.connectionsRefused += 1
      return
    }
    let session = HTTP3Session(
      .server(request), configuration, tls: RingBound(acceptance.makeTLS()), path: path, now: now,
      settings: acceptance.settings, endpoint: self, sockets: RingBound(sockets))
    do {
      let delegate = try acceptance.makeDelegate(ring, path.remote)
      session.assumeIsolated { $0.setDelegate(delegate) }
    } catch {
      acceptance.connections.release()
      counts.connectionsRefused += 1
      logger.error("a connection could not be served: \(error)")
      return
    }
    counts.connectionsAccepted += 1
    if request.isAddressValidated, request.retrySourceID == nil { counts.tokensAccepted += 1 }
    core.halfOpen += 1
    sessions[ObjectIdentifier(session)] = session
    let bytes = RingBound(datagram)
    session.assumeIsolated {
      $0.receive(bytes.value, segmentSize: bytes.value.count, path: path, ecn: ecn, now: now)
      // Its IDs are routed before the next datagram of the batch, which may be its own.
      $0.deliverEvents()
    }
  }
}

extension ReceivedTokens.Server {
  /// Nil where the server proves no name.
  init?(_ tls: any TLSSession, at address: SocketAddress) {
    guard let name = (tls as? TLSClientSession)?.serverName else { return nil }
    self.init(name: name, address: address)
  }
}

/// Connections of the endpoints that share a limit.
final class ConnectionCount: Sendable {
  private let limit: Int
  private let count = Atomic(0)

  init(limit: Int) { self.limit = limit }

  /// Counts one more. Every success is to be followed by one ``release()``.
  func acquire() -> Bool {
    if count.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
    release()
    return false
  }

  func release() { count.wrappingSubtract(1, ordering: .relaxed) }
}

/// Where an endpoint writes its own answers.
private final class ReplyBuffer {
  let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 2_048, alignment: 16)
  deinit { bytes.deallocate() }
}

public enum QUICEndpointError: Error, Hashable, Sendable {
  case notStarted
}

extension QUICEndpoint: BatchEndObserver {
  public nonisolated func batchEnded() { assumeIsolated { $0.flushDirty() } }
}

extension QUICEndpoint: UDPSocketDelegate {
  public nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    // Proof for the unwrap: two bits have four values, and ECN has them all.
    let mark = ECN(rawValue: ecn & 3)!
    let bytes = RingBound(bytes)
    assumeIsolated {
      $0.receive(bytes.value, segmentSize: segmentSize, path: Path(local: local, remote: remote), ecn: mark)
    }
  }

  public nonisolated func udpSocketWritable(_ socket: UDPSocket) {
    assumeIsolated { endpoint in
      let waiting = endpoint.blocked
      endpoint.blocked.removeAll(keepingCapacity: true)
      for session in waiting { session.assumeIsolated { $0.markDirty() } }
    }
  }

  public nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {
    assumeIsolated { endpoint in
      endpoint.counts.socketErrors += 1
      endpoint.logger.debug("UDP socket: \(error)")
    }
  }
}
