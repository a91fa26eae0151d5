public import PacketCrypto
import Wire

/// The types of packets (RFC 9000 §17), by the two type bits that version 1 gives them where they have any.
public enum PacketType: UInt8, Sendable {
  case initial = 0
  case zeroRTT = 1
  case handshake = 2
  case retry = 3
  /// A short header.
  case oneRTT = 4
  case versionNegotiation = 5
}

extension PacketType {
  /// What protects its payload; nil for the two types that carry no frames.
  @inlinable public var level: EncryptionLevel? {
    switch self {
    case .initial: .initial
    case .zeroRTT: .zeroRTT
    case .handshake: .handshake
    case .oneRTT: .oneRTT
    case .retry, .versionNegotiation: nil
    }
  }
}

extension PacketType {
  /// The type bits of a long header, 0 to 3: RFC 9369 §3.2 moves each one on.
  @inlinable func bits(in version: Version) -> UInt8 { version == .v2 ? (rawValue + 1) & 0x03 : rawValue }

  /// The type that the two bits of a long header's first byte mean.
  @inlinable init(longHeader first: UInt8, _ version: Version) {
    let bits = first >> 4 & 0x03
    // Proof for the unwrap: two bits are 0 to 3, and each is a case.
    self.init(rawValue: version == .v2 ? (bits &- 1) & 0x03 : bits)!
  }
}

/// Why the bytes at the head of a datagram are no packet of ours. Never a connection error: they are dropped and
/// counted, since no key vouches for them.
public enum PacketHeaderError: Error, Hashable, Sendable {
  /// The datagram ends inside the header, or before Length is reached.
  case truncated
  /// RFC 9000 §17.2, §17.3.1: the Fixed Bit is 0.
  case fixedBitUnset
  /// RFC 9000 §17.2: a connection ID of more than 20 bytes.
  case connectionIDTooLong
  /// A version that is not spoken here; ``InvariantHeader`` still reads what an answer needs.
  case unsupportedVersion
  /// Nothing follows the header, or too little to sample for header protection (RFC 9001 §5.4.2).
  case tooShort
}

/// The unprotected part of the first packet in a datagram (RFC 9000 §17).
public struct PacketHeader {
  public let type: PacketType
  /// A short header says none: then this means nothing.
  public let version: Version
  public let destinationID: ConnectionID
  /// Empty in a short header.
  public let sourceID: ConnectionID
  /// Of an Initial or a Retry packet; otherwise empty. A slice of the datagram.
  public let token: UnsafeRawBufferPointer
  /// Where the protected packet number begins. For a Retry packet, where its integrity tag begins; for Version
  /// Negotiation, where the list of versions begins.
  public let packetNumberOffset: Int
  /// Bytes of this packet in the datagram; those after it are further coalesced packets (RFC 9000 §12.2).
  public let packetLength: Int

  /// Reads the packet at the start of `datagram`.
  ///
  /// Coalesced packets are read by calling again with what follows ``packetLength``.
  ///
  /// - Parameters:
  ///   - shortIDLength: how long the connection IDs are that this endpoint issues.
  ///   - takesAnyFixedBit: the sender was told that it may clear the Fixed Bit (RFC 9287 §3).
  public init(
    _ datagram: UnsafeRawBufferPointer, shortIDLength: Int, takesAnyFixedBit: Bool = false
  ) throws(PacketHeaderError) {
    guard let first = datagram.first else { throw .truncated }
    // What follows looks at the Fixed Bit alone, so that one that may be clear is taken for set.
    let seen = takesAnyFixedBit ? first | 0x40 : first
    if first & 0x80 == 0 {
      try self.init(short: datagram, first: seen, idLength: shortIDLength)
    } else {
      try self.init(long: datagram, first: seen)
    }
  }

  @inline(__always)
  private init(short datagram: UnsafeRawBufferPointer, first: UInt8, idLength: Int) throws(PacketHeaderError) {
    // RFC 9000 §17.3.1: "Packets containing a zero value for this bit are not valid packets in this version and MUST
    // be discarded."
    guard first & 0x40 != 0 else { throw .fixedBitUnset }
    guard idLength >= 0, datagram.count >= 1 + idLength + Self.minimumProtected else { throw .tooShort }
    guard let id = ConnectionID(UnsafeRawBufferPointer(rebasing: datagram[1..<1 + idLength])) else {
      throw .connectionIDTooLong
    }
    type = .oneRTT
    version = .v1
    destinationID = id
    sourceID = .empty
    token = UnsafeRawBufferPointer(start: nil, count: 0)
    packetNumberOffset = 1 + idLength
    packetLength = datagram.count
  }

  private init(long datagram: UnsafeRawBufferPointer, first: UInt8) throws(PacketHeaderError) {
    guard let invariant = InvariantHeader(datagram, shortIDLength: 0), let version = invariant.version else {
      throw .truncated
    }
    guard version.isSupported || version == .negotiation else { throw .unsupportedVersion }
    // RFC 9000 §17.2: "Endpoints that receive a version 1 long header with a value larger than 20 MUST drop the
    // packet."
    guard let destination = ConnectionID(invariant.destinationID), let source = ConnectionID(invariant.sourceID) else {
      throw .connectionIDTooLong
    }
    self.version = version
    destinationID = destination
    sourceID = source

    if version == .negotiation {
      type = .versionNegotiation
      token = UnsafeRawBufferPointer(start: nil, count: 0)
      packetNumberOffset = invariant.length
      packetLength = datagram.count
      return
    }

    // RFC 9000 §17.2: "Packets containing a zero value for this bit are not valid packets in this version and MUST be
    // discarded."
    guard first & 0x40 != 0 else { throw .fixedBitUnset }
    type = PacketType(longHeader: first, version)

    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: datagram[invariant.length...]))
    if type == .retry {
      guard reader.remaining >= RetryIntegrity.tagLength,
        let token = reader.readBytes(reader.remaining - RetryIntegrity.tagLength)
      else { throw .truncated }
      self.token = token
      packetNumberOffset = invariant.length + reader.offset
      packetLength = datagram.count
      return
    }
    if type == .initial {
      guard let token = reader.readVarintPrefixedBytes() else { throw .truncated }
      self.token = token
    } else {
      token = UnsafeRawBufferPointer(start: nil, count: 0)
    }
    guard let length = reader.readVarint(), length <= UInt64(reader.remaining) else { throw .truncated }
    guard length >= UInt64(Self.minimumProtected) else { throw .tooShort }
    packetNumberOffset = invariant.length + reader.offset
    packetLength = packetNumberOffset + Int(length)
  }

  /// RFC 9001 §5.4.2: "An endpoint MUST discard packets that are not long enough to contain a complete sample."
  private static let minimumProtected = 4 + HeaderProtectionKey.sampleLength
}
