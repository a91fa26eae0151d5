import PacketCrypto
import Wire

/// What an address validation token says (RFC 9000 §8.1): to which address it was given, when, and how. Sealed by
/// ``AddressTokens``, so that nothing of it can be read or forged on the way.
struct AddressToken: Equatable {
  /// RFC 9000 §8.1.1: "A token sent in a NEW_TOKEN frame or a Retry packet MUST be constructed in a way that allows the
  /// server to identify how it was provided to a client."
  enum Origin: Equatable {
    /// A Retry packet, to a port, since it is answered at once: with the Destination Connection ID of the client's
    /// first packet, and the ID that the Retry packet gave the client.
    case retry(port: UInt16, originalDestinationID: ConnectionID, retrySourceID: ConnectionID)
    /// A NEW_TOKEN frame.
    case newToken
  }

  var origin: Origin
  /// When it was given, on the clock that all who seal with the same secret share.
  var issued: Instant
  /// RFC 9000 §8.1.4: "Tokens sent in NEW_TOKEN frames MUST include information that allows the server to verify that the
  /// client IP address has not changed from when the token was issued."
  var address: IPAddress
  /// A token is good for the QUIC version that it was given in (RFC 9369 §5).
  var version: Version

  init(_ origin: Origin, issued: Instant, address: IPAddress, version: Version) {
    self.origin = origin
    self.issued = issued
    self.address = address.unmapped
    self.version = version
  }

  private static let retryType: UInt8 = 0
  private static let newTokenType: UInt8 = 1

  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    switch origin {
    case .retry(let port, let original, let source):
      bytes = [Self.retryType, UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
      for id in [original, source] {
        bytes.append(UInt8(id.length))
        id.withUnsafeBytes { bytes.append(contentsOf: $0) }
      }
    case .newToken: bytes = [Self.newTokenType]
    }
    withUnsafeBytes(of: issued.nanoseconds.bigEndian) { bytes.append(contentsOf: $0) }
    withUnsafeBytes(of: version.rawValue.bigEndian) { bytes.append(contentsOf: $0) }
    return bytes + address.networkBytes
  }

  /// Nil for what ``encoded`` never gives.
  init?(encoded: [UInt8]) {
    let parsed = encoded.withUnsafeBytes { bytes -> AddressToken? in
      var reader = ByteReader(bytes)
      guard let origin = Self.readOrigin(&reader), let issued = reader.readUInt64(), let version = reader.readUInt32(),
        let rest = reader.readBytes(reader.remaining), let address = IPAddress(networkBytes: rest)
      else { return nil }
      return AddressToken(
        origin, issued: Instant(nanoseconds: Int64(bitPattern: issued)), address: address,
        version: Version(rawValue: version))
    }
    guard let parsed else { return nil }
    self = parsed
  }

  private static func readOrigin(_ reader: inout ByteReader) -> Origin? {
    switch reader.readUInt8() {
    case newTokenType: return .newToken
    case retryType:
      guard let port = reader.readUInt16(),
        let originalLength = reader.readUInt8(), let original = reader.readBytes(Int(originalLength)),
        let sourceLength = reader.readUInt8(), let source = reader.readBytes(Int(sourceLength)),
        let originalID = ConnectionID(original), let sourceID = ConnectionID(source)
      else { return nil }
      return .retry(port: port, originalDestinationID: originalID, retrySourceID: sourceID)
    default: return nil
    }
  }
}
