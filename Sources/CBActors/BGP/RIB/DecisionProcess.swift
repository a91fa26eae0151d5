import Wire

/// What settled the choice between routes to one destination: the last question of RFC 4271 §9.1 that was needed.
public enum DecisionStep: UInt8, Hashable, Sendable {
  /// No route, or none that is eligible.
  case none
  case onlyRoute
  /// Originated here.
  case local
  /// RFC 9494 §4.3: what is not kept for lack of anything better comes first.
  case longLivedStale
  /// §9.1.1: the degree of preference.
  case localPreference
  /// §9.1.2.2 a.
  case asPathLength
  /// §9.1.2.2 b.
  case origin
  /// §9.1.2.2 c.
  case multiExitDisc
  /// §9.1.2.2 d: external before internal.
  case external
  /// §9.1.2.2 f, with the originator of a reflected route (RFC 4456 §9).
  case bgpIdentifier
  /// RFC 4456 §9.
  case clusterListLength
  /// §9.1.2.2 g.
  case peerAddress
  /// Several paths of one peer (RFC 7911).
  case pathIdentifier
}

extension DecisionStep: CustomStringConvertible {
  public var description: String {
    switch self {
    case .none: "no route"
    case .onlyRoute: "the only route"
    case .local: "originated here"
    case .longLivedStale: "not stale for long"
    case .localPreference: "higher local preference"
    case .asPathLength: "shorter AS path"
    case .origin: "lower origin"
    case .multiExitDisc: "lower MED"
    case .external: "external before internal"
    case .bgpIdentifier: "lower BGP identifier"
    case .clusterListLength: "shorter cluster list"
    case .peerAddress: "lower peer address"
    case .pathIdentifier: "lower path identifier"
    }
  }
}

/// The choice between several routes to one destination (RFC 4271 §9.1.2).
struct DecisionProcess {
  /// What of a route the decision looks at.
  struct Candidate {
    /// Whatever the caller knows it by.
    var index: UInt32
    /// The steps down to the origin in one, the first on top; the lower is better.
    var rank: UInt64
    var isExternal: Bool
    var neighborAS: UInt32
    var multiExitDisc: UInt32
    var identifier: UInt32
    var clusterListLength: UInt16
    var peerAddress: IPAddress
    var pathIdentifier: UInt32

    init(
      index: UInt32, _ summary: AttributeSummary, _ peer: PeerState, pathIdentifier: UInt32
    ) {
      self.index = index
      // A route of our own needs no comparison.
      rank = peer.isLocal ? 0 : 1
      rank = rank << 1 | (summary.wellKnownCommunities.contains(.longLivedStale) ? 1 : 0)
      rank = rank << 32 | UInt64(UInt32.max - summary.degreeOfPreference(isLocal: peer.isLocal))
      rank = rank << 16 | UInt64(summary.asPathLength)
      rank = rank << 8 | UInt64(summary.origin.rawValue)
      isExternal = !peer.isInternal
      neighborAS = summary.neighborAS
      // "If route n has no MULTI_EXIT_DISC attribute, the function returns the lowest possible MULTI_EXIT_DISC value
      // (i.e., 0)."
      multiExitDisc = summary.multiExitDisc ?? 0
      identifier = summary.originatorID ?? peer.identifier
      clusterListLength = summary.clusterListLength
      peerAddress = peer.address
      self.pathIdentifier = pathIdentifier
    }
  }

  /// Those still under consideration; kept between decisions for its memory.
  private(set) var candidates: ContiguousArray<Candidate> = []
  /// Set aside when only the last steps had to decide: equally good, as far as routes go.
  private(set) var equals: ContiguousArray<UInt32> = []

  mutating func begin() {
    candidates.removeAll(keepingCapacity: true)
    equals.removeAll(keepingCapacity: true)
  }

  mutating func add(_ candidate: Candidate) { candidates.append(candidate) }

