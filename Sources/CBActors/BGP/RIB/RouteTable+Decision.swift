import Wire

/// Which of the routes to a destination is the best, and why.
extension RouteTable {
  /// Chooses the best path, puts it at the head, and tells the Adj-RIBs-Out if it is another or has changed.
  mutating func decide(
    _ number: Int, _ table: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>, oldBest: UInt32,
    changed: UInt32
  ) {
    let first = destinations[number].first
    if first == noPath {
      destinations[number].step = .none
    } else if paths[Int(first)].next == noPath {
      destinations[number].step = .onlyRoute
    } else {
      consider(number, table, peers)
      if let (best, step) = decision.decide() {
        destinations[number].step = step
        moveToHead(best, number)
      }
    }
    let best = destinations[number].first
    if best != oldBest || best == changed { markChanged(number) }
    // Also when the best stays: another may have become as good.
    if forwarding != nil { markForwarding(number) }
  }

  private mutating func consider(
    _ number: Int, _ table: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>
  ) {
    decision.begin()
    var at = destinations[number].first
    while at != noPath {
      let path = paths[Int(at)]
      decision.add(
        .init(
          index: at, table.summary(path.attributes), peers[path.peer.index], pathIdentifier: path.identifier))
      at = path.next
    }
  }

  private mutating func moveToHead(_ path: UInt32, _ number: Int) {
    let first = destinations[number].first
    guard path != first else { return }
    var before = first
    while paths[Int(before)].next != path { before = paths[Int(before)].next }
    paths[Int(before)].next = paths[Int(path)].next
    paths[Int(path)].next = first
    destinations[number].first = path
  }

  /// The best path of a destination, and those that only the last steps of the decision put behind it.
  mutating func equals(
    _ number: Int, _ table: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> [RoutePath] {
    let first = destinations[number].first
    guard first != noPath else { return [] }
    let best = paths[Int(first)]
    guard best.next != noPath else { return [best] }
    consider(number, table, peers)
    _ = decision.decide()
    return [best] + decision.equals.filter { $0 != first }.map { paths[Int($0)] }
  }

  /// Of the paths of a destination, best first: those that only the last steps of the decision put behind, and the step at
  /// which each loses against the best alone, which has none.
  mutating func explain(
    _ number: Int, _ table: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> (equals: Set<Int>, losses: [DecisionStep?]) {
    var indices: [UInt32] = []
    var at = destinations[number].first
    while at != noPath {
      indices.append(at)
      at = paths[Int(at)].next
    }
    consider(number, table, peers)
    _ = decision.decide()
    let equals = Set(decision.equals)
    var losses: [DecisionStep?] = []
    for index in indices {
      decision.begin()
      for one in [indices[0], index] {
        let path = paths[Int(one)]
        decision.add(
          .init(index: one, table.summary(path.attributes), peers[path.peer.index], pathIdentifier: path.identifier))
      }
      losses.append(index == indices[0] ? nil : decision.decide()?.step)
    }
    return (Set(indices.indices.filter { equals.contains(indices[$0]) }), losses)
  }
}
