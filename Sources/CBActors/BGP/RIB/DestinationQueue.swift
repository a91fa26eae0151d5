/// Destinations that have changed since somebody was last told of them, in the order in which they did; each is in it once,
/// however often it changes before its turn, so that it is never longer than the table.
struct DestinationQueue {
  private var marks: ContiguousArray<UInt64> = []
  private var queue: ContiguousArray<UInt32> = []
  private var head = 0
  /// What has been taken is dropped when there is so much of it, and more than there is left.
  private static let droppedAtLeast = 65_536

  var isEmpty: Bool { head == queue.count }

  /// Those that are in it.
  var waiting: ArraySlice<UInt32> { queue[head...] }

  /// True if it was not in it already.
  mutating func insert(_ number: Int) -> Bool {
    let word = number >> 6
    if word >= marks.count {
      marks.append(contentsOf: repeatElement(0, count: max(word + 1 - marks.count, marks.count)))
    }
    let bit = UInt64(1) << UInt64(number & 63)
    guard marks[word] & bit == 0 else { return false }
    marks[word] |= bit
    queue.append(UInt32(number))
    return true
  }

  mutating func next() -> Int? {
    guard head < queue.count else { return nil }
    let number = Int(queue[head])
    head += 1
    if head == queue.count {
      queue.removeAll(keepingCapacity: head < Self.droppedAtLeast)
      head = 0
    } else if head >= Self.droppedAtLeast, head > queue.count - head {
      queue.removeFirst(head)
      head = 0
    }
    marks[number >> 6] &= ~(UInt64(1) << UInt64(number & 63))
    return number
  }
}
