public import Wire

/// Graceful restart in the tables: routes that outlive their session, and a start that waits for those of others.
extension RIB {
  // MARK: Receiving speaker

  /// A session was lost whose peer may be back soon: of the families named its routes are kept, and marked stale
  /// (RFC 4724 §4.2).
  public mutating func sessionLost(_ peer: PeerID, retaining retention: StaleRetention, now: Instant) {
    closeSession(peer)
    // RFC 4724 §4.2: "To deal with possible consecutive restarts, a route (from the peer) previously marked as stale MUST
    // be deleted."
    removeAll(of: peer, onlyStale: true, families: retention.families)
    removeAll(of: peer, onlyStale: false, families: AddressFamilies.all.subtracting(retention.families))
    markStale(peer, retention.families)
    stale[peer.index].begin(retention, now: now)
    if retention.restartTime <= .zero { handleTimeout(now: now) }
  }

  /// When to call ``handleTimeout(now:)``.
  public var deadline: Instant {
    min(
      stale.map(\.deadline).min() ?? .distantFuture, deferral?.deadline ?? .distantFuture,
      firstRoutes?.deadline ?? .distantFuture)
  }

  /// Ends what has waited long enough.
  public mutating func handleTimeout(now: Instant) {
    for index in stale.indices {
      while stale[index].deadline <= now {
        for action in stale[index].handleTimeout(now: now) { perform(action, of: PeerID(raw: UInt16(index))) }
      }
    }
    if deferral?.isOver(now: now) == true { deferral = nil }
    if firstRoutes?.isOver(now: now) == true { firstRoutes = nil }
  }

  mutating func perform(_ action: StaleRoutes.Action, of peer: PeerID) {
    switch action {
    case .delete(let family): removeAll(of: peer, onlyStale: true, families: AddressFamilies(family))
    case .makeLongLived(let family):
      let removed =
        family == .ipv4Unicast
        ? ipv4.makeLongLived(peer, &attributes, peers) : ipv6.makeLongLived(peer, &attributes, peers)
      peers[peer.index].add(removed)
    }
  }

  /// All routes of a family have come.
  mutating func noteEndOfRIB(_ family: AddressFamily, from peer: PeerID) {
    if let action = stale[peer.index].endOfRIB(family) { perform(action, of: peer) }
    deferral?.endOfRIB(family, from: peer)
    if deferral?.isComplete == true { deferral = nil }
    firstRoutes?.endOfRIB(family, from: peer)
    if firstRoutes?.isComplete == true { firstRoutes = nil }
  }

  // MARK: Restarting speaker

  /// This speaker has restarted (RFC 4724 §4.1): nobody is told anything until these peers have sent their End-of-RIB, and
  /// ``ownRoutesAreComplete()`` was said, or the deadline is there.
  public mutating func deferSelection(awaiting peers: [PeerID], ownRoutes: Bool, until deadline: Instant) {
    let waiting = SelectionDeferral(peers: peers, ownRoutes: ownRoutes, until: deadline)
    deferral = waiting.isComplete ? nil : waiting
  }

  /// All routes are originated that were before the restart.
  public mutating func ownRoutesAreComplete() {
    deferral?.ownRoutesAreComplete()
    if deferral?.isComplete == true { deferral = nil }
  }

  /// What an earlier run has left in a forwarding plane is to stay until all of these peers have sent their End-of-RIB, or
  /// the deadline is there: see ``hasFirstRoutes``. One that never sends any is waited for, as its routes would be missed.
  public mutating func awaitFirstRoutes(of peers: [PeerID], until deadline: Instant) {
    let waiting = SelectionDeferral(peers: peers, ownRoutes: false, excuses: false, until: deadline)
    firstRoutes = waiting.isComplete ? nil : waiting
  }

  /// The forwarding plane has been told all that it is to have.
  public var hasFirstRoutes: Bool { firstRoutes == nil && deferral == nil && !hasForwarding }

  /// Whether the choice of routes is still put off, and not to be acted on.
  public var isDeferringSelection: Bool { deferral != nil }
}

extension RouteTable {
  /// A peer's stale routes become those of the last resort (RFC 9494 §4.3); those that do not want to are removed, and
  /// those that policy has denied.
  mutating func makeLongLived(
    _ peer: PeerID, _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> RouteCounts {
    var marked: [AttributeTable.ID: AttributeTable.ID] = [:]
    var writer = AttributeWriter()
    for number in 0..<trie.numberLimit {
      for at in stalePaths(of: peer, at: number, table) {
        let source = paths[Int(at)].attributes
        let id = marked[source] ?? table.markingLongLived(source, family, &writer)
        marked[source] = id
        table.retain(id)
        replaceAttributes(ofPath: at, number, with: id, &table, peers)
      }
    }
    for (source, id) in marked {
      table.release(source)
      table.release(id)
    }
    return withdrawAll(from: peer, &table, peers) { $0.isStale && !$0.isLongLived }
  }

  /// Those of a peer that may become long-lived.
  private func stalePaths(of peer: PeerID, at number: Int, _ table: borrowing AttributeTable) -> [UInt32] {
    var found: [UInt32] = []
    var at = destinations[number].first
    while at != noPath {
      let path = paths[Int(at)]
      if path.peer == peer, path.isStale, !table.summary(path.attributes).wellKnownCommunities.contains(.noLongLived) {
        found.append(at)
      }
      at = path.next
    }
    return found
  }
}

extension AttributeTable {
  /// The same attributes with LLGR_STALE, held; and the source held once more, so that its ID stays its own.
  fileprivate mutating func markingLongLived(
    _ id: ID, _ family: AddressFamily, _ writer: inout AttributeWriter
  ) -> ID {
    retain(id)
    var attributes = attributes(id)
    if !attributes.communities.contains(.longLivedStale) { attributes.communities.append(.longLivedStale) }
    attributes.write(to: &writer, for: family)
    return writer.bytes.withUnsafeBytes { intern($0, attributes.summary) }
  }
}
