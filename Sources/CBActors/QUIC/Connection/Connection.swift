public import PacketCrypto
public import Wire

/// One QUIC connection of version 1 or 2 (RFC 9000, 9001, 9002, 9221, 9369), sans-IO.
///
/// Its owner feeds it datagrams, instants and the application's calls; after each it sends what
/// ``transmit(into:maxSegments:now:)`` yields until that is nil, drains ``nextEvent()``, and calls
/// ``handleTimeout(now:)`` at ``deadline``. Nothing here reads a clock, a socket or a random source of its own.
///
/// Helpers on the path of every packet are `mutating` even where they only read: a borrow of a value this large is
/// passed by copying it, an exclusive access by its address.
///
/// Each concern has a file of its own: receiving, frames, handshake, sending, timers, paths, closing.
public struct Connection: ~Copyable {
  public let role: Role
  let configuration: Configuration
  let tls: any TLSSession
  let entropy: any EntropySource
  let qlog: QLogTrace?

  // Packets.
  /// The three packet-number spaces, by their raw value; allocated and freed with the connection. Behind a pointer,
  /// because the compiler moves an inline array of them whole to read from one.
  let spaces: UnsafeMutablePointer<PacketSpace>
  var oneRTT: OneRTTKeys?
  /// The 1-RTT secret to read with, when it has come before the one to write with.
  var earlierReadSecret: TrafficSecret?
  /// Of 0-RTT packets: a client's to send, a server's to read.
  var earlyKeys: ProtectionKeys?
  var earlyKeysExpiry: Instant?
  /// What a client's 0-RTT goes by until the server's own parameters come.
  var remembered: RememberedParameters?
  var recovery: LossRecovery
  /// Packets that came before their keys (RFC 9000 §5.2.1).
  var undecryptable = UndecryptablePackets()
  /// What the packet being built carries; kept for its capacity.
  var packetFrames: [SentFrame] = []

  // What the application sees.
  var streams: Streams
  var events = EventQueue()
  var outgoingDatagrams: DatagramQueue
  var incomingDatagrams: DatagramQueue
  /// `.datagramsReceived` has been said and the queue not been emptied since.
  var saidDatagramsReceived = false
  /// `.datagramsSendable` is owed.
  var owesDatagramsSendable = false
  /// The next packet begins with datagrams, not with streams, so that neither starves.
  var isDatagramsTurn = true

  // Identity (RFC 9000 §5.1, §7.3).
  var localIDs: LocalConnectionIDs
  var formerIDs = FormerConnectionIDs()
  var peerIDs: PeerConnectionIDs
  /// The Destination Connection ID of the client's first Initial packet.
  var originalDestinationID: ConnectionID
  /// The Source Connection ID of the peer's first Initial packet; for a client nil until one came.
  var peerInitialSourceID: ConnectionID?
  var retrySourceID: ConnectionID?
  /// The token that Initial packets carry (RFC 9000 §8.1).
  var initialToken: [UInt8] = []
  /// What a server's transport parameters say, however often they are written (RFC 9000 §9.6).
  var offeredAddress: PreferredAddress?
  /// The server still accepts packets for the ID that the client made up.
  var isOriginalIDRouted: Bool

  // Versions (RFC 9368).
  /// What the client began with: that of Retry and 0-RTT packets.
  public let originalVersion: Version
  /// What packets are sent in: the negotiated version once that is known.
  public internal(set) var version: Version
  /// A client has seen which version the server chose.
  var isVersionSettled = false
  /// For Initial packets of the original version when another was negotiated.
  var originalInitialKeys: ProtectionKeys?
  /// What everything arbitrary is made from: reserved values, bits that nobody should read.
  let greaseSeed: UInt64
  /// The peer takes packets whose Fixed Bit is clear.
  var clearsFixedBit = false
  var spin: SpinBit
  /// How we ask the peer to acknowledge; nil when it does not take ACK_FREQUENCY.
  var ackRequests: AckRequests?
  /// The largest Sequence Number of the peer's ACK_FREQUENCY frames.
  var largestAckFrequency: UInt64?

  // Handshake.
  /// The level of the latest keys that TLS gave to read with: where its next messages come from (RFC 9001 §4.1.3).
  var receivingLevel = EncryptionLevel.initial
  public internal(set) var isHandshakeComplete = false
  /// RFC 9001 §4.1.2.
  public internal(set) var isHandshakeConfirmed = false
  var isHandshakeDoneDue = false
  /// A NEW_TOKEN frame is due as soon as the path is validated.
  var isNewTokenDue = false
  public internal(set) var peerTransportParameters: TransportParameters?
  /// A packet of the server's has been processed: Retry and Version Negotiation come too late.
  var hasProcessedPacket = false

