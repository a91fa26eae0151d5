/// The frames of all tracked packets of one space, in sending order: a ring that grows to the most that is in flight,
/// and is given up when nothing is.
struct FrameLog: Sendable {
  private var storage: [SentFrame] = []
  private var mask = 0
  /// Absolute position of the oldest frame kept, and one past the newest.
  private(set) var start: UInt64 = 0
  private(set) var end: UInt64 = 0

  /// Slots allocated.
  var capacity: Int { storage.count }
  var count: Int { Int(end - start) }

  subscript(position: UInt64) -> SentFrame { storage[Int(truncatingIfNeeded: position) & mask] }

  mutating func append(_ frame: SentFrame) {
    if count == storage.count { grow() }
    storage[Int(truncatingIfNeeded: end) & mask] = frame
    end += 1
  }

  /// Takes back what was appended past `position`.
  mutating func truncate(to position: UInt64) {
    if position >= start, position < end { end = position }
  }

  /// Frees everything before `position`.
  mutating func release(before position: UInt64) {
    if position > start { start = min(position, end) }
    if start == end, storage.count > 64 {
      storage = []
      mask = 0
    }
  }

  private mutating func grow() {
    let capacity = max(8, storage.count * 2)
    var larger = [SentFrame](repeating: .ping, count: capacity)
    var position = start
    while position < end {
      larger[Int(truncatingIfNeeded: position) & (capacity - 1)] = self[position]
      position += 1
    }
    storage = larger
    mask = capacity - 1
  }
}
