internal import CNIOBoringSSL
import PacketCrypto
import QUIC

/// The functions by which BoringSSL hands its handshake over to QUIC (RFC 9001 §4).
///
/// They run inside a call that a ``TLSHandshake`` made and only note what they are given: none calls back into
/// BoringSSL, so nothing is entered twice.
enum QUICMethod {
  // Proof: written once here, never changed, never freed; BoringSSL only reads it.
  nonisolated(unsafe) static let table: UnsafePointer<SSL_QUIC_METHOD> = {
    let table = UnsafeMutablePointer<SSL_QUIC_METHOD>.allocate(capacity: 1)
    table.initialize(
      to: SSL_QUIC_METHOD(
        set_read_secret: { ssl, level, cipher, secret, count in
          QUICMethod.secret(.read, ssl, level, cipher, secret, count)
        },
        set_write_secret: { ssl, level, cipher, secret, count in
          QUICMethod.secret(.write, ssl, level, cipher, secret, count)
        },
        add_handshake_data: { ssl, level, data, count in
          guard let handshake = TLSHandshake.of(ssl), let level = EncryptionLevel(level) else { return 0 }
          handshake.noteData(UnsafeRawBufferPointer(start: data, count: count), at: level)
          return 1
        },
        flush_flight: { _ in 1 },
        send_alert: { ssl, _, alert in
          TLSHandshake.of(ssl)?.noteAlert(alert)
          return 1
        }))
    return UnsafePointer(table)
  }()

  private static func secret(
    _ direction: TLSOutput.Direction, _ ssl: OpaquePointer?, _ level: ssl_encryption_level_t, _ cipher: OpaquePointer?,
    _ secret: UnsafePointer<UInt8>?, _ count: Int
  ) -> Int32 {
    guard let handshake = TLSHandshake.of(ssl), let level = EncryptionLevel(level), let cipher,
      let suite = CipherSuite(rawValue: SSL_CIPHER_get_protocol_id(cipher)), count == suite.secretLength
    else { return 0 }
    handshake.noteSecret(
      TrafficSecret(UnsafeRawBufferPointer(start: secret, count: count)), suite, direction, at: level)
    return 1
  }
}

extension EncryptionLevel {
  init?(_ level: ssl_encryption_level_t) {
    switch level {
    case ssl_encryption_initial: self = .initial
    case ssl_encryption_early_data: self = .zeroRTT
    case ssl_encryption_handshake: self = .handshake
    case ssl_encryption_application: self = .oneRTT
    default: return nil
    }
  }

  var library: ssl_encryption_level_t {
    switch self {
    case .initial: ssl_encryption_initial
    case .zeroRTT: ssl_encryption_early_data
    case .handshake: ssl_encryption_handshake
    case .oneRTT: ssl_encryption_application
    }
  }
}
