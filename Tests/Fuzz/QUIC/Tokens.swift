import PacketCrypto
import Wire

@testable import QUIC

private let secret = [UInt8](repeating: 7, count: SealingKeys.leastSecretLength)
private let client = SocketAddress("198.51.100.7:4433")!
private let now = Instant(nanoseconds: 1_000_000_000)

/// A token as a stranger makes it up, and what stands in one as somebody with the key would seal it.
@Sendable func fuzzAddressToken(_ bytes: UnsafeRawBufferPointer) {
  if let token = AddressToken(encoded: [UInt8](bytes)) {
    precondition(AddressToken(encoded: token.encoded) == token, "a token reads back as another")
  }
  let tokens = AddressTokens(secret: AuthenticationKey(secret))
  let destination = ConnectionID([1, 2, 3, 4, 5, 6, 7, 8])!
  func judge(_ token: UnsafeRawBufferPointer) -> AddressTokens.Verdict {
    tokens.judge(
      token, from: client, destinationID: destination, version: .v1, retryLifetime: .seconds(10), now: now)
  }
  precondition(judge(bytes) == .none, "a forged token is believed")

  // A token of ours, damaged as the input says: at its first byte's place by its second byte.
  guard bytes.count >= 2 else { return }
  let entropy = SeededEntropy(seed: UInt64(bytes[0]))
  var ours = tokens.sealRetry(
    to: client, originalDestinationID: destination, retrySourceID: destination, version: .v1, now: now, entropy: entropy
  )
  ours[Int(bytes[0]) % ours.count] ^= bytes[1]
  let verdict = ours.withUnsafeBytes { judge($0) }
  let isWhole = bytes[1] == 0
  let expected = AddressTokens.Verdict.retry(originalDestinationID: destination, retrySourceID: destination)
  precondition(verdict == (isWhole ? expected : .none), "a damaged token is believed, or a good one is not")

  // What only a holder of the key could send: anything at all, sealed.
  let keys = SealingKeys(secret: AuthenticationKey(secret), purpose: "address token")
  let sealed = keys.seal([UInt8](bytes), generation: 0, entropy: entropy)
  _ = sealed.withUnsafeBytes { judge($0) }
}

/// The connection IDs of draft-ietf-quic-load-balancers: the first four bytes choose a configuration.
@Sendable func fuzzRoutableID(_ bytes: UnsafeRawBufferPointer) {
  guard bytes.count >= 4 else { return }
  let key = bytes[3] & 1 == 0 ? nil : [UInt8](repeating: bytes[3], count: 16)
  guard
    let configuration = try? RoutingConfiguration(
      identifier: bytes[0] & 7, serverIDLength: Int(bytes[1] & 31), nonceLength: Int(bytes[2] & 31), key: key)
  else { return }
  let rest = UnsafeRawBufferPointer(rebasing: bytes[4...])
  if let serverID = configuration.serverID(of: rest) {
    precondition(serverID.count == configuration.serverIDLength)
  }
  let needed = configuration.serverIDLength + configuration.nonceLength
  guard rest.count > needed else { return }
  let serverID = [UInt8](rest[1..<1 + configuration.serverIDLength])
  let nonce = [UInt8](rest[1 + configuration.serverIDLength..<1 + needed])
  let id = configuration.connectionID(serverID: serverID, nonce: nonce, ownBits: rest[0])
  precondition(id.withUnsafeBytes { configuration.serverID(of: $0) } == serverID, "an ID names another server")
}
