import BGP
import Foundation
public import Settings
public import Wire

/// A file of BGP policies, tried on routes that no one has announced.
public struct PolicyTest: Sendable {
  private let document: PolicyDocument

  /// A made-up route's attributes, as they are written on a command line.
  public struct Route: Sendable {
    public var prefix: IPPrefix
    /// From the neighbor to the origin.
    public var asPath: [UInt32] = []
    public var communities: [String] = []
    public var nextHop: IPAddress?
    /// Nil: the first of the path.
    public var peerAS: UInt32?
    public var isLocal = false
    /// `valid`, `invalid` or `not-found`.
    public var originValidity = "not-found"

    public init(_ prefix: IPPrefix) { self.prefix = prefix }
  }

  /// What a policy says to a route.
  public struct Answer: Codable, Hashable, Sendable {
    public var policy: String
    public var prefix: String
    public var isPermitted: Bool
    public var reason: String
    /// What the policy has changed, such as `localPreference 200`.
    public var changes: [String]
  }

  /// Reads a policy file. Every fault found is in the error, with its line.
  public init(path: String) throws(SettingsError) { document = try PolicyDocument(path: path) }

  /// The names of the policies in the file, in its order.
  public var policies: [String] { document.policies.map(\.name) }

  /// What a policy, or each of them, makes of a route.
  ///
  /// - Throws: a text that says which community is none.
  public func evaluate(_ route: Route, by name: String?) throws -> [Answer] {
    var attributes = PathAttributes()
    attributes.asPath = ASPath(route.asPath)
    attributes.nextHop = route.nextHop
    for text in route.communities {
      switch try AnyCommunity(parsing: text) {
      case .standard(let one): attributes.communities.append(one)
      case .extended(let one): attributes.extendedCommunities.append(one)
      case .large(let one): attributes.largeCommunities.append(one)
      }
    }
    var asked = PolicyRoute(
      route.prefix, attributes, peerAS: route.peerAS ?? route.asPath.first ?? 0, isLocal: route.isLocal)
    asked.validity = route.originValidity == "valid" ? .valid : route.originValidity == "invalid" ? .invalid : .notFound
    return document.policies.filter { name == nil || $0.name == name }.map { policy in
      let decision = policy.evaluate(asked)
      let isPermitted = decision.verdict == .permit
      return Answer(
        policy: policy.name, prefix: "\(route.prefix)", isPermitted: isPermitted, reason: decision.reason,
        changes: isPermitted ? Self.changes(from: attributes, to: decision) : [])
    }
  }

  private static func changes(from before: PathAttributes, to decision: PolicyDecision) -> [String] {
    let after = decision.attributes
    var changes: [String] = []
    if let value = after.localPreference, value != before.localPreference { changes.append("localPreference \(value)") }
    if decision.setsMultiExitDisc { changes.append("med \(after.multiExitDisc.map(String.init) ?? "none")") }
    if after.origin != before.origin { changes.append("origin \(after.origin)") }
    if decision.setsNextHop { changes.append("nextHop \(after.nextHop.map { "\($0)" } ?? "self")") }
    if after.asPath != before.asPath { changes.append("asPath \(after.asPath)") }
    func compare<T: Hashable>(_ old: [T], _ new: [T]) {
      changes += new.filter { !old.contains($0) }.map { "+\($0)" } + old.filter { !new.contains($0) }.map { "-\($0)" }
    }
    compare(before.communities, after.communities)
    compare(before.extendedCommunities, after.extendedCommunities)
    compare(before.largeCommunities, after.largeCommunities)
    return changes
  }
}