  // Paths (RFC 9000 §9).
  var active: PathState
  /// Paths that are being probed, or that may be returned to.
  var others: [PathState] = []
  var mtu: MTUDiscovery
  /// The largest datagram payload, as the MTU, the peer's limit and its connection ID make it.
  var datagramCapacity: Int?
  /// The highest 1-RTT packet number that came with a frame that is not a probe.
  var largestNonProbing: UInt64?
  /// The ID of ours that the newest packet on the active path came to.
  var activeDestinationID: ConnectionID?

  // Time.
  /// The latest instant heard of: the application's calls bring none.
  var clock: Instant
  let handshakeDeadline: Instant
  /// The lesser of both ends' idle time-outs; nil is none (RFC 9000 §10.1).
  var idleTimeout: Interval?
  var idleDeadline: Instant?
  var keepAliveDeadline: Instant?
  /// An ack-eliciting packet has been sent since the last one was received.
  var hasSentSinceReceiving = false
  var isPingDue = false
  var pacedUntil: Instant?

  var lifecycle = Lifecycle.open
  var counts = Statistics()
  /// ``initiateKeyUpdate()`` was called when the rules did not allow one yet.
  var keyUpdateRequested = false

  /// Begins a connection as its client. The first ``transmit(into:maxSegments:now:)`` yields the ClientHello.
  ///
  /// - Parameters:
  ///   - path: where the server is, and the local address that packets leave from.
  ///   - entropy: for connection IDs, tokens and challenges; kept.
  ///   - token: from an earlier connection's `.tokenReceived`, for this one alone; empty for none.
  public init(
    client configuration: Configuration, tls: any TLSSession, path: Path, now: Instant, entropy: any EntropySource,
    token: [UInt8] = []
  ) {
    // RFC 9000 §7.2: "This Destination Connection ID MUST be at least 8 bytes in length."
    var bytes = entropy.bytes(8)
    configuration.serverRing?.claim(&bytes)
    // Proof for the unwrap: eight bytes are a connection ID.
    let destination = ConnectionID(bytes)!
    self.init(
      role: .client, configuration, tls, path, now, entropy, destination: destination, original: destination,
      version: configuration.firstVersion(resuming: tls.resumedVersion), isPathValidated: true)
    // RFC 9000 §8.1.3: "The client MUST include the token in all Initial packets it sends, unless a Retry replaces the
    // token with a newer one."
    initialToken = token
    logStart()
    start()
  }

  /// Begins a connection as its server, for an Initial packet that ``Endpoint`` accepted. That packet is then fed to
  /// ``receive(_:path:ecn:now:)``.
  public init(
    server configuration: Configuration, tls: any TLSSession, path: Path, initial: InitialRequest, now: Instant,
    entropy: any EntropySource
  ) {
    self.init(
      role: .server, configuration, tls, path, now, entropy, destination: initial.sourceID,
      original: initial.originalDestinationID, version: initial.version, isPathValidated: initial.isAddressValidated,
      routed: initial.destinationID)
    // The client's ID is believed once a packet with it proves authentic: the datagram that began this may be damaged.
    retrySourceID = initial.retrySourceID
    isOriginalIDRouted = true
    installInitialKeys()
    events.append(.connectionIDIssued(initial.destinationID))
    logStart()
    start()
  }

  /// The Destination Connection ID of the Initial packet that a server accepted: the client's invention, or the ID that
  /// a Retry gave it.
  var routedInitialID: ConnectionID?

