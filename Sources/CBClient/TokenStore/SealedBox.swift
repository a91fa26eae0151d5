import CSodium

/// XChaCha20-Poly1305 with a random nonce, bound to what it is for.
enum SealedBox {
  static let keyLength = Int(crypto_aead_xchacha20poly1305_ietf_KEYBYTES)
  private static let nonceLength = Int(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
  private static let tagLength = Int(crypto_aead_xchacha20poly1305_ietf_ABYTES)
  /// Names the format, so that a later one can be told from this.
  private static let magic = [UInt8]("CBTS1\n".utf8)

  /// `magic ‖ nonce ‖ ciphertext ‖ tag`. `purpose` is authenticated, not stored.
  static func seal(_ plain: [UInt8], key: [UInt8], purpose: [UInt8]) -> [UInt8] {
    precondition(key.count == keyLength && sodium_init() >= 0)
    var nonce = [UInt8](repeating: 0, count: nonceLength)
    randombytes_buf(&nonce, nonce.count)
    var sealed = [UInt8](repeating: 0, count: plain.count + tagLength)
    let associated = magic + purpose
    _ = crypto_aead_xchacha20poly1305_ietf_encrypt(
      &sealed, nil, plain, UInt64(plain.count), associated, UInt64(associated.count), nil, nonce, key)
    return magic + nonce + sealed
  }

  /// Nil when anything is not as it was sealed: bytes, key or purpose.
  static func open(_ box: [UInt8], key: [UInt8], purpose: [UInt8]) -> [UInt8]? {
    let overhead = magic.count + nonceLength + tagLength
    guard key.count == keyLength, box.count >= overhead, box.starts(with: magic), sodium_init() >= 0 else { return nil }
    let nonce = [UInt8](box[magic.count..<(magic.count + nonceLength)])
    let sealed = [UInt8](box[(magic.count + nonceLength)...])
    let associated = magic + purpose
    var plain = [UInt8](repeating: 0, count: max(sealed.count - tagLength, 1))
    guard
      crypto_aead_xchacha20poly1305_ietf_decrypt(
        &plain, nil, nil, sealed, UInt64(sealed.count), associated, UInt64(associated.count), nonce, key) == 0
    else { return nil }
    plain.removeLast(plain.count - (sealed.count - tagLength))
    return plain
  }

  static func newKey() -> [UInt8] {
    precondition(sodium_init() >= 0)
    var key = [UInt8](repeating: 0, count: keyLength)
    crypto_aead_xchacha20poly1305_ietf_keygen(&key)
    return key
  }
}

/// Zeroes an array that nothing else shares, before it is given back.
func wipe(_ bytes: inout [UInt8]) {
  bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { sodium_memzero(base, $0.count) } }
}
