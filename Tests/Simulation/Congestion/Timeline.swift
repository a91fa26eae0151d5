package import Wire

/// What is still to happen, by virtual time; what happens at the same instant keeps the order in which it was added.
///
/// The heap holds times and places only, so that moving its entries counts no references: a scenario has tens of millions.
package struct Timeline<Event> {
  private struct Entry {
    var time: Instant
    var order: UInt64
    var place: Int
  }

  private var heap: [Entry] = []
  private var events: [Event?] = []
  private var free: [Int] = []
  private var added: UInt64 = 0

  package init() {}

  package var nextTime: Instant? { heap.first?.time }

  package mutating func add(_ event: Event, at time: Instant) {
    let place: Int
    if let last = free.popLast() {
      place = last
      events[place] = event
    } else {
      place = events.count
      events.append(event)
    }
    heap.append(Entry(time: time, order: added, place: place))
    added += 1
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard isEarlier(heap[child], heap[parent]) else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  /// The earliest event, if it is due at `now`.
  package mutating func popDue(_ now: Instant) -> Event? {
    guard let first = heap.first, first.time <= now else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      sink()
    }
    free.append(first.place)
    defer { events[first.place] = nil }
    return events[first.place]
  }

  private mutating func sink() {
    var parent = 0
    while true {
      var least = parent
      for child in 2 * parent + 1..<2 * parent + 3 where child < heap.count && isEarlier(heap[child], heap[least]) {
        least = child
      }
      if least == parent { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }

  private func isEarlier(_ a: Entry, _ b: Entry) -> Bool {
    a.time != b.time ? a.time < b.time : a.order < b.order
  }
}
