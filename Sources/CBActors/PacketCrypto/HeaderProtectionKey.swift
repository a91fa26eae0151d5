internal import CNIOBoringSSL

/// What hides a packet's first byte and packet number (RFC 9001 §5.4).
public struct HeaderProtectionMask: Sendable {
  /// For the first byte; the caller keeps the bits that its header form protects.
  public let first: UInt8
  /// For up to four bytes of packet number, the first of them in the highest byte.
  public let packetNumber: UInt32

  @inlinable init(first: UInt8, packetNumber: UInt32) {
    self.first = first
    self.packetNumber = packetNumber
  }
}

/// One direction's header-protection key, in the form its cipher wants (RFC 9001 §5.4).
///
/// The key is erased when the value goes.
public struct HeaderProtectionKey: ~Copyable {
  /// Bytes of ciphertext that a mask is made from (RFC 9001 §5.4.2).
  public static let sampleLength = 16

  private let isChaCha20: Bool
  /// An `AES_KEY`, or the 32 bytes of a ChaCha20 key; this value is its sole owner.
  private let storage: UnsafeMutableRawBufferPointer

  /// Derives the key from a traffic secret with the label "quic hp" (RFC 9001 §5.1).
  public init(suite: CipherSuite, secret: TrafficSecret, version: Version = .v1) {
    isChaCha20 = suite == .chaCha20Poly1305
    let storage = UnsafeMutableRawBufferPointer.allocate(
      byteCount: isChaCha20 ? 32 : MemoryLayout<AES_KEY>.size, alignment: 16)
    withUnsafeTemporaryAllocation(byteCount: suite.keyLength, alignment: 8) { key in
      secret.withUnsafeBytes {
        KeyDerivation.expandLabel($0, version.headerProtectionLabel, hash: suite.hash, into: key)
      }
      if suite == .chaCha20Poly1305 {
        storage.copyMemory(from: UnsafeRawBufferPointer(key))
      } else {
        let done = AES_set_encrypt_key(
          key.baseAddress, UInt32(suite.keyLength * 8), storage.baseAddress!.bindMemory(to: AES_KEY.self, capacity: 1))
        precondition(done == 0, "an AES key of 128 or 256 bits is always accepted")
      }
      OPENSSL_cleanse(key.baseAddress, key.count)
    }
    self.storage = storage
  }

  deinit {
    OPENSSL_cleanse(storage.baseAddress, storage.count)
    storage.deallocate()
  }

  /// The mask for a packet.
  ///
  /// - Parameter sample: ``sampleLength`` readable bytes of its ciphertext.
  public borrowing func mask(sample: UnsafeRawPointer) -> HeaderProtectionMask {
    var block: (UInt64, UInt64) = (0, 0)
    return withUnsafeMutableBytes(of: &block) { block in
      let output = block.baseAddress!.assumingMemoryBound(to: UInt8.self)
      let input = sample.assumingMemoryBound(to: UInt8.self)
      if isChaCha20 {
        // RFC 9001 §5.4.4: four bytes of counter, little-endian, then twelve of nonce.
        let counter = UInt32(littleEndian: sample.loadUnaligned(as: UInt32.self))
        CRYPTO_chacha_20(
          output, output, 5, storage.baseAddress!.assumingMemoryBound(to: UInt8.self), input + 4, counter)
      } else {
        AES_encrypt(input, output, storage.baseAddress!.assumingMemoryBound(to: AES_KEY.self))
      }
      return HeaderProtectionMask(
        first: output[0],
        packetNumber: UInt32(bigEndian: UnsafeRawPointer(output).loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
    }
  }
}
