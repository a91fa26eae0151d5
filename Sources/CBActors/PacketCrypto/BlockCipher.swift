internal import CNIOBoringSSL

/// AES-128 on single blocks, as routable connection IDs want it (draft-ietf-quic-load-balancers). No mode of operation:
/// whoever calls must never encrypt one block twice.
///
/// `@unchecked Sendable`: the schedules are written once, before the value is shared, and then only read.
public final class BlockCipher: @unchecked Sendable {
  public static let keyLength = 16
  public static let blockLength = 16

  private let encryption = UnsafeMutablePointer<AES_KEY>.allocate(capacity: 1)
  private let decryption = UnsafeMutablePointer<AES_KEY>.allocate(capacity: 1)

  /// Nil unless `key` has ``keyLength`` bytes.
  public init?(_ key: [UInt8]) {
    guard key.count == Self.keyLength, AES_set_encrypt_key(key, 128, encryption) == 0,
      AES_set_decrypt_key(key, 128, decryption) == 0
    else { return nil }
  }

  deinit {
    OPENSSL_cleanse(encryption, MemoryLayout<AES_KEY>.size)
    OPENSSL_cleanse(decryption, MemoryLayout<AES_KEY>.size)
    encryption.deallocate()
    decryption.deallocate()
  }

  public typealias Block = InlineArray<16, UInt8>

  public func encrypt(_ block: Block) -> Block { run(block) { AES_encrypt($0, $1, encryption) } }
  public func decrypt(_ block: Block) -> Block { run(block) { AES_decrypt($0, $1, decryption) } }

  private func run(
    _ block: Block, _ cipher: (UnsafePointer<UInt8>, UnsafeMutablePointer<UInt8>) -> Void
  ) -> Block {
    var input = block
    var output = Block(repeating: 0)
    withUnsafeBytes(of: &input) { from in
      withUnsafeMutableBytes(of: &output) { to in
        // Proof for the unwraps: a value of sixteen bytes has an address.
        cipher(
          from.baseAddress!.assumingMemoryBound(to: UInt8.self), to.baseAddress!.assumingMemoryBound(to: UInt8.self))
      }
    }
    return output
  }
}
