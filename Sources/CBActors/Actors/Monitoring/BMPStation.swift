public import BGP
public import Logging
public import Ring
public import Wire

/// Tells a monitoring station what the neighbors of a speaker tell it (BMP, RFC 7854): the Adj-RIBs-In as they are, then
/// each UPDATE as it comes.
///
/// What the station does not take waits in a queue with a bound. One that is too slow for that is cut off, and begins anew
/// when it is back; no session ever waits for it.
public actor BMPStation {
  public struct Configuration: Sendable {
    public var name: String
    public var address: SocketAddress
    /// What to connect from; nil leaves it to the kernel.
    public var localAddress: IPAddress?
    /// Before the second try; it doubles up to ``longestRetry``.
    public var retry = Interval.seconds(30)
    /// Between two statistics reports; nil for none.
    public var statistics: Interval?
    /// Octets that may wait for the station, besides what the kernel holds.
    public var queueLimit = 16 << 20
    public var systemName = ""
    public var systemDescription = ""

    public init(name: String, address: SocketAddress) {
      self.name = name
      self.address = address
    }
  }

  /// RFC 7854 §3.2.
  public static let longestRetry = Interval.seconds(720)

  public enum State: String, Hashable, Sendable {
    /// Until the next try.
    case waiting
    case connecting
    /// The tables are being told.
    case catchingUp = "catching up"
    /// What comes is told as it comes.
    case following
  }

  public struct Status: Sendable {
    public var name: String
    public var address: SocketAddress
    public var state: State
    public var since: Instant
    /// Peers that it knows to be up.
    public var peers: Int
    /// Messages and octets of this connection.
    public var messages: UInt64
    public var octets: UInt64
    public var queued: Int
    /// How often it was cut off for being too slow.
    public var cuts: Int
    public var lastTrouble: String?
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  /// Destinations that are told in one batch: the sessions wait so long.
  private static let page = 512
  /// How long a connection may take to come about.
  private static let connectTime = Interval.seconds(10)

  private let configuration: Configuration
  private let speaker: BGPSpeaker
  private let logger: Logger
  private var state = State.waiting
  private var since: Instant
  private var connection: TCPConnection?
  private var retryTimer: RingTimer?
  private var statisticsTimer: RingTimer?
  private var nextRetry: Interval
  private var walk: AdjRIBInWalk?
  private var told: [PeerID: Told] = [:]
  private var queue = BMPQueue()
  private var isFlushDue = false
  private var cuts = 0
  private var lastTrouble: String?
  private var isStopped = false

  /// A peer that the station knows to be up.
  private struct Told {
    let subject: BGPSession.Subject
    let form: MonitoredForm
    /// It was up when the tables began to be told, so that their end is news of it.
    let awaitsEnd: Bool
  }

  /// - Parameter speaker: on the same ring.
  public init(_ configuration: Configuration, speaker: BGPSpeaker, logger: Logger) {
    self.configuration = configuration
    self.speaker = speaker
    ring = speaker.ring
    since = RingExecutor.monotonicNow()
    nextRetry = configuration.retry
    var logger = logger
    logger[metadataKey: "station"] = "\(configuration.name)"
    self.logger = logger
  }

  // MARK: Life

  public func start() {
    retryTimer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.connect() } }
    statisticsTimer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.reportStatistics() } }
    speaker.assumeIsolated { $0.add(self) }
    connect()
  }

  /// Says goodbye, as far as the station takes it.
  public func stop() {
    isStopped = true
    speaker.assumeIsolated { $0.remove(self) }
    retryTimer?.cancel()
    statisticsTimer?.cancel()
    guard let connection else { return }
    queue.append(BMPMessage.termination(.closed, text: "the PoP stops").serialized)
    flush()
    self.connection = nil
    connection.closeWhenSent()
  }

  public func status() -> Status {
    Status(
      name: configuration.name, address: configuration.address, state: state, since: since, peers: told.count,
      messages: queue.messages, octets: queue.taken, queued: queue.count + (connection?.queuedBytes ?? 0), cuts: cuts,
      lastTrouble: lastTrouble)
  }

  private func enter(_ new: State) {
    state = new
    since = ring.now
  }

  private func connect() {
    enter(.connecting)
    do {
      connection = try TCPConnection.connect(
        on: ring, to: configuration.address, from: configuration.localAddress, timeout: Self.connectTime,
        delegate: self)
    } catch {
      lost("\(error)")
    }
  }

  private func established() {
    logger.notice("BMP station connected", metadata: ["address": "\(configuration.address)"])
    enter(.catchingUp)
    nextRetry = configuration.retry
    queue = BMPQueue()
    queue.append(
      BMPMessage.initiation(
        description: configuration.systemDescription, name: configuration.systemName, texts: []
      ).serialized)
    for subject in speaker.assumeIsolated({ $0.subjects() }) { tellUp(subject, awaitsEnd: true) }
    walk = AdjRIBInWalk()
    if let interval = configuration.statistics { statisticsTimer?.schedule(at: ring.now + interval) }
    flushLater()
  }

  /// The connection is no more, or never came about.
  private func lost(_ trouble: String) {
    // That it cannot be reached is said once.
    let isNews = state != .connecting || lastTrouble != trouble
    logger.log(level: isNews ? .warning : .debug, "BMP station lost", metadata: ["error": "\(trouble)"])
    lastTrouble = trouble
    connection = nil
    walk = nil
    told = [:]
    queue = BMPQueue()
    statisticsTimer?.cancel()
    enter(.waiting)
    guard !isStopped else { return }
    retryTimer?.schedule(at: ring.refreshNow() + nextRetry)
    nextRetry = min(nextRetry * 2, max(Self.longestRetry, configuration.retry))
  }

  // MARK: Sending

  private func flushLater() {
    guard !isFlushDue, connection != nil else { return }
    isFlushDue = true
    ring.atBatchEnd(self)
  }

  private func batchEnd() {
    isFlushDue = false
    flush()
    // The station has taken all: more of the tables, in the next batch what comes behind.
    guard connection != nil, queue.isEmpty, walk != nil else { return }
    tellTables()
    flushLater()
  }

  private func flush() {
    guard let connection, !queue.isEmpty else { return }
    queue.take { connection.write($0) }
  }

  /// Cuts the station off if too much waits for it.
  private func checkQueue() {
    guard queue.count > configuration.queueLimit else { return flushLater() }
    // What the batch has brought may only not have been written yet.
    flush()
    guard queue.count > configuration.queueLimit, let connection else { return flushLater() }
    cuts += 1
    connection.abort()
    lost("too slow: \(queue.count) octets wait for it; it is told anew when it is back")
  }

  /// Of what a peer has told before any policy: the L flag is not set.
  private func header(_ subject: BGPSession.Subject) -> BMPMessage.Peer {
    let time = WallTime.now
    var header = BMPMessage.Peer(
      address: subject.remote.ip, autonomousSystem: subject.remoteAS,
      identifier: subject.parameters?.peerIdentifier ?? .any, seconds: UInt32(truncatingIfNeeded: time.seconds),
      microseconds: time.microseconds)
    header.hasTwoOctetPaths = subject.parameters?.usesFourOctetAS == false
    return header
  }

  private func tell(_ message: BMPMessage) {
    queue.append(message.serialized)
    checkQueue()
  }

  private func tellUp(_ subject: BGPSession.Subject, awaitsEnd: Bool) {
    told[subject.peer] = Told(
      subject: subject,
      form: MonitoredForm(
        addPathFamilies: subject.parameters?.addPathFamilies ?? [],
        usesFourOctetAS: subject.parameters?.usesFourOctetAS ?? true),
      awaitsEnd: awaitsEnd)
    tell(
      .peerUp(
        header(subject), localAddress: subject.local.ip, localPort: subject.local.port,
        remotePort: subject.remote.port, sent: subject.opens.sent, received: subject.opens.received))
  }

  // MARK: The tables

  private func tellTables() {
    guard var walk else { return }
    let peers = told.mapValues(\.form)
    let headers = told.mapValues { header($0.subject) }
    var queue = queue
    self.queue = BMPQueue()
    let tables = speaker.assumeIsolated { $0.tables }
    walk.next(tables.value.rib, destinations: Self.page, of: peers) { peer, update in
      if let header = headers[peer] { queue.append(update, of: header) }
    }
    self.queue = queue
    self.walk = walk.isComplete ? nil : walk
    guard walk.isComplete else { return }
    // RFC 7854 §5: an End-of-RIB of each peer, and of each of its families, says that these were all.
    for (peer, told) in told where told.awaitsEnd {
      guard let header = headers[peer] else { continue }
      for family in told.subject.parameters?.families.intersection(.unicast).members ?? [] {
        UpdateMessage.endOfRIB(family).withUnsafeBytes { self.queue.append($0, of: header) }
      }
    }
    enter(.following)
    logger.info("BMP station has the tables")
  }

  // MARK: Statistics

  private func reportStatistics() {
    guard connection != nil, let interval = configuration.statistics else { return }
    statisticsTimer?.schedule(at: ring.now + interval)
    for told in told.values {
      let counts = speaker.assumeIsolated { $0.counts(of: told.subject.peer) }
      tell(
        .statistics(
          header(told.subject),
          [
            .init(.adjRIBInRoutes, UInt64(counts.received)), .init(.locRIBRoutes, UInt64(counts.destinations)),
            .init(.treatedAsWithdraw, counts.faulty),
          ]))
    }
  }

  // MARK: Following

  private func follow(_ message: UnsafeRawBufferPointer, _ subject: BGPSession.Subject) {
    guard told[subject.peer] != nil else { return }
    queue.append(message, of: header(subject))
    checkQueue()
  }

  private func end(_ subject: BGPSession.Subject, _ cause: BGP.Session.EndCause) {
    guard told.removeValue(forKey: subject.peer) != nil else { return }
    tell(.peerDown(header(subject), BMPMessage.PeerDownReason(cause)))
  }
}

