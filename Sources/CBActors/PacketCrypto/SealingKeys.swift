internal import Synchronization
public import Wire

/// Keys that seal what a server hands to its clients to get back later, each in its turn: one for every generation of a
/// secret, as a clock counts them.
///
/// The key of a generation seals while it lasts, and opens for one generation more. All keys follow from the secret, so
/// that whoever has it, on another ring, in another process or at another PoP, needs to be told nothing.
public final class SealingKeys: Sendable {
  /// Bytes of a secret, at least.
  public static let leastSecretLength = 32

  private let secret: AuthenticationKey
  private let purpose: [UInt8]
  private let state: Mutex<Pair>

  private struct Pair {
    var generation: Int64
    var present: TokenKey
    var former: TokenKey
  }

  /// - Parameter purpose: keys for another purpose are other keys.
  public init(secret: AuthenticationKey, purpose: StaticString) {
    self.secret = secret
    self.purpose = purpose.withUTF8Buffer { Array($0) }
    let (first, before) = (Self.key(secret, self.purpose, 0), Self.key(secret, self.purpose, -1))
    state = Mutex(Pair(generation: 0, present: first, former: before))
  }

  private static func key(_ secret: AuthenticationKey, _ purpose: [UInt8], _ generation: Int64) -> TokenKey {
    let name = purpose + withUnsafeBytes(of: generation.bigEndian) { Array($0) }
    let derived = [UInt8](unsafeUninitializedCapacity: TokenKey.keyLength) { bytes, count in
      name.withUnsafeBytes { secret.authenticate($0, into: UnsafeMutableRawBufferPointer(bytes)) }
      count = TokenKey.keyLength
    }
    // Proof for the unwrap: the key has the length demanded.
    return TokenKey(derived)!
  }

  /// The pair of a generation; of the last one that there was, for a clock that went back.
  private func pair(_ generation: Int64) -> Pair {
    state.withLock { state in
      if generation > state.generation {
        let former =
          state.generation == generation - 1 ? state.present : Self.key(secret, purpose, generation - 1)
        state = Pair(generation: generation, present: Self.key(secret, purpose, generation), former: former)
      }
      return state
    }
  }

  /// Seals with the key of a generation.
  public func seal(_ plaintext: [UInt8], generation: Int64, entropy: any EntropySource) -> [UInt8] {
    pair(generation).present.seal(plaintext, context: [], entropy: entropy)
  }

  /// What was sealed in this generation or the one before, and in which; nil for all else.
  public func open(_ sealed: UnsafeRawBufferPointer, generation: Int64) -> (plaintext: [UInt8], generation: Int64)? {
    let pair = pair(generation)
    if let plaintext = pair.present.open(sealed, context: []) { return (plaintext, pair.generation) }
    return pair.former.open(sealed, context: []).map { ($0, pair.generation - 1) }
  }
}
