public import PacketCrypto
import Wire

/// What a header says once its protection is off (RFC 9000 §17.2, §17.3.1).
public struct UnprotectedHeader: Sendable {
  public let firstByte: UInt8
  public let packetNumberLength: Int
  /// The packet number's low end, to be restored with ``PacketNumber/decode(_:length:largestReceived:)``.
  public let truncatedPacketNumber: UInt32
  /// Bytes of the header, which the AEAD authenticates.
  public let headerLength: Int

  /// The Key Phase bit; meaningful in a short header.
  @inline(__always) public var keyPhase: Bool { firstByte & 0x04 != 0 }

  /// The latency spin bit; meaningful in a short header.
  @inline(__always) public var spin: Bool { firstByte & 0x20 != 0 }

  /// RFC 9000 §17.2: "An endpoint MUST treat receipt of a packet that has a non-zero value for these bits after
  /// removing both packet and header protection as a connection error of type PROTOCOL_VIOLATION."
  ///
  /// To be asked only once the packet is known to be authentic.
  @inline(__always) public var hasReservedBits: Bool { firstByte & (firstByte & 0x80 != 0 ? 0x0c : 0x18) != 0 }
}

extension HeaderProtectionKey {
  /// Removes header protection in place (RFC 9001 §5.4.1).
  ///
  /// - Parameters:
  ///   - packet: one packet whole, as ``PacketHeader/packetLength`` bounds it.
  ///   - packetNumberOffset: from its ``PacketHeader``.
  /// - Returns: nil, with nothing changed, when the packet is too short to sample.
  public borrowing func unprotect(
    _ packet: UnsafeMutableRawBufferPointer, packetNumberOffset offset: Int
  ) -> UnprotectedHeader? {
    guard offset >= 1, packet.count - offset >= 4 + Self.sampleLength, let base = packet.baseAddress else { return nil }
    // RFC 9001 §5.4.2: the sample is taken as if the packet number were four bytes long.
    let mask = mask(sample: base + offset + 4)
    let first = packet[0] ^ mask.first & Self.firstByteMask(packet[0])
    packet[0] = first
    let length = Int(first & 0x03) + 1
    let all = UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    let shift = UInt32(32 - 8 * length)
    let numberMask = (mask.packetNumber >> shift) << shift
    packet.storeBytes(of: (all ^ numberMask).bigEndian, toByteOffset: offset, as: UInt32.self)
    return UnprotectedHeader(
      firstByte: first, packetNumberLength: length, truncatedPacketNumber: (all ^ numberMask) >> shift,
      headerLength: offset + length)
  }

  /// Applies header protection in place to a sealed packet (RFC 9001 §5.4.1).
  ///
  /// - Returns: false, with nothing changed, when the packet is too short to sample.
  public borrowing func protect(_ packet: UnsafeMutableRawBufferPointer, packetNumberOffset offset: Int) -> Bool {
    guard offset >= 1, packet.count - offset >= 4 + Self.sampleLength, let base = packet.baseAddress else {
      return false
    }
    let mask = mask(sample: base + offset + 4)
    let shift = UInt32(24 - 8 * (packet[0] & 0x03))
    packet[0] ^= mask.first & Self.firstByteMask(packet[0])
    let all = packet.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    packet.storeBytes(
      of: all ^ ((mask.packetNumber >> shift) << shift).bigEndian, toByteOffset: offset, as: UInt32.self)
    return true
  }

  /// The bits of the first byte that are protected: four in a long header, five in a short one.
  @inline(__always) private static func firstByteMask(_ first: UInt8) -> UInt8 { first & 0x80 != 0 ? 0x0f : 0x1f }
}
