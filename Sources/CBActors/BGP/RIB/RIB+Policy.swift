public import Wire

/// Policies at work: on routes that come, and on all of them again when the policy or what it asks has changed.
///
/// What a peer has sent is kept as it came, so that nobody needs to be asked for it again. Of a peer whose policy denies
/// all, nothing is kept.
extension RIB {
  public func policy(of peer: PeerID) -> PeerPolicy { policies[peer.index] }

  /// Another policy for a peer. What the peer has been told is put right, and what it has told us judged anew: see
  /// ``review(limit:)``.
  ///
  /// - Returns: whether the peer must be asked for its routes, as none of them were kept.
  public mutating func setPolicy(_ policy: PeerPolicy, for peer: PeerID) -> Bool {
    let old = policies[peer.index]
    policies[peer.index] = policy
    // Without a policy nobody would look for what an earlier one has put aside.
    if old.incoming != nil, policy.incoming == nil { policies[peer.index].incoming = PeerPolicy.all }
    let incoming = policies[peer.index].incoming
    if incoming != old.incoming { reviews.add(Self.everything, [peer]) }
    if policy.outgoing != old.outgoing, let sender = sendings[peer.index] {
      sender.ipv4.policy = policy.outgoing
      sender.ipv6.policy = policy.outgoing
      revisit(peer)
    }
    return old.incoming?.deniesAll == true && incoming?.deniesAll != true
  }

  /// Other payloads to validate origins by. Policies that ask judge anew: see ``review(limit:)``.
  ///
  /// - Parameter changed: the prefixes of payloads that have come or gone; nil for any.
  public mutating func setOrigins(_ table: OriginTable, changed: [IPPrefix]? = nil) {
    origins = table
    var asking: Set<PeerID> = []
    for (index, policy) in policies.enumerated() {
      let peer = PeerID(raw: UInt16(index))
      if policy.incoming?.dependsOnOrigins == true { asking.insert(peer) }
      guard let sender = sendings[index] else { continue }
      sender.ipv4.origins = table
      sender.ipv6.origins = table
      if policy.outgoing?.dependsOnOrigins == true { revisit(peer) }
    }
    if !asking.isEmpty { reviews.add(changed ?? Self.everything, asking) }
  }

  static let everything: [IPPrefix] = [.v4(.any), .v6(.any)].compactMap { IPPrefix($0, length: 0) }

  /// Looks at all that a peer has been told.
  private mutating func revisit(_ peer: PeerID) {
    sendings[peer.index]?.ipv4.cache.removeAll()
    sendings[peer.index]?.ipv6.cache.removeAll()
    ipv4.revisitOutput(peer)
    ipv6.revisitOutput(peer)
  }

  // MARK: Judging

  /// Takes routes in as a policy wants them.
  mutating func announce(_ nlri: NLRI, _ id: AttributeTable.ID, from peer: PeerID, by policy: Policy) {
    if policy.deniesAll { return withdraw(nlri, from: peer) }
    var judge = judge(policy, id, of: peer)
    nlri.forEachPrefix { prefix, identifier in
      let judged = judge.judge(prefix, origins, &attributes, &writer)
      place(prefix, from: peer, .init(identifier: identifier, attributes: id), judged)
    }
    judge.end(&attributes)
  }

  private func judge(_ policy: Policy, _ id: AttributeTable.ID, of peer: PeerID) -> PolicyJudge {
    PolicyJudge(
      policy, id, attributes, peerAS: peers[peer.index].autonomousSystem, localAS: peers[0].autonomousSystem)
  }

  private mutating func place(
    _ prefix: IPPrefix, from peer: PeerID, _ original: OriginalRoute, _ judged: AttributeTable.ID
  ) {
    let length = UInt8(prefix.length)
    let counts =
      switch prefix.address {
      case .v4(let four):
        ipv4.place(
          ipv4.newNumber(four.rawValue, length), from: peer, original, judged: judged, &attributes, peers)
      case .v6(let six):
        ipv6.place(ipv6.newNumber(six.bits, length), from: peer, original, judged: judged, &attributes, peers)
      }
    peers[peer.index].add(counts)
  }

  // MARK: Judging anew

  /// Whether there are routes to be judged anew.
  public var hasReviews: Bool { !reviews.isEmpty }

  /// Judges routes anew that wait for it, of so many destinations at most.
  public mutating func review(limit: Int) {
    var left = limit
    while left > 0, let next = reviews.next {
      let length = UInt8(next.prefix.length)
      let found =
        switch next.prefix.address {
        case .v4(let four):
          ipv4.routesAsTheyCame(within: four.rawValue, length, after: next.last?.address.bits4, next, limit: left)
        case .v6(let six):
          ipv6.routesAsTheyCame(within: six.bits, length, after: next.last?.address.bits6, next, limit: left)
        }
      review(found.routes)
      reviews.advance(to: found.looked == left ? found.last : nil)
      left -= max(found.looked, 1)
    }
    flows4.unicastChanged()
    flows6.unicastChanged()
  }