  /// RFC 4271 §9.1.2.2: "The criteria MUST be applied in the order specified." Returns the index of the one that is
  /// left, and the step that left it.
  mutating func decide() -> (index: UInt32, step: DecisionStep)? {
    guard let first = candidates.first else { return nil }
    if candidates.count == 1 {
      equals.append(first.index)
      return (first.index, .onlyRoute)
    }
    if let step = keepLowestRank() { return step }
    if let step = keepLowestMED() { return step }
    if let step = keep(.external, { $0.isExternal ? 0 : 1 }) { return step }
    // §9.1.2.2 e: "If the NEXT_HOP hop for a route is reachable, but no cost can be determined, then this step should
    // be skipped".
    for candidate in candidates { equals.append(candidate.index) }
    if let step = keep(.bgpIdentifier, { $0.identifier }, isEqual: true) { return step }
    if let step = keep(.clusterListLength, { UInt32($0.clusterListLength) }, isEqual: true) { return step }
    if let step = keepLowestAddress() { return step }
    return keep(.pathIdentifier, { $0.pathIdentifier }, isEqual: true) ?? (candidates[0].index, .pathIdentifier)
  }

  /// The steps down to the origin.
  private mutating func keepLowestRank() -> (index: UInt32, step: DecisionStep)? {
    var best = candidates[0]
    for candidate in candidates where candidate.rank < best.rank { best = candidate }
    // What the one that lost last lost by.
    var alike = 0
    for candidate in candidates where candidate.index != best.index {
      alike = max(alike, (candidate.rank ^ best.rank).leadingZeroBitCount)
    }
    guard alike < UInt64.bitWidth else {
      candidates.removeAll { $0.rank > best.rank }
      return nil
    }
    equals.append(best.index)
    // As ``Candidate/rank`` is laid out, from six bits that are always clear on.
    let step: DecisionStep =
      switch alike {
      case ..<7: .local
      case 7: .longLivedStale
      case 8..<40: .localPreference
      case 40..<56: .asPathLength
      default: .origin
      }
    return (best.index, step)
  }

  /// Keeps those with the lowest value. The step, if one is left now.
  private mutating func keep(
    _ step: DecisionStep, _ value: (Candidate) -> UInt32, isEqual: Bool = false
  ) -> (index: UInt32, step: DecisionStep)? {
    var lowest = UInt32.max
    for candidate in candidates { lowest = min(lowest, value(candidate)) }
    candidates.removeAll { value($0) > lowest }
    guard candidates.count == 1 else { return nil }
    if !isEqual { equals.append(candidates[0].index) }
    return (candidates[0].index, step)
  }

  /// "if (neighborAS(m) == neighborAS(n)) and (MED(n) < MED(m)) remove route m from consideration"
  private mutating func keepLowestMED() -> (index: UInt32, step: DecisionStep)? {
    // Mostly there is nothing to compare.
    let first = candidates[0].multiExitDisc
    guard candidates.contains(where: { $0.multiExitDisc != first }) else { return nil }
    let all = candidates
    candidates.removeAll { m in
      all.contains { n in n.neighborAS == m.neighborAS && n.multiExitDisc < m.multiExitDisc }
    }
    guard candidates.count == 1 else { return nil }
    equals.append(candidates[0].index)
    return (candidates[0].index, .multiExitDisc)
  }

  private mutating func keepLowestAddress() -> (index: UInt32, step: DecisionStep)? {
    func isLower(_ a: IPAddress, _ b: IPAddress) -> Bool {
      switch (a, b) {
      case (.v4(let a), .v4(let b)): a < b
      case (.v6(let a), .v6(let b)): a < b
      case (.v4, .v6): true
      case (.v6, .v4): false
      }
    }
    guard var lowest = candidates.first?.peerAddress else { return nil }
    for candidate in candidates where isLower(candidate.peerAddress, lowest) { lowest = candidate.peerAddress }
    candidates.removeAll { $0.peerAddress != lowest }
    return candidates.count == 1 ? (candidates[0].index, .peerAddress) : nil
  }
}
