/// Events that wait for the owner to drain them, first in, first out.
///
/// Needs no bound of its own: every event is said at most once per stream, per limit raised or per
/// connection ID, and those are bounded by the limits that we have advertised.
struct EventQueue {
  private var events: [Event] = []
  private var head = 0
  /// The room is given up when nothing waits any more.
  private var isOversized = false
  /// Room for more than so many is not kept.
  private static let mostRoom = 64

  var isEmpty: Bool { head == events.count }

  mutating func append(_ event: Event) { events.append(event) }

  /// Something is over in which much was said at once, as it will not be again.
  mutating func shrinkOnceEmpty() { isOversized = true }

  mutating func next() -> Event? {
    guard head < events.count else { return nil }
    defer {
      head += 1
      if head == events.count {
        events.removeAll(keepingCapacity: !isOversized && events.capacity <= Self.mostRoom)
        isOversized = false
        head = 0
      }
    }
    return events[head]
  }
}
