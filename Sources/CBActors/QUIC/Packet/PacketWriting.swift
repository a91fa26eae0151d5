public import PacketCrypto
public import Wire

/// A packet whose header has been written, and whose frames come next. ``Wire/ByteWriter/finishPacket(_:key:headerProtection:)``
/// ends it.
public struct PacketStart: Sendable {
  /// Where in the writer the packet begins.
  public let offset: Int
  public let packetNumber: UInt64
  let lengthOffset: Int?
  let packetNumberOffset: Int
  /// Where in the writer the payload begins.
  public let payloadOffset: Int

  /// Bytes of header.
  public var headerLength: Int { payloadOffset - offset }
}

extension PacketStart {
  /// Bytes of a long header up to the payload, for working out what room a packet leaves.
  public static func longHeaderLength(
    _ type: PacketType, destinationID: ConnectionID, sourceID: ConnectionID, tokenLength: Int = 0,
    packetNumberLength: Int
  ) -> Int {
    let token = type == .initial ? Varint.length(of: UInt64(tokenLength)) + tokenLength : 0
    return 1 + 4 + 1 + destinationID.length + 1 + sourceID.length + token + 2 + packetNumberLength
  }

  /// Bytes of a short header up to the payload.
  @inline(__always)
  public static func shortHeaderLength(destinationID: ConnectionID, packetNumberLength: Int) -> Int {
    1 + destinationID.length + packetNumberLength
  }
}

extension ByteWriter {
  /// The long header of an Initial, 0-RTT or Handshake packet (RFC 9000 §17.2), with two bytes for its length, which
  /// is put in at the end.
  ///
  /// - Parameters:
  ///   - token: for an Initial packet only.
  ///   - packetNumberLength: 1 to 4 bytes.
  public mutating func beginLongPacket(
    _ type: PacketType, version: Version = .v1, destinationID: ConnectionID, sourceID: ConnectionID,
    token: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), fixedBit: Bool = true,
    packetNumber: UInt64, packetNumberLength: Int
  ) -> PacketStart {
    precondition(type.rawValue <= PacketType.handshake.rawValue && (1...4).contains(packetNumberLength))
    let start = count
    // RFC 9000 §17.2: "The value included prior to protection MUST be set to 0." (the two reserved bits)
    write((fixedBit ? 0xc0 : 0x80) | type.bits(in: version) << 4 | UInt8(packetNumberLength - 1))
    write(version.rawValue)
    write(destinationID)
    write(sourceID)
    if type == .initial {
      writeVarint(UInt64(token.count))
      write(token)
    }
    let lengthOffset = count
    writeTwoByteVarint(0)
    let packetNumberOffset = count
    write(packetNumber: packetNumber, length: packetNumberLength)
    return PacketStart(
      offset: start, packetNumber: packetNumber, lengthOffset: lengthOffset, packetNumberOffset: packetNumberOffset,
      payloadOffset: count)
  }

  /// The short header of a 1-RTT packet (RFC 9000 §17.3.1).
  @inline(__always)
  public mutating func beginShortPacket(
    destinationID: ConnectionID, fixedBit: Bool = true, spin: Bool = false, keyPhase: Bool, packetNumber: UInt64,
    packetNumberLength: Int
  ) -> PacketStart {
    precondition((1...4).contains(packetNumberLength))
    let start = count
    write(UInt8((fixedBit ? 0x40 : 0) | (spin ? 0x20 : 0) | (keyPhase ? 0x04 : 0)) | UInt8(packetNumberLength - 1))
    destinationID.withUnsafeBytes { write($0) }
    let packetNumberOffset = count
    write(packetNumber: packetNumber, length: packetNumberLength)
    return PacketStart(
      offset: start, packetNumber: packetNumber, lengthOffset: nil, packetNumberOffset: packetNumberOffset,
      payloadOffset: count)
  }

  /// Ends a packet whose frames have been written: fills in Length, seals the payload and protects the header.
  ///
  /// A payload too short to sample is padded first (RFC 9001 §5.4.2). The writer must have
  /// ``PacketCrypto/PacketKey/tagLength`` bytes of room left, and 3 more where the payload may be shorter than that
  /// padding makes it.
  ///
  /// - Returns: bytes of the whole packet; nil, with the packet taken back, when it did not fit.
  public mutating func finishPacket(
    _ start: PacketStart, key: borrowing PacketKey, headerProtection: borrowing HeaderProtectionKey
  ) -> Int? {
    // RFC 9001 §5.4.2: "packets are padded so that the combined lengths of the encoded packet number and protected
    // payload is at least 4 bytes longer than the sample required for header protection." The tag is as long as the
    // sample, so number and plaintext must make four bytes.
    let short = 4 - (count - start.packetNumberOffset)
    if short > 0 { write(zeros: short) }
    let payloadLength = count - start.payloadOffset
    advance(PacketKey.tagLength)
    if let lengthOffset = start.lengthOffset {
      patchTwoByteVarint(count - start.packetNumberOffset, at: lengthOffset)
    }
    guard !overflowed, payloadLength >= 0 else {
      rewind(to: start.offset)
      return nil
    }
    let packet = UnsafeMutableRawBufferPointer(rebasing: buffer[start.offset..<count])
    guard key.seal(packet, headerLength: start.headerLength, packetNumber: start.packetNumber),
      headerProtection.protect(packet, packetNumberOffset: start.packetNumberOffset - start.offset)
    else {
      rewind(to: start.offset)
      return nil
    }
    return packet.count
  }

  /// A connection ID behind its one-byte length.
  mutating func write(_ id: ConnectionID) {
    write(UInt8(id.length))
    id.withUnsafeBytes { write($0) }
  }

  /// RFC 9001 §9.5: "construction and protection of packet payloads and packet numbers MUST be free from side channels that
  /// would reveal the packet number or its encoded size." Four bytes are written whatever the length, and what is too many
  /// is written over.
  @inline(__always) private mutating func write(packetNumber: UInt64, length: Int) {
    write(UInt32(truncatingIfNeeded: packetNumber << UInt64(32 - 8 * length)))
    if !overflowed { rewind(to: count - (4 - length)) }
  }
}