extension BMPMessage.PeerDownReason {
  /// RFC 7854 §4.9.
  init(_ cause: BGP.Session.EndCause) {
    switch cause {
    case .sent(let notification): self = .sentNotification(notification.serialized)
    case .received(let notification): self = .receivedNotification(notification.serialized)
    case .transport: self = .closedByPeer
    // RFC 4271 §8.1.5, event 23: OpenCollisionDump.
    case .collision: self = .closed(event: 23)
    }
  }
}

extension BGPSpeaker {
  /// What a statistics report says of a peer.
  func counts(of peer: PeerID) -> (received: Int, destinations: Int, faulty: UInt64) {
    let session = sessions.first { $0.peer == peer }
    return (
      tables.value.rib.counts(of: peer).received, tables.value.rib.counts.destinations,
      session?.assumeIsolated { $0.faultyUpdates } ?? 0
    )
  }
}

extension BMPStation: BGPMonitor {
  public nonisolated func received(
    _ message: UnsafeRawBufferPointer, _ update: UpdateMessage?, from subject: BGPSession.Subject
  ) {
    guard update != nil else { return }
    let borrowed = RingBound(message)
    assumeIsolated { $0.follow(borrowed.value, subject) }
  }

  public nonisolated func stateChanged(
    of subject: BGPSession.Subject, from: FiniteStateMachine.State, to: FiniteStateMachine.State
  ) {}

  public nonisolated func sessionUp(_ subject: BGPSession.Subject) {
    assumeIsolated { station in
      if station.state == .following || station.state == .catchingUp { station.tellUp(subject, awaitsEnd: false) }
    }
  }

  public nonisolated func sessionDown(_ subject: BGPSession.Subject, _ cause: BGP.Session.EndCause) {
    assumeIsolated { $0.end(subject, cause) }
  }
}

extension BMPStation: BatchEndObserver {
  public nonisolated func batchEnded() { assumeIsolated { $0.batchEnd() } }
}

extension BMPStation: TCPConnectionDelegate {
  public nonisolated func tcpConnectionEstablished(_ connection: TCPConnection) {
    assumeIsolated { $0.established() }
  }

  /// A station has nothing to say (RFC 7854 §3.2).
  public nonisolated func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    bytes.count
  }

  public nonisolated func tcpConnectionReceivedEnd(_ connection: TCPConnection) {
    connection.close()
    assumeIsolated { $0.lost("closed by the station") }
  }

  public nonisolated func tcpConnectionWritable(_ connection: TCPConnection) { assumeIsolated { $0.flushLater() } }

  public nonisolated func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    assumeIsolated { $0.lost("\(error)") }
  }
}
