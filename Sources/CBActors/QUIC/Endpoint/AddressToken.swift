import PacketCrypto
import Wire

/// The token in a Retry packet: a client that returns it has received at its address (RFC 9000 §8.1.2, §8.1.4).
///
/// It is sealed with a key of the endpoint's, bound to the client's address and port, and good for a short time.
struct AddressToken {
  /// The Destination Connection ID of the client's first packet.
  var originalDestinationID: ConnectionID
  /// The ID that the Retry packet gave the client.
  var retrySourceID: ConnectionID
  /// When it was given, on the endpoint's own clock.
  var issued: Instant

  func sealed(_ key: TokenKey, for address: SocketAddress, entropy: any EntropySource) -> [UInt8] {
    var plaintext = withUnsafeBytes(of: issued.nanoseconds.bigEndian) { [UInt8]($0) }
    for id in [originalDestinationID, retrySourceID] {
      plaintext.append(UInt8(id.length))
      id.withUnsafeBytes { plaintext.append(contentsOf: $0) }
    }
    return key.seal(plaintext, context: Self.context(address), entropy: entropy)
  }

  /// Nil for a token that is not ours, or not for this address.
  init?(_ token: UnsafeRawBufferPointer, _ key: TokenKey, from address: SocketAddress) {
    guard let plaintext = key.open(token, context: Self.context(address)) else { return nil }
    let parsed = plaintext.withUnsafeBytes { bytes -> AddressToken? in
      var reader = ByteReader(bytes)
      guard let issued = reader.readUInt64(),
        let originalLength = reader.readUInt8(), let original = reader.readBytes(Int(originalLength)),
        let retryLength = reader.readUInt8(), let retry = reader.readBytes(Int(retryLength)), reader.isAtEnd,
        let originalID = ConnectionID(original), let retryID = ConnectionID(retry)
      else { return nil }
      return AddressToken(
        originalDestinationID: originalID, retrySourceID: retryID,
        issued: Instant(nanoseconds: Int64(bitPattern: issued)))
    }
    guard let parsed else { return nil }
    self = parsed
  }

  init(originalDestinationID: ConnectionID, retrySourceID: ConnectionID, issued: Instant) {
    self.originalDestinationID = originalDestinationID
    self.retrySourceID = retrySourceID
    self.issued = issued
  }

  /// RFC 9000 §8.1.4: an address and, since a Retry is answered at once, its port.
  private static func context(_ address: SocketAddress) -> [UInt8] {
    address.ip.unmapped.networkBytes + [UInt8(address.port >> 8), UInt8(truncatingIfNeeded: address.port)]
  }
}
