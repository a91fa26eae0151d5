public import PacketCrypto
public import Wire

/// What one end of a connection offers and allows.
///
/// The defaults suit a tunnel: few long streams, many datagrams, paths that change.
public struct Configuration: Sendable {
  /// max_idle_timeout that we offer; the lesser of both ends' holds (RFC 9000 §10.1). Zero is none.
  public var maxIdleTimeout = Interval.seconds(30)
  /// A handshake that is not complete by then is given up.
  public var handshakeTimeout = Interval.seconds(10)

  /// Bytes that the peer may send over all streams before it hears more (RFC 9000 §18.2).
  public var initialMaxData: UInt64 = 3 << 19
  /// The same for one stream that we open, that the peer opens, and that is one-way.
  public var initialMaxStreamDataBidiLocal: UInt64 = 1 << 20
  public var initialMaxStreamDataBidiRemote: UInt64 = 1 << 20
  public var initialMaxStreamDataUni: UInt64 = 1 << 20
  /// Windows grow up to these while the application keeps up with the peer.
  public var maximumStreamWindow: UInt64 = 16 << 20
  public var maximumConnectionWindow: UInt64 = 24 << 20
  /// Streams that the peer may have open at once.
  public var maxStreamsBidi: UInt64 = 100
  public var maxStreamsUni: UInt64 = 100
  /// Bytes that a writer may have buffered on one stream, unacknowledged ones included.
  public var sendBufferLimit = 2 << 20
  /// The same over all streams of a connection: beyond it, each may have no more than 16 KiB.
  public var connectionSendBufferLimit = 16 << 20

  /// max_datagram_frame_size (RFC 9221 §3); 0 takes no datagrams.
  public var maxDatagramFrameSize: UInt64 = 65_535
  /// Bytes of datagrams that wait in each direction; beyond it the oldest are dropped.
  public var datagramQueueLimit = 512 << 10

  /// UDP payload of the first packets, and of all until a larger one is seen to pass. At least 1200.
  public var initialMTU = 1_200
  /// The largest UDP payload tried once the handshake is confirmed: 1452 fits IPv6 on Ethernet.
  public var maximumMTU = 1_452
  /// The largest UDP payload that we take (max_udp_payload_size).
  public var maxUDPPayloadSize: UInt64 = 65_527

  /// max_ack_delay that we declare and keep.
  public var ackDelay = Interval.milliseconds(25)
  /// An ACK is sent after this many ack-eliciting packets (RFC 9000 §13.2.2).
  public var ackElicitingThreshold = 2
  /// min_ack_delay: the least delay that the peer may ask for. Nil leaves ACK_FREQUENCY out, and asks the peer for none.
  public var minAckDelay: Interval? = .milliseconds(1)
  public var congestion = CongestionAlgorithm.cubic
  /// Mark packets ECT(0) and heed the peer's counts (RFC 9000 §13.4).
  public var ecn = true

  /// A PING is sent when nothing was heard or sent for this long; nil sends none.
  public var keepAliveInterval: Interval?

  /// Where the probe timeout stops doubling while nothing is acknowledged; it never falls below its first period. Nil
  /// doubles it for ever, as RFC 9002 §6.2.1 says: a path that comes and goes is then met too rarely to live on it.
  /// Until the handshake is confirmed there is no limit.
  public var probeTimeoutLimit: Interval?

  /// The connection IDs that we choose.
  public var connectionIDs = ConnectionIDFormat()
  /// A client's first packets go to this one of the rings that share a server of ours; nil leaves it to chance.
  public var serverRing: RingShare?
  /// Connection IDs of the peer's that we keep, 2 to 8 (active_connection_id_limit).
  public var activeConnectionIDLimit: UInt64 = 4
  /// Where a server would rather be reached once the handshake is confirmed, such as at a unicast address behind an
  /// anycast one: the first of each family is offered, and must lead to this very server (RFC 9000 §9.6).
  public var preferredAddresses: [SocketAddress] = []
  /// disable_active_migration: asks the peer not to move.
  public var disableActiveMigration = false
  /// The key of stateless reset tokens: 32 bytes, the same on all ends that answer for each other.
  /// Without it the tokens given are random and a reset never comes.
  public var statelessResetKey: [UInt8]?
  /// A server gives its clients tokens of these for their next connections; nil gives none (RFC 9000 §8.1.3).
  public var addressTokens: AddressTokens?

  /// Packets of one key phase after which the keys are updated; nil leaves it to the AEAD's own limit.
  public var keyUpdateInterval: UInt64?
  /// Packets that one key may seal, and packets not authentic that are borne, where that is less than the AEAD allows
  /// (RFC 9001 §6.6).
  public var confidentialityLimit: UInt64?
  public var integrityLimit: UInt64?

  /// The versions of QUIC spoken, the preferred one first (RFC 9368 §3). Of those that a client offers, a server takes
  /// the one that the client prefers.
  public var versions = Version.supported
  /// What a client begins with, unless it resumes a session of another version.
  public var initialVersion = Version.v1
  /// The client begins because of a Version Negotiation packet, and must make sure that nobody forged that
  /// (RFC 9368 §4).
  public internal(set) var followsVersionNegotiation = false

  /// Exercise what peers must ignore: reserved versions and transport parameters (RFC 9000 §6.3, §18.1), and the Fixed
  /// Bit where the peer allows it (RFC 9287).
  public var greases = true
  /// Let the network measure the round trip (RFC 9000 §17.4).
  public var spins = false

  /// Asked once for each connection: where its qlog goes, or nil to keep none. Nil asks about none.
  public var qlog: (@Sendable (QLogSubject) -> (any QLogSink)?)?

  public init() {}
}
