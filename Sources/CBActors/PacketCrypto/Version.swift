/// A QUIC version, with the constants that its packet protection is built on.
///
/// Everything that differs between versions on the wire or in the key schedule hangs here, so that
/// another version is another set of constants.
public struct Version: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// QUIC version 1 (RFC 9000).
  public static let v1 = Version(rawValue: 0x0000_0001)
  /// QUIC version 2 (RFC 9369 §3.1): the same protocol in other clothes.
  public static let v2 = Version(rawValue: 0x6b33_43cf)
  /// Not a version: the mark of a Version Negotiation packet (RFC 8999 §6).
  public static let negotiation = Version(rawValue: 0)

  /// The versions spoken here. Each is compatible with each other (RFC 9369 §4).
  public static let supported: [Version] = [.v1, .v2]

  @inlinable public var isSupported: Bool { self == .v1 || self == .v2 }

  /// A version of the form 0x?a?a?a?a, reserved to exercise version negotiation (RFC 9000 §15).
  public var isReserved: Bool { rawValue & 0x0f0f_0f0f == 0x0a0a_0a0a }

  /// One of the reserved versions, chosen by the four high halves of `seed`'s bytes.
  public static func reserved(_ seed: UInt32) -> Version { Version(rawValue: seed & 0xf0f0_f0f0 | 0x0a0a_0a0a) }
}

extension Version: CustomStringConvertible {
  public var description: String {
    switch self {
    case .v1: "v1"
    case .v2: "v2"
    default: "0x" + String(rawValue, radix: 16)
    }
  }
}

extension Version {
  /// The salt of the Initial secrets (RFC 9001 §5.2, RFC 9369 §3.3.1).
  var initialSalt: [UInt8] {
    self == .v2
      ? [
        0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
        0xf9, 0xbd, 0x2e, 0xd9,
      ]
      : [
        0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
        0xcc, 0xbb, 0x7f, 0x0a,
      ]
  }

  /// The AEAD key of the Retry integrity tag (RFC 9001 §5.8, RFC 9369 §3.3.3).
  var retryKey: [UInt8] {
    self == .v2
      ? [0x8f, 0xb4, 0xb0, 0x1b, 0x56, 0xac, 0x48, 0xe2, 0x60, 0xfb, 0xcb, 0xce, 0xad, 0x7c, 0xcc, 0x92]
      : [0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e]
  }

  /// The AEAD nonce of the Retry integrity tag (RFC 9001 §5.8, RFC 9369 §3.3.3).
  var retryNonce: [UInt8] {
    self == .v2
      ? [0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a]
      : [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb]
  }

  /// HKDF-Expand-Label labels (RFC 9001 §5.1, §6.1; RFC 9369 §3.3.2), without the "tls13 " that every label begins with.
  var keyLabel: StaticString { self == .v2 ? "quicv2 key" : "quic key" }
  var ivLabel: StaticString { self == .v2 ? "quicv2 iv" : "quic iv" }
  var headerProtectionLabel: StaticString { self == .v2 ? "quicv2 hp" : "quic hp" }
  var keyUpdateLabel: StaticString { self == .v2 ? "quicv2 ku" : "quic ku" }
}
