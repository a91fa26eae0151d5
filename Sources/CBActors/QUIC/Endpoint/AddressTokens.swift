import PacketCrypto
internal import Synchronization
public import Wire

/// Seals the address validation tokens of a service and judges those that come back (RFC 9000 §8.1). Shared by all
/// endpoints and connections whose clients may come back to one another.
///
/// The keys follow from one secret and the time, a new one in each ``lifetime``. No token is good for longer than that,
/// so the present key and the one before it open all that are good; who has the secret needs to be told nothing.
public final class AddressTokens: Sendable {
  /// Bytes of the secret.
  public static let keyLength = 32
  /// How long a token from a NEW_TOKEN frame is good. At least a minute.
  public let lifetime: Interval

  private let secret: AuthenticationKey
  private let clockOffset: Interval
  private let limit: Int
  private let state: Mutex<State>

  private struct Generation {
    let number: Int64
    let key: TokenKey
    /// The first bytes of the nonces of NEW_TOKEN tokens that have been used.
    var used: Set<UInt64> = []

    mutating func use(_ nonce: UInt64, limit: Int) -> Bool { used.count < limit && used.insert(nonce).inserted }
  }

  private struct State {
    var present: Generation
    var former: Generation
  }

  /// - Parameters:
  ///   - key: 32 bytes, the same wherever a client may come back to, and after a restart.
  ///   - clockOffset: added to the instants given to make those of a clock that all holders of the key share.
  ///   - limit: used tokens that are remembered of each key. Beyond it NEW_TOKEN tokens are refused until the next key.
  public init(
    key: [UInt8], lifetime: Interval = .seconds(2 * 86_400), clockOffset: Interval = .zero, limit: Int = 1 << 18
  ) {
    let secret = AuthenticationKey(key)
    self.secret = secret
    self.lifetime = max(lifetime, .seconds(60))
    self.clockOffset = clockOffset
    self.limit = limit
    state = Mutex(
      State(
        present: Generation(number: 0, key: Self.key(secret, 0)),
        former: Generation(number: -1, key: Self.key(secret, -1))))
  }

  /// With a secret of its own, which nobody else has.
  public convenience init(entropy: any EntropySource) { self.init(key: entropy.bytes(Self.keyLength)) }

  private static func key(_ secret: AuthenticationKey, _ generation: Int64) -> TokenKey {
    let name = Array("address token".utf8) + withUnsafeBytes(of: generation.bigEndian) { Array($0) }
    let derived = [UInt8](unsafeUninitializedCapacity: TokenKey.keyLength) { bytes, count in
      name.withUnsafeBytes { secret.authenticate($0, into: UnsafeMutableRawBufferPointer(bytes)) }
      count = TokenKey.keyLength
    }
    // Proof for the unwrap: the key has the length demanded.
    return TokenKey(derived)!
  }

  /// The keys of this time, of which the first one seals.
  private func keys(at time: Instant) -> (present: TokenKey, former: TokenKey, number: Int64) {
    let number = max(0, time.nanoseconds) / lifetime.nanoseconds
    return state.withLock { state in
      if number > state.present.number {
        state.former =
          state.present.number == number - 1
          ? state.present : Generation(number: number - 1, key: Self.key(secret, number - 1))
        state.present = Generation(number: number, key: Self.key(secret, number))
      }
      return (state.present.key, state.former.key, state.present.number)
    }
  }

  // MARK: Giving

  /// The token of a Retry packet.
  func sealRetry(
    to client: SocketAddress, originalDestinationID: ConnectionID, retrySourceID: ConnectionID, version: Version,
    now: Instant, entropy: any EntropySource
  ) -> [UInt8] {
    let origin = AddressToken.Origin.retry(
      port: client.port, originalDestinationID: originalDestinationID, retrySourceID: retrySourceID)
    return seal(origin, to: client.ip, version: version, now: now, entropy: entropy)
  }

  /// The token of a NEW_TOKEN frame: unlike any other by its nonce, and of no meaning to an observer.
  func sealNewToken(
    to client: IPAddress, version: Version, now: Instant, entropy: any EntropySource
  ) -> [UInt8] {
    seal(.newToken, to: client, version: version, now: now, entropy: entropy)
  }

  private func seal(
    _ origin: AddressToken.Origin, to address: IPAddress, version: Version, now: Instant, entropy: any EntropySource
  ) -> [UInt8] {
    let time = now + clockOffset
    let token = AddressToken(origin, issued: time, address: address, version: version)
    return keys(at: time).present.seal(token.encoded, context: [], entropy: entropy)
  }

  // MARK: Judging

  /// What the token of an Initial packet proves.
  enum Verdict: Equatable {
    /// The answer to a Retry of ours, from the address that it went to.
    case retry(originalDestinationID: ConnectionID, retrySourceID: ConnectionID)
    /// From a NEW_TOKEN frame of ours, to the same IP address, and not used before.
    case newToken
    /// From a Retry of ours, but too late, from elsewhere, or for another connection.
    case invalidRetry
    /// Nothing: not ours, or no longer good.
    case none
  }

  func judge(
    _ token: UnsafeRawBufferPointer, from client: SocketAddress, destinationID: ConnectionID, version: Version,
    retryLifetime: Interval, now: Instant
  ) -> Verdict {
    let time = now + clockOffset
    let keys = keys(at: time)
    var number = keys.number
    var plaintext = keys.present.open(token, context: [])
    if plaintext == nil {
      plaintext = keys.former.open(token, context: [])
      number -= 1
    }
    guard let plaintext, let parsed = AddressToken(encoded: plaintext) else { return .none }
    let isGood =
      time >= parsed.issued && parsed.address == client.ip.unmapped
      // RFC 9369 §5: "Servers MUST validate the originating version of any session ticket or token and not accept one
      // issued from a different version."
      && parsed.version == version
    switch parsed.origin {
    case .retry(let port, let original, let source):
      // RFC 9000 §8.1.4: "Servers SHOULD ensure that tokens sent in Retry packets are only accepted for a short time".
      guard isGood, port == client.port, source == destinationID, time - parsed.issued <= retryLifetime else {
        return .invalidRetry
      }
      return .retry(originalDestinationID: original, retrySourceID: source)
    case .newToken:
      guard isGood, time - parsed.issued <= lifetime, isFirstUse(token.loadUnaligned(as: UInt64.self), of: number)
      else { return .none }
      return .newToken
    }
  }

  /// RFC 9000 §8.1.4: "servers MUST ensure that replay of tokens is prevented or limited." Each is good once.
  private func isFirstUse(_ nonce: UInt64, of generation: Int64) -> Bool {
    state.withLock { state in
      if generation == state.present.number { return state.present.use(nonce, limit: limit) }
      return generation == state.former.number && state.former.use(nonce, limit: limit)
    }
  }
}
