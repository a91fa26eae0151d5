/// A QUIC version, with the constants that its packet protection is built on.
///
/// Everything that differs between versions on the wire or in the key schedule hangs here, so that
/// another version is another set of constants.
public struct Version: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// QUIC version 1 (RFC 9000).
  public static let v1 = Version(rawValue: 0x0000_0001)
  /// Not a version: the mark of a Version Negotiation packet (RFC 8999 §6).
  public static let negotiation = Version(rawValue: 0)

  /// The versions spoken here, the preferred one first.
  public static let supported: [Version] = [.v1]

  @inlinable public var isSupported: Bool { self == .v1 }

  /// A version of the form 0x?a?a?a?a, reserved to exercise version negotiation (RFC 9000 §15).
  public var isReserved: Bool { rawValue & 0x0f0f_0f0f == 0x0a0a_0a0a }
}

extension Version: CustomStringConvertible {
  public var description: String { self == .v1 ? "v1" : "0x" + String(rawValue, radix: 16) }
}

extension Version {
  /// The salt of the Initial secrets (RFC 9001 §5.2).
  var initialSalt: [UInt8] {
    [
      0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
      0xcc, 0xbb, 0x7f, 0x0a,
    ]
  }

  /// The AEAD key of the Retry integrity tag (RFC 9001 §5.8).
  var retryKey: [UInt8] {
    [0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e]
  }

  /// The AEAD nonce of the Retry integrity tag (RFC 9001 §5.8).
  var retryNonce: [UInt8] {
    [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb]
  }

  /// HKDF-Expand-Label labels (RFC 9001 §5.1, §6.1), without the "tls13 " that every label begins with.
  var keyLabel: StaticString { "quic key" }
  var ivLabel: StaticString { "quic iv" }
  var headerProtectionLabel: StaticString { "quic hp" }
  var keyUpdateLabel: StaticString { "quic ku" }
}
