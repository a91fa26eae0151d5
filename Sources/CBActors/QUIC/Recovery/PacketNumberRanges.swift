/// Packet numbers received, as at most ``capacity`` disjoint, non-adjacent ranges in rising order.
///
/// Numbers mostly arrive in order, so the last range is looked at first. When one range too many
/// would be kept, the one with the smallest numbers goes (RFC 9000 §13.2.3).
package struct PacketNumberRanges: Sendable {
  /// A full ACK of this many ranges, each with gap and length of two bytes, fits a 1200-byte datagram.
  static let capacity = 64

  private var ranges: [ClosedRange<UInt64>] = []

  var isEmpty: Bool { ranges.isEmpty }
  var count: Int { ranges.count }
  var largest: UInt64? { ranges.last?.upperBound }
  /// The range that holds the largest number.
  var last: ClosedRange<UInt64>? { ranges.last }

  /// The ranges from the largest numbers to the smallest, as an ACK frame lists them.
  package var descending: ReversedCollection<[ClosedRange<UInt64>]> { ranges.reversed() }

  /// False when the number was there already, or was too small to be kept.
  @discardableResult
  mutating func insert(_ number: UInt64) -> Bool {
    guard let last = ranges.last else {
      ranges.append(number...number)
      return true
    }
    if number > last.upperBound {
      if number - last.upperBound == 1 {
        ranges[ranges.count - 1] = last.lowerBound...number
      } else {
        if ranges.count == Self.capacity { ranges.removeFirst() }
        ranges.append(number...number)
      }
      return true
    }
    return insertBelow(number)
  }

  private mutating func insertBelow(_ number: UInt64) -> Bool {
    // The first range that ends at or above `number`; there is one.
    var index = ranges.count - 1
    while index > 0, ranges[index - 1].upperBound >= number { index -= 1 }
    let above = ranges[index]
    if above.lowerBound <= number { return false }
    let joinsAbove = above.lowerBound - number == 1
    let joinsBelow = index > 0 && number - ranges[index - 1].upperBound == 1
    switch (joinsBelow, joinsAbove) {
    case (true, true):
      ranges[index - 1] = ranges[index - 1].lowerBound...above.upperBound
      ranges.remove(at: index)
    case (true, false):
      ranges[index - 1] = ranges[index - 1].lowerBound...number
    case (false, true):
      ranges[index] = number...above.upperBound
    case (false, false):
      if ranges.count == Self.capacity {
        if index == 0 { return false }
        ranges.removeFirst()
        index -= 1
      }
      ranges.insert(number...number, at: index)
    }
    return true
  }

  func contains(_ number: UInt64) -> Bool {
    for range in ranges.reversed() where range.lowerBound <= number {
      return number <= range.upperBound
    }
    return false
  }

  /// The smallest number from `lowest` on that is not in the set and has a larger one in it.
  func firstMissing(from lowest: UInt64) -> UInt64? {
    var isBelowAny = false
    for range in ranges.reversed() {
      if range.upperBound < lowest { break }
      if range.lowerBound <= lowest { return isBelowAny ? range.upperBound + 1 : nil }
      isBelowAny = true
    }
    return isBelowAny ? lowest : nil
  }

  /// Forgets every number up to and including `number`.
  mutating func remove(through number: UInt64) {
    var whole = 0
    while whole < ranges.count, ranges[whole].upperBound <= number { whole += 1 }
    if whole > 0 { ranges.removeFirst(whole) }
    if let first = ranges.first, first.lowerBound <= number {
      // The bound above `number` exists: the loop kept this range because it ends above it.
      ranges[0] = (number + 1)...first.upperBound
    }
  }

  mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }
}
