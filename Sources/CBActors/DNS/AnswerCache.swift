import Wire

/// What is kept of answers until their TTL has passed (RFC 1035 §7.4, RFC 2308 §5).
///
/// Holds at most `capacity` entries; when full, what has expired goes first, then what expires soonest.
struct AnswerCache {
  /// An NXDOMAIN holds for every type at its name (RFC 2308 §5) and is kept under ``RecordType/any``.
  struct Key: Hashable {
    var name: DNSName
    var type: RecordType
  }

  typealias Outcome = Result<StubResolver.Answer, StubResolver.Failure>

  private struct Entry {
    var outcome: Outcome
    var expires: Instant
  }

  private var entries: [Key: Entry] = [:]
  let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  var count: Int { entries.count }

  func outcome(_ name: DNSName, _ type: RecordType, now: Instant) -> Outcome? {
    for type in [type, .any] {
      if let entry = entries[Key(name: name, type: type)], entry.expires > now { return entry.outcome }
    }
    return nil
  }

  mutating func insert(_ outcome: Outcome, at key: Key, until expires: Instant, now: Instant) {
    guard expires > now, capacity > 0 else { return }
    if entries.count >= capacity, entries[key] == nil {
      entries = entries.filter { $0.value.expires > now }
      if entries.count >= capacity, let soonest = entries.min(by: { $0.value.expires < $1.value.expires }) {
        entries[soonest.key] = nil
      }
    }
    entries[key] = Entry(outcome: outcome, expires: expires)
  }

  mutating func removeAll() { entries = [:] }
}
