internal import CNIOBoringSSL
public import PacketCrypto
public import QUIC

/// One TLS 1.3 handshake of BoringSSL, for either role: what ``TLSServerSession`` and ``TLSClientSession`` share.
public class TLSHandshake: TLSSession {
  let ssl: OpaquePointer
  /// Keeps alive what the `SSL` points to: the verifier, the key log.
  let context: TLSContext
  private var outputs: [TLSOutput] = []
  private var outputsTaken = 0
  private var alert: UInt8?
  private var failure: TransportError?
  private var laterMessages = PostHandshakeMessages()

  /// The name that the peer's certificate must bear, where one is asked for.
  var expectedName: String? { nil }

  init(_ context: TLSContext) {
    self.context = context
    // SSL_new fails only when memory is exhausted.
    ssl = SSL_new(context.handle)!
    // An idle connection need not keep what was only of use to its handshake.
    SSL_set_shed_handshake_config(ssl, 1)
    // Not retained: this object owns the SSL, so the pointer is good whenever a callback runs.
    SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit { SSL_free(ssl) }

  /// The handshake that an `SSL` belongs to.
  static func of(_ ssl: OpaquePointer?) -> TLSHandshake? {
    guard let ssl, let pointer = SSL_get_ex_data(ssl, 0) else { return nil }
    return Unmanaged<TLSHandshake>.fromOpaque(pointer).takeUnretainedValue()
  }

  // MARK: TLSSession

  public var version = Version.v1
  public var resumedVersion: Version? { nil }
  public var isResumptionOffered: Bool { false }

  public func setTransportParameters(_ encoded: [UInt8]) {
    let done = SSL_set_quic_transport_params(ssl, encoded, encoded.count)
    precondition(done == 1, "transport parameters are refused only when memory is exhausted")
  }

  public func receive(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) throws(TransportError) {
    if let failure { throw failure }
    guard !bytes.isEmpty else { return }
    if level == .oneRTT, laterMessages.begins(PostHandshakeMessages.certificateRequest, in: bytes),
      SSL_is_server(ssl) == 0
    {
      // RFC 9001 §4.4: "servers MUST NOT send post-handshake TLS CertificateRequest messages, and clients MUST treat receipt of
      // such messages as a connection error of type PROTOCOL_VIOLATION."
      throw fail(TransportError(.protocolViolation, "a certificate asked for after the handshake"))
    }
    ERR_clear_error()
    let data = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    guard SSL_provide_quic_data(ssl, level.library, data, bytes.count) == 1 else {
      let isTooMuch = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_EXCESSIVE_MESSAGE_SIZE
      ERR_clear_error()
      // RFC 9001 §4.1.3: handshake data that is not expected at its level is a PROTOCOL_VIOLATION.
      throw fail(
        isTooMuch
          ? TransportError(.cryptoBufferExceeded, "more handshake data than a flight can have")
          : TransportError(.protocolViolation, "handshake data at the wrong encryption level"))
    }
  }

  public func advance() throws(TransportError) {
    if let failure { throw failure }
    ERR_clear_error()
    let result = isComplete ? SSL_process_quic_post_handshake(ssl) : continueHandshake()
    if result != 1 {
      let error = SSL_get_error(ssl, result)
      switch error {
      case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_PENDING_CERTIFICATE: return ERR_clear_error()
      default: break
      }
    }
    guard result == 1, alert == nil else { throw fail(handshakeError()) }
  }

  public func nextOutput() -> TLSOutput? {
    guard outputsTaken < outputs.count else {
      if outputsTaken > 0 {
        outputs.removeAll()
        outputsTaken = 0
      }
      return nil
    }
    defer { outputsTaken += 1 }
    return outputs[outputsTaken]
  }

  public var isComplete: Bool { SSL_in_init(ssl) == 0 }

  public var peerTransportParameters: [UInt8]? {
    var pointer: UnsafePointer<UInt8>?
    var count = 0
    SSL_get_peer_quic_transport_params(ssl, &pointer, &count)
    guard count > 0, let pointer else { return nil }
    return [UInt8](UnsafeBufferPointer(start: pointer, count: count))
  }

  public var applicationProtocol: String? {
    var pointer: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &pointer, &count)
    guard count > 0, let pointer else { return nil }
    return String(decoding: UnsafeBufferPointer(start: pointer, count: Int(count)), as: UTF8.self)
  }

  public var isResumed: Bool { SSL_session_reused(ssl) == 1 }

  public var earlyData: EarlyDataState {
    if SSL_early_data_accepted(ssl) == 1 { return .accepted }
    if SSL_in_early_data(ssl) == 1 { return .offered }
    return wasEarlyDataRejected ? .rejected : .notOffered
  }
  private var wasEarlyDataRejected = false

