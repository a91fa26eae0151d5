internal import CNIOBoringSSL
internal import Glibc

/// A certificate chain and the private key of its leaf, checked to belong together.
public final class TLSIdentity: Sendable {
  /// The leaf and what links it to an anchor; each an `X509` that this object owns a reference of.
  // Proof: X509 and EVP_PKEY are immutable once parsed, and their reference counts are atomic.
  nonisolated(unsafe) private let chain: [OpaquePointer]
  nonisolated(unsafe) private let key: OpaquePointer

  /// - Parameters:
  ///   - certificateChain: PEM, the leaf first.
  ///   - privateKey: PEM, not encrypted; its bytes are the caller's to erase.
  public init(certificateChain: [UInt8], privateKey: [UInt8]) throws(TLSConfigurationError) {
    let chain = try PEM.certificates(in: certificateChain, named: "the certificate chain")
    guard let key = PEM.privateKey(in: privateKey) else {
      chain.forEach { X509_free($0) }
      throw TLSConfigurationError(library: "no usable private key")
    }
    self.chain = chain
    self.key = key
    guard X509_check_private_key(chain[0], key) == 1 else {
      throw TLSConfigurationError(library: "the private key is not the first certificate's")
    }
  }

  /// Reads both from PEM files.
  public convenience init(
    certificateChainFile: String, privateKeyFile: String
  ) throws(TLSConfigurationError) {
    let chain = try FileContents.read(certificateChainFile)
    var key = try FileContents.read(privateKeyFile)
    defer { key.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
    try self.init(certificateChain: chain, privateKey: key)
  }

  deinit {
    chain.forEach { X509_free($0) }
    EVP_PKEY_free(key)
  }

  /// SHA-256 of the leaf's SubjectPublicKeyInfo: what a ``TrustPolicy`` pins.
  public var publicKeyPin: [UInt8] { PublicKeyPin.of(chain[0]) ?? [] }

  /// Whether the leaf is for a DNS name.
  func bears(_ name: String) -> Bool {
    X509_check_host(chain[0], name, name.utf8.count, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT), nil) == 1
  }

  /// Takes the place, for one handshake, of what its context shows. False when memory is exhausted.
  func show(in ssl: OpaquePointer) -> Bool {
    guard SSL_use_certificate(ssl, chain[0]) == 1, SSL_use_PrivateKey(ssl, key) == 1,
      SSL_clear_chain_certs(ssl) == 1
    else { return false }
    return chain.dropFirst().allSatisfy { SSL_add1_chain_cert(ssl, $0) == 1 }
  }

  func install(in context: OpaquePointer) throws(TLSConfigurationError) {
    guard SSL_CTX_use_certificate(context, chain[0]) == 1, SSL_CTX_use_PrivateKey(context, key) == 1 else {
      throw TLSConfigurationError(library: "certificate refused")
    }
    for certificate in chain.dropFirst() where SSL_CTX_add1_chain_cert(context, certificate) != 1 {
      throw TLSConfigurationError(library: "intermediate certificate refused")
    }
  }
}

/// Reading PEM (RFC 7468).
enum PEM {
  /// At least one certificate, each owned by the caller.
  static func certificates(in text: [UInt8], named name: String) throws(TLSConfigurationError) -> [OpaquePointer] {
    var certificates: [OpaquePointer] = []
    text.withUnsafeBytes { bytes in
      let source = BIO_new_mem_buf(bytes.baseAddress, bytes.count)
      defer { BIO_free(source) }
      while let certificate = PEM_read_bio_X509(source, nil, nil, nil) { certificates.append(certificate) }
    }
    // Reading ends with an error either way: at the end of the text, "no start line".
    let atEnd = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
    guard !certificates.isEmpty, atEnd else {
      certificates.forEach { X509_free($0) }
      throw TLSConfigurationError(library: "\(name) has no certificate or a malformed one")
    }
    ERR_clear_error()
    return certificates
  }

  static func privateKey(in text: [UInt8]) -> OpaquePointer? {
    text.withUnsafeBytes { bytes in
      let source = BIO_new_mem_buf(bytes.baseAddress, bytes.count)
      defer { BIO_free(source) }
      // An encrypted key must fail instead of asking at a terminal.
      return PEM_read_bio_PrivateKey(source, nil, { _, _, _, _ in -1 }, nil)
    }
  }
}

enum PublicKeyPin {
  /// SHA-256 of a certificate's SubjectPublicKeyInfo in DER.
  static func of(_ certificate: OpaquePointer) -> [UInt8]? {
    var encoded: UnsafeMutablePointer<UInt8>?
    let size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &encoded)
    guard size > 0, let encoded else { return nil }
    defer { OPENSSL_free(encoded) }
    return [UInt8](unsafeUninitializedCapacity: 32) { digest, count in
      SHA256(encoded, Int(size), digest.baseAddress)
      count = 32
    }
  }
}

enum FileContents {
  /// A whole file of at most 16 MiB.
  static func read(_ path: String) throws(TLSConfigurationError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(path) }
    defer { close(descriptor) }
    var contents: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let size = chunk.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      guard size >= 0 else { throw failure(path) }
      guard size > 0 else { break }
      guard contents.count + size <= 16 << 20 else { throw TLSConfigurationError("\(path): too large") }
      contents.append(contentsOf: chunk[..<size])
    }
    chunk.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
    return contents
  }

  private static func failure(_ path: String) -> TLSConfigurationError {
    TLSConfigurationError("\(path): \(String(cString: strerror(errno)))")
  }
}
