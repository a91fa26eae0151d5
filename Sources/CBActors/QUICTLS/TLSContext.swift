internal import CNIOBoringSSL
import PacketCrypto

/// An `SSL_CTX` set up for QUIC, with what both roles have alike.
final class TLSContext: Sendable {
  // Proof: an SSL_CTX is configured before this object is shared; from then on BoringSSL allows any thread to make
  // sessions from it.
  nonisolated(unsafe) let handle: OpaquePointer
  private let keyLog: KeyLog?

  /// The key exchanges offered and taken, the preferred one first: X25519MLKEM768 withstands recordings that are kept for
  /// a quantum computer.
  static let groups = [UInt16(SSL_GROUP_X25519_MLKEM768), UInt16(SSL_GROUP_X25519), UInt16(SSL_GROUP_SECP256R1)]

  init(cipherSuites: [CipherSuite], keyLogFile: String?) throws(TLSConfigurationError) {
    keyLog = try keyLogFile.map { (path) throws(TLSConfigurationError) in try KeyLog(path: path) }
    guard let handle = SSL_CTX_new(TLS_method()) else { throw TLSConfigurationError(library: "no TLS context") }
    self.handle = handle
    // RFC 9001 §4.2: "Clients MUST NOT offer TLS versions older than 1.3."
    let suites = cipherSuites.map(\.rawValue)
    guard !suites.isEmpty, Set(suites).count == suites.count else {
      throw TLSConfigurationError("cipher suites: none, or one twice")
    }
    guard SSL_CTX_set_min_proto_version(handle, UInt16(TLS1_3_VERSION)) == 1,
      SSL_CTX_set_max_proto_version(handle, UInt16(TLS1_3_VERSION)) == 1,
      SSL_CTX_set1_group_ids(handle, Self.groups, Self.groups.count) == 1,
      suites == CipherSuite.allCases.map(\.rawValue)
        || SSL_CTX_set1_tls13_ciphers(handle, suites, nil, suites.count) == 1,
      SSL_CTX_set_quic_method(handle, QUICMethod.table) == 1
    else { throw TLSConfigurationError(library: "TLS 1.3 for QUIC refused") }
    if keyLog != nil {
      SSL_CTX_set_keylog_callback(handle) { ssl, line in
        guard let ssl, let line else { return }
        TLSHandshake.of(ssl)?.context.keyLog?.append(line)
      }
    }
  }

  deinit { SSL_CTX_free(handle) }

  /// Protocol names, each behind its length (RFC 7301 §3.1).
  static func wireForm(_ protocols: [String]) throws(TLSConfigurationError) -> [UInt8] {
    guard !protocols.isEmpty else {
      throw TLSConfigurationError("no application protocol: QUIC needs one (RFC 9001 §8.1)")
    }
    var wire: [UInt8] = []
    for name in protocols {
      guard (1...255).contains(name.utf8.count) else {
        throw TLSConfigurationError("an application protocol of \(name.utf8.count) bytes")
      }
      wire.append(UInt8(name.utf8.count))
      wire += name.utf8
    }
    return wire
  }
}
