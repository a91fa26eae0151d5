public import Wire

/// Which routes are taken or given, and what is changed on them: rules in order, the first that permits or denies ends it.
public struct Policy: Hashable, Sendable {
  public enum Verdict: String, Hashable, Sendable { case permit, deny }

  public struct Rule: Hashable, Sendable {
    public var name: String
    /// All of them must hold; none holds always.
    public var conditions: [Condition]
    /// Made in this order.
    public var changes: [Change]
    /// Nil goes on with the next rule.
    public var verdict: Verdict?

    public init(_ name: String, if conditions: [Condition] = [], set changes: [Change] = [], _ verdict: Verdict?) {
      self.name = name
      self.conditions = conditions
      self.changes = changes
      self.verdict = verdict
    }
  }

  public indirect enum Condition: Hashable, Sendable {
    case prefix(PrefixList)
    /// One of them.
    case asPath([ASPathPattern])
    /// The route has one that one of them stands for.
    case community([CommunityPattern])
    case nextHop(PrefixList)
    case origin(Origin)
    /// The neighbor's AS; of a route of our own it is ours.
    case peerAS(ClosedRange<UInt32>)
    /// Of so many ASs, as the decision process counts them.
    case asPathLength(ClosedRange<Int>)
    /// Originated here.
    case local
    /// RFC 6811.
    case originValidity(OriginValidity)
    case not(Condition)
    case all([Condition])
  }

  public enum Change: Hashable, Sendable {
    case localPreference(UInt32)
    /// Nil takes it off.
    case multiExitDisc(UInt32?)
    case origin(Origin)
    /// One's own address, also where it would be passed on.
    case nextHopSelf
    case nextHop(IPAddress)
    /// An AS in front, so often. On the way to an external peer the speaker's own comes before it.
    case prepend(UInt32, count: Int)
    case addCommunities([AnyCommunity])
    case removeCommunities([CommunityPattern])
  }

  public var name: String
  public var rules: [Rule]
  /// What befalls a route that no rule has settled.
  public var otherwise: Verdict

  public init(_ name: String, _ rules: [Rule], otherwise: Verdict = .deny) {
    self.name = name
    self.rules = rules
    self.otherwise = otherwise
  }

  /// Whether two routes of the same attributes may fare differently.
  public var dependsOnPrefix: Bool { rules.contains { $0.conditions.contains(where: \.dependsOnPrefix) } }

  /// Whether a route may fare differently when the payloads to validate origins by change.
  public var dependsOnOrigins: Bool { rules.contains { $0.conditions.contains(where: \.dependsOnOrigins) } }

  /// It denies whatever comes.
  public var deniesAll: Bool { rules.isEmpty && otherwise == .deny }

  /// Whether the rules that have held have nothing to change.
  func changesNothing(_ matched: [Int]) -> Bool { matched.allSatisfy { rules[$0].changes.isEmpty } }
}

extension Policy.Condition {
  fileprivate var dependsOnOrigins: Bool {
    switch self {
    case .originValidity: true
    case .not(let other): other.dependsOnOrigins
    case .all(let others): others.contains(where: \.dependsOnOrigins)
    default: false
    }
  }

  fileprivate var dependsOnPrefix: Bool {
    switch self {
    case .prefix, .originValidity: true
    case .not(let other): other.dependsOnPrefix
    case .all(let others): others.contains(where: \.dependsOnPrefix)
    default: false
    }
  }
}

/// A route as a policy looks at it.
public struct PolicyRoute: Hashable, Sendable {
  public var prefix: IPPrefix
  public var attributes: PathAttributes
  /// The AS it was heard from; our own for a route of ours.
  public var peerAS: UInt32
  public var isLocal: Bool
  public var validity = OriginValidity.notFound

  public init(_ prefix: IPPrefix, _ attributes: PathAttributes, peerAS: UInt32, isLocal: Bool = false) {
    self.prefix = prefix
    self.attributes = attributes
    self.peerAS = peerAS
    self.isLocal = isLocal
  }
}

/// What became of a route, and why.
public struct PolicyDecision: Hashable, Sendable {
  public var verdict: Policy.Verdict
  /// As changed.
  public var attributes: PathAttributes
  /// The rules that held, by their place in the policy; the last of them settled it, unless none did.
  public var matched: [Int] = []
  /// ``Policy/Change/nextHopSelf`` or ``Policy/Change/nextHop(_:)`` was the last word on the next hop.
  public var setsNextHop = false
  /// The MED is the policy's own.
  public var setsMultiExitDisc = false
  public var policy: String
  /// The name of the rule that settled it; nil where none did.
  public var rule: String?

  /// Such as `customers: rule "our blocks" permits it`.
  public var reason: String {
    let verb = verdict == .permit ? "permits" : "denies"
    return rule.map { "\(policy): rule \"\($0)\" \(verb) it" } ?? "\(policy): no rule settles it, and that \(verb) it"
  }
}
