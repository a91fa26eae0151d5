public import BFD
public import Logging
public import Ring
public import Wire

/// The BFD sessions of a system over single hops (RFC 5881): drives ``BFD/SessionTable`` over UDP on a ring.
///
/// A session's end is told on the ring's thread in the turn in which it is found out, so that an actor of the same ring
/// can act before anything else happens.
public actor BFDSpeaker {
  /// Told the two ends, what has happened, and what the peer says of its own state: one that has switched the session
  /// off (AdminDown) says nothing of the path (RFC 5882 §3.2).
  public typealias Observer = @Sendable (SessionTable.Peer, BFD.Session.Event, SessionState) -> Void

  public struct Status: Sendable {
    public var peer: SessionTable.Peer
    public var state: SessionState
    public var diagnostic: Diagnostic
    public var remoteState: SessionState
    public var detectionTime: Interval
    public var transmitInterval: Interval
    /// When it came to its state.
    public var since: Instant
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private struct Watched {
    let peer: SessionTable.Peer
    let socket: UDPSocket
    var observer: Observer
    var since: Instant
  }

  private let logger: Logger
  private var table: SessionTable
  private var watched: [UInt32: Watched] = [:]
  private var listeners: [UDPSocket] = []
  private var timer: RingTimer?

  public init(ring: RingExecutor, logger: Logger) {
    self.ring = ring
    self.logger = logger
    table = SessionTable(entropy: SystemEntropy.shared)
  }

  // MARK: Life

  /// Begins to receive. An IPv6 socket is opened only where the machine has the family.
  public func start() throws {
    var options = UDPSocketOptions()
    options.receivesTrains = false
    options.receivesHopLimit = true
    options.dualStack = false
    options.socketBufferBytes = 256 << 10
    listeners = [
      try UDPSocket(on: ring, bind: SocketAddress(.v4(.any), port: SessionTable.port), options: options, delegate: self)
    ]
    do throws(RingError) {
      listeners.append(
        try UDPSocket(
          on: ring, bind: SocketAddress(.v6(.any), port: SessionTable.port), options: options, delegate: self))
    } catch {
      // A machine may have no IPv6; an operator whose neighbors need it is told.
      logger.warning("no BFD over IPv6", metadata: ["error": "\(error)"])
    }
    timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } }
  }

  /// Tells every peer that it is by will (RFC 5880 §6.8.16), and closes.
  public func stop() {
    for discriminator in watched.keys { table[discriminator]?.disable(now: ring.refreshNow()) }
    pump()
    for entry in watched.values { entry.socket.close() }
    for listener in listeners { listener.close() }
    watched = [:]
    listeners = []
    timer?.cancel()
    timer = nil
  }

  // MARK: Sessions

  /// Begins a session, or gives one that there is another observer, who is called on the ring's thread. Throws
  /// ``Ring/RingError`` where the local address cannot be had.
  public func watch(
    _ peer: SessionTable.Peer, _ configuration: BFD.Session.Configuration = .init(), observer: @escaping Observer
  ) throws {
    if let (discriminator, _) = watched.first(where: { $0.value.peer == peer }) {
      watched[discriminator]?.observer = observer
      return
    }
    let now = ring.refreshNow()
    let socket = try open(peer)
    let discriminator = table.add(peer, configuration, now: now)
    watched[discriminator] = Watched(peer: peer, socket: socket, observer: observer, since: now)
    pump()
  }

  public func unwatch(_ peer: SessionTable.Peer) {
    guard let (discriminator, entry) = watched.first(where: { $0.value.peer == peer }) else { return }
    table[discriminator]?.disable(now: ring.refreshNow())
    watched[discriminator] = nil
    send(discriminator, entry.socket)
    table.remove(peer)
    entry.socket.close()
    pump()
  }

  /// The link toward a peer is known to be down: no need to wait for the detection time.
  ///
  /// - Parameter interface: that of the link, which a link-local peer must be on.
  public func pathFailed(_ remote: IPAddress, over interface: UInt32) {
    for (discriminator, entry) in watched
    where entry.peer.remote == remote && (!remote.isLinkLocal || entry.peer.scopeID == interface) {
      table[discriminator]?.pathFailed(now: ring.refreshNow())
    }
    pump()
  }

  public func status() -> [Status] {
    watched.compactMap { discriminator, entry in
      table[discriminator].map {
        Status(
          peer: entry.peer, state: $0.state, diagnostic: $0.localDiagnostic, remoteState: $0.remoteState,
          detectionTime: $0.detectionTime, transmitInterval: $0.transmitInterval, since: entry.since)
      }
    }
  }

  public var discards: [SessionTable.Discard: Int] { table.discards }

  /// A socket to send from. RFC 5881 §4: its port is of 49152 to 65535, of no other session, and stays.
  private func open(_ peer: SessionTable.Peer) throws -> UDPSocket {
    let remote = SocketAddress(peer.remote, port: SessionTable.port, scopeID: peer.scopeID)
    var options = UDPSocketOptions.flow(to: remote)
    // RFC 5881 §5: sent with a TTL or Hop Limit of 255.
    options.hopLimit = 255
    let ports = SessionTable.sourcePorts
    var attempts = 0
    while true {
      let port = ports.lowerBound + UInt16(SystemEntropy.shared.nextUInt64() % UInt64(ports.count))
      do {
        return try UDPSocket(
          on: ring, bind: SocketAddress(peer.local, port: port, scopeID: peer.scopeID), options: options,
          delegate: self)
      } catch {
        attempts += 1
        guard attempts < 20, error.isAddressInUse else { throw error }
      }
    }
  }

  // MARK: Driving the core

  private func timerFired() {
    for discriminator in table.discriminatorsInUse { table[discriminator]?.handleTimeout(now: ring.now) }
    pump()
  }

  private func pump() {
    for (discriminator, entry) in watched {
      send(discriminator, entry.socket)
      while let event = table[discriminator]?.nextEvent() {
        tell(event, discriminator, entry)
      }
    }
    timer?.schedule(at: table.deadline)
  }

  private func send(_ discriminator: UInt32, _ socket: UDPSocket) {
    while let packet = table[discriminator]?.nextTransmission(now: ring.now) {
      // What finds no room is lost, as any datagram may be.
      _ = socket.withSendBuffer { buffer in
        var writer = ByteWriter(buffer)
        packet.write(to: &writer)
        return UDPSend(byteCount: writer.count, segmentSize: writer.count)
      }
    }
  }

  private func tell(_ event: BFD.Session.Event, _ discriminator: UInt32, _ entry: Watched) {
    guard case .stateChanged(let from, let to, let diagnostic) = event else { return }
    watched[discriminator]?.since = ring.now
    logger.log(
      level: from == .up ? .warning : .info, "BFD state",
      metadata: ["peer": "\(entry.peer.remote)", "from": "\(from)", "to": "\(to)", "cause": "\(diagnostic)"])
    entry.observer(entry.peer, event, table[discriminator]?.remoteState ?? .down)
  }

  private func received(_ bytes: UnsafeRawBufferPointer, _ peer: SessionTable.Peer, hopLimit: UInt8?) {
    guard let discriminator = table.receive(bytes, peer, hopLimit: hopLimit, now: ring.now) else { return }
    guard let entry = watched[discriminator] else { return }
    send(discriminator, entry.socket)
    while let event = table[discriminator]?.nextEvent() { tell(event, discriminator, entry) }
    timer?.schedule(at: table.deadline)
  }
}

extension BFDSpeaker: UDPSocketDelegate {
  public nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    // A session's own socket only sends.
    guard socket.localAddress.port == SessionTable.port else { return }
    let bytes = RingBound(UnsafeRawBufferPointer(bytes))
    let peer = SessionTable.Peer(local: local.ip, remote: remote.ip, scopeID: remote.scopeID)
    let hopLimit = socket.receivedHopLimit
    assumeIsolated { $0.received(bytes.value, peer, hopLimit: hopLimit) }
  }

  /// Such as an unreachable port: the peer does not run BFD yet, and will be asked again.
  public nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {
    assumeIsolated { $0.logger.debug("BFD socket", metadata: ["error": "\(error)"]) }
  }
}
