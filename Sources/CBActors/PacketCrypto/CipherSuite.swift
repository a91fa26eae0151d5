/// The TLS 1.3 cipher suites that QUIC uses (RFC 9001 §5.3), by their TLS code point.
public enum CipherSuite: UInt16, Sendable, CaseIterable {
  case aes128GCM = 0x1301
  case aes256GCM = 0x1302
  case chaCha20Poly1305 = 0x1303
}

extension CipherSuite {
  /// Bytes of the AEAD key and of the header-protection key.
  public var keyLength: Int { self == .aes128GCM ? 16 : 32 }

  /// Bytes of a traffic secret: the length of the suite's hash.
  public var secretLength: Int { hash.digestLength }

  /// The hash of the suite's key schedule.
  public var hash: HashFunction { self == .aes256GCM ? .sha384 : .sha256 }

  /// How many packets one key may seal (RFC 9001 §6.6, Appendix B).
  ///
  /// The limit for ChaCha20-Poly1305 lies beyond the largest packet number and so never binds.
  public var confidentialityLimit: UInt64 {
    self == .chaCha20Poly1305 ? .max : 1 << 23
  }

  /// How many packets that fail authentication a connection may bear, over all its keys (RFC 9001 §6.6).
  public var integrityLimit: UInt64 {
    self == .chaCha20Poly1305 ? 1 << 36 : 1 << 52
  }
}

/// The hashes of TLS 1.3's cipher suites.
public enum HashFunction: Sendable {
  case sha256, sha384

  /// Bytes of output: 32 or 48.
  public var digestLength: Int { self == .sha256 ? 32 : 48 }
}
