import Wire

/// What policy has denied or changed, as it came: another policy, or another table of origins, judges it without asking
/// the peer again (RFC 9324 §4).
extension RouteTable {
  /// Puts a route where policy wants it. Holds what it keeps.
  ///
  /// - Parameter judged: what policy has made of `original`; none where it has denied the route.
  mutating func place(
    _ number: Int, from peer: PeerID, _ original: OriginalRoute, judged: AttributeTable.ID,
    _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> RouteCounts {
    let identifier = original.identifier
    var counts = RouteCounts()
    guard judged != .none else {
      counts.denied += deny(number, from: peer, original, &table)
      counts.accepted -= removePaths(number, &table, peers) { $0.peer == peer && $0.identifier == identifier }
      return counts
    }
    table.retain(judged)
    counts.note(announce(number, identifier: identifier, from: peer, judged, &table, peers))
    if !denied.isEmpty {
      counts.denied -= removeDenied(number, &table) { $0.peer == peer && $0.identifier == identifier }
    }
    let at = find(peer, identifier, from: destinations[number].first)
    paths[at].isStale = original.isStale
    setOriginal(original.attributes == judged ? .none : original.attributes, at, &table)
    return counts
  }

  /// Where a path is that must be in a chain.
  private func find(_ peer: PeerID, _ identifier: UInt32, from head: UInt32) -> Int {
    var at = head
    while paths[Int(at)].peer != peer || paths[Int(at)].identifier != identifier { at = paths[Int(at)].next }
    return Int(at)
  }

  private mutating func setOriginal(_ id: AttributeTable.ID, _ at: Int, _ table: inout AttributeTable) {
    if at >= originals.count {
      guard id != .none else { return }
      originals.append(contentsOf: repeatElement(.none, count: max(paths.count, at + 1) - originals.count))
    }
    table.retain(id)
    table.release(originals[at])
    originals[at] = id
  }

  /// 1 for one that was not denied before.
  private mutating func deny(
    _ number: Int, from peer: PeerID, _ original: OriginalRoute, _ table: inout AttributeTable
  ) -> Int {
    if number >= denied.count {
      denied.append(contentsOf: repeatElement(noPath, count: max(destinations.count, number + 1) - denied.count))
    }
    table.retain(original.attributes)
    var at = denied[number]
    while at != noPath {
      if paths[Int(at)].peer == peer, paths[Int(at)].identifier == original.identifier {
        table.release(paths[Int(at)].attributes)
        paths[Int(at)].attributes = original.attributes
        paths[Int(at)].isStale = original.isStale
        return 0
      }
      at = paths[Int(at)].next
    }
    // Once for all of a destination: a peer may send any number of paths.
    if denied[number] == noPath { destinations[number].holders += 1 }
    var path = RoutePath(
      attributes: original.attributes, identifier: original.identifier, next: denied[number], peer: peer)
    path.isStale = original.isStale
    denied[number] = add(path)
    deniedCount += 1
    return 1
  }

  /// How many there were.
  mutating func removeDenied(
    _ number: Int, _ table: inout AttributeTable, where matches: (RoutePath) -> Bool
  ) -> Int {
    guard number < denied.count, denied[number] != noPath else { return 0 }
    var previous = noPath
    var at = denied[number]
    var removed = 0
    while at != noPath {
      let path = paths[Int(at)]
      if matches(path) {
        if previous == noPath { denied[number] = path.next } else { paths[Int(previous)].next = path.next }
        free(at, &table)
        removed += 1
      } else {
        previous = at
      }
      at = path.next
    }
    deniedCount -= removed
    if denied[number] == noPath {
      destinations[number].holders -= 1
      reclaim(number)
    }
    return removed
  }

  /// The routes that are to be judged anew, to so many destinations at most; how many these were, and the last one.
  func routesAsTheyCame(
    within bits: Bits, _ length: UInt8, after behind: Bits?, _ review: PolicyReviews.Review, limit: Int
  ) -> (routes: [ReviewedRoute], looked: Int, last: IPPrefix?) {
    let after = behind.map { (bits: $0, length: UInt8(review.last?.length ?? 0)) }
    var routes: [ReviewedRoute] = []
    var looked = 0
    var last: IPPrefix?
    trie.forEach(within: bits, length, after: after) { number in
      let (bits, length) = trie.prefix(number)
      let prefix = IPPrefix(bits, length)
      addRoutes(to: prefix, from: destinations[number].first, review.peers, &routes) {
        original($0) ?? paths[$0].attributes
      }
      if number < denied.count {
        addRoutes(to: prefix, from: denied[number], review.peers, &routes) { paths[$0].attributes }
      }
      looked += 1
      last = prefix
      return looked < limit
    }
    return (routes, looked, last)
  }

  /// Those that are kept for lack of anything better (RFC 9494) are no more what the peer has sent.
  private func addRoutes(
    to prefix: IPPrefix, from head: UInt32, _ peers: Set<PeerID>, _ routes: inout [ReviewedRoute],
    _ attributes: (Int) -> AttributeTable.ID
  ) {
    var at = head
    while at != noPath {
      let path = paths[Int(at)]
      if peers.contains(path.peer), !path.isLongLived {
        let original = OriginalRoute(
          identifier: path.identifier, attributes: attributes(Int(at)), isStale: path.isStale)
        routes.append(ReviewedRoute(prefix: prefix, peer: path.peer, original: original))
      }
      at = path.next
    }
  }

  /// What a path came as, where policy has changed it.
  func original(_ at: Int) -> AttributeTable.ID? {
    at < originals.count && originals[at] != .none ? originals[at] : nil
  }

  /// The destination with a denied route that covers these bits most closely.
  func bestDeniedMatch(_ bits: Bits, _ length: UInt8) -> Int? {
    var upTo = Int(length)
    while upTo >= 0, let number = trie.longestMatch(bits & Bits.mask(upTo), UInt8(upTo)) {
      if number < denied.count, denied[number] != noPath { return number }
      upTo = Int(trie.prefix(number).length) - 1
    }
    return nil
  }
}
