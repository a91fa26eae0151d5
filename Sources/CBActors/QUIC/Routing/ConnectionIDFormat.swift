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
    if let server {
      let random = UInt8(truncatingIfNeeded: entropy.nextUInt64())
      return server.next(ownBits: ring?.ownBits(random) ?? random, entropy)
    }
    var bytes = entropy.bytes(length)
    if let ring { bytes[0] = bytes[0] & 0xe0 | ring.ownBits(bytes[0]) }
    // Proof for the unwrap: the length is at most the largest.
    return ConnectionID(bytes)!
  }
}

/// Which of the rings that share an address this one is. The low five bits of a connection ID's first byte say whose it
/// is: of the IDs that we issue because we write them so, of those that clients choose because someone must have them.
public struct RingShare: Hashable, Sendable {
  /// As many as five bits can tell apart.
  public static let maximumCount = 32

  public let index: Int
  public let count: Int

  public init(index: Int, count: Int) {
    precondition(count >= 1 && count <= Self.maximumCount && index >= 0 && index < count, "a ring of some")
    self.index = index
    self.count = count
  }

  /// The ring that a connection ID belongs to.
  public func owner(firstByte: UInt8) -> Int { Int(firstByte & 0x1f) % count }

  /// Five bits for an ID of this ring, of those that mean it one by chance: an observer is to see no more of it than
  /// must be.
  func ownBits(_ random: UInt8) -> UInt8 {
    let choices = (Self.maximumCount - index + count - 1) / count
    return UInt8(index + count * (Int(random) % choices))
  }
}
