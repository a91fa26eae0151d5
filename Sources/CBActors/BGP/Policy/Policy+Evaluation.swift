import Wire

extension Policy {
  /// Puts a route to the rules in order. A later rule sees what an earlier one has changed.
  public func evaluate(_ route: PolicyRoute) -> PolicyDecision {
    var route = route
    var decision = PolicyDecision(verdict: otherwise, attributes: PathAttributes(), policy: name)
    for (index, rule) in rules.enumerated() where rule.conditions.allSatisfy({ $0.holds(for: route) }) {
      decision.matched.append(index)
      for change in rule.changes { change.apply(to: &route, &decision) }
      if let verdict = rule.verdict {
        decision.verdict = verdict
        decision.rule = rule.name
        break
      }
    }
    decision.attributes = route.attributes
    return decision
  }
}

extension Policy.Condition {
  func holds(for route: PolicyRoute) -> Bool {
    let attributes = route.attributes
    switch self {
    case .prefix(let list): return list.contains(route.prefix)
    case .asPath(let patterns): return patterns.contains { $0.matches(attributes.asPath) }
    case .community(let patterns): return patterns.contains { $0.matches(attributes) }
    case .nextHop(let list):
      guard let address = attributes.nextHop, let host = IPPrefix(address, length: address.bitWidth) else {
        return false
      }
      return list.contains(host)
    case .origin(let origin): return attributes.origin == origin
    case .peerAS(let numbers): return numbers.contains(route.peerAS)
    case .asPathLength(let lengths): return lengths.contains(attributes.asPath.length)
    case .local: return route.isLocal
    case .originValidity(let validity): return route.validity == validity
    case .not(let other): return !other.holds(for: route)
    case .all(let others): return others.allSatisfy { $0.holds(for: route) }
    }
  }
}

extension Policy.Change {
  func apply(to route: inout PolicyRoute, _ decision: inout PolicyDecision) {
    switch self {
    case .localPreference(let preference): route.attributes.localPreference = preference
    case .multiExitDisc(let value):
      route.attributes.multiExitDisc = value
      decision.setsMultiExitDisc = true
    case .origin(let origin): route.attributes.origin = origin
    case .nextHopSelf:
      route.attributes.nextHop = nil
      route.attributes.linkLocalNextHop = nil
      decision.setsNextHop = true
    case .nextHop(let address):
      // One of the other family cannot be what is meant.
      guard address.isIPv4 == route.prefix.address.isIPv4 else { return }
      route.attributes.nextHop = address
      route.attributes.linkLocalNextHop = nil
      decision.setsNextHop = true
    case .prepend(let number, let count): for _ in 0..<max(0, count) { route.attributes.asPath.prepend(number) }
    case .addCommunities(let communities): for community in communities { route.attributes.add(community) }
    case .removeCommunities(let patterns):
      for pattern in patterns {
        route.attributes.communities.removeAll { pattern.matches($0) }
        route.attributes.extendedCommunities.removeAll { pattern.matches($0) }
        route.attributes.largeCommunities.removeAll { pattern.matches($0) }
      }
    }
  }
}

extension PathAttributes {
  /// Adds one that is not there yet.
  fileprivate mutating func add(_ community: AnyCommunity) {
    switch community {
    case .standard(let one): if !communities.contains(one) { communities.append(one) }
    case .extended(let one): if !extendedCommunities.contains(one) { extendedCommunities.append(one) }
    case .large(let one): if !largeCommunities.contains(one) { largeCommunities.append(one) }
    }
  }
}
