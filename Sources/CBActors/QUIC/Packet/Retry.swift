public import PacketCrypto
public import Wire

/// Retry packets (RFC 9000 §17.2.5).
public enum Retry {
  /// Writes a Retry packet with its integrity tag.
  ///
  /// - Parameters:
  ///   - destinationID: the client's Source Connection ID.
  ///   - sourceID: chosen by the server; it must differ from `originalDestinationID`.
  ///   - originalDestinationID: of the client's Initial packet.
  ///   - token: not empty.
  public static func write(
    to writer: inout ByteWriter, version: Version = .v1, destinationID: ConnectionID, sourceID: ConnectionID,
    originalDestinationID: ConnectionID, token: UnsafeRawBufferPointer, entropy: any EntropySource
  ) {
    let start = writer.count
    var unused: UInt8 = 0
    withUnsafeMutableBytes(of: &unused) { entropy.fill($0) }
    writer.write(0xc0 | PacketType.retry.bits(in: version) << 4 | unused & 0x0f)
    writer.write(version.rawValue)
    writer.write(destinationID)
    writer.write(sourceID)
    writer.write(token)
    guard !writer.overflowed else { return }
    let packet = UnsafeRawBufferPointer(rebasing: writer.written[start...])
    let tag = originalDestinationID.withUnsafeBytes {
      RetryIntegrity.tag(version: version, originalDestinationConnectionID: $0, retry: packet)
    }
    writer.write(tag)
  }

  /// Whether a client may follow a Retry packet that it received.
  ///
  /// - Parameters:
  ///   - packet: what `header` was read from.
  ///   - originalDestinationID: of the Initial packet that the client sent.
  public static func isValid(
    _ packet: UnsafeRawBufferPointer, header: PacketHeader, originalDestinationID: ConnectionID
  ) -> Bool {
    guard header.type == .retry, header.packetLength <= packet.count else { return false }
    // RFC 9000 §17.2.5.1: "A client MUST discard a Retry packet that contains a Source Connection ID field that is
    // identical to the Destination Connection ID field of its Initial packet."
    guard header.sourceID != originalDestinationID else { return false }
    // RFC 9000 §17.2.5.2: "A client MUST discard a Retry packet with a zero-length Retry Token field."
    guard !header.token.isEmpty else { return false }
    // RFC 9000 §17.2.5.2: "Clients MUST discard Retry packets that have a Retry Integrity Tag that cannot be
    // validated"
    return originalDestinationID.withUnsafeBytes {
      RetryIntegrity.verify(
        tag: UnsafeRawBufferPointer(rebasing: packet[header.packetNumberOffset..<header.packetLength]),
        version: header.version, originalDestinationConnectionID: $0,
        retry: UnsafeRawBufferPointer(rebasing: packet[..<header.packetNumberOffset]))
    }
  }
}
