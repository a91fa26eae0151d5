internal import CNIOBoringSSL
import PacketCrypto

/// Applies a ``TrustPolicy`` to the chain that a peer shows.
final class PeerVerifier: Sendable {
  private let hasAnchors: Bool
  private let pins: [[UInt8]]

  /// Puts the policy's anchors into `context` and makes it ask this verifier, which the caller must keep for as long.
  init(_ policy: TrustPolicy, for context: OpaquePointer) throws(TLSConfigurationError) {
    for pin in policy.pinnedPublicKeys where pin.count != 32 {
      throw TLSConfigurationError("a public key pin of \(pin.count) bytes: SHA-256 has 32")
    }
    guard policy.hasAnchors || !policy.pinnedPublicKeys.isEmpty else {
      throw TLSConfigurationError("a trust policy that trusts no one")
    }
    hasAnchors = policy.hasAnchors
    pins = policy.pinnedPublicKeys
    let store = SSL_CTX_get_cert_store(context)
    var sources = policy.certificates.map { (name: "a trusted certificate", text: $0) }
    for path in policy.certificateFiles + (policy.system ? [TrustPolicy.systemBundlePath] : []) {
      sources.append((name: path, text: try FileContents.read(path)))
    }
    for source in sources {
      for certificate in try PEM.certificates(in: source.text, named: source.name) {
        X509_STORE_add_cert(store, certificate)
        X509_free(certificate)
      }
    }
    ERR_clear_error()
    SSL_CTX_set_cert_verify_callback(
      context,
      { chain, verifier in
        // Proof for both unwraps: BoringSSL hands over the chain at hand and the pointer given below.
        Unmanaged<PeerVerifier>.fromOpaque(verifier!).takeUnretainedValue().accepts(chain!) ? 1 : 0
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  private func accepts(_ chain: OpaquePointer) -> Bool {
    if hasAnchors {
      guard X509_verify_cert(chain) == 1 else { return false }
      if pins.isEmpty { return true }
      let verified = X509_STORE_CTX_get0_chain(chain)
      for index in 0..<OPENSSL_sk_num(verified) {
        if let certificate = OPENSSL_sk_value(verified, index), isPinned(OpaquePointer(certificate)) { return true }
      }
    } else if let leaf = X509_STORE_CTX_get0_cert(chain), isPinned(leaf) {
      X509_STORE_CTX_set_error(chain, X509_V_OK)
      return true
    }
    X509_STORE_CTX_set_error(chain, X509_V_ERR_APPLICATION_VERIFICATION)
    return false
  }

  private func isPinned(_ certificate: OpaquePointer) -> Bool {
    guard let pin = PublicKeyPin.of(certificate) else { return false }
    return pins.contains(pin)
  }

  /// What was wrong with a peer's chain, in words.
  static func reason(result: Int, expectedName: String?) -> String {
    switch Int32(truncatingIfNeeded: result) {
    case X509_V_ERR_HOSTNAME_MISMATCH: "hostname mismatch: wanted \(expectedName ?? "")"
    case X509_V_ERR_IP_ADDRESS_MISMATCH: "IP address mismatch: wanted \(expectedName ?? "")"
    case X509_V_ERR_CERT_HAS_EXPIRED: "certificate expired"
    case X509_V_ERR_APPLICATION_VERIFICATION: "public key is not the pinned one"
    default: String(cString: X509_verify_cert_error_string(result))
    }
  }
}
