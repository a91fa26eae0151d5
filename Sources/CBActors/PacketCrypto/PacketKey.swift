internal import CNIOBoringSSL

/// One direction's AEAD key and IV, with the cipher's context kept between packets (RFC 9001 §5.3).
///
/// The key is erased when the value goes. The header-protection key is separate, since it outlives key
/// updates: ``HeaderProtectionKey``.
public struct PacketKey: ~Copyable {
  /// Bytes that sealing adds to a packet.
  public static let tagLength = 16

  public let suite: CipherSuite
  /// An `EVP_AEAD_CTX` of which this value is the sole owner.
  private let context: UnsafeMutableRawPointer
  /// The IV's first four bytes, and its last eight as a number in network order, which the packet number is
  /// exclusive-ORed with.
  private let ivHead: UInt32
  private let ivTail: UInt64

  /// Derives key and IV from a traffic secret (RFC 9001 §5.1).
  public init(suite: CipherSuite, secret: TrafficSecret, version: Version = .v1) {
    self.suite = suite
    var head: UInt32 = 0
    var tail: UInt64 = 0
    context = withUnsafeTemporaryAllocation(byteCount: suite.keyLength + 12, alignment: 8) { material in
      let key = UnsafeMutableRawBufferPointer(rebasing: material[..<suite.keyLength])
      let iv = UnsafeMutableRawBufferPointer(rebasing: material[suite.keyLength...])
      secret.withUnsafeBytes {
        KeyDerivation.expandLabel($0, version.keyLabel, hash: suite.hash, into: key)
        KeyDerivation.expandLabel($0, version.ivLabel, hash: suite.hash, into: iv)
      }
      head = iv.loadUnaligned(as: UInt32.self)
      tail = UInt64(bigEndian: iv.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
      let context = EVP_AEAD_CTX_new(suite.aead, key.baseAddress, key.count, Self.tagLength)
      OPENSSL_cleanse(material.baseAddress, material.count)
      // The key has the length that the suite demands, so only exhausted memory fails here.
      return UnsafeMutableRawPointer(context!)
    }
    ivHead = head
    ivTail = tail
  }

  deinit {
    let bound = context.assumingMemoryBound(to: EVP_AEAD_CTX.self)
    // BoringSSL wipes what it frees (OPENSSL_free), which covers the key schedule inside the context.
    EVP_AEAD_CTX_free(bound)
  }

  /// Protects a packet's payload in place.
  ///
  /// `packet` is the header (`headerLength` bytes, header protection not applied yet), the plaintext, and
  /// ``tagLength`` bytes of room for the tag. False when `packet` is too short for that.
  public borrowing func seal(
    _ packet: UnsafeMutableRawBufferPointer, headerLength: Int, packetNumber: UInt64
  ) -> Bool {
    let plaintextLength = packet.count - headerLength - Self.tagLength
    guard headerLength >= 0, plaintextLength >= 0, let base = packet.baseAddress else { return false }
    let payload = (base + headerLength).assumingMemoryBound(to: UInt8.self)
    var nonce = self.nonce(packetNumber)
    var tagLength = 0
    return withUnsafeBytes(of: &nonce) {
      EVP_AEAD_CTX_seal_scatter(
        context.assumingMemoryBound(to: EVP_AEAD_CTX.self), payload, payload + plaintextLength, &tagLength,
        Self.tagLength, $0.baseAddress, 12, payload, plaintextLength, nil, 0, base, headerLength)
    } == 1
  }

  /// Removes a packet's protection in place.
  ///
  /// `packet` is the header, with header protection removed already, and all that follows. Returns the
  /// plaintext; nil when the packet is not authentic, and then its payload has been overwritten, but not
  /// its last ``tagLength`` bytes.
  public borrowing func open(
    _ packet: UnsafeMutableRawBufferPointer, headerLength: Int, packetNumber: UInt64
  ) -> UnsafeMutableRawBufferPointer? {
    let ciphertextLength = packet.count - headerLength - Self.tagLength
    guard headerLength >= 0, ciphertextLength >= 0, let base = packet.baseAddress else { return nil }
    let payload = (base + headerLength).assumingMemoryBound(to: UInt8.self)
    var nonce = self.nonce(packetNumber)
    let opened = withUnsafeBytes(of: &nonce) {
      EVP_AEAD_CTX_open_gather(
        context.assumingMemoryBound(to: EVP_AEAD_CTX.self), payload, $0.baseAddress, 12, payload, ciphertextLength,
        payload + ciphertextLength, Self.tagLength, base, headerLength)
    }
    guard opened == 1 else {
      // A failed open is an everyday event; its text must not pile up in the thread's error queue.
      ERR_clear_error()
      return nil
    }
    return UnsafeMutableRawBufferPointer(start: payload, count: ciphertextLength)
  }

  /// The IV exclusive-ORed with the packet number, left-padded with zeros (RFC 9001 §5.3).
  @inline(__always) private borrowing func nonce(_ packetNumber: UInt64) -> (UInt32, UInt32, UInt32) {
    let tail = (ivTail ^ packetNumber).bigEndian
    return (ivHead, UInt32(truncatingIfNeeded: tail), UInt32(truncatingIfNeeded: tail >> 32))
  }
}

extension CipherSuite {
  var aead: OpaquePointer {
    switch self {
    case .aes128GCM: EVP_aead_aes_128_gcm()
    case .aes256GCM: EVP_aead_aes_256_gcm()
    case .chaCha20Poly1305: EVP_aead_chacha20_poly1305()
    }
  }
}
