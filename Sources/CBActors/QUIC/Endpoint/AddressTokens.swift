public import PacketCrypto
internal import Synchronization
public import Wire

/// Seals the address validation tokens of a service and judges those that come back (RFC 9000 §8.1). Shared by all
/// endpoints and connections whose clients may come back to one another.
///
/// The keys follow from one secret and the time, a new one in each ``lifetime`` (``SealingKeys``). No token is good for
/// longer than that, so the present key and the one before it open all that are good.
public final class AddressTokens: Sendable {
  /// How long a token from a NEW_TOKEN frame is good. At least a minute.
  public let lifetime: Interval

  private let keys: SealingKeys
  private let clockOffset: Interval
  private let limit: Int
  /// The first bytes of the nonces of NEW_TOKEN tokens that have been used, by the generation of their key.
  private let used = Mutex<[Int64: Set<UInt64>]>([:])

  /// - Parameters:
  ///   - secret: the same wherever a client may come back to, and after a restart.
  ///   - clockOffset: added to the instants given to make those of a clock that all holders of the secret share.
  ///   - limit: used tokens that are remembered of each key. Beyond it NEW_TOKEN tokens are refused until the next key.
  public init(
    secret: AuthenticationKey, lifetime: Interval = .seconds(2 * 86_400), clockOffset: Interval = .zero,
    limit: Int = 1 << 18
  ) {
    keys = SealingKeys(secret: secret, purpose: "address token")
    self.lifetime = max(lifetime, .seconds(60))
    self.clockOffset = clockOffset
    self.limit = limit
  }

  /// With a secret of its own, which nobody else has.
  public convenience init(entropy: any EntropySource) {
    self.init(secret: AuthenticationKey(entropy.bytes(SealingKeys.leastSecretLength)))
  }

  private func generation(at time: Instant) -> Int64 { max(0, time.nanoseconds) / lifetime.nanoseconds }

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
    return keys.seal(token.encoded, generation: generation(at: time), entropy: entropy)
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
    guard let opened = keys.open(token, generation: generation(at: time)),
      let parsed = AddressToken(encoded: opened.plaintext)
    else { return .none }
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
      guard isGood, time - parsed.issued <= lifetime,
        isFirstUse(token.loadUnaligned(as: UInt64.self), of: opened.generation)
      else { return .none }
      return .newToken
    }
  }

  /// RFC 9000 §8.1.4: "servers MUST ensure that replay of tokens is prevented or limited." Each is good once.
  private func isFirstUse(_ nonce: UInt64, of generation: Int64) -> Bool {
    used.withLock { used in
      // Of keys that open nothing any more, nothing needs to be known.
      if used[generation] == nil { used = used.filter { $0.key > generation - 2 } }
      guard used[generation, default: []].count < limit else { return false }
      return used[generation, default: []].insert(nonce).inserted
    }
  }
}
