/// Events that wait for the owner to drain them, first in, first out.
///
/// Needs no bound of its own: every event is said at most once per stream, per limit raised or per
/// connection ID, and those are bounded by the limits that we have advertised.
struct EventQueue {
  private var events: [Event] = []
  private var head = 0

  var isEmpty: Bool { head == events.count }

  mutating func append(_ event: Event) { events.append(event) }

  mutating func next() -> Event? {
    guard head < events.count else { return nil }
    defer {
      head += 1
      if head == events.count {
        events.removeAll(keepingCapacity: true)
        head = 0
      }
    }
    return events[head]
  }
}
