import PacketCrypto
import Wire

/// What a client returns in its Initial packets to show that it receives at its address (RFC 9000 §8.1).
///
/// Sealed by the endpoint for the client's address: a Retry's token for address and port and a short time, a NEW_TOKEN
/// frame's for the address alone and for later connections. The first byte, readable by anyone, tells them apart.
enum AddressToken: Hashable {
  /// RFC 9000 §8.1.2: the Destination Connection ID of the client's first packet, and the ID that the Retry gave it.
  case retry(originalDestinationID: ConnectionID, retrySourceID: ConnectionID)
  /// RFC 9000 §8.1.3. `serial` is random: the same token twice is one that was used before.
  case future(serial: UInt64)

  enum Kind: UInt8 { case retry = 0, future = 1 }

  var kind: Kind {
    switch self {
    case .retry: .retry
    case .future: .future
    }
  }

  /// - Parameter issued: on the endpoint's own clock.
  func sealed(_ keys: AddressTokenKeys, for address: SocketAddress, issued: Instant, entropy: any EntropySource)
    -> [UInt8]
  {
    var plaintext = withUnsafeBytes(of: issued.nanoseconds.bigEndian) { [UInt8]($0) }
    switch self {
    case .retry(let original, let retry):
      for id in [original, retry] {
        plaintext.append(UInt8(id.length))
        id.withUnsafeBytes { plaintext.append(contentsOf: $0) }
      }
    case .future(let serial):
      withUnsafeBytes(of: serial.bigEndian) { plaintext.append(contentsOf: $0) }
    }
    let epoch = keys.epoch(issued)
    let head = [kind.rawValue, UInt8(truncatingIfNeeded: epoch)]
    return head
      + keys.key(epoch).seal(plaintext, context: head + Self.context(kind, address), entropy: entropy)
  }

  /// What a token says to be, whether or not it is true.
  static func kind(_ token: UnsafeRawBufferPointer) -> Kind? { token.first.flatMap { Kind(rawValue: $0) } }

  /// Nil for a token that is not ours, is too old for its key, or not for this address; otherwise the token and when it
  /// was issued.
  static func open(
    _ token: UnsafeRawBufferPointer, _ keys: AddressTokenKeys, from address: SocketAddress, now: Instant
  ) -> (AddressToken, issued: Instant)? {
    guard token.count > 2, let kind = kind(token), let epoch = keys.epoch(endingIn: token[1], now: now) else {
      return nil
    }
    let sealed = UnsafeRawBufferPointer(rebasing: token[2...])
    let context = [token[0], token[1]] + context(kind, address)
    return keys.key(epoch).open(sealed, context: context)?.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      guard let issued = reader.readUInt64(), let token = read(kind, &reader), reader.isAtEnd else { return nil }
      return (token, Instant(nanoseconds: Int64(bitPattern: issued)))
    }
  }

  private static func read(_ kind: Kind, _ reader: inout ByteReader) -> AddressToken? {
    switch kind {
    case .retry:
      guard let originalLength = reader.readUInt8(), let original = reader.readBytes(Int(originalLength)),
        let retryLength = reader.readUInt8(), let retry = reader.readBytes(Int(retryLength)),
        let originalID = ConnectionID(original), let retryID = ConnectionID(retry)
      else { return nil }
      return .retry(originalDestinationID: originalID, retrySourceID: retryID)
    case .future: return reader.readUInt64().map { .future(serial: $0) }
    }
  }

  /// RFC 9000 §8.1.4: a Retry is answered at once and from the same port; "It is unlikely that the client port number is
  /// the same on two different connections".
  private static func context(_ kind: Kind, _ address: SocketAddress) -> [UInt8] {
    let ip = address.ip.unmapped.networkBytes
    return kind == .future ? ip : ip + [UInt8(address.port >> 8), UInt8(truncatingIfNeeded: address.port)]
  }
}

/// The keys of address tokens: one after the other, each derived from one secret and the time, so that all endpoints
/// with that secret take each other's tokens.
struct AddressTokenKeys {
  /// How long a key seals; it opens for as long again.
  static let period = Interval.seconds(12 * 3_600)

  private let secret: AuthenticationKey
  private let cache = Cache()

  private final class Cache {
    var keys: [(epoch: Int64, key: TokenKey)] = []
  }

  init(secret: [UInt8]) { self.secret = AuthenticationKey(secret) }

  func epoch(_ now: Instant) -> Int64 { now.nanoseconds / Self.period.nanoseconds }

  /// The epoch that a token names by its last byte: the present one or the one before.
  func epoch(endingIn byte: UInt8, now: Instant) -> Int64? {
    let present = epoch(now)
    return [present, present - 1].first { UInt8(truncatingIfNeeded: $0) == byte }
  }

  func key(_ epoch: Int64) -> TokenKey {
    if let known = cache.keys.first(where: { $0.epoch == epoch }) { return known.key }
    var bytes = [UInt8](repeating: 0, count: TokenKey.keyLength)
    bytes.withUnsafeMutableBytes { output in
      withUnsafeBytes(of: epoch.bigEndian) { secret.authenticate($0, into: output) }
    }
    // Proof for the unwrap: the length is the one demanded.
    let key = TokenKey(bytes)!
    for index in bytes.indices { bytes[index] = 0 }
    cache.keys = cache.keys.suffix(1) + [(epoch, key)]
    return key
  }
}
