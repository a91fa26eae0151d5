import PacketCrypto
public import Wire

/// The token that proves a stateless reset (RFC 9000 §10.3). Equality takes constant time.
public struct StatelessResetToken: Hashable, Sendable {
  public static let length = 16

  // RFC 9000 §10.3.1: "When comparing a datagram to stateless reset token values, endpoints MUST perform the
  // comparison without leaking information about the value of the token."
  private let high: UInt64
  private let low: UInt64

  /// Nil unless there are ``length`` bytes.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == Self.length else { return nil }
    high = bytes.loadUnaligned(as: UInt64.self)
    low = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
  }

  public init?(_ bytes: [UInt8]) {
    guard let token = bytes.withUnsafeBytes({ StatelessResetToken($0) }) else { return nil }
    self = token
  }

  public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try Swift.withUnsafeBytes(of: (high, low), body)
  }

  public static func == (a: Self, b: Self) -> Bool { (a.high ^ b.high) | (a.low ^ b.low) == 0 }

  /// The token that a datagram would carry if it were a stateless reset: its last 16 bytes.
  ///
  /// Nil for a datagram too short to be one. The bytes are not touched by a failed decryption.
  public init?(endOf datagram: UnsafeRawBufferPointer) {
    guard datagram.count >= StatelessReset.minimumLength else { return nil }
    self.init(UnsafeRawBufferPointer(rebasing: datagram.suffix(Self.length)))
  }
}

extension StatelessResetToken: CustomStringConvertible {
  /// Tokens are secret until used: never printed.
  public var description: String { "StatelessResetToken" }
}

/// Makes reset tokens from a static key, so that an endpoint that has lost its state still knows them
/// (RFC 9000 §10.3.2).
public final class StatelessResetKey {
  private let key: AuthenticationKey

  /// - Parameter key: 32 random bytes, shared by the endpoints that answer for each other.
  public init(_ key: [UInt8]) { self.key = AuthenticationKey(key) }

  public func token(for connectionID: ConnectionID) -> StatelessResetToken {
    withUnsafeTemporaryAllocation(byteCount: StatelessResetToken.length, alignment: 8) { output in
      connectionID.withUnsafeBytes { key.authenticate($0, into: output) }
      // Proof for the unwrap: the buffer has a token's length.
      return StatelessResetToken(UnsafeRawBufferPointer(output))!
    }
  }
}

/// The stateless reset packet (RFC 9000 §10.3).
public enum StatelessReset {
  /// RFC 9000 §10.3: 38 unpredictable bits and the token.
  public static let minimumLength = 5 + StatelessResetToken.length

  /// A good length for the reset that answers a datagram; nil when there must be none.
  ///
  /// RFC 9000 §10.3.3: "An endpoint MUST ensure that every Stateless Reset that it sends is smaller than the packet
  /// that triggered it, unless it maintains state sufficient to prevent looping."
  public static func length(answering receivedCount: Int) -> Int? {
    guard receivedCount > minimumLength else { return nil }
    return min(receivedCount - 1, 42)
  }

  /// Writes a reset of `length` bytes, at least ``minimumLength``: it looks like a short-header packet.
  public static func write(
    to writer: inout ByteWriter, token: StatelessResetToken, length: Int, entropy: any EntropySource
  ) {
    let noise = length - StatelessResetToken.length
    guard length >= minimumLength, writer.remaining >= length else {
      writer.advance(.max)
      return
    }
    let start = UnsafeMutableRawBufferPointer(rebasing: writer.free[..<noise])
    entropy.fill(start)
    start[0] = start[0] & 0x3f | 0x40
    writer.advance(noise)
    token.withUnsafeBytes { writer.write($0) }
  }
}
