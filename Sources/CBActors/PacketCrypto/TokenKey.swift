internal import CNIOBoringSSL
public import Wire

/// Seals what a server hands to a client to get back later: Retry and NEW_TOKEN tokens (RFC 9000 §8.1.4).
///
/// AES-256-GCM with a random nonce in front. A key should be replaced before it has sealed 2^32 tokens,
/// where random nonces begin to risk a collision.
public final class TokenKey: @unchecked Sendable {
  // Proof: the key is written only in deinit, when nobody else can see it.

  /// Bytes of the key.
  public static let keyLength = 32
  /// Bytes that sealing adds: the nonce and the tag.
  public static let overhead = 12 + 16

  private var key: [UInt8]

  /// Nil unless `key` has ``keyLength`` bytes.
  public init?(_ key: [UInt8]) {
    guard key.count == Self.keyLength else { return nil }
    self.key = key
  }

  public convenience init(entropy: any EntropySource) {
    // Proof for the unwrap: the key drawn has the length demanded.
    self.init(entropy.bytes(Self.keyLength))!
  }

  deinit { key.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }

  /// Seals `plaintext`, and binds it to `context` (such as the client's address), which must be given again to open.
  public func seal(_ plaintext: [UInt8], context: [UInt8], entropy: any EntropySource) -> [UInt8] {
    let nonce = entropy.bytes(12)
    return nonce
      + OneShotAEAD.seal(EVP_aead_aes_256_gcm(), key: key, nonce: nonce, plaintext: plaintext, authenticating: context)
  }

  /// The plaintext; nil when the token was not sealed with this key and this context.
  public func open(_ token: UnsafeRawBufferPointer, context: [UInt8]) -> [UInt8]? {
    guard token.count >= Self.overhead else { return nil }
    return OneShotAEAD.open(
      EVP_aead_aes_256_gcm(), key: key, nonce: [UInt8](token[..<12]), ciphertext: [UInt8](token[12...]),
      authenticating: context)
  }
}

/// HMAC-SHA256 (RFC 2104).
public final class AuthenticationKey: @unchecked Sendable {
  // Proof: the key is written only in deinit, when nobody else can see it.
  private var key: [UInt8]

  /// Copies the key: that of the caller stays the caller's to erase.
  public init(_ key: UnsafeRawBufferPointer) { self.key = [UInt8](key) }
  public init(_ key: [UInt8]) { self.key = key.withUnsafeBytes { [UInt8]($0) } }

  deinit { key.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }

  /// The first bytes of the HMAC of `message`, as many as `output` holds (at most 32).
  public func authenticate(_ message: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) {
    withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { code in
      var length: UInt32 = 0
      let result = HMAC(
        EVP_sha256(), key, key.count, message.baseAddress?.assumingMemoryBound(to: UInt8.self), message.count,
        code.baseAddress?.assumingMemoryBound(to: UInt8.self), &length)
      precondition(result != nil && length == 32, "HMAC-SHA256 failed")
      output.copyMemory(from: UnsafeRawBufferPointer(rebasing: code[..<min(output.count, 32)]))
    }
  }
}
