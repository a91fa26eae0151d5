import BFD
import BGP
import Logging
public import Ring
import Wire

/// One session with a neighbor: drives ``BGP/Session`` over TCP on a ring, and carries routes between the tables and
/// the wire.
public actor BGPSession {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  public nonisolated let neighbor: Neighbor
  private let tables: RingBound<BGPTables>
  let peer: PeerID
  private let bfd: BFDSpeaker?
  private let logger: Logger
  private(set) var core: BGP.Session
  private(set) var connections: [BGP.Session.ConnectionID: BGPConnection] = [:]
  /// The connection of the established session.
  private(set) var established: BGPConnection?
  /// Connections that are being closed.
  private var goodbyes = 0
  private var whenAlone: [CheckedContinuation<Void, Never>] = []
  private var timer: RingTimer?
  private var isTimerPutOff = false
  private var since: Instant
  private(set) var faultyUpdates: UInt64 = 0
  private var updatesReceived: UInt64 = 0
  private var complete: AddressFamilies = []
  /// Who hears what the session hears. Mostly none.
  var monitors: [any BGPMonitor] = []
  /// As the monitors know the session that is established, or was last.
  var subject: Subject?

  static var connectionOptions: TCPConnection.Options { BGPConnection.options }

  /// What a session may write in one batch before others get their turn.
  private static let outputPerBatch = 8
  private var output: Output?
  /// What the connection did not take, in ``output``.
  private var unsent = 0..<0

  init(
    _ neighbor: Neighbor, peer: PeerID, tables: RingBound<BGPTables>, ring: RingExecutor, bfd: BFDSpeaker? = nil,
    logger: Logger
  ) {
    self.neighbor = neighbor
    self.peer = peer
    self.tables = tables
    self.ring = ring
    self.bfd = bfd
    var logger = logger
    logger[metadataKey: "neighbor"] = "\(neighbor.name)"
    self.logger = logger
    core = BGP.Session(neighbor.peer, entropy: SystemEntropy.shared)
    since = RingExecutor.monotonicNow()
  }

  // MARK: The operator

  /// Begins to seek, or to wait for, the neighbor.
  ///
  /// - Parameter hasRestarted: the neighbor may still have our routes from before (RFC 4724 §4.1).
  public func start(hasRestarted: Bool = false) {
    if hasRestarted, neighbor.peer.gracefulRestart != nil { core.preservedThroughRestart = neighbor.peer.families }
    core.start(now: ring.refreshNow())
    drain()
  }

  /// Says goodbye and stays away; returns when the neighbor has closed, or has had its time for it. The text is for the
  /// other operator (RFC 9003).
  public func stop(_ text: String = "") async {
    core.stop(.cease(.administrativeShutdown, text), now: ring.refreshNow())
    await leave()
  }

  /// As in ``Status/keepsOurRoutesFor``.
  var keepsOurRoutesFor: Interval? {
    // Agreed is what both have offered.
    guard core.parameters?.retention != nil, let own = neighbor.peer.gracefulRestart else { return nil }
    return .seconds(Int64(own.restartTime))
  }

  /// Stays away as ``stop(_:)`` does, but without a word to a neighbor that keeps our routes until we are back.
  func stopForRestart(_ text: String) async {
    guard keepsOurRoutesFor != nil else { return await stop(text) }
    core.stopForRestart(now: ring.refreshNow())
    await leave()
  }

  private func leave() async {
    drain()
    guard goodbyes > 0 else { return }
    await withCheckedContinuation { whenAlone.append($0) }
  }

  func goodbyeEnded() {
    goodbyes -= 1
    guard goodbyes == 0 else { return }
    for continuation in whenAlone { continuation.resume() }
    whenAlone = []
  }

  /// Asks the neighbor for its routes again; of which families.
  func refresh() throws(BGP.Session.RefreshRefusal) -> AddressFamilies {
    let families = try core.requestRefresh()
    logger.info("routes asked for again", metadata: ["families": "\(families.members)"])
    drain()
    return families
  }

  /// The way to the neighbor is known to be dead: an established session ends at once (RFC 5882 §4.2), with a Cease that
  /// says why (RFC 9384), and is sought anew.
  func pathFailed(_ cause: String) {
    guard core.state == .established else { return }
    logger.warning("path failed", metadata: ["cause": "\(cause)"])
    core.stopAutomatically(.cease(.bfdDown), now: ring.refreshNow())
    drain()
  }

  /// Watches the way to the neighbor from the session's own address on. It goes on when the session has ended.
  private func watchPath(from local: IPAddress) {
    guard let bfd, let configuration = neighbor.bfd else { return }
    let ends = SessionTable.Peer(local: local, remote: neighbor.address.ip, scopeID: interface)
    let observer: BFDSpeaker.Observer = { [weak self] _, event, remote in
      // RFC 5882 §3.2: AdminDown, the peer's or our own, is no failure of the path.
      guard case .stateChanged(from: .up, let to, let cause) = event, to != .adminDown, remote != .adminDown else {
        return
      }
      self?.assumeIsolated { $0.pathFailed("\(cause)") }
    }
    do {
      try bfd.assumeIsolated { try $0.watch(ends, configuration, observer: observer) }
    } catch {
      logger.error("no BFD", metadata: ["error": "\(error)"])
    }
  }

  public func status() -> Status {
    let counts = tables.value.rib.counts(of: peer)
    return Status(
      name: neighbor.name, address: neighbor.address.ip, localAddress: established?.localAddress,
      remoteAS: neighbor.peer.peerAS, state: core.state, since: since, received: counts.received,
      denied: counts.denied, policy: tables.value.rib.policy(of: peer), advertised: counts.advertised,
      updatesReceived: updatesReceived, lastCause: core.lastCause,
      parameters: core.parameters, keepsOurRoutesFor: keepsOurRoutesFor, faultyUpdates: faultyUpdates,
      complete: complete)
  }

  // MARK: Connections

  /// The neighbor has connected. Refuses it by closing.
  func accept(_ connection: RingBound<TCPConnection>) {
    guard let id = core.accept(now: ring.now) else {
      logger.debug("connection refused", metadata: ["state": "\(core.state)"])
      connection.value.abort()
      drain()
      return
    }
    core.localAddress = connection.value.localAddress?.ip
    let accepted = BGPConnection(id, session: self)
    connections[id] = accepted
    accepted.take(connection.value)
    drain()
  }

  private func connect(_ id: BGP.Session.ConnectionID) {
    guard let address = neighbor.currentAddress else {
      logger.info("no such interface", metadata: ["interface": "\(neighbor.interface ?? "")"])
      core.connectionFailed(id, now: ring.now)
      return
    }
    let connection = BGPConnection(id, session: self)
    do {
      var options = BGPConnection.options
      options.protection = neighbor.protection
      try connection.connect(to: address, from: neighbor.localAddress, options)
      connections[id] = connection
    } catch {
      logger.debug("cannot connect", metadata: ["error": "\(error)"])
      core.connectionFailed(id, now: ring.now)
    }
  }

  func opened(_ id: BGP.Session.ConnectionID) {
    core.localAddress = connections[id]?.localAddress
    core.connectionOpened(id, now: ring.now)
    drain()
  }

  func failed(_ id: BGP.Session.ConnectionID, _ error: RingError?) {
    connections[id] = nil
    logger.debug("connection over", metadata: ["error": "\(error.map { "\($0)" } ?? "closed by the neighbor")"])
    core.connectionFailed(id, now: ring.now)
    drain()
  }

  // MARK: Receiving

  func received(_ bytes: UnsafeRawBufferPointer, on id: BGP.Session.ConnectionID) {
    let now = ring.now
    let tables = tables.value
    var rest = bytes
    receiving: while true {
      switch core.receive(from: &rest, on: id, now: now) {
      case .update(let update):
        updatesReceived += 1
        if !monitors.isEmpty { tellReceived(update, on: id) }
        if let fault = update.fault { note(fault, of: update) }
        if let family = update.endOfRIB { noteEnd(of: family) }
        if tables.rib.apply(update, &core.reader, from: peer) == .tooManyPrefixes {
          core.stopAutomatically(.cease(.maximumPrefixes), now: now)
          drain()
        }
      case .other:
        if !monitors.isEmpty { tellReceived(on: id) }
        drain()
      case .nothing: break receiving
      }
    }
    tables.changed()
    drain()
  }

  private func note(_ fault: NotificationMessage, of update: UpdateMessage) {
    faultyUpdates += 1
    logger.warning(
      "UPDATE treated as a withdrawal",
      metadata: ["error": "\(fault)", "prefixes": "\(update.reachable.count + (update.mpReachable?.count ?? 0))"])
  }

  private func noteEnd(of family: AddressFamily) {
    complete.insert(AddressFamilies(family))
    logger.info("end of RIB", metadata: ["family": "\(family)"])
  }

  // MARK: Acting

  private func drain() {
    while let event = core.nextEvent() {
      switch event {
      case .connect(let id): connect(id)
      case .send(let id, let bytes): send(bytes, on: id)
      case .close(let id):
        guard let connection = connections.removeValue(forKey: id) else { break }
        goodbyes += 1
        connection.sayGoodbye()
      case .stateChanged(let from, let to, let cause): note(from, to, cause)
      case .established(let id, let parameters): sessionUp(id, parameters)
      case .ended(let cause): sessionDown(cause)
      case .routeRefresh(let message):
        tables.value.rib.refresh(message, of: peer, marked: core.parameters?.marksRefresh ?? false)
        tables.value.changed()
      }
    }
    schedule()
  }

  private func note(_ from: FiniteStateMachine.State, _ to: FiniteStateMachine.State, _ cause: BGP.Session.EndCause?) {
    since = ring.now
    var metadata: Logger.Metadata = ["from": "\(from)", "to": "\(to)"]
    if let cause { metadata["cause"] = "\(cause)" }
    if !monitors.isEmpty { tellState(from, to) }
    // That it cannot be reached is said with each try.
    let matters = to == .established || from == .established || cause.map { $0 != .transport } ?? false
    logger.log(level: matters ? .notice : .info, "BGP state", metadata: metadata)
  }

  /// The interface of the established session with a link-local neighbor; 0 for any other.
  var interface: UInt32 { established?.interface ?? 0 }

  private func sessionUp(_ id: BGP.Session.ConnectionID, _ parameters: SessionParameters) {
    guard let connection = connections[id] else { return }
    established = connection
    unsent = 0..<0
    var rules = ExportRules(localAS: neighbor.peer.localAS, peerAS: parameters.peerAS)
    rules.role = neighbor.peer.role
    rules.passesOn = neighbor.passesOn
    rules.nextHopIPv4 = neighbor.nextHopIPv4
    rules.nextHopIPv6 = neighbor.nextHopIPv6
    switch connection.localAddress {
    case .v4(let own): rules.nextHopIPv4 = rules.nextHopIPv4 ?? own
    case .v6(let own): rules.nextHopIPv6 = rules.nextHopIPv6 ?? own
    case nil: break
    }
    if let own = connection.localAddress { watchPath(from: own) }
    tables.value.rib.sessionUp(peer, parameters, export: rules)
    tables.value.changed()
    subject = makeSubject(of: connection, parameters)
    if !monitors.isEmpty { tellUp() }
  }

  private func sessionDown(_ cause: BGP.Session.EndCause) {
    if !monitors.isEmpty { tellDown(cause) }
    established = nil
    complete = []
    output = nil
    unsent = 0..<0
    if let retention = core.retention {
      logger.notice("routes kept for a restart", metadata: ["seconds": "\(Int(retention.restartTime.seconds))"])
      tables.value.rib.sessionLost(peer, retaining: retention, now: ring.now)
    } else {
      tables.value.rib.sessionDown(peer)
    }
    tables.value.changed()
  }

  private func send(_ bytes: [UInt8], on id: BGP.Session.ConnectionID) {
    guard let connection = connections[id] else { return }
    if connection === established, !unsent.isEmpty, let output = output?.bytes {
      // Behind the message that has gone in part.
      if output.count - unsent.upperBound >= bytes.count {
        UnsafeMutableRawBufferPointer(rebasing: output[unsent.upperBound...]).copyBytes(from: bytes)
        unsent = unsent.lowerBound..<unsent.upperBound + bytes.count
      }
      return
    }
    let written = bytes.withUnsafeBytes { connection.write($0) }
    // A connection that does not take 4 KB into 256 is stuck: the send hold timer judges it.
    if written == bytes.count, connection.queuedBytes == 0 { core.transportTookAll(now: ring.now) }
  }

  /// Writes what the neighbor is to be told, as far as its connection takes it.
  func flush() {
    guard let established, unsent.isEmpty else { return }
    let tables = tables.value
    guard tables.rib.hasMessages(for: peer) else { return }
    if self.output == nil { self.output = Output() }
    guard let output = self.output?.bytes else { return }
    for _ in 0..<Self.outputPerBatch {
      var count = 0
      while count < Output.size {
        let message = tables.rib.nextMessage(
          for: peer,
          into: UnsafeMutableRawBufferPointer(rebasing: output[count..<count + MessageHeader.extendedMaximumLength]))
        if message == 0 { break }
        count += message
      }
      guard count > 0 else { return }
      core.sentUpdate(now: ring.now)
      let written = established.write(UnsafeRawBufferPointer(rebasing: output[..<count]))
      guard written == count else {
        unsent = written..<count
        return
      }
      if established.queuedBytes == 0 { core.transportTookAll(now: ring.now) }
    }
    tables.changed()
    schedule()
  }

  func writable(_ id: BGP.Session.ConnectionID) {
    guard let established, connections[id] === established else { return }
    core.transportTookAll(now: ring.now)
    if !unsent.isEmpty, let output = output?.bytes {
      let written = established.write(UnsafeRawBufferPointer(rebasing: output[unsent]))
      unsent = unsent.lowerBound + written..<unsent.upperBound
    }
    if unsent.isEmpty { tables.value.changed() }
    schedule()
  }

  // MARK: Time

  private func schedule() {
    if timer == nil { timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } } }
    timer?.schedule(at: core.deadline)
  }

  private func timerFired() {
    // What has come while the ring was busy may still lie in the kernel: it is read before a neighbor is called dead.
    guard isTimerPutOff else {
      isTimerPutOff = true
      timer?.schedule(at: ring.now)
      return
    }
    isTimerPutOff = false
    // RFC 9687 is about a transport that is stuck: one that has nothing to send is not, however long that is.
    if let established, established.queuedBytes == 0, unsent.isEmpty { core.transportTookAll(now: ring.now) }
    core.handleTimeout(now: ring.now)
    drain()
  }
}

/// Where messages are written before the connection takes them.
private final class Output {
  /// Octets of messages that are written at once. One message more fits always, and behind it what must follow while the
  /// connection has taken only a part.
  static let size = 128 << 10
  let bytes = UnsafeMutableRawBufferPointer.allocate(
    byteCount: size + 2 * MessageHeader.extendedMaximumLength, alignment: 64)
  deinit { bytes.deallocate() }
}
