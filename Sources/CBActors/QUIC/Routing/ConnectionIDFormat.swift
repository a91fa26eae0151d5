import PacketCrypto
import Wire

/// What the connection IDs of an endpoint look like: how long they are, and what whoever routes packets reads in them.
public struct ConnectionIDFormat: Sendable {
  /// Bytes, 4 to 20.
  public let length: Int
  /// Nil when one ring serves the address alone.
  public var ring: RingShare?
  private let server: RoutableServer?

  /// Random IDs.
  public init(length: Int = 8, ring: RingShare? = nil) {
    // At least three bytes beside the first are random, so that two IDs are never alike but by a rare chance.
    self.length = min(max(length, 4), ConnectionID.maximumLength)
    self.ring = ring
    server = nil
  }

  /// IDs that name the server to balancers.
  public init(_ server: RoutableServer, ring: RingShare? = nil) {
    length = server.configuration.connectionIDLength
    self.ring = ring
    self.server = server
  }

  /// An ID that was never issued before.
  func next(_ entropy: any EntropySource) -> ConnectionID {
    var bytes: [UInt8]
    if let server {
      let random = UInt8(truncatingIfNeeded: entropy.nextUInt64())
      bytes = server.next(ownBits: random, entropy).withUnsafeBytes { [UInt8]($0) }
    } else {
      bytes = entropy.bytes(length)
    }
    ring?.claim(&bytes)
    // Proof for the unwrap: the length is at most the largest.
    return ConnectionID(bytes)!
  }
}

/// Which of the rings that share an address this one is. The low five bits of a connection ID's first byte say whose it
/// is, under a mask that whoever has the key makes of the next three bytes: of the IDs that we issue because we write them
/// so, of those that clients choose because someone must have them.
///
/// RFC 9000 §5.1: "Connection IDs MUST NOT contain any information that can be used by an external observer (that is, one
/// that does not cooperate with the issuer) to correlate them with other connection IDs for the same connection." Those of
/// one connection all mean one ring; without the key none tells which.
public struct RingShare: Hashable, Sendable {
  /// As many as five bits can tell apart.
  public static let maximumCount = 32

  public let index: Int
  public let count: Int
  /// Of the mask: secret, random, and the same on all rings.
  public let key: UInt64
  private let mask: HalfSipHash

  public init(index: Int, count: Int, key: UInt64) {
    precondition(count >= 1 && count <= Self.maximumCount && index >= 0 && index < count, "a ring of some")
    self.index = index
    self.count = count
    self.key = key
    mask = HalfSipHash(key: key)
  }

  /// The ring that a connection ID belongs to. One of less than four bytes, which nobody may begin with and we do not issue,
  /// is of the first.
  public func owner(of id: UnsafeRawBufferPointer) -> Int {
    guard id.count >= 4 else { return 0 }
    return Int(bits(id)) % count
  }

  /// The low five bits without their mask.
  private func bits(_ id: UnsafeRawBufferPointer) -> UInt8 {
    let rest = UInt32(id[1]) << 16 | UInt32(id[2]) << 8 | UInt32(id[3])
    return (id[0] ^ UInt8(truncatingIfNeeded: mask(rest))) & 0x1f
  }

  /// Makes an ID of random bytes one of this ring's. Of all values that mean it one is taken by chance, by the bits that
  /// stand there.
  func claim(_ id: inout [UInt8]) {
    let choices = (Self.maximumCount - index + count - 1) / count
    let wanted = UInt8(index + count * (Int(id[0] & 0x1f) % choices))
    id[0] ^= id.withUnsafeBytes { bits($0) } ^ wanted
  }
}