  public var rememberedTransportParameters: [UInt8]? { nil }

  public var peerCertificates: [[UInt8]] {
    guard let chain = SSL_get0_peer_certificates(ssl) else { return [] }
    return (0..<OPENSSL_sk_num(chain)).compactMap { index in
      guard let certificate = OPENSSL_sk_value(chain, index).map({ OpaquePointer($0) }) else { return nil }
      return [UInt8](
        UnsafeBufferPointer(start: CRYPTO_BUFFER_data(certificate), count: CRYPTO_BUFFER_len(certificate)))
    }
  }

  /// The cipher suite agreed on, such as `TLS_AES_128_GCM_SHA256`; nil before that.
  public var cipherSuiteName: String? {
    SSL_get_current_cipher(ssl).flatMap { SSL_CIPHER_standard_name($0) }.map { String(cString: $0) }
  }

  /// The key exchange agreed on, such as "X25519MLKEM768"; nil before that.
  public var keyExchangeGroup: String? {
    let group = SSL_get_group_id(ssl)
    return group == 0 ? nil : SSL_get_group_name(group).map { String(cString: $0) }
  }

  // MARK: The handshake

  private func continueHandshake() -> Int32 {
    let result = SSL_do_handshake(ssl)
    guard result != 1, SSL_get_error(ssl, result) == SSL_ERROR_EARLY_DATA_REJECTED else { return result }
    wasEarlyDataRejected = true
    SSL_reset_early_data_reject(ssl)
    return SSL_do_handshake(ssl)
  }

  /// RFC 9001 §4.8: an alert becomes a CRYPTO_ERROR, but for what QUIC has words of its own for.
  private func handshakeError() -> TransportError {
    // The first error is the cause; the later ones say what came of it.
    let cause = ERR_GET_REASON(ERR_peek_error())
    let text = LibraryError.takeText()
    let alert = self.alert ?? UInt8(SSL_AD_INTERNAL_ERROR)
    switch cause {
    case SSL_R_EXCESS_HANDSHAKE_DATA:
      // RFC 9001 §4.1.3: "When TLS provides keys for a higher encryption level, if there is data from a previous encryption
      // level that TLS has not consumed, this MUST be treated as a connection error of type PROTOCOL_VIOLATION."
      return TransportError(
        .protocolViolation, "handshake data beyond the end of a flight", frameType: FrameType.crypto)
    case SSL_R_INVALID_ALPN_PROTOCOL:
      // RFC 9001 §8.1: "a client MUST treat the selection of an incompatible application protocol by a server as a connection
      // error of type 0x0178."
      return TransportError(
        .crypto(alert: UInt8(SSL_AD_NO_APPLICATION_PROTOCOL)), "the server chose a protocol that was not offered",
        frameType: FrameType.crypto)
    case SSL_R_DECODE_ERROR where isComplete && alert == UInt8(SSL_AD_ILLEGAL_PARAMETER):
      // RFC 9001 §4.6.1: "A client MUST treat receipt of a NewSessionTicket that contains an early_data extension with any
      // other value as a connection error of type PROTOCOL_VIOLATION."
      return TransportError(
        .protocolViolation, "a ticket whose early data is not without limit", frameType: FrameType.crypto)
    default: break
    }
    let verification = SSL_get_verify_result(ssl)
    let reason: String
    if text == "CERTIFICATE_VERIFY_FAILED", verification != Int(X509_V_OK) {
      reason = PeerVerifier.reason(result: verification, expectedName: expectedName)
    } else if text.isEmpty {
      reason = String(cString: SSL_alert_desc_string_long(Int32(alert)))
    } else {
      reason = "\(String(cString: SSL_alert_desc_string_long(Int32(alert)))) (\(text))"
    }
    return TransportError(.crypto(alert: alert), reason, frameType: FrameType.crypto)
  }

  private func fail(_ error: TransportError) -> TransportError {
    failure = error
    return error
  }

  // MARK: What BoringSSL hands over

  func noteData(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) {
    // Pieces of one flight are joined: fewer CRYPTO frames.
    if outputsTaken < outputs.count, case .handshakeData(level, var data) = outputs[outputs.count - 1] {
      outputs.removeLast()
      data.append(contentsOf: bytes)
      outputs.append(.handshakeData(level, data))
    } else {
      outputs.append(.handshakeData(level, [UInt8](bytes)))
    }
  }

  func noteSecret(
    _ secret: TrafficSecret, _ suite: CipherSuite, _ direction: TLSOutput.Direction, at level: EncryptionLevel
  ) {
    outputs.append(.secret(level, direction, suite, secret))
  }

  func noteAlert(_ alert: UInt8) { self.alert = self.alert ?? alert }
}
