import Wire

/// The connection IDs that we have given the peer to send to (RFC 9000 §5.1).
struct LocalConnectionIDs {
  struct Entry {
    var sequence: UInt64
    var id: ConnectionID
  }

  private(set) var active: [Entry]
  private var nextSequence: UInt64 = 1
  /// Sequence numbers whose NEW_CONNECTION_ID is due.
  private(set) var announcing: [UInt64] = []
  /// As many as the peer keeps, and no more than this many are out at once.
  private static let mostActive = 8
  /// RFC 9000 §5.1.1: "An endpoint MAY limit the total number of connection IDs issued for each connection to avoid the
  /// risk of running out of connection IDs". What has been issued is remembered, in a few bytes each.
  static let mostIssued = 16_384
  /// How every ID ends that was issued.
  private var issued: Set<UInt64> = []
  private let format: ConnectionIDFormat
  let resetKey: StatelessResetKey

  /// - Parameter taken: routed to this connection without being one of these: what the client, or a Retry, chose.
  init(configuration: Configuration, taken: ConnectionID?, entropy: any EntropySource) {
    format = configuration.connectionIDs
    // Without a key that outlives the connection tokens are random: they are given, and never used.
    resetKey = StatelessResetKey(configuration.statelessResetKey ?? entropy.bytes(32))
    active = []
    if let taken { issued = [taken.ending] }
    active = [Entry(sequence: 0, id: draw(entropy) ?? format.next(entropy))]
  }

  var length: Int { format.length }

  /// The one chosen in the handshake.
  var first: ConnectionID { active[0].id }

  func contains(_ id: ConnectionID) -> Bool { active.contains { $0.id == id } }

  /// An ID that this connection has not had before; nil when it has had too many.
  private mutating func draw(_ entropy: any EntropySource) -> ConnectionID? {
    guard issued.count < Self.mostIssued else { return nil }
    // Of the shortest IDs one in a thousand is met twice by then; what comes again and again is no entropy.
    for _ in 0..<16 {
      let id = format.next(entropy)
      // RFC 9000 §5.1: "the same connection ID MUST NOT be issued more than once on the same connection."
      if issued.insert(id.ending).inserted { return id }
    }
    return nil
  }

  /// Keeps the peer supplied with as many as it takes. Returns what was newly issued.
  mutating func replenish(peerLimit: UInt64, entropy: any EntropySource) -> [ConnectionID] {
    let limit = Int(min(peerLimit, UInt64(Self.mostActive)))
    var fresh: [ConnectionID] = []
    while active.count < limit, let id = draw(entropy) {
      active.append(Entry(sequence: nextSequence, id: id))
      announcing.append(nextSequence)
      nextSequence += 1
      fresh.append(id)
    }
    return fresh
  }

  /// The one that goes with a preferred address, before any other is issued (RFC 9000 §5.1.1).
  mutating func issuePreferred(_ entropy: any EntropySource) -> ConnectionID? {
    // RFC 9000 §5.1.1: "If the preferred_address transport parameter is sent, the sequence number of the supplied
    // connection ID is 1."
    precondition(nextSequence == 1, "the second ID")
    guard let id = draw(entropy) else { return nil }
    active.append(Entry(sequence: nextSequence, id: id))
    nextSequence += 1
    return id
  }

  /// Takes in RETIRE_CONNECTION_ID (RFC 9000 §19.16); returns the ID that is over, if it still was not.
  mutating func receiveRetirement(_ sequence: UInt64, packetDestination: ConnectionID) throws(TransportError)
    -> ConnectionID?
  {
    let type = FrameType.retireConnectionID
    // RFC 9000 §19.16: "Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number greater than any
    // previously sent to the peer MUST be treated as a connection error of type PROTOCOL_VIOLATION."
    guard sequence < nextSequence else {
      throw TransportError(.protocolViolation, "retirement of an ID never issued", frameType: type)
    }
    guard let index = active.firstIndex(where: { $0.sequence == sequence }) else { return nil }
    let id = active[index].id
    // RFC 9000 §19.16: "The sequence number specified in a RETIRE_CONNECTION_ID frame MUST NOT refer to the
    // Destination Connection ID field of the packet in which the frame is contained."
    guard id != packetDestination else {
      throw TransportError(.protocolViolation, "retirement of the ID it came to", frameType: type)
    }
    active.remove(at: index)
    announcing.removeAll { $0 == sequence }
    return id
  }

  /// The next ID to announce.
  mutating func announcementSent() -> Entry? {
    while !announcing.isEmpty {
      let sequence = announcing.removeFirst()
      if let entry = active.first(where: { $0.sequence == sequence }) { return entry }
    }
    return nil
  }

  mutating func announcementLost(_ sequence: UInt64) {
    guard active.contains(where: { $0.sequence == sequence }), !announcing.contains(sequence) else { return }
    announcing.append(sequence)
  }
}

extension ConnectionID {
  /// The last eight bytes, where routable IDs have their nonce: of different IDs different, but by a rare chance.
  fileprivate var ending: UInt64 {
    withUnsafeBytes { bytes in bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) } }
  }
}
