/// The timers of a ring, earliest first: a 4-ary heap whose members know their places, so that setting
/// and cancelling cost O(log n) and no system call. A member is retained while it is in.
struct TimerHeap: ~Copyable {
  private struct Entry {
    var deadline: Int64
    var timer: Unmanaged<RingTimer>
  }

  private var entries: ContiguousArray<Entry> = []

  var count: Int { entries.count }

  /// The earliest deadline in nanoseconds; nil when no timer is set.
  var earliest: Int64? { entries.first?.deadline }

  mutating func set(_ timer: RingTimer, deadline: Int64) {
    let place = timer.place
    if place < 0 {
      entries.append(Entry(deadline: deadline, timer: .passRetained(timer)))
      timer.place = entries.count - 1
      siftUp(entries.count - 1)
    } else {
      let before = entries[place].deadline
      entries[place].deadline = deadline
      if deadline < before { siftUp(place) } else { siftDown(place) }
    }
  }

  mutating func remove(_ timer: RingTimer) {
    guard timer.place >= 0 else { return }
    _ = remove(at: timer.place).takeRetainedValue()
  }

  /// Takes the earliest timer out if it is due.
  mutating func popFirst(dueAt now: Int64) -> RingTimer? {
    guard let first = entries.first, first.deadline <= now else { return nil }
    return remove(at: 0).takeRetainedValue()
  }

  mutating func removeAll() {
    let all = entries
    entries = []
    for entry in all {
      entry.timer._withUnsafeGuaranteedRef { $0.place = -1 }
      entry.timer.release()
    }
  }

  private mutating func remove(at place: Int) -> Unmanaged<RingTimer> {
    let removed = entries[place].timer
    removed._withUnsafeGuaranteedRef { $0.place = -1 }
    let last = entries.removeLast()
    if place < entries.count {
      put(last, at: place)
      siftUp(place)
      siftDown(last.timer._withUnsafeGuaranteedRef { $0.place })
    }
    return removed
  }

  @inline(__always)
  private mutating func put(_ entry: Entry, at place: Int) {
    entries[place] = entry
    entry.timer._withUnsafeGuaranteedRef { $0.place = place }
  }

  private mutating func siftUp(_ start: Int) {
    var place = start
    let entry = entries[place]
    while place > 0 {
      let parent = (place - 1) >> 2
      guard entry.deadline < entries[parent].deadline else { break }
      put(entries[parent], at: place)
      place = parent
    }
    put(entry, at: place)
  }

  private mutating func siftDown(_ start: Int) {
    var place = start
    let entry = entries[place]
    while true {
      let first = (place << 2) + 1
      guard first < entries.count else { break }
      var least = first
      for child in first..<min(first + 4, entries.count) where entries[child].deadline < entries[least].deadline {
        least = child
      }
      guard entries[least].deadline < entry.deadline else { break }
      put(entries[least], at: place)
      place = least
    }
    put(entry, at: place)
  }
}
