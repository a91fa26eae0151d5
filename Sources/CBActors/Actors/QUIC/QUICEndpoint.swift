public import HTTP3
public import Logging
public import PacketCrypto
public import QUIC
import QUICTLS
public import Ring
public import Wire

/// One UDP socket and the connections behind it, on one ring: a PoP's front door, or a client's way out.
public actor QUICEndpoint {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  var core: QUIC.Endpoint<HTTP3Session>
  let configuration: QUIC.Configuration
  let acceptance: Acceptance?
  let logger: Logger
  let reply = ReplyBuffer()
  /// The one that connections begin on first.
  var sockets: [UDPSocket] = []
  private var abandonment: RingTimer?
  var sessions: [ObjectIdentifier: HTTP3Session] = [:]
  private var dirty: [HTTP3Session] = []
  private var flushing: [HTTP3Session] = []
  var blocked: [HTTP3Session] = []
  /// A client's, for its next connections.
  private var tokens = ReceivedTokens()
  var siblings: [QUICEndpoint] = []
  /// Datagrams on their way to other rings.
  var tossing = 0
  static let mostTossing = 256
  private var stoppedWaiters: [CheckedContinuation<Void, Never>] = []
  var counts = Counters()

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
    endpoint.versions = configuration.versions
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
      options.steeringKey = ring.key
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
    let socket = try openAnother(on: address)
    var moved = 0
    for session in sessions.values {
      let shared = RingBound(socket)
      if session.assumeIsolated({ $0.move(to: shared) }) { moved += 1 }
    }
    return moved
  }

  /// The machine's addresses or routes may have changed: a client's connections whose packets would leave from another
  /// address now go there, at once where their own is gone, and where it is not, as soon as they are seen to work there.
  /// Sockets bound to one address of the machine stay where they were put. Returns how many go.
  ///
  /// - Parameter isSettled: no more changes are expected now. Before that nothing new is tried.
  @discardableResult
  public func followNetwork(isSettled: Bool) throws -> Int {
    guard acceptance == nil, let local = sockets.first?.localAddress, local.ip.isUnspecified else { return 0 }
    var changes: [(session: HTTP3Session, change: HTTP3Session.NetworkChange)] = []
    for session in sessions.values {
      let change = session.assumeIsolated { $0.networkChange(isSettled) }
      if change != .none { changes.append((session, change)) }
    }
    guard !changes.isEmpty else { return 0 }
    let socket = try openAnother(on: SocketAddress(local.ip, port: 0))
    var going = 0
    for (session, change) in changes {
      let shared = RingBound(socket)
      if session.assumeIsolated({ $0.follow(change, to: shared) }) { going += 1 }
    }
    return going
  }

  /// Sockets of a client whose network changes again and again.
  private static let mostSockets = 8

  private func openAnother(on address: SocketAddress) throws -> UDPSocket {
    guard acceptance == nil, !sockets.isEmpty else { throw QUICEndpointError.notStarted }
    if sockets.count >= Self.mostSockets { abandonSockets() }
    let socket = try UDPSocket(on: ring, bind: address, options: .endpoint, delegate: self)
    sockets.insert(socket, at: 0)
    scheduleAbandonment()
    return socket
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

  /// Which of the rings that share its addresses this one's is; nil where none do.
  public nonisolated var share: RingShare? { configuration.connectionIDs.ring }

  /// The addresses that it is bound to, in the order of ``start(on:)``.
  public var localAddresses: [SocketAddress] { sockets.map(\.localAddress) }

  /// The socket of an address of ours.
  func socket(for local: SocketAddress) -> UDPSocket? {
    sockets.count == 1 ? sockets[0] : sockets.first { $0.isBound(to: local) }
  }

  func expectResets(from remote: SocketAddress, for session: HTTP3Session) { core.add(peer: remote, session) }

  /// Takes note of the endpoints, itself among them, that share its address, by the index of their rings.
  public func join(_ endpoints: [QUICEndpoint]) { siblings = endpoints }

  /// Begins to end gracefully: refuses new connections, and tells every client to take its next requests elsewhere
  /// (RFC 9114 §5.2). Connections end when their requests have; ``stop()`` ends those that are left.
  public func drain() {
    core.refusesConnections = true
    for session in sessions.values { session.assumeIsolated { $0.drain() } }
  }

  /// Connections that there are, those included that have ended and must still be known for a while.
  public var connectionCount: Int { sessions.count }

  /// Closes every connection, waits until each has said so, and closes the sockets.
  public func stop() async {
    core.refusesConnections = true
    for session in sessions.values { await session.close() }
    if !sessions.isEmpty { await withCheckedContinuation { stoppedWaiters.append($0) } }
    for socket in sockets { socket.close() }
    sockets = []
    abandonment?.cancel()
    siblings = []
  }

  /// Opens a connection. It is usable after ``HTTP3Session/ready()``.
  ///
  /// - Parameters:
  ///   - offered: what the server offered in a Version Negotiation packet, where an attempt before this one ended with
  ///     `CloseReason.versionMismatch`. The new one makes sure that nobody forged it (RFC 9368 §4).
  ///   - share: of the rings that share a server of ours, the one that is to serve the connection.
  /// - Throws: ``QUICEndpointError/notStarted`` before ``start(on:)`` and after ``stop()``;
  ///   ``QUICEndpointError/noCommonVersion`` when none of those offered is spoken here.
  public func connect(
    to remote: SocketAddress, settings: HTTP3.Settings = .tunnel, tls: RingBound<any TLSSession>,
    following offered: [Version]? = nil, on share: RingShare? = nil, delegate: (any HTTP3SessionDelegate)?
  ) throws -> HTTP3Session {
    guard var configuration = offered.map({ configuration.following($0) }) ?? configuration else {
      throw QUICEndpointError.noCommonVersion
    }
    guard let socket = sockets.first else { throw QUICEndpointError.notStarted }
    configuration.serverRing = share
    let path = Path(local: socket.localAddress, remote: remote)
    let token = ReceivedTokens.Server(tls.value, at: remote).flatMap { tokens.take(for: $0) }
    let session = HTTP3Session(
      .client(token: token ?? []), configuration, tls: tls, path: path, now: ring.refreshNow(),
      settings: settings, endpoint: self, sockets: RingBound([socket]))
    sessions[ObjectIdentifier(session)] = session
    core.add(peer: remote, session)
    session.assumeIsolated {
      $0.whereabouts.source = RouteWatch.source(towards: remote)
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
}

extension ReceivedTokens.Server {
  /// Nil where the server proves no name.
  init?(_ tls: any TLSSession, at address: SocketAddress) {
    guard let name = (tls as? TLSClientSession)?.serverName else { return nil }
    self.init(name: name, address: address)
  }
}

/// Where an endpoint writes its own answers.
final class ReplyBuffer {
  let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 2_048, alignment: 16)
  deinit { bytes.deallocate() }
}

public enum QUICEndpointError: Error, Hashable, Sendable {
  case notStarted
  case noCommonVersion
}

extension QUICEndpoint: BatchEndObserver {
  public nonisolated func batchEnded() { assumeIsolated { $0.flushDirty() } }
}
