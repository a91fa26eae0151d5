/// The TLS 1.3 cipher suites that QUIC version 1 uses (RFC 9001 §5.3), by their TLS code point.
public enum CipherSuite: UInt16, Sendable, CaseIterable {
  case aes128GCM = 0x1301
  case aes256GCM = 0x1302
  case chaCha20Poly1305 = 0x1303
}
