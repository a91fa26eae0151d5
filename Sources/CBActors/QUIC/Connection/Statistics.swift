public import Wire

/// Counts of one connection, since its beginning.
public struct Statistics: Hashable, Sendable {
  public var packetsSent: UInt64 = 0
  public var packetsReceived: UInt64 = 0
  /// Datagrams' UDP payloads.
  public var bytesSent: UInt64 = 0
  public var bytesReceived: UInt64 = 0
  public var packetsLost: UInt64 = 0
  /// Stream and CRYPTO bytes that were lost and so sent again.
  public var bytesRetransmitted: UInt64 = 0
  /// DATAGRAM frames (RFC 9221).
  public var datagramsSent: UInt64 = 0
  public var datagramsReceived: UInt64 = 0
  public var datagramsLost: UInt64 = 0
  /// Dropped before they were sent or read, because the queue was full or they were too large for the path.
  public var datagramsDroppedSending: UInt64 = 0
  public var datagramsDroppedReceiving: UInt64 = 0
  public var keyUpdates: UInt64 = 0
  public var migrations: UInt64 = 0
  /// Times that large packets stopped passing (RFC 8899 §4.3).
  public var blackHoles: UInt64 = 0

  public var smoothedRTT = Interval.zero
  /// Zero before the first sample.
  public var minimumRTT = Interval.zero
  public var latestRTT = Interval.zero
  public var congestionWindow: UInt64 = 0
  public var bytesInFlight: UInt64 = 0
  /// The UDP payload that packets are filled to.
  public var mtu = 0

  /// Packets dropped, by reason.
  public var drops = PacketDrops()

  public init() {}
}

/// Packets that were received and dropped, by reason (RFC 9000 §5.2).
public struct PacketDrops: Hashable, Sendable {
  /// No header could be read.
  public var malformed: UInt64 = 0
  /// Keys are not there yet and there is no room to wait, or are gone.
  public var noKeys: UInt64 = 0
  /// Not authentic.
  public var undecryptable: UInt64 = 0
  public var duplicate: UInt64 = 0
  /// Another version, or another connection's ID.
  public var mismatched: UInt64 = 0
  /// From an address that packets must not come from now.
  public var unexpectedPath: UInt64 = 0
  /// After the connection had ended.
  public var closed: UInt64 = 0

  public var total: UInt64 { byReason.reduce(0) { $0 + $1.count } }

  public init() {}

  /// Each count with the name of its reason.
  public var byReason: [(reason: String, count: UInt64)] {
    [
      ("malformed", malformed), ("noKeys", noKeys), ("undecryptable", undecryptable), ("duplicate", duplicate),
      ("mismatched", mismatched), ("unexpectedPath", unexpectedPath), ("closed", closed),
    ]
  }

  public mutating func add(_ other: PacketDrops) {
    malformed += other.malformed
    noKeys += other.noKeys
    undecryptable += other.undecryptable
    duplicate += other.duplicate
    mismatched += other.mismatched
    unexpectedPath += other.unexpectedPath
    closed += other.closed
  }
}
