import BGP
import CBActors
import Nftables
import Wire

/// What the looking glass tells of a flow specification: one line of JSON.
public struct FlowspecView: Codable, Hashable, Sendable {
  /// As `cbpop bgp flowspec` reads it.
  public var rule: String
  public var actions: String
  /// `IPv4 flowspec` or `IPv6 flowspec`.
  public var family: String
  /// Nil for one of our own.
  public var neighbor: String?
  public var address: String?
  /// It is the one that counts, of all with these conditions.
  public var isBest: Bool
  /// Its neighbor may say what becomes of this traffic (RFC 8955 §6, RFC 9117).
  public var isValid: Bool
  /// Its neighbor is lost, or has not named it again.
  public var isStale: Bool
  public var isEnforced: Bool
  /// Why it is not, or what of it is not.
  public var obstacle: String?
  /// What matched it, and what was dropped of that; nil where it is not enforced.
  public var packets: UInt64?
  public var octets: UInt64?
  public var droppedPackets: UInt64?
}

extension LookingGlass {
  /// In the order in which they are applied.
  func flowspecs(_ names: [IPAddress: String]) async -> [FlowspecView] {
    let routes = await speaker.flowspecRoutes()
    let states = await filter?.states(of: routes.filter(\.isBest).map(\.rule))
    return routes.map { FlowspecView($0, names, states) }
  }
}

extension FlowspecView {
  /// - Parameter states: nil where none is enforced.
  init(
    _ route: RIB.FlowspecRoute, _ names: [IPAddress: String], _ states: [FlowspecRule: FlowspecFilter.State]?
  ) {
    rule = "\(route.rule)"
    actions = "\(route.actions)"
    family = "\(route.rule.family)"
    neighbor = route.peer.flatMap { names[$0] }
    address = route.peer.map { "\($0)" }
    isBest = route.isBest
    isValid = route.isFeasible
    isStale = route.isStale
    isEnforced = false
    guard isValid else {
      obstacle = "not valid: the destination is not reached by this neighbor alone (RFC 8955 section 6)"
      return
    }
    guard isBest else {
      obstacle = "another neighbor's is preferred"
      return
    }
    switch states.map({ $0[route.rule] ?? .notEnforced("not yet") }) {
    case nil: obstacle = "bgp.flowspec.enforce is false"
    case .notEnforced(let why): obstacle = why
    case .enforced(let counts):
      isEnforced = true
      if route.actions.samples { obstacle = "without a sample" }
      packets = counts.packets
      octets = counts.octets
      droppedPackets = counts.droppedPackets
    }
  }
}
