import Wire

/// Connection IDs of ours that the peer has retired, and to which packets may still be on their way: those that it sent
/// by a slower path before it moved to another. They are taken in for a while as any other.
///
/// An endpoint that knew such an ID no longer would answer with a stateless reset. RFC 9000 §10.3.1 forbids the peer to
/// heed it, but there are peers that do, and lose the connection.
struct FormerConnectionIDs {
  private var entries: [(id: ConnectionID, until: Instant)] = []
  /// More than these are not kept: a peer that retires in haste loses what it overtakes.
  static let mostKept = 8

  func contains(_ id: ConnectionID) -> Bool { entries.contains { $0.id == id } }

  /// When the first of them is over.
  var deadline: Instant? { entries.first?.until }

  /// Returns one that has to go for it.
  mutating func add(_ id: ConnectionID, until: Instant) -> ConnectionID? {
    let oldest = entries.count == Self.mostKept ? entries.removeFirst().id : nil
    entries.append((id, max(until, entries.last?.until ?? until)))
    return oldest
  }

  /// Takes out one that is over by `now`.
  mutating func takeExpired(_ now: Instant) -> ConnectionID? {
    guard let deadline, deadline <= now else { return nil }
    return entries.removeFirst().id
  }
}
