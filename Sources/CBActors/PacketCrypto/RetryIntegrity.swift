internal import CNIOBoringSSL

/// The integrity tag of Retry packets (RFC 9001 §5.8).
public enum RetryIntegrity {
  public static let tagLength = 16

  /// The tag over a Retry packet.
  ///
  /// - Parameters:
  ///   - retry: the Retry packet without its tag.
  ///   - originalDestinationConnectionID: of the Initial packet that it answers.
  public static func tag(
    version: Version = .v1, originalDestinationConnectionID: UnsafeRawBufferPointer, retry: UnsafeRawBufferPointer
  ) -> [UInt8] {
    // The Retry Pseudo-Packet is authenticated and never sent.
    var pseudoPacket: [UInt8] = []
    pseudoPacket.reserveCapacity(1 + originalDestinationConnectionID.count + retry.count)
    pseudoPacket.append(UInt8(truncatingIfNeeded: originalDestinationConnectionID.count))
    pseudoPacket.append(contentsOf: originalDestinationConnectionID)
    pseudoPacket.append(contentsOf: retry)
    return OneShotAEAD.seal(
      EVP_aead_aes_128_gcm(), key: version.retryKey, nonce: version.retryNonce, plaintext: [],
      authenticating: pseudoPacket)
  }

  /// Whether a received tag is the right one.
  public static func verify(
    tag received: UnsafeRawBufferPointer, version: Version = .v1,
    originalDestinationConnectionID: UnsafeRawBufferPointer, retry: UnsafeRawBufferPointer
  ) -> Bool {
    let expected = tag(
      version: version, originalDestinationConnectionID: originalDestinationConnectionID, retry: retry)
    return expected.withUnsafeBytes { constantTimeEqual($0, received) }
  }
}

/// An AEAD used once for a key that is not kept.
enum OneShotAEAD {
  static func seal(
    _ aead: OpaquePointer, key: [UInt8], nonce: [UInt8], plaintext: [UInt8], authenticating data: [UInt8]
  ) -> [UInt8] {
    let context = EVP_AEAD_CTX_new(aead, key, key.count, 16)!
    defer { EVP_AEAD_CTX_free(context) }
    return [UInt8](unsafeUninitializedCapacity: plaintext.count + 16) { output, count in
      let done = EVP_AEAD_CTX_seal(
        context, output.baseAddress, &count, output.count, nonce, nonce.count, plaintext, plaintext.count, data,
        data.count)
      precondition(done == 1, "sealing with room for the tag cannot fail")
    }
  }

  static func open(
    _ aead: OpaquePointer, key: [UInt8], nonce: [UInt8], ciphertext: [UInt8], authenticating data: [UInt8]
  ) -> [UInt8]? {
    guard ciphertext.count >= 16 else { return nil }
    let context = EVP_AEAD_CTX_new(aead, key, key.count, 16)!
    defer { EVP_AEAD_CTX_free(context) }
    var opened = false
    let plaintext = [UInt8](unsafeUninitializedCapacity: ciphertext.count) { output, count in
      opened =
        EVP_AEAD_CTX_open(
          context, output.baseAddress, &count, output.count, nonce, nonce.count, ciphertext, ciphertext.count, data,
          data.count) == 1
      if !opened { count = 0 }
    }
    guard opened else {
      ERR_clear_error()
      return nil
    }
    return plaintext
  }
}

/// Compares without revealing by its duration where the inputs differ. Inputs of unlike lengths are unequal.
public func constantTimeEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
  guard a.count == b.count else { return false }
  guard let left = a.baseAddress, let right = b.baseAddress else { return true }
  return CRYPTO_memcmp(left, right, a.count) == 0
}