  private mutating func review(_ routes: [ReviewedRoute]) {
    var at = 0
    while at < routes.count {
      // Neighbors in the table often share their attributes.
      let (peer, id) = (routes[at].peer, routes[at].original.attributes)
      let end = routes[at...].firstIndex { $0.peer != peer || $0.original.attributes != id } ?? routes.count
      review(routes[at..<end], id, of: peer)
      at = end
    }
  }

  /// Judges routes anew that share their attributes.
  private mutating func review(_ routes: ArraySlice<ReviewedRoute>, _ id: AttributeTable.ID, of peer: PeerID) {
    let policy = policies[peer.index].incoming ?? PeerPolicy.all
    if policy.deniesAll {
      for route in routes { withdraw(route.prefix, route.original.identifier, from: peer) }
      return
    }
    // The last path that holds them may come to hold others before they are kept beside it.
    attributes.retain(id)
    var judge = judge(policy, id, of: peer)
    for route in routes {
      let judged = judge.judge(route.prefix, origins, &attributes, &writer)
      place(route.prefix, from: peer, route.original, judged)
    }
    judge.end(&attributes)
    attributes.release(id)
  }
}

extension IPAddress {
  fileprivate var bits4: UInt32? { if case .v4(let four) = self { four.rawValue } else { nil } }
  fileprivate var bits6: UInt128? { if case .v6(let six) = self { six.bits } else { nil } }
}

/// A route as it came.
struct OriginalRoute {
  var identifier: UInt32
  var attributes: AttributeTable.ID
  /// Not heard of again since a refresh began, or since the peer was lost.
  var isStale = false
}

/// One that is to be judged anew.
struct ReviewedRoute {
  var prefix: IPPrefix
  var peer: PeerID
  var original: OriginalRoute
}

/// What is to be judged anew, a part at a time.
struct PolicyReviews {
  /// Routes within a prefix, of these peers.
  struct Review {
    var prefix: IPPrefix
    var peers: Set<PeerID>
    /// The last destination that was looked at.
    var last: IPPrefix?
  }

  /// More prefixes than these are no fewer routes than all.
  private static let limit = 4_096
  private var queue: ArraySlice<Review> = []

  var isEmpty: Bool { queue.isEmpty }
  var next: Review? { queue.first }

  mutating func add(_ prefixes: [IPPrefix], _ peers: Set<PeerID>) {
    var (prefixes, peers) = (prefixes, peers)
    if queue.count + prefixes.count > Self.limit {
      for review in queue { peers.formUnion(review.peers) }
      prefixes = RIB.everything
    }
    // What is all looked at anew need not be looked at before.
    if prefixes == RIB.everything { queue.removeAll { $0.peers.isSubset(of: peers) } }
    for prefix in prefixes { queue.append(Review(prefix: prefix, peers: peers)) }
  }

  /// - Parameter last: where to go on; nil when all of the first is done.
  mutating func advance(to last: IPPrefix?) {
    if let last { queue[queue.startIndex].last = last } else { queue.removeFirst() }
  }
}

/// What a policy makes of routes of the same attributes.
struct PolicyJudge {
  private let policy: Policy
  private let id: AttributeTable.ID
  private var route: PolicyRoute
  /// Of the route's origin; nil for a policy that does not ask.
  private let origin: UInt32??
  /// Where the same rules hold, the same comes of it. Held.
  private var known: [[Int]: AttributeTable.ID] = [:]

  init(
    _ policy: Policy, _ id: AttributeTable.ID, _ table: borrowing AttributeTable, peerAS: UInt32, localAS: UInt32
  ) {
    self.policy = policy
    self.id = id
    route = PolicyRoute(IPPrefix(UInt32(0), 0), table.attributes(id), peerAS: peerAS)
    origin = policy.dependsOnOrigins ? .some(route.attributes.asPath.origin(localAS: localAS)) : nil
  }

  /// The attributes that the route gets, valid until ``end(_:)``; none for one that is denied.
  mutating func judge(
    _ prefix: IPPrefix, _ origins: OriginTable, _ table: inout AttributeTable, _ writer: inout AttributeWriter
  ) -> AttributeTable.ID {
    route.prefix = prefix
    if let origin { route.validity = origins.validity(of: prefix, origin: origin) }
    var decision = policy.evaluate(route)
    guard decision.verdict == .permit else { return .none }
    if policy.changesNothing(decision.matched) { return id }
    if let id = known[decision.matched] { return id }
    // Our own address is no way to where the peer leads.
    decision.attributes.nextHop = decision.attributes.nextHop ?? route.attributes.nextHop
    decision.attributes.write(to: &writer, for: prefix.address.isIPv4 ? .ipv4Unicast : .ipv6Unicast)
    let changed = writer.bytes.withUnsafeBytes { table.intern($0, decision.attributes.summary) }
    known[decision.matched] = changed
    return changed
  }

  func end(_ table: inout AttributeTable) { for id in known.values { table.release(id) } }
}
