public import PacketCrypto
public import Wire

/// Version Negotiation packets (RFC 8999 §6, RFC 9000 §17.2.1).
public enum VersionNegotiation {
  /// Writes the answer to a packet of a version that is not spoken here, with a reserved version among those that are.
  ///
  /// RFC 9000 §17.2.1: "The server MUST include the value from the Source Connection ID field of the packet it
  /// receives in the Destination Connection ID field."
  public static func write(
    to writer: inout ByteWriter, answering header: InvariantHeader, versions: [Version] = Version.supported,
    entropy: any EntropySource
  ) {
    let random = entropy.nextUInt64()
    // RFC 9000 §17.2.1: 0x40 is set where QUIC might be multiplexed with other protocols.
    writer.write(UInt8(truncatingIfNeeded: random >> 32) | 0xc0)
    writer.write(Version.negotiation.rawValue)
    writer.write(UInt8(truncatingIfNeeded: header.sourceID.count))
    writer.write(header.sourceID)
    writer.write(UInt8(truncatingIfNeeded: header.destinationID.count))
    writer.write(header.destinationID)
    // RFC 9000 §6.3: clients are kept used to versions that they do not know. One that itself began with a reserved
    // version must not find it here.
    var reserved = Version.reserved(UInt32(truncatingIfNeeded: random))
    if reserved == header.version { reserved = Version.reserved(~reserved.rawValue) }
    writer.write(reserved.rawValue)
    for version in versions { writer.write(version.rawValue) }
  }

  /// The versions that a Version Negotiation packet offers; nil when there is none or a part of one.
  ///
  /// - Parameter packet: what `header` was read from.
  public static func versions(_ packet: UnsafeRawBufferPointer, header: PacketHeader) -> [Version]? {
    guard header.type == .versionNegotiation, header.packetNumberOffset <= packet.count else { return nil }
    let count = packet.count - header.packetNumberOffset
    guard count > 0, count % 4 == 0 else { return nil }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: packet[header.packetNumberOffset...]))
    var versions: [Version] = []
    while let value = reader.readUInt32() { versions.append(Version(rawValue: value)) }
    return versions
  }
}
