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
      return Self.explain(&ipv4, number, attributes, peers)
    case .v6(let six):
      guard let number = ipv6.number(six.bits, length) else { return nil }
      return Self.explain(&ipv6, number, attributes, peers)
    }
  }

  /// The destination that a packet to this address belongs to: the longest prefix that covers it.
  public mutating func destination(of address: IPAddress) -> Destination? {
    switch address {
    case .v4(let four):
      guard let number = ipv4.bestMatch(four.rawValue, 32) else { return nil }
      return Self.explain(&ipv4, number, attributes, peers)
    case .v6(let six):
      guard let number = ipv6.bestMatch(six.bits, 128) else { return nil }
      return Self.explain(&ipv6, number, attributes, peers)
    }
  }

  /// A page of the table: the destinations within a prefix, in the order of (address, length), behind one that was the
  /// last of the page before; at most so many.
  public func destinations(within prefix: IPPrefix, after last: IPPrefix? = nil, limit: Int) -> [Destination] {
    let length = UInt8(prefix.length)
    switch prefix.address {
    case .v4(let four):
      var after: (UInt32, UInt8)?
      if let last, case .v4(let bits) = last.address { after = (bits.rawValue, UInt8(last.length)) }
      return Self.page(ipv4, four.rawValue, length, after, limit, attributes, peers)
    case .v6(let six):
      var after: (UInt128, UInt8)?
      if let last, case .v6(let bits) = last.address { after = (bits.bits, UInt8(last.length)) }
      return Self.page(ipv6, six.bits, length, after, limit, attributes, peers)
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
    return numbers.compactMap { describe(table, $0, table.chain($0), attributes, peers) }
  }

  private static func explain<Bits>(
    _ table: inout RouteTable<Bits>, _ number: Int, _ attributes: borrowing AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Destination? {
    let (chain, equals, losses) = table.explain(number, attributes, peers)
    guard var destination = describe(table, number, chain, attributes, peers) else { return nil }
    for index in destination.routes.indices {
      destination.routes[index].isMultipath = equals.contains(index)
      destination.routes[index].lostAt = losses[index]
    }
    return destination
  }

  private static func describe<Bits>(
    _ table: borrowing RouteTable<Bits>, _ number: Int, _ chain: [RoutePath], _ attributes: borrowing AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> Destination? {
    guard !chain.isEmpty else { return nil }
    let (bits, length) = table.trie.prefix(number)
    let prefix = IPPrefix(bits, length)
    var routes: [Route] = []
    for (index, path) in chain.enumerated() {
      routes.append(
        Route(
          prefix: prefix, peer: path.peer == .local ? nil : peers[path.peer.index].address,
          attributes: attributes.attributes(path.attributes), pathIdentifier: path.identifier, isBest: index == 0,
          isMultipath: index == 0, isStale: path.isStale))
    }
    return Destination(prefix: prefix, routes: routes, step: table.destinations[number].step)
  }
}
