import Wire

/// What is still to happen, by virtual time; what happens at the same instant keeps the order in which it was added.
struct EventHeap<Event> {
  private struct Entry {
    var time: Instant
    var order: UInt64
    var event: Event
  }

  private var entries: [Entry] = []
  private var added: UInt64 = 0

  var isEmpty: Bool { entries.isEmpty }
  var count: Int { entries.count }
  var nextTime: Instant? { entries.first?.time }

  mutating func add(_ event: Event, at time: Instant) {
    entries.append(Entry(time: time, order: added, event: event))
    added += 1
    var child = entries.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard isEarlier(child, parent) else { break }
      entries.swapAt(child, parent)
      child = parent
    }
  }

  /// The earliest event, if it is due at `now`.
  mutating func popDue(_ now: Instant) -> Event? {
    guard let first = entries.first, first.time <= now else { return nil }
    let last = entries.removeLast()
    guard !entries.isEmpty else { return first.event }
    entries[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count && isEarlier(child, least) {
        least = child
      }
      if least == parent { break }
      entries.swapAt(parent, least)
      parent = least
    }
    return first.event
  }

  private func isEarlier(_ a: Int, _ b: Int) -> Bool {
    (entries[a].time, entries[a].order) < (entries[b].time, entries[b].order)
  }
}
