import Wire

/// Flow specifications in the tables.
extension RIB {
  /// What is to be enforced anew or no more since it was asked last. Removals come first, then rules in their order.
  public mutating func flowspecEvents() -> [FlowspecEvent] {
    guard !flows4.isEmpty || !flows6.isEmpty else { return [] }
    settleFlows()
    return flows4.events(attributes) + flows6.events(attributes)
  }

  /// All that is enforced as of ``flowspecEvents()``, first to last (RFC 8955 §5.1).
  public var flowspecRules: [(FlowspecRule, FlowspecActions)] { flows4.rules + flows6.rules }

  /// Announces a rule of our own, or changes its actions.
  public mutating func originate(_ rule: FlowspecRule, _ actions: FlowspecActions) {
    var own = PathAttributes()
    own.extendedCommunities = actions.communities(autonomousSystem: peers[0].autonomousSystem)
    own.write(to: &writer, for: rule.family)
    let summary = own.summary
    let id = writer.bytes.withUnsafeBytes { attributes.intern($0, summary) }
    announce([rule], id, from: .local)
    attributes.release(id)
  }

  /// Takes a rule of our own back.
  public mutating func withdraw(_ rule: FlowspecRule) { withdraw([rule], from: .local) }

  mutating func announce(_ rules: [FlowspecRule], _ id: AttributeTable.ID, from peer: PeerID) {
    for rule in rules {
      attributes.retain(id)
      let isNew =
        rule.family == .ipv4Flowspec
        ? flows4.announce(rule, from: peer, id, &attributes) : flows6.announce(rule, from: peer, id, &attributes)
      if isNew { peers[peer.index].pathCount += 1 }
    }
  }

  mutating func withdraw(_ rules: [FlowspecRule], from peer: PeerID) {
    for rule in rules {
      peers[peer.index].pathCount -=
        rule.family == .ipv4Flowspec
        ? flows4.withdraw(rule, from: peer, &attributes) : flows6.withdraw(rule, from: peer, &attributes)
    }
  }

  mutating func settleFlows() {
    flows4.settle(attributes, peers) { rule, path in
      guard case .v4(let four)? = rule.destination?.address, let length = rule.destination?.length else {
        return path.peer == .local
      }
      return path.peer == .local
        || ipv4.isFeasible(path, toward: four.rawValue, UInt8(length), attributes, peers)
    }
    flows6.settle(attributes, peers) { rule, path in
      guard case .v6(let six)? = rule.destination?.address, let length = rule.destination?.length else {
        return path.peer == .local
      }
      return path.peer == .local || ipv6.isFeasible(path, toward: six.bits, UInt8(length), attributes, peers)
    }
  }
}

extension RouteTable {
  /// RFC 8955 §6, as RFC 9117 §4 revises it: whether a peer may say what becomes of traffic to this destination.
  func isFeasible(
    _ flow: FlowspecTable.Path, toward bits: Bits, _ length: UInt8, _ table: borrowing AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Bool {
    let summary = table.summary(flow.attributes)
    // RFC 9117 §4.1, b 2: what originates within our own AS is as good as our own.
    if peers[flow.peer.index].isInternal, summary.asPathLength == 0 { return true }
    // §6 b 1: who originates it originates the best-match unicast route too.
    guard let number = bestMatch(bits, length) else { return false }
    let unicast = paths[Int(destinations[number].first)]
    let route = table.summary(unicast.attributes)
    guard unicast.peer == flow.peer, route.originatorID == summary.originatorID else { return false }
    // §6 c: no more specific route comes from another neighboring AS, and none is our own.
    var isAlone = true
    trie.forEach(within: bits, length) { number in
      var at = destinations[number].first
      while at != noPath {
        let path = paths[Int(at)]
        if path.peer == .local || table.summary(path.attributes).neighborAS != route.neighborAS { isAlone = false }
        at = path.next
      }
      // The destination itself is not more specific than itself.
      if trie.prefix(number).length == length { isAlone = true }
      return isAlone
    }
    return isAlone
  }
}
