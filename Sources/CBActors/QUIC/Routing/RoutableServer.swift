import Synchronization
public import Wire

/// One server of a ``RoutingConfiguration``: issues connection IDs that name it, each with a nonce of its own. Shared by
/// all of the server's rings.
public final class RoutableServer: Sendable {
  /// A shorter nonce could come again, by chance or after a restart.
  public static let leastNonceLength = 8

  public let configuration: RoutingConfiguration
  public let serverID: [UInt8]
  /// The last eight bytes of the next nonce, and what stands before them.
  private let counter: Atomic<UInt64>
  private let prefix: [UInt8]

  /// - Parameter entropy: where nonces begin; kept nowhere.
  public init(
    _ configuration: RoutingConfiguration, serverID: [UInt8], entropy: any EntropySource
  ) throws(RoutingConfiguration.Mistake) {
    guard serverID.count == configuration.serverIDLength else { throw .serverID }
    guard configuration.nonceLength >= Self.leastNonceLength else { throw .nonce }
    self.configuration = configuration
    self.serverID = serverID
    // "To maximize entropy, servers SHOULD start with a random nonce value": so a restart, which forgets what it has
    // used, does not meet that again either. "the server MUST NOT reuse a nonce until it switches to a configuration
    // with new keys": 2^64 of them are never used up.
    counter = Atomic(entropy.nextUInt64())
    prefix = entropy.bytes(configuration.nonceLength - 8)
  }

  func next(ownBits: UInt8, _ entropy: any EntropySource) -> ConnectionID {
    configuration.connectionID(serverID: serverID, nonce: nonce(entropy), ownBits: ownBits)
  }

  private func nonce(_ entropy: any EntropySource) -> [UInt8] {
    // Without a key the nonce is read by all: "the server MUST fill the Nonce field with bytes that have no observable
    // relationship to the field in previously issued connection IDs".
    guard configuration.isEncrypted else { return entropy.bytes(configuration.nonceLength) }
    let number = counter.wrappingAdd(1, ordering: .relaxed).oldValue
    return prefix + withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) }
  }
}
