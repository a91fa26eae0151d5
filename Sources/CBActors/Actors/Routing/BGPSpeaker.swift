public import BGP
public import Logging
public import Netlink
public import Ring
public import Wire

/// A BGP speaker: its neighbors' sessions, the tables between them, and the prefixes that are announced.
public actor BGPSpeaker {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let logger: Logger
  let tables: RingBound<BGPTables>
  let sessions: [BGPSession]
  let peers: [PeerID]
  private var listeners: [TCPListener] = []
  private var rejections = ConnectionRejections()
  private let forwarding: Forwarding?
  /// The kernel may have routes of an earlier run that nobody has told of in this.
  private var mustSweep = false
  /// Prefixes of our own that the kernel is to drop packets to.
  var blackholes: Set<IPPrefix> = []
  /// Hears which flow specifications are to be enforced, on the ring's thread.
  var onFlowspecs: (@Sendable ([FlowspecEvent]) -> Void)?
  var hasToldFlowspecs = false

  /// How the kernel forwards by the speaker's tables.
  public struct Forwarding: Sendable {
    /// On the speaker's ring.
    public var kernel: KernelRoutes
    public var table: UInt32
    public var metric: UInt32
    /// Next hops of one destination at most.
    public var paths: Int

    public init(_ kernel: KernelRoutes, table: UInt32 = RoutingTable.main, metric: UInt32 = 32, paths: Int = 8) {
      self.kernel = kernel
      self.table = table
      self.metric = metric
      self.paths = paths
    }
  }

  /// - Parameters:
  ///   - seed: random; keeps peers from choosing attributes that collide in the tables.
  ///   - bfd: watches the ways to the neighbors that want it; on the same ring.
  public init(
    ring: RingExecutor, localAS: UInt32, identifier: IPv4Address, neighbors: [BGPSession.Neighbor], seed: UInt64,
    bfd: BFDSpeaker? = nil, forwarding: Forwarding? = nil, logger: Logger
  ) {
    self.ring = ring
    self.forwarding = forwarding
    self.logger = logger
    var rib = RIB(localAS: localAS, identifier: identifier, seed: seed)
    var peers: [PeerID] = []
    for neighbor in neighbors {
      peers.append(
        rib.addPeer(
          address: neighbor.address.ip, autonomousSystem: neighbor.peer.peerAS, role: neighbor.peer.role?.counterpart,
          maximumPrefixes: neighbor.maximumPrefixes, policy: neighbor.policy))
      rib.setFlowspecValidation(neighbor.validatesFlowspec, for: peers[peers.count - 1])
    }
    let tables = RingBound(BGPTables(rib, on: ring))
    self.tables = tables
    self.peers = peers
    sessions = zip(neighbors, peers).map { neighbor, peer in
      BGPSession(neighbor, peer: peer, tables: tables, ring: ring, bfd: bfd, logger: logger)
    }
  }

  /// How long this speaker, when it comes back, waits for its neighbors' routes before it tells its own
  /// (Selection_Deferral_Timer of RFC 4724 §4.1). Short: it is here for its own prefixes, and not for others'.
  private static let deferralTime = Interval.seconds(10)

  /// Listens, and starts all sessions. What is announced by now was announced before a restart.
  ///
  /// Throws ``Ring/RingError`` where an address cannot be had; none is then open.
  public func start(listening addresses: [SocketAddress]) throws {
    tables.value.onChange = { [sessions, weak self] in
      for session in sessions { session.assumeIsolated { $0.flush() } }
      self?.assumeIsolated {
        $0.tellFlowspecs()
        _ = $0.forward()
      }
    }
    // What was announced before now is there to be told.
    tables.value.changed()
    if forwarding != nil {
      tables.value.rib.openForwarding()
      tables.value.rib.awaitFirstRoutes(of: peers, until: ring.refreshNow() + Self.firstRoutesTime)
      mustSweep = true
      tables.value.changed()
    }
    do {
      for address in addresses {
        let neighbors = sessions.map(\.neighbor).filter { $0.address.ip.isIPv4 == address.ip.isIPv4 }
        listeners.append(
          try TCPListener(
            on: ring, bind: address, dualStack: false, backlog: 64,
            protection: Dictionary(neighbors.map { ($0.address.ip, $0.protection) }) { first, _ in first },
            connectionOptions: BGPSession.connectionOptions, delegate: self))
      }
    } catch {
      closeListeners()
      throw error
    }
    // Whoever keeps our routes through a restart must not hear their end before their beginning.
    let graceful = zip(sessions, peers).filter { $0.0.neighbor.peer.gracefulRestart != nil }.map(\.1)
    if !graceful.isEmpty {
      let deadline = ring.refreshNow() + Self.deferralTime
      tables.value.rib.deferSelection(awaiting: graceful, ownRoutes: false, until: deadline)
      tables.value.changed()
    }
    for session in sessions { session.assumeIsolated { $0.start(hasRestarted: true) } }
  }

  /// Ends all sessions with a Cease and this text (RFC 9003); returns when the neighbors have heard it, or have had their
  /// time for it.
  public func stop(_ text: String = "") async {
    closeListeners()
    await withTaskGroup(of: Void.self) { group in
      for session in sessions { group.addTask { await session.stop(text) } }
    }
    // The tables know the sessions, and the sessions the tables.
    tables.value.onChange = nil
    guard let forwarding else { return }
    // By will, and not by a crash: what led to the neighbors goes with them.
    while forward() {}
    await forwarding.kernel.sweep()
    await forwarding.kernel.settle()
  }

  /// Goes away to be back: neighbors that have agreed to keep our routes see no more than the end of their connection
  /// (RFC 4724 §4.2), the others a Cease with this text. From here on nothing changes, neither at a neighbor nor in the
  /// kernel, whose routes the next run takes over.
  public func stopForRestart(_ text: String = "") async {
    closeListeners()
    tables.value.onChange = nil
    await withTaskGroup(of: Void.self) { group in
      for session in sessions { group.addTask { await session.stopForRestart(text) } }
    }
  }

  /// A neighbor cannot be reached any more, as its link has gone: its session ends now, and its routes with it.
  public func pathFailed(to neighbor: BGPSession.Neighbor) {
    for session in sessions where session.neighbor.name == neighbor.name {
      session.assumeIsolated { $0.pathFailed("the link is down") }
    }
  }

  private func closeListeners() {
    for listener in listeners { listener.close() }
    listeners = []
  }

  // MARK: Forwarding

  /// How long the kernel's routes of an earlier run stay at most, for the neighbors to tell theirs anew.
  private static let firstRoutesTime = Interval.seconds(60)
  /// Destinations given to the kernel in one batch, before sessions have their turn again.
  private static let forwardedPerBatch = 4_096

  /// Has the kernel forward as the tables say. True when there is more to do.
  @discardableResult
  private func forward() -> Bool {
    guard let forwarding else { return false }
    let (tables, sessions, peers, blackholes) = (tables, sessions, peers, blackholes)
    forwarding.kernel.assumeIsolated { kernel in
      for _ in 0..<Self.forwardedPerBatch {
        guard let change = tables.value.rib.nextForwarding(paths: forwarding.paths) else { return }
        let key = Route.Key(change.prefix, table: forwarding.table, metric: forwarding.metric)
        let hops = change.nextHops.compactMap { hop in
          Self.gateway(hop, of: peers.firstIndex(of: hop.peer).map { sessions[$0] }, kernel)
        }
        if blackholes.contains(change.prefix) {
          kernel.set(key, kind: .blackhole)
        } else if hops.isEmpty {
          kernel.remove(key)
        } else {
          kernel.set(key, by: hops)
        }
      }
    }
    if mustSweep, tables.value.rib.hasFirstRoutes {
      mustSweep = false
      logger.info("kernel routes of an earlier run swept")
      forwarding.kernel.assumeIsolated { $0.sweep() }
    }
    guard tables.value.rib.hasForwarding else { return false }
    tables.value.changed()
    return true
  }

  /// A link-local address where the router has told one and its interface is known: it needs no route to the gateway, and
  /// stays when the link is renumbered. Nil for a way that does not lead anywhere.
  private static func gateway(
    _ hop: RIB.Forwarding.Hop, of session: BGPSession?, _ kernel: isolated KernelRoutes
  ) -> NextHop? {
    guard let onLink = hop.linkLocal.map({ .v6($0) }) ?? (hop.address.isLinkLocal ? hop.address : nil) else {
      return NextHop(gateway: hop.address)
    }
    let known = session?.assumeIsolated { $0.interface } ?? 0
    let interface = known != 0 ? known : session.flatMap { kernel.interface(toward: $0.neighbor.address.ip) }
    if let interface { return NextHop(gateway: onLink, interface: interface) }
    return hop.address.isLinkLocal ? nil : NextHop(gateway: hop.address)
  }

  // MARK: Routes

  /// Announces a prefix to all neighbors, or changes what goes with it.
  public func announce(_ prefix: IPPrefix, _ attributes: PathAttributes = PathAttributes()) {
    tables.value.rib.originate(prefix, attributes)
    tables.value.changed()
  }

  /// Takes a prefix back from all neighbors.
  public func withdraw(_ prefix: IPPrefix) {
    blackholes.remove(prefix)
    tables.value.rib.withdraw(prefix)
    tables.value.changed()
  }

  // MARK: Looking

  public func status() -> [BGPSession.Status] { sessions.map { $0.assumeIsolated { $0.status() } } }

  /// What is known of exactly this prefix, and why.
  public func destination(_ prefix: IPPrefix) -> RIB.Destination? { tables.value.rib.destination(prefix) }

  /// What is known of the longest prefix that covers an address, and why.
  public func destination(of address: IPAddress) -> RIB.Destination? { tables.value.rib.destination(of: address) }

  /// A page of the table: see ``BGP/RIB/destinations(within:after:limit:)``.
  public func destinations(within prefix: IPPrefix, after last: IPPrefix?, limit: Int) -> [RIB.Destination] {
    tables.value.rib.destinations(within: prefix, after: last, limit: limit)
  }

  /// Of the tables as a whole.
  public func counts() -> (destinations: Int, routes: Int, attributeSets: Int) { tables.value.rib.counts }

  // MARK: Listening

  private func accepted(_ connection: TCPConnection) {
    guard let session = sessions.first(where: { $0.neighbor.isReached(at: connection.remoteAddress) }) else {
      return reject(connection)
    }
    let bound = RingBound(connection)
    session.assumeIsolated { $0.accept(bound) }
  }

  private func reject(_ connection: TCPConnection) {
    guard let message = rejections.next(now: ring.now) else { return connection.abort() }
    logger.info("no such neighbor", metadata: ["address": "\(connection.remoteAddress.ip)"])
    // It goes at once or not at all: the kernel's buffer is empty.
    _ = message.withUnsafeBytes { connection.write($0) }
    connection.close()
  }
}

extension BGPSpeaker: TCPListenerDelegate {
  public nonisolated func tcpListener(_ listener: TCPListener, accepted connection: TCPConnection) {
    let bound = RingBound(connection)
    assumeIsolated { $0.accepted(bound.value) }
  }

  public nonisolated func tcpListener(_ listener: TCPListener, failed error: RingError) {
    assumeIsolated { $0.logger.error("BGP listener", metadata: ["error": "\(error)"]) }
  }
}
