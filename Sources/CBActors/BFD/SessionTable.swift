public import Wire

/// The sessions of a system over single hops, and which of them a packet belongs to (RFC 5881).
public struct SessionTable {
  /// The two ends of a session.
  public struct Peer: Hashable, Sendable {
    public var local: IPAddress
    public var remote: IPAddress
    /// The interface's index where the remote address is of link scope; otherwise 0.
    public var scopeID: UInt32

    public init(local: IPAddress, remote: IPAddress, scopeID: UInt32 = 0) {
      self.local = local
      self.remote = remote
      self.scopeID = scopeID
    }
  }

  /// Why a packet was discarded.
  public enum Discard: Hashable, Sendable {
    case malformed(ControlPacket.Rejection)
    /// It came over a router (RFC 5881 §5).
    case hopLimit
    case unknownSession
    case authentication
    /// The session is switched off.
    case adminDown
  }

  /// UDP ports (RFC 5881 §4).
  public static let port: UInt16 = 3_784
  public static let sourcePorts: ClosedRange<UInt16> = 49_152...65_535

  private let entropy: any EntropySource
  private var sessions: [UInt32: Session] = [:]
  private var discriminators: [Peer: UInt32] = [:]
  public private(set) var discards: [Discard: Int] = [:]

  public init(entropy: any EntropySource) { self.entropy = entropy }

  public var discriminatorsInUse: [UInt32] { Array(sessions.keys) }

  /// Begins a session and returns its discriminator; that of the one that there is already.
  public mutating func add(_ peer: Peer, _ configuration: Session.Configuration, now: Instant) -> UInt32 {
    if let known = discriminators[peer] { return known }
    var discriminator: UInt32
    // RFC 5880 §6.8.1: "MUST be unique across all BFD sessions on this system, and nonzero"; and hard to guess (§9).
    repeat {
      discriminator = UInt32(truncatingIfNeeded: entropy.nextUInt64())
    } while discriminator == 0
      || sessions[discriminator] != nil
    sessions[discriminator] = Session(configuration, localDiscriminator: discriminator, entropy: entropy, now: now)
    discriminators[peer] = discriminator
    return discriminator
  }

  public mutating func remove(_ peer: Peer) {
    guard let discriminator = discriminators.removeValue(forKey: peer) else { return }
    sessions[discriminator] = nil
  }

  public subscript(discriminator: UInt32) -> Session? {
    get { sessions[discriminator] }
    _modify { yield &sessions[discriminator] }
  }

  public var deadline: Instant { sessions.values.reduce(.distantFuture) { min($0, $1.deadline) } }

  /// Takes the payload of a datagram; returns the session that took it.
  ///
  /// - Parameters:
  ///   - peer: where it came from and where to.
  ///   - hopLimit: the TTL or Hop Limit as received; nil where it is not known, which discards the packet.
  public mutating func receive(
    _ bytes: UnsafeRawBufferPointer, _ peer: Peer, hopLimit: UInt8?, now: Instant
  ) -> UInt32? {
    // RFC 5881 §5: what is received with a TTL or Hop Limit "not equal to 255" is discarded.
    guard hopLimit == 255 else { return discard(.hopLimit) }
    let packet: ControlPacket
    do throws(ControlPacket.Rejection) { packet = try ControlPacket(bytes) } catch { return discard(.malformed(error)) }
    // RFC 5880 §6.3: by Your Discriminator alone where there is one; else, RFC 5881 §3, by the addresses.
    let discriminator = packet.yourDiscriminator != 0 ? packet.yourDiscriminator : discriminators[peer]
    guard let discriminator, sessions[discriminator] != nil else { return discard(.unknownSession) }
    guard !packet.hasAuthentication else { return discard(.authentication) }
    guard sessions[discriminator]?.receive(packet, now: now) == true else { return discard(.adminDown) }
    return discriminator
  }

  private mutating func discard(_ reason: Discard) -> UInt32? {
    discards[reason, default: 0] += 1
    return nil
  }
}
