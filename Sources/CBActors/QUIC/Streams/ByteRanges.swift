/// A sorted set of disjoint, non-adjacent half-open ranges of stream offsets.
///
/// In-order traffic keeps it empty or at one range; the array's capacity is kept, so that the
/// steady state allocates nothing.
struct ByteRanges {
  private(set) var ranges: [Range<UInt64>] = []

  var isEmpty: Bool { ranges.isEmpty }
  var count: Int { ranges.count }
  var first: Range<UInt64>? { ranges.first }

  /// The index of the first range that ends at or after `offset`.
  private func firstIndex(endingAtOrAfter offset: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < offset { low = middle + 1 } else { high = middle }
    }
    return low
  }

  mutating func insert(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    // The common case: beyond, or growing, the last range.
    guard let last = ranges.last else {
      ranges.append(range)
      return
    }
    if range.lowerBound > last.upperBound {
      ranges.append(range)
      return
    }
    if range.lowerBound >= last.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      return
    }
    let start = firstIndex(endingAtOrAfter: range.lowerBound)
    var lower = range.lowerBound
    var upper = range.upperBound
    var end = start
    while end < ranges.count, ranges[end].lowerBound <= upper {
      lower = min(lower, ranges[end].lowerBound)
      upper = max(upper, ranges[end].upperBound)
      end += 1
    }
    if end == start {
      ranges.insert(lower..<upper, at: start)
    } else {
      ranges[start] = lower..<upper
      if end > start + 1 { ranges.removeSubrange(start + 1..<end) }
    }
  }

  mutating func subtract(_ range: Range<UInt64>) {
    guard !range.isEmpty, !ranges.isEmpty else { return }
    var index = firstIndex(endingAtOrAfter: range.lowerBound)
    while index < ranges.count, ranges[index].lowerBound < range.upperBound {
      let present = ranges[index]
      if present.upperBound <= range.lowerBound {
        index += 1
        continue
      }
      let keepsLeft = present.lowerBound < range.lowerBound
      let keepsRight = present.upperBound > range.upperBound
      switch (keepsLeft, keepsRight) {
      case (true, true):
        ranges[index] = present.lowerBound..<range.lowerBound
        ranges.insert(range.upperBound..<present.upperBound, at: index + 1)
        return
      case (true, false):
        ranges[index] = present.lowerBound..<range.lowerBound
        index += 1
      case (false, true):
        ranges[index] = range.upperBound..<present.upperBound
        return
      case (false, false):
        ranges.remove(at: index)
      }
    }
  }

  mutating func subtract(_ other: ByteRanges) {
    for range in other.ranges { subtract(range) }
  }

  mutating func removeFirst() { ranges.removeFirst() }

  mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }
}
