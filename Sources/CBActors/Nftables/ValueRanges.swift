import BGP

/// The values of a packet's field for which the alternatives of a component hold: ranges by ascent, apart from each other.
struct ValueRanges: Hashable {
  private(set) var ranges: [ClosedRange<UInt64>]

  init(_ ranges: [ClosedRange<UInt64>]) {
    self.ranges = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = self.ranges.last, range.lowerBound <= last.upperBound || range.lowerBound == last.upperBound + 1 {
        self.ranges[self.ranges.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        self.ranges.append(range)
      }
    }
  }

  /// Those of a field whose values go up to `maximum`, which is less than the greatest number there is.
  init(_ terms: [NumericTerm], maximum: UInt64) {
    // RFC 8955 §4.2.1.1: AND binds before OR.
    var alternatives: [ValueRanges] = []
    for (at, term) in terms.enumerated() {
      let one = ValueRanges(term, maximum)
      if term.isAnd, at > 0, let last = alternatives.popLast() {
        alternatives.append(last.intersection(one))
      } else {
        alternatives.append(one)
      }
    }
    self.init(alternatives.flatMap(\.ranges))
  }

  private init(_ term: NumericTerm, _ maximum: UInt64) {
    var found: [ClosedRange<UInt64>] = []
    if term.isLess, term.value > 0 { found.append(0...min(term.value - 1, maximum)) }
    if term.isEqual, term.value <= maximum { found.append(term.value...term.value) }
    if term.isGreater, term.value < maximum { found.append(term.value + 1...maximum) }
    self.init(found)
  }

  /// Those of 0 to `maximum`, which are few, for which the alternatives hold.
  init(_ terms: [BitmaskTerm], maximum: UInt64) {
    self.init(
      (0...maximum).filter { flags in
        var holds = false
        for (at, term) in terms.enumerated() {
          if term.isAnd, at > 0 {
            holds = holds && term.holds(for: flags)
          } else {
            if holds { return true }
            holds = term.holds(for: flags)
          }
        }
        return holds
      }.map { $0...$0 })
  }

  var isEmpty: Bool { ranges.isEmpty }

  func intersection(_ other: ValueRanges) -> ValueRanges {
    var found: [ClosedRange<UInt64>] = []
    var (one, two) = (ranges[...], other.ranges[...])
    while let mine = one.first, let theirs = two.first {
      let (low, high) = (max(mine.lowerBound, theirs.lowerBound), min(mine.upperBound, theirs.upperBound))
      if low <= high { found.append(low...high) }
      if mine.upperBound < theirs.upperBound { one.removeFirst() } else { two.removeFirst() }
    }
    return ValueRanges(found)
  }

  func isAll(_ maximum: UInt64) -> Bool { ranges == [0...maximum] }

  func contains(_ value: UInt64) -> Bool { ranges.contains { $0.contains(value) } }

  /// Each less by `offset`; what would be below 0 is cut off.
  func lowered(by offset: UInt64) -> ValueRanges {
    ValueRanges(
      ranges.compactMap { range in
        range.upperBound < offset
          ? nil : (max(range.lowerBound, offset) - offset)...(range.upperBound - offset)
      })
  }

  /// As a set of nftables.
  var text: String {
    let parts = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
    return "{ \(parts.joined(separator: ", ")) }"
  }

  /// The same for a field whose sets take no ranges; of one with few values.
  var textOfSingles: String { "{ \(ranges.flatMap { $0.map { "\($0)" } }.joined(separator: ", ")) }" }
}
