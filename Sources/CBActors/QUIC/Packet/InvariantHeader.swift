public import PacketCrypto
import Wire

/// The part of a header that every version of QUIC has alike (RFC 8999 §5).
///
/// Connection IDs of other versions may be up to 255 bytes long, hence slices.
public struct InvariantHeader {
  /// Short headers say no version: nil.
  public let version: Version?
  public let destinationID: UnsafeRawBufferPointer
  /// Empty in a short header.
  public let sourceID: UnsafeRawBufferPointer
  /// Where the version-specific part begins.
  public let length: Int

  public var isLong: Bool { version != nil }

  /// Nil for a datagram too short to hold what it announces.
  ///
  /// - Parameter shortIDLength: how long the connection IDs are that this endpoint issues.
  public init?(_ datagram: UnsafeRawBufferPointer, shortIDLength: Int) {
    var reader = ByteReader(datagram)
    guard let first = reader.readUInt8() else { return nil }
    if first & 0x80 != 0 {
      guard let version = reader.readUInt32(), let destinationLength = reader.readUInt8(),
        let destination = reader.readBytes(Int(destinationLength)), let sourceLength = reader.readUInt8(),
        let source = reader.readBytes(Int(sourceLength))
      else { return nil }
      self.version = Version(rawValue: version)
      destinationID = destination
      sourceID = source
    } else {
      guard let destination = reader.readBytes(shortIDLength) else { return nil }
      version = nil
      destinationID = destination
      sourceID = UnsafeRawBufferPointer(start: nil, count: 0)
    }
    length = reader.offset
  }
}
