public import Wire

/// What a looking glass asks of the tables.
extension RIB {
  /// A route as a looking glass shows it.
  public struct Route: Hashable, Sendable {
    public var prefix: IPPrefix
    /// Nil for one of our own.
    public var peer: IPAddress?
    public var attributes: PathAttributes
    public var pathIdentifier: UInt32
    public var isBest: Bool
    /// As good as the best, but for the last steps of the decision: fit for sharing the load.
    public var isMultipath: Bool
    /// The peer is lost, or has not named it again.
    public var isStale: Bool
  }

  /// What is known of one destination, the best route first.
  public struct Destination: Hashable, Sendable {
    public var prefix: IPPrefix
    public var routes: [Route]
    /// What made the first the best.
    public var step: DecisionStep
  }

  /// The destination of exactly this prefix.
  public mutating func destination(_ prefix: IPPrefix) -> Destination? {
    let length = UInt8(prefix.length)
    switch prefix.address {
    case .v4(let four):
      guard let number = ipv4.number(four.rawValue, length) else { return nil }
      return Self.describe(&ipv4, number, prefix, attributes, peers)
    case .v6(let six):
      guard let number = ipv6.number(six.bits, length) else { return nil }
      return Self.describe(&ipv6, number, prefix, attributes, peers)
    }
  }

  /// How many destinations and routes there are, of both families, and how many sets of attributes.
  public var counts: (destinations: Int, routes: Int, attributeSets: Int) {
    (ipv4.trie.count + ipv6.trie.count, ipv4.pathCount + ipv6.pathCount, attributes.count)
  }

  /// A peer's routes in its Adj-RIB-In, and how many it has been told.
  public func counts(of peer: PeerID) -> (received: Int, advertised: Int) {
    func advertised<Bits>(_ table: borrowing RouteTable<Bits>) -> Int {
      peer.index < table.outputs.count ? table.outputs[peer.index]?.routeCount ?? 0 : 0
    }
    return (peers[peer.index].pathCount, advertised(ipv4) + advertised(ipv6))
  }

  private static func describe<Bits>(
    _ table: inout RouteTable<Bits>, _ number: Int, _ prefix: IPPrefix, _ attributes: borrowing AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Destination? {
    let (chain, equals) = table.explain(number, attributes, peers)
    guard !chain.isEmpty else { return nil }
    var routes: [Route] = []
    for (index, path) in chain.enumerated() {
      routes.append(
        Route(
          prefix: prefix, peer: path.peer == .local ? nil : peers[path.peer.index].address,
          attributes: attributes.attributes(path.attributes), pathIdentifier: path.identifier, isBest: index == 0,
          isMultipath: equals.contains(index), isStale: path.isStale))
    }
    return Destination(prefix: prefix, routes: routes, step: table.destinations[number].step)
  }

  /// Whether a destination's best route goes to a peer, and why.
  public enum Advertisement: Hashable, Sendable {
    case noRoute
    /// The peer has no session, or not for this family.
    case noSession
    /// It is the peer's own.
    case fromThePeer
    case refused(ExportRules.Refusal)
    case denied(PolicyDecision)
    /// With the policy's word, where there is one.
    case advertised(PolicyDecision?)
  }

  /// Why a peer is, or is not, told of a destination.
  public func advertisement(of prefix: IPPrefix, to peer: PeerID) -> Advertisement {
    let length = UInt8(prefix.length)
    return switch prefix.address {
    case .v4(let four): Self.advertisement(ipv4, ipv4.number(four.rawValue, length), to: peer, self)
    case .v6(let six): Self.advertisement(ipv6, ipv6.number(six.bits, length), to: peer, self)
    }
  }

  private static func advertisement<Bits>(
    _ table: borrowing RouteTable<Bits>, _ number: Int?, to peer: PeerID, _ rib: borrowing RIB
  ) -> Advertisement {
    guard let number, table.destinations[number].first != noPath else { return .noRoute }
    guard let rules = rib.sendings[peer.index]?.ipv4.rules, peer.index < table.outputs.count,
      table.outputs[peer.index] != nil
    else { return .noSession }
    let best = table.paths[Int(table.destinations[number].first)]
    guard best.peer != peer else { return .fromThePeer }
    let source = rib.peers[best.peer.index]
    if let refusal = rules.refusal(of: rib.attributes.summary(best.attributes), from: source) {
      return .refused(refusal)
    }
    guard let policy = rib.policies[peer.index].outgoing else { return .advertised(nil) }
    let decision = policy.evaluate(table.policyRoute(number, best, rib.attributes, source))
    return decision.verdict == .permit ? .advertised(decision) : .denied(decision)
  }
}

extension RIB.Advertisement: CustomStringConvertible {
  public var description: String {
    switch self {
    case .noRoute: "there is no route"
    case .noSession: "there is no session of this family"
    case .fromThePeer: "the best route is the peer's own"
    case .refused(.learnedInside): "learned from another internal peer (RFC 4271 §9.2)"
    case .refused(.noAdvertise): "community no-advertise (RFC 1997)"
    case .refused(.noExport): "community no-export (RFC 1997)"
    case .refused(.onlyToCustomer): "for customers only (RFC 9234)"
    case .refused(.longLivedStale): "stale for long, and the peer does not know what that is (RFC 9494)"
    case .denied(let decision): decision.reason
    case .advertised(let decision): decision?.reason ?? "advertised, there is no policy"
    }
  }
}
