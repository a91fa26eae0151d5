public import Wire

/// What a looking glass shows of the tables.
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
    /// What put it behind the best one; nil for that, and where it was not asked.
    public var lostAt: DecisionStep?
    /// RFC 6811.
    public internal(set) var validity = OriginValidity.notFound
    /// What the peer's policy says to it; nil without one, and where it was not asked.
    public internal(set) var judgement: PolicyDecision?
    var source: PeerID
    /// What policy has judged, where it has changed it.
    var original: PathAttributes?
  }

  /// What is known of one destination, the best route first.
  public struct Destination: Hashable, Sendable {
    public var prefix: IPPrefix
    public var routes: [Route]
    /// That policy does not let in.
    public var denied: [Route]
    /// What made the first the best.
    public var step: DecisionStep
  }

  /// The destination of exactly this prefix, also where all its routes are denied.
  public mutating func destination(_ prefix: IPPrefix) -> Destination? {
    let length = UInt8(prefix.length)
    switch prefix.address {
    case .v4(let four): return explain(ipv4: ipv4.number(four.rawValue, length))
    case .v6(let six): return explain(ipv6: ipv6.number(six.bits, length))
    }
  }

  /// The destination that a packet to this address belongs to: the longest prefix that covers it. Where there is none, the
  /// longest of which all routes are denied.
  public mutating func destination(of address: IPAddress) -> Destination? {
    switch address {
    case .v4(let four):
      return explain(ipv4: ipv4.bestMatch(four.rawValue, 32) ?? ipv4.bestDeniedMatch(four.rawValue, 32))
    case .v6(let six): return explain(ipv6: ipv6.bestMatch(six.bits, 128) ?? ipv6.bestDeniedMatch(six.bits, 128))
    }
  }

  private mutating func explain(ipv4 number: Int?) -> Destination? {
    guard let number, let found = Self.explain(&ipv4, number, attributes, peers) else { return nil }
    return judged(found)
  }

  private mutating func explain(ipv6 number: Int?) -> Destination? {
    guard let number, let found = Self.explain(&ipv6, number, attributes, peers) else { return nil }
    return judged(found)
  }

  /// With what the peers' policies say, and what is known of the origins.
  private func judged(_ destination: Destination) -> Destination {
    var destination = destination
    for index in destination.routes.indices { judge(&destination.routes[index]) }
    for index in destination.denied.indices { judge(&destination.denied[index]) }
    return destination
  }

  private func judge(_ route: inout Route) {
    let peer = peers[route.source.index]
    var asked = PolicyRoute(
      route.prefix, route.original ?? route.attributes, peerAS: peer.autonomousSystem, isLocal: peer.isLocal)
    asked.validity = validity(of: route)
    route.validity = asked.validity
    route.judgement = policies[route.source.index].incoming?.evaluate(asked)
  }

  private func validated(_ destination: Destination) -> Destination {
    var destination = destination
    for index in destination.routes.indices {
      destination.routes[index].validity = validity(of: destination.routes[index])
    }
    return destination
  }

  private func validity(of route: Route) -> OriginValidity {
    let path = (route.original ?? route.attributes).asPath
    return origins.validity(of: route.prefix, origin: path.origin(localAS: peers[0].autonomousSystem))
  }

  /// A page of the table: the destinations within a prefix, in the order of (address, length), behind one that was the
  /// last of the page before; at most so many. Without what is denied.
  public func destinations(within prefix: IPPrefix, after last: IPPrefix? = nil, limit: Int) -> [Destination] {
    let length = UInt8(prefix.length)
    switch prefix.address {
    case .v4(let four):
      var after: (UInt32, UInt8)?
      if let last, case .v4(let bits) = last.address { after = (bits.rawValue, UInt8(last.length)) }
      return Self.page(ipv4, four.rawValue, length, after, limit, attributes, peers).map { validated($0) }
    case .v6(let six):
      var after: (UInt128, UInt8)?
      if let last, case .v6(let bits) = last.address { after = (bits.bits, UInt8(last.length)) }
      return Self.page(ipv6, six.bits, length, after, limit, attributes, peers).map { validated($0) }
    }
  }

  /// How many destinations and routes there are, of both families, and how many sets of attributes.
  public var counts: (destinations: Int, routes: Int, attributeSets: Int) {
    (ipv4.trie.count + ipv6.trie.count, ipv4.pathCount + ipv6.pathCount, attributes.count)
  }

  /// A peer's routes in its Adj-RIB-In, those of them that its policy denies, and how many it has been told.
  public func counts(of peer: PeerID) -> (received: Int, denied: Int, advertised: Int) {
    func advertised<Bits>(_ table: borrowing RouteTable<Bits>) -> Int {
      peer.index < table.outputs.count ? table.outputs[peer.index]?.routeCount ?? 0 : 0
    }
    let state = peers[peer.index]
    return (state.pathCount + state.deniedCount, state.deniedCount, advertised(ipv4) + advertised(ipv6))
  }

  private static func page<Bits>(
    _ table: borrowing RouteTable<Bits>, _ bits: Bits, _ length: UInt8, _ after: (Bits, UInt8)?, _ limit: Int,
    _ attributes: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> [Destination] {
    // A number that only a withdrawal still holds has no route.
    var numbers: [Int] = []
    table.trie.forEach(within: bits, length, after: after) { number in
      if table.destinations[number].first != noPath { numbers.append(number) }
      return numbers.count < limit
    }
    return numbers.map { describe(table, $0, attributes, peers) }
  }

  private static func explain<Bits>(
    _ table: inout RouteTable<Bits>, _ number: Int, _ attributes: borrowing AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Destination? {
    var destination = describe(table, number, attributes, peers)
    guard !destination.routes.isEmpty else { return destination.denied.isEmpty ? nil : destination }
    let (equals, losses) = table.explain(number, attributes, peers)
    for index in destination.routes.indices {
      destination.routes[index].isMultipath = equals.contains(index)
      destination.routes[index].lostAt = losses[index]
    }
    return destination
  }

  private static func describe<Bits>(
    _ table: borrowing RouteTable<Bits>, _ number: Int, _ attributes: borrowing AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Destination {
    let (bits, length) = table.trie.prefix(number)
    let prefix = IPPrefix(bits, length)
    func routes(from head: UInt32, areDenied: Bool) -> [Route] {
      var routes: [Route] = []
      var at = head
      while at != noPath {
        let path = table.paths[Int(at)]
        let isBest = !areDenied && routes.isEmpty
        routes.append(
          Route(
            prefix: prefix, peer: path.peer == .local ? nil : peers[path.peer.index].address,
            attributes: attributes.attributes(path.attributes), pathIdentifier: path.identifier, isBest: isBest,
            isMultipath: isBest, isStale: path.isStale, source: path.peer,
            original: table.original(Int(at)).map { attributes.attributes($0) }))
        at = path.next
      }
      return routes
    }
    return Destination(
      prefix: prefix, routes: routes(from: table.destinations[number].first, areDenied: false),
      denied: routes(from: number < table.denied.count ? table.denied[number] : noPath, areDenied: true),
      step: table.destinations[number].step)
  }
}
