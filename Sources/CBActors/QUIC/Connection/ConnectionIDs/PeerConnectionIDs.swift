/// The connection IDs that the peer has given us to send to (RFC 9000 §5.1).
struct PeerConnectionIDs {
  struct Entry {
    var sequence: UInt64
    var id: ConnectionID
    var resetToken: StatelessResetToken?
    /// Some path sends to it.
    var isUsed: Bool
  }

  /// RETIRE_CONNECTION_ID frames that wait for acknowledgement, at most.
  private static let maximumRetiring = 32

  /// What we declared as active_connection_id_limit.
  private let limit: Int
  private(set) var active: [Entry]
  private var retirePriorTo: UInt64 = 0
  /// Sequence numbers whose RETIRE_CONNECTION_ID is due.
  private(set) var retiring: [UInt64] = []
  /// Sent and not acknowledged.
  private var retirementsInFlight = 0

  /// - Parameter first: what the peer chose in the handshake, sequence number 0.
  init(first: ConnectionID, limit: Int) {
    self.limit = limit
    active = [Entry(sequence: 0, id: first, resetToken: nil, isUsed: true)]
  }

  /// The handshake has settled which ID is number 0 (RFC 9000 §7.2).
  mutating func replaceFirst(_ id: ConnectionID) { active[0].id = id }

  mutating func setFirstResetToken(_ token: StatelessResetToken) {
    guard let index = active.firstIndex(where: { $0.sequence == 0 }) else { return }
    active[index].resetToken = token
  }

  /// What came with a preferred address (RFC 9000 §5.1.1).
  mutating func addPreferred(_ preferred: PreferredAddress) {
    active.append(Entry(sequence: 1, id: preferred.connectionID, resetToken: preferred.resetToken, isUsed: false))
  }

  func id(_ sequence: UInt64) -> ConnectionID? { active.first { $0.sequence == sequence }?.id }

  /// Every token is compared without an early way out. RFC 9000 §10.3.1: "An endpoint MUST NOT check for any stateless
  /// reset tokens associated with connection IDs it has not used or for connection IDs that have been retired."
  func matchesReset(_ token: StatelessResetToken) -> Bool {
    var matches = false
    for entry in active {
      if let known = entry.resetToken, entry.isUsed, known == token { matches = true }
    }
    return matches
  }

  /// Takes in NEW_CONNECTION_ID (RFC 9000 §19.15).
  mutating func receive(_ frame: NewConnectionIDFrame) throws(TransportError) {
    let type = FrameType.newConnectionID
    // RFC 9000 §19.15: "An endpoint that is sending packets with a zero-length Destination Connection ID MUST treat
    // receipt of a NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION."
    if active.contains(where: { $0.id.length == 0 }) {
      throw TransportError(.protocolViolation, "NEW_CONNECTION_ID beside a zero-length ID", frameType: type)
    }
    for entry in active where entry.sequence == frame.sequence || entry.id == frame.connectionID {
      guard entry.sequence == frame.sequence, entry.id == frame.connectionID,
        entry.resetToken.map({ $0 == frame.resetToken }) ?? true
      else {
        throw TransportError(.protocolViolation, "a connection ID issued in two ways", frameType: type)
      }
      return try raise(retirePriorTo: frame.retirePriorTo)
    }
    // RFC 9000 §19.15: a sequence number below one already asked to be retired "MUST send a corresponding
    // RETIRE_CONNECTION_ID frame that retires the newly received connection ID".
    if frame.sequence < retirePriorTo {
      try queueRetirement(frame.sequence)
      return
    }
    try raise(retirePriorTo: frame.retirePriorTo)
    active.append(
      Entry(
        sequence: frame.sequence, id: frame.connectionID, resetToken: frame.resetToken, isUsed: false))
    // RFC 9000 §5.1.1: "if the number of active connection IDs exceeds the value advertised in its
    // active_connection_id_limit transport parameter, an endpoint MUST close the connection with an error of type
    // CONNECTION_ID_LIMIT_ERROR."
    guard active.count <= limit else {
      throw TransportError(.connectionIDLimitError, "more connection IDs than allowed", frameType: type)
    }
  }

  private mutating func raise(retirePriorTo: UInt64) throws(TransportError) {
    guard retirePriorTo > self.retirePriorTo else { return }
    self.retirePriorTo = retirePriorTo
    for entry in active where entry.sequence < retirePriorTo { try queueRetirement(entry.sequence) }
    active.removeAll { $0.sequence < retirePriorTo }
  }

  private mutating func queueRetirement(_ sequence: UInt64) throws(TransportError) {
    if retiring.contains(sequence) { return }
    guard retiring.count + retirementsInFlight < Self.maximumRetiring else {
      throw TransportError(
        .connectionIDLimitError, "too many retirements outstanding", frameType: FrameType.newConnectionID)
    }
    retiring.append(sequence)
  }

  /// An ID that no path sends to, taken for one that will; nil when the peer has left us none.
  mutating func takeUnused() -> Entry? {
    guard let index = active.firstIndex(where: { !$0.isUsed }) else { return nil }
    active[index].isUsed = true
    return active[index]
  }

  var hasUnused: Bool { active.contains { !$0.isUsed } }

  /// No path sends to it any more: the peer is told, and gives another in its place.
  mutating func retire(_ sequence: UInt64) {
    guard active.count > 1, let index = active.firstIndex(where: { $0.sequence == sequence }) else { return }
    // A full list of retirements keeps the ID active: it is retired by the peer's own demand, or with the connection.
    guard (try? queueRetirement(sequence)) != nil else { return }
    active.remove(at: index)
  }

  mutating func retirementSent() -> UInt64? {
    guard !retiring.isEmpty else { return nil }
    retirementsInFlight += 1
    return retiring.removeFirst()
  }
  mutating func retirementAcknowledged() { retirementsInFlight = max(0, retirementsInFlight - 1) }
  mutating func retirementLost(_ sequence: UInt64) {
    retirementsInFlight = max(0, retirementsInFlight - 1)
    if !retiring.contains(sequence) { retiring.append(sequence) }
  }
}
