public import Wire

/// Flow specifications in the tables.
extension RIB {
  /// What is to be enforced anew or no more since it was asked last. Removals come first, then rules in their order.
  public mutating func flowspecEvents() -> [FlowspecEvent] {
    // RFC 4724 §4.1: nothing is acted on before the selection.
    guard deferral == nil, !flows4.isEmpty || !flows6.isEmpty else { return [] }
    settleFlows()
    return flows4.events(attributes) + flows6.events(attributes)
  }

  /// All that is enforced as of ``flowspecEvents()``, first to last (RFC 8955 §5.1).
  public var flowspecRules: [(FlowspecRule, FlowspecActions)] { flows4.rules + flows6.rules }

  /// A rule as a looking glass shows it.
  public struct FlowspecRoute: Hashable, Sendable {
    public var rule: FlowspecRule
    public var actions: FlowspecActions
    /// Nil for one of our own.
    public var peer: IPAddress?
    /// It is the one that counts, of all with these conditions.
    public var isBest: Bool
    /// The peer may say what becomes of this traffic (RFC 8955 §6).
    public var isFeasible: Bool
    /// The peer is lost, or has not named it again.
    public var isStale: Bool
  }

  /// All rules of all peers, in the order in which they are applied (RFC 8955 §5.1).
  public mutating func flowspecRoutes() -> [FlowspecRoute] {
    settleFlows()
    func routes(_ table: borrowing FlowspecTable) -> [FlowspecRoute] {
      var found: [FlowspecRoute] = []
      for rule in table.paths.keys.sorted() {
        for path in table.paths[rule] ?? [] {
          found.append(
            FlowspecRoute(
              rule: rule, actions: FlowspecActions(attributes.attributes(path.attributes).extendedCommunities),
              peer: path.peer == .local ? nil : peers[path.peer.index].address,
              isBest: table.best[rule]?.peer == path.peer, isFeasible: path.isFeasible, isStale: path.isStale))
        }
      }
      return found
    }
    return routes(flows4) + routes(flows6)
  }

  /// Whether a peer's rules count only where RFC 8955 §6 has them count: of the peer that the traffic's destination is
  /// reached by. It is so unless it is switched off.
  public mutating func setFlowspecValidation(_ isOn: Bool, for peer: PeerID) {
    peers[peer.index].validatesFlows = isOn
    flows4.unicastChanged()
    flows6.unicastChanged()
  }

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
      if path.peer == .local || !peers[path.peer.index].validatesFlows { return true }
      guard case .v4(let four)? = rule.destination?.address, let length = rule.destination?.length else { return false }
      return ipv4.isFeasible(path, toward: four.rawValue, UInt8(length), attributes, peers)
    }
    flows6.settle(attributes, peers) { rule, path in
      if path.peer == .local || !peers[path.peer.index].validatesFlows { return true }
      guard case .v6(let six)? = rule.destination?.address, let length = rule.destination?.length else { return false }
      return ipv6.isFeasible(path, toward: six.bits, UInt8(length), attributes, peers)
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
    // RFC 9117 §4.2: of an external peer, the leftmost AS of both paths is the same.
    guard peers[flow.peer.index].isInternal || route.neighborAS == summary.neighborAS else { return false }
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
