import Wire

/// A walk over all destinations, those of IPv4 first, in the order of (address, length), in pieces between which the
/// tables may change: what comes behind it is missed, what comes before it is met.
struct TableWalk: Sendable {
  enum Position: Sendable {
    case ipv4(after: PrefixTrie<UInt32>.Key?)
    case ipv6(after: PrefixTrie<UInt128>.Key?)
    case end
  }
  fileprivate(set) var position = Position.ipv4(after: nil)

  var isAtEnd: Bool { if case .end = position { true } else { false } }
}

extension RIB {
  /// What a walk calls for a destination, by its number. It may have no route that policy has not denied.
  typealias Visit<Bits: PrefixBits> = (borrowing RouteTable<Bits>, Int, borrowing AttributeTable) -> Void

  /// Goes on by at most so many destinations.
  func advance(
    _ walk: inout TableWalk, atMost limit: Int, ipv4 visit4: Visit<UInt32>, ipv6 visit6: Visit<UInt128>
  ) {
    switch walk.position {
    case .ipv4(let last):
      let reached = Self.visit(ipv4, attributes, after: last, atMost: limit, visit4)
      walk.position = reached.map { .ipv4(after: $0) } ?? .ipv6(after: nil)
    case .ipv6(let last):
      let reached = Self.visit(ipv6, attributes, after: last, atMost: limit, visit6)
      walk.position = reached.map { .ipv6(after: $0) } ?? .end
    case .end: break
    }
  }

  /// The prefix that was visited last; nil when there is none behind it.
  private static func visit<Bits>(
    _ table: borrowing RouteTable<Bits>, _ attributes: borrowing AttributeTable, after last: PrefixTrie<Bits>.Key?,
    atMost limit: Int, _ body: Visit<Bits>
  ) -> PrefixTrie<Bits>.Key? {
    var visited = 0
    var reached: PrefixTrie<Bits>.Key?
    table.trie.forEach(within: 0, 0, after: last.map { ($0.bits, $0.length) }) { number in
      visited += 1
      body(table, number, attributes)
      guard visited == limit else { return true }
      let (bits, length) = table.trie.prefix(number)
      reached = .init(bits, length)
      return false
    }
    return reached
  }
}
