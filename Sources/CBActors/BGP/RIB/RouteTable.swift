import Wire

/// No path: the end of a chain.
let noPath = UInt32.max

/// A route of a peer to a destination.
struct RoutePath {
  var attributes: AttributeTable.ID
  /// RFC 7911; 0 where there are none.
  var identifier: UInt32
  var next: UInt32
  var peer: PeerID
  /// Not heard of again since a refresh began, or since the peer was lost.
  var isStale = false
  /// Stale, and kept for lack of anything better (RFC 9494).
  var isLongLived = false
}

/// A prefix with its routes.
struct RouteDestination {
  var first = noPath
  /// Reasons for an Adj-RIB-Out to have the number stay what it is.
  var holders: UInt16 = 0
  var step = DecisionStep.none
}

/// What became of a peer's route to a destination.
enum RouteChange { case added, replaced, unchanged, removed, removedDenied, absent }

/// The routes of one family: the Adj-RIBs-In of all peers and the Loc-RIB in one (RFC 4271 §3.2).
///
/// A destination has its number from the trie and a chain of paths, one for each peer (and path identifier) that has
/// advertised it. The best, which is what the Loc-RIB would hold, is at the head of the chain.
struct RouteTable<Bits: PrefixBits> {
  let family: AddressFamily
  private(set) var trie = PrefixTrie<Bits>()
  var destinations: ContiguousArray<RouteDestination> = []
  var paths: ContiguousArray<RoutePath> = []
  private var freePaths: ContiguousArray<UInt32> = []
  /// By destination: the head of a chain of paths that policy has denied. Empty until there is one.
  var denied: ContiguousArray<UInt32> = []
  var deniedCount = 0
  /// By path: the attributes as they came, where policy has changed them. Empty until it has.
  var originals: ContiguousArray<AttributeTable.ID> = []
  var decision = DecisionProcess()
  /// Of no meaning: what was only looked at is not looked at in vain.
  private var nearness: UInt32 = 0
  /// By peer; nil without a session that has negotiated the family.
  var outputs: ContiguousArray<AdjRIBOut?> = []
  /// Those whose ways may have changed since a forwarding plane was last told; nil where nobody forwards by this table.
  var forwarding: DestinationQueue?

  init(_ family: AddressFamily) { self.family = family }

  /// Without those that policy has denied.
  var pathCount: Int { paths.count - freePaths.count - deniedCount }

  func number(_ bits: Bits, _ length: UInt8) -> Int? { trie.number(bits, length) }

  /// The destination with a route that covers these bits most closely.
  func bestMatch(_ bits: Bits, _ length: UInt8) -> Int? {
    var upTo = Int(length)
    while upTo >= 0, let number = trie.longestMatch(bits & Bits.mask(upTo), UInt8(upTo)) {
      if destinations[number].first != noPath { return number }
      upTo = Int(trie.prefix(number).length) - 1
    }
    return nil
  }

  // MARK: Routes in

  /// Finds the destinations of several prefixes, and brings near what is about to be asked of them.
  private mutating func find(_ group: PrefixGroup<Bits>, _ table: borrowing AttributeTable) {
    trie.find(group.keys, group.numbers)
    bringNear(group.numbers, table)
  }

