public import Wire

/// How routes are changed on their way to one peer, and which of them go (RFC 4271 §5.1, §9.1.3).
public struct ExportRules: Hashable, Sendable {
  public var localAS: UInt32
  public var isInternal: Bool
  public var peerAS: UInt32
  /// Whether routes of other peers go on to this one, besides our own.
  public var passesOn = true
  /// What we are to the peer (RFC 9234).
  public var role: Capability.Role?
  /// Our own addresses to name as next hop; a family without one is not advertised.
  public var nextHopIPv4: IPv4Address?
  public var nextHopIPv6: IPv6Address?
  /// The peer knows long-lived stale routes (RFC 9494).
  var keepsLongLivedStale = false

  public init(localAS: UInt32, peerAS: UInt32) {
    self.localAS = localAS
    self.peerAS = peerAS
    isInternal = localAS == peerAS
  }

  func ownNextHop(for family: AddressFamily) -> IPAddress? {
    family == .ipv4Unicast ? nextHopIPv4.map { .v4($0) } : nextHopIPv6.map { .v6($0) }
  }

  /// Why a route does not go to a peer, whatever policy says.
  public enum Refusal: Hashable, Sendable {
    /// The peer gets only our own routes.
    case notPassedOn
    case learnedInside
    case noAdvertise
    case noExport
    case onlyToCustomer
    case longLivedStale
  }

  /// Nil for a route that may go to the peer.
  func refusal(of summary: AttributeSummary, from source: PeerState) -> Refusal? {
    if !passesOn, !source.isLocal { return .notPassedOn }
    // RFC 4271 §9.2: "the receiving BGP speaker SHALL NOT re-distribute the routing information contained in that
    // UPDATE message to other internal peers"
    let isLearnedInside = source.isInternal && !source.isLocal
    if isInternal, isLearnedInside { return .learnedInside }
    let communities = summary.wellKnownCommunities
    // RFC 1997 says this of routes that were received. On one of our own, it is for the peer to heed.
    if !source.isLocal {
      if communities.contains(.noAdvertise) { return .noAdvertise }
      if !isInternal, !communities.isDisjoint(with: [.noExport, .noExportSubconfed]) { return .noExport }
    }
    // RFC 9494 §4.3: not to a peer that does not know how little such a route is worth.
    if communities.contains(.longLivedStale), !keepsLongLivedStale { return .longLivedStale }
    // RFC 9234 §5: what is for customers only goes to no provider, peer or route server.
    let marksItself = source.marksOnlyToCustomer
    let isMarked = summary.onlyToCustomer != nil || marksItself
    return isMarked && (role == .customer || role == .peer || role == .routeServerClient) ? .onlyToCustomer : nil
  }

  /// Writes the attributes as the peer gets them; nil where there is no next hop to give.
  ///
  /// - Parameter policy: what the peer's policy has made of them.
  func write(
    _ canonical: UnsafeRawBufferPointer, _ summary: AttributeSummary, from source: PeerState,
    family: AddressFamily, policy: PolicyDecision? = nil, to writer: inout AttributeWriter
  ) -> AttributeSummary? {
    writer.removeAll()
    // RFC 4271 §5.1.3: to an internal peer a learned next hop is passed on, to others our own is given, but for routes of
    // our own that name one. Other third-party next hops are never used.
    let passesNextHop = policy?.setsNextHop ?? false || isInternal || source.isLocal
    // RFC 2545 §3: a link-local one means nothing beyond its link.
    let passedOn = passesNextHop && summary.nextHop?.isLinkLocal == false ? summary.nextHop : nil
    let nextHop = family.isFlowspec ? nil : passedOn ?? ownNextHop(for: family)
    guard nextHop != nil || family.isFlowspec else { return nil }
    var result = AttributeSummary()
    result.nextHop = nextHop
    if let nextHop, family != .ipv4Unicast { writer.append(nextHop: nextHop, of: family) }
    var needsLocalPreference = isInternal
    let onlyToCustomer = summary.onlyToCustomer ?? markToAdd(source)
    var iterator = AttributeIterator(canonical)
    while let attribute = iterator.next() {
      if needsLocalPreference, attribute.type.rawValue >= AttributeType.localPreference.rawValue,
        attribute.type != .mpReachNLRI
      {
        // RFC 4271 §5.1.5: it "SHALL be included in all UPDATE messages that a given BGP speaker sends to other internal
        // peers".
        writer.append(.localPreference, .transitive, summary.degreeOfPreference(isLocal: source.isLocal))
        needsLocalPreference = false
      }
      switch attribute.type {
      case .mpReachNLRI, .localPreference, .onlyToCustomer: break
      case .asPath:
        if isInternal {
          writer.append(.asPath, attribute.flags, attribute.value)
        } else {
          writer.append(path: attribute.value, prepending: localAS)
        }
        if let nextHop, family == .ipv4Unicast { writer.append(nextHop: nextHop, of: family) }
      case .nextHop: break
      case .multiExitDisc:
        // RFC 4271 §5.1.4: "The MULTI_EXIT_DISC attribute received from a neighboring AS MUST NOT be propagated to
        // other neighboring ASes." One that policy sets is our own.
        if isInternal || source.isLocal || policy?.setsMultiExitDisc == true {
          writer.append(.multiExitDisc, attribute.flags, attribute.value)
        }
      case .originatorID, .clusterList:
        // Of route reflection within an AS (RFC 4456 §8).
        if isInternal { writer.append(attribute.type, attribute.flags, attribute.value) }
      case .extendedCommunities where !isInternal: appendTransitive(attribute.value, attribute.flags, to: &writer)
      default:
        if let onlyToCustomer, attribute.type.rawValue > AttributeType.onlyToCustomer.rawValue,
          result.onlyToCustomer == nil
        {
          writer.append(.onlyToCustomer, .defined, onlyToCustomer)
          result.onlyToCustomer = onlyToCustomer
        }
        writer.append(attribute.type, attribute.flags, attribute.value)
      }
    }
    if needsLocalPreference {
      writer.append(.localPreference, .transitive, summary.degreeOfPreference(isLocal: source.isLocal))
    }
    if let onlyToCustomer, result.onlyToCustomer == nil {
      writer.append(.onlyToCustomer, .defined, onlyToCustomer)
      result.onlyToCustomer = onlyToCustomer
    }
    return result
  }

  /// RFC 9234 §5: the source's AS on the way in, our own on the way out to a customer, peer or client.
  private func markToAdd(_ source: PeerState) -> UInt32? {
    if source.marksOnlyToCustomer { return source.autonomousSystem }
    return role == .provider || role == .peer || role == .routeServer ? localAS : nil
  }

  /// RFC 4360 §6: non-transitive ones stay within the AS.
  private func appendTransitive(
    _ value: UnsafeRawBufferPointer, _ flags: AttributeFlags, to writer: inout AttributeWriter
  ) {
    var kept: [UInt8] = []
    for at in stride(from: 0, to: value.count - 7, by: 8) where value[at] & 0x40 == 0 {
      kept += value[at..<at + 8]
    }
    if !kept.isEmpty { writer.append(.extendedCommunities, flags, kept) }
  }
}
