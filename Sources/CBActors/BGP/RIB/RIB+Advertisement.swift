public import Wire

/// What a looking glass asks of the Adj-RIBs-Out.
extension RIB {
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
    let decision = policy.evaluate(
      table.policyRoute(
        number, best, rib.attributes, source, rib.origins, localAS: rib.peers[0].autonomousSystem))
    return decision.verdict == .permit ? .advertised(decision) : .denied(decision)
  }
}

extension RIB.Advertisement: CustomStringConvertible {
  public var description: String {
    switch self {
    case .noRoute: "there is no route"
    case .noSession: "there is no session of this family"
    case .fromThePeer: "the best route is the peer's own"
    case .refused(.notPassedOn): "the peer is told of our own routes alone"
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
