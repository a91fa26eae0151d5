public import Wire

/// What a forwarding plane, such as the kernel's, is to do: the routes chosen, with their next hops.
extension RIB {
  /// The ways to a destination.
  public struct Forwarding: Hashable, Sendable {
    public var prefix: IPPrefix
    /// That of the best route first, then those of routes as good but for the last steps of the decision. Empty where
    /// there is no route, or where it is our own.
    public var nextHops: [Hop]

    public struct Hop: Hashable, Sendable {
      public var address: IPAddress
      /// The same router's on the link that it shares with us; nil where it has told none, or only this.
      public var linkLocal: IPv6Address?
      /// Whose route it is of: a link-local address is on the peer's link.
      public var peer: PeerID
    }
  }

  /// Begins to tell of all destinations, and of each again when its ways change.
  public mutating func openForwarding() {
    ipv4.openForwarding()
    ipv6.openForwarding()
  }

  public var hasForwarding: Bool {
    deferral == nil && (ipv4.forwarding?.isEmpty == false || ipv6.forwarding?.isEmpty == false)
  }

  /// The next destination whose ways may have changed; nil when there is none.
  ///
  /// - Parameter paths: next hops at most.
  public mutating func nextForwarding(paths: Int) -> Forwarding? {
    // RFC 4724 §4.1: nor is the forwarding state touched before the selection.
    guard deferral == nil else { return nil }
    return ipv4.nextForwarding(paths, attributes, peers) ?? ipv6.nextForwarding(paths, attributes, peers)
  }
}

extension RouteTable {
  fileprivate mutating func openForwarding() {
    forwarding = DestinationQueue()
    for number in 0..<trie.numberLimit where destinations[number].first != noPath { markForwarding(number) }
  }

  mutating func markForwarding(_ number: Int) {
    if forwarding?.insert(number) == true { destinations[number].holders += 1 }
  }

  fileprivate mutating func nextForwarding(
    _ paths: Int, _ table: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> RIB.Forwarding? {
    guard let number = forwarding?.next() else { return nil }
    destinations[number].holders -= 1
    let (bits, length) = trie.prefix(number)
    var hops: [RIB.Forwarding.Hop] = []
    for path in equals(number, table, peers) where hops.count < max(1, paths) {
      let summary = table.summary(path.attributes)
      guard path.peer != .local, let address = summary.nextHop else { break }
      // RFC 4291 §2.5.6: between prefix and interface identifier there are zeros.
      let linkLocal =
        summary.linkLocalNextHop == 0 ? nil : IPv6Address(high: 0xfe80 << 48, low: summary.linkLocalNextHop)
      let isKnown = hops.contains { $0.address == address && (!address.isLinkLocal || $0.peer == path.peer) }
      if !isKnown { hops.append(.init(address: address, linkLocal: linkLocal, peer: path.peer)) }
    }
    reclaim(number)
    return RIB.Forwarding(prefix: IPPrefix(bits, length), nextHops: hops)
  }
}