  private init(
    role: Role, _ configuration: Configuration, _ tls: any TLSSession, _ path: Path, _ now: Instant,
    _ entropy: any EntropySource, destination: ConnectionID, original: ConnectionID, version: Version,
    isPathValidated: Bool, routed: ConnectionID? = nil
  ) {
    self.role = role
    self.configuration = configuration
    self.tls = tls
    self.entropy = entropy
    qlog = Self.trace(configuration, role: role, originalDestinationID: original, now: now)
    let pool = ChunkPool()
    spaces = .allocate(capacity: PacketNumberSpace.allCases.count)
    for space in PacketNumberSpace.allCases {
      (spaces + Int(space.rawValue)).initialize(
        to: PacketSpace(
          space, pool: pool,
          received: ReceivedPackets(
            space, maxAckDelay: configuration.ackDelay, ackElicitingThreshold: configuration.ackElicitingThreshold)))
    }
    mtu = MTUDiscovery(initial: configuration.initialMTU, maximum: configuration.maximumMTU)
    recovery = LossRecovery(
      role: role, algorithm: configuration.congestion, maximumDatagramSize: mtu.current,
      isECNEnabled: configuration.ecn, seed: configuration.congestion == .bbrV3 ? entropy.nextUInt64() : 0)
    recovery.probeTimeoutLimit = configuration.probeTimeoutLimit
    streams = Streams(role: role, settings: Streams.Settings(configuration), pool: pool)
    outgoingDatagrams = DatagramQueue(limit: configuration.datagramQueueLimit)
    incomingDatagrams = DatagramQueue(limit: configuration.datagramQueueLimit)
    localIDs = LocalConnectionIDs(configuration: configuration, taken: routed, entropy: entropy)
    routedInitialID = routed
    peerIDs = PeerConnectionIDs(first: destination, limit: Int(Self.activeConnectionIDLimit(configuration)))
    originalDestinationID = original
    originalVersion = version
    self.version = version
    greaseSeed = entropy.nextUInt64()
    spin = SpinBit(isAsked: configuration.spins, seed: greaseSeed)
    isOriginalIDRouted = false
    active = PathState(path, role: role, isValidated: isPathValidated, peerIDSequence: 0)
    clock = now
    handshakeDeadline = now + configuration.handshakeTimeout
    idleTimeout = configuration.maxIdleTimeout > .zero ? configuration.maxIdleTimeout : nil
    idleDeadline = idleTimeout.map { now + $0 }
    events.append(.connectionIDIssued(localIDs.first))
  }

  deinit {
    spaces.deinitialize(count: PacketNumberSpace.allCases.count)
    spaces.deallocate()
  }

  static func activeConnectionIDLimit(_ configuration: Configuration) -> UInt64 {
    min(max(configuration.activeConnectionIDLimit, 2), 8)
  }

  /// The application protocol that both ends agreed on; nil before.
  public var applicationProtocol: String? { tls.applicationProtocol }

  /// The peer's certificate chain in DER, leaf first.
  public var peerCertificates: [[UInt8]] { tls.peerCertificates }

  /// The session was resumed from a ticket.
  public var isResumed: Bool { tls.isResumed }

  /// Streams that are not over and forgotten.
  public var liveStreamCount: Int { streams.table.count }

  /// The path that packets take now.
  public var path: Path { active.path }

  /// The next event; nil when there is none. To be drained after each call that feeds the connection.
  public mutating func nextEvent() -> Event? {
    let event = events.next()
    if qlog != nil, let event { logEvent(event) }
    return event
  }

  public var statistics: Statistics {
    var statistics = counts
    statistics.keyUpdates = oneRTT?.writeGeneration ?? 0
    statistics.packetsSent = recovery.statistics.packetsSent
    statistics.packetsLost = recovery.statistics.packetsLost
    statistics.datagramsDroppedSending += outgoingDatagrams.dropped
    statistics.datagramsDroppedReceiving += incomingDatagrams.dropped
    if recovery.rtt.hasSample {
      statistics.smoothedRTT = recovery.rtt.smoothed
      statistics.minimumRTT = recovery.rtt.minimum
      statistics.latestRTT = recovery.rtt.latest
    }
    statistics.congestionWindow = recovery.controller.congestionWindow
    statistics.bytesInFlight = recovery.bytesInFlight
    statistics.mtu = mtu.current
    return statistics
  }
}

extension Streams.Settings {
  init(_ configuration: Configuration) {
    self.init(
      windowBidiLocal: configuration.initialMaxStreamDataBidiLocal,
      windowBidiRemote: configuration.initialMaxStreamDataBidiRemote,
      windowUni: configuration.initialMaxStreamDataUni,
      maximumStreamWindow: configuration.maximumStreamWindow,
      connectionWindow: configuration.initialMaxData,
      maximumConnectionWindow: configuration.maximumConnectionWindow,
      maxStreamsBidi: min(configuration.maxStreamsBidi, FrameType.maximumStreamCount),
      maxStreamsUni: min(configuration.maxStreamsUni, FrameType.maximumStreamCount),
      sendBufferLimit: max(configuration.sendBufferLimit, 1),
      connectionSendBufferLimit: configuration.connectionSendBufferLimit)
  }
}