  /// Looks at what stands behind several destinations, at each step of the way for all of them, so that the waits for
  /// memory overlap.
  mutating func bringNear(_ numbers: UnsafeMutableBufferPointer<UInt32>, _ table: borrowing AttributeTable) {
    guard numbers.count > 1 else { return }
    var seen: UInt32 = 0
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: numbers.count) { steps in
      for index in 0..<numbers.count {
        steps[index] = numbers[index] == PrefixTrie<Bits>.noNumber ? noPath : destinations[Int(numbers[index])].first
      }
      for index in 0..<numbers.count where steps[index] != noPath {
        steps[index] = paths[Int(steps[index])].attributes.raw
      }
      for index in 0..<numbers.count where steps[index] != noPath {
        seen ^= table.generation(AttributeTable.ID(raw: steps[index]))
      }
    }
    nearness ^= seen
  }

  /// Puts the routes of a message into a peer's Adj-RIB-In; how many are new. Holds the attributes for each.
  mutating func announce(
    _ nlri: NLRI, from peer: PeerID, _ attributes: AttributeTable.ID, _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Int {
    var added = 0
    nlri.forEachGroup(Bits.self) { group in
      find(group, table)
      for (index, key) in group.keys.enumerated() {
        table.retain(attributes)
        let known = group.numbers[index]
        let number = known == PrefixTrie<Bits>.noNumber ? newNumber(key.bits, key.length) : Int(known)
        let change = announce(
          number, identifier: group.identifiers[index], from: peer, attributes, &table, peers)
        if change == .added { added += 1 }
      }
    }
    return added
  }

  /// Takes the routes of a message out of a peer's Adj-RIB-In.
  mutating func withdraw(
    _ nlri: NLRI, from peer: PeerID, _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> RouteCounts {
    var counts = RouteCounts()
    nlri.forEachGroup(Bits.self) { group in
      find(group, table)
      for (number, identifier) in zip(group.numbers, group.identifiers) where number != PrefixTrie<Bits>.noNumber {
        // One that is named twice may be nobody's by now, and has no route.
        counts.note(withdraw(Int(number), identifier: identifier, from: peer, &table, peers))
      }
    }
    return counts
  }

  /// Puts a route into a peer's Adj-RIB-In and decides anew. Takes over one hold on `attributes`.
  ///
  /// RFC 4271 §9: "the new route SHALL replace the older route in the Adj-RIB-In, thus implicitly withdrawing the older
  /// route from service"
  mutating func announce(
    _ bits: Bits, _ length: UInt8, identifier: UInt32, from peer: PeerID, _ attributes: AttributeTable.ID,
    _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> RouteChange {
    announce(newNumber(bits, length), identifier: identifier, from: peer, attributes, &table, peers)
  }

  /// The number of a destination, given now if it has none.
  @inline(__always)
  mutating func newNumber(_ bits: Bits, _ length: UInt8) -> Int {
    let (number, isNew) = trie.insert(bits, length)
    if isNew {
      if number == destinations.count {
        destinations.append(RouteDestination())
      } else {
        destinations[number] = RouteDestination()
      }
    }
    return number
  }

  @inline(__always)
  mutating func announce(
    _ number: Int, identifier: UInt32, from peer: PeerID, _ attributes: AttributeTable.ID,
    _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> RouteChange {
    let best = destinations[number].first
    var at = best
    while at != noPath, paths[Int(at)].peer != peer || paths[Int(at)].identifier != identifier {
      at = paths[Int(at)].next
    }
    guard at != noPath else {
      let path = RoutePath(attributes: attributes, identifier: identifier, next: best, peer: peer)
      destinations[number].first = add(path)
      decide(number, table, peers, oldBest: best, changed: noPath)
      return .added
    }
    paths[Int(at)].isStale = false
    paths[Int(at)].isLongLived = false
    guard paths[Int(at)].attributes != attributes else {
      table.release(attributes)
      return .unchanged
    }
    table.release(paths[Int(at)].attributes)
    paths[Int(at)].attributes = attributes
    decide(number, table, peers, oldBest: best, changed: at)
    return .replaced
  }

  /// Makes a path long-lived, with other attributes, and decides anew. Takes over one hold on `attributes`.
  mutating func replaceAttributes(
    ofPath at: UInt32, _ number: Int, with attributes: AttributeTable.ID, _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) {
    paths[Int(at)].isLongLived = true
    table.release(paths[Int(at)].attributes)
    paths[Int(at)].attributes = attributes
    decide(number, table, peers, oldBest: destinations[number].first, changed: at)
  }

  /// Takes a route out of a peer's Adj-RIB-In and decides anew.
  mutating func withdraw(
    _ bits: Bits, _ length: UInt8, identifier: UInt32, from peer: PeerID, _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> RouteChange {
    guard let number = trie.number(bits, length) else { return .absent }
    return withdraw(number, identifier: identifier, from: peer, &table, peers)
  }

  private mutating func withdraw(
    _ number: Int, identifier: UInt32, from peer: PeerID, _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> RouteChange {
    if removePaths(number, &table, peers, where: { $0.peer == peer && $0.identifier == identifier }) > 0 {
      return .removed
    }
    guard !denied.isEmpty else { return .absent }
    return removeDenied(number, &table) { $0.peer == peer && $0.identifier == identifier } > 0
      ? .removedDenied : .absent
  }

  /// Takes those routes of a peer out that a condition holds for, also of those that policy has denied.
  mutating func withdrawAll(
    from peer: PeerID, _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>,
    where matches: (RoutePath) -> Bool
  ) -> RouteCounts {
    var counts = RouteCounts()
    for number in 0..<trie.numberLimit where destinations[number].first != noPath {
      counts.accepted -= removePaths(number, &table, peers) { $0.peer == peer && matches($0) }
    }
    for number in denied.indices where denied[number] != noPath {
      counts.denied -= removeDenied(number, &table) { $0.peer == peer && matches($0) }
    }
    return counts
  }

  mutating func markStale(_ peer: PeerID) {
    for index in paths.indices where paths[index].peer == peer { paths[index].isStale = true }
  }

  mutating func removePaths(
    _ number: Int, _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>,
    where matches: (RoutePath) -> Bool
  ) -> Int {
    let best = destinations[number].first
    var previous = noPath
    var at = best
    var removed = 0
    while at != noPath {
      let path = paths[Int(at)]
      if matches(path) {
        if previous == noPath {
          destinations[number].first = path.next
        } else {
          paths[Int(previous)].next = path.next
        }
        free(at, &table)
        removed += 1
      } else {
        previous = at
      }
      at = path.next
    }
    if removed > 0 {
      decide(number, table, peers, oldBest: best, changed: noPath)
      reclaim(number)
    }
    return removed
  }

  mutating func add(_ path: RoutePath) -> UInt32 {
    if let index = freePaths.popLast() {
      paths[Int(index)] = path
      return index
    }
    paths.append(path)
    return UInt32(paths.count - 1)
  }

  /// Lets go of a path that is in no chain any more.
  mutating func free(_ at: UInt32, _ table: inout AttributeTable) {
    table.release(paths[Int(at)].attributes)
    paths[Int(at)].attributes = .none
    paths[Int(at)].peer = .nobody
    freePaths.append(at)
    guard Int(at) < originals.count else { return }
    table.release(originals[Int(at)])
    originals[Int(at)] = .none
  }

  // MARK: Routes out

  mutating func markChanged(_ number: Int) {
    let first = destinations[number].first
    let source = first == noPath ? nil : paths[Int(first)].peer.index
    for peer in outputs.indices {
      // Who has no route and gets none, as it would get its own back, need not be asked.
      if source == nil || source == peer, outputs[peer]?.attributes(number) == AttributeTable.ID.none { continue }
      guard outputs[peer]?.mark(number) == true else { continue }
      destinations[number].holders += 1
    }
  }

  /// Gives the number of a destination back that nobody has any use for.
  mutating func reclaim(_ number: Int) {
    guard destinations[number].first == noPath, destinations[number].holders == 0 else { return }
    let prefix = trie.prefix(number)
    trie.remove(prefix.bits, prefix.length)
  }

  /// Lets go of destinations that an Adj-RIB-Out has held.
  mutating func letGo(_ numbers: ArraySlice<UInt32>) {
    withUnsafeTemporaryAllocation(of: PrefixTrie<Bits>.Key.self, capacity: NLRI.group) { keys in
      withUnsafeTemporaryAllocation(of: UInt32.self, capacity: NLRI.group) { found in
        var at = numbers.startIndex
        while at < numbers.endIndex {
          let group = numbers[at..<min(at + NLRI.group, numbers.endIndex)]
          for (index, number) in group.enumerated() {
            let prefix = trie.prefix(Int(number))
            keys.initializeElement(at: index, to: .init(prefix.bits, prefix.length))
            destinations[Int(number)].holders -= 1
          }
          // Their ways down are gone together before they are taken out.
          trie.find(
            UnsafeBufferPointer(rebasing: keys[..<group.count]),
            UnsafeMutableBufferPointer(rebasing: found[..<group.count]))
          for number in group { reclaim(Int(number)) }
          at = group.endIndex
        }
      }
    }
  }
}

extension PeerID {
  /// Of a path that is in no chain.
  static let nobody = PeerID(raw: .max)
}
