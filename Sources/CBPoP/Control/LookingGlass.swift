import BGP
import CBActors
import Ring
import Wire

/// What the looking glass tells of a neighbor: one line of JSON.
public struct NeighborView: Codable, Hashable, Sendable {
  public var name: String
  public var address: String
  public var localAddress: String?
  public var remoteAS: UInt32
  /// As RFC 4271 §8.2.2 names it.
  public var state: String
  /// In this state.
  public var seconds: Int
  /// Routes that the neighbor has sent and that are kept.
  public var received: Int
  /// Of those, what policy lets in, and what it does not.
  public var accepted: Int
  public var denied: Int
  /// What its routes, and those that it is told, go by: a policy's name, `all` or `none`.
  public var importPolicy: String
  public var exportPolicy: String
  /// The import policy denies all, and nothing of the neighbor is kept.
  public var takesNothing: Bool
  /// Routes that it has been told.
  public var advertised: Int
  public var updatesReceived: UInt64
  /// UPDATE messages that counted as withdrawals for their errors (RFC 7606).
  public var faultyUpdates: UInt64
  /// Why the last session ended.
  public var lastCause: String?
  /// Nil unless established.
  public var session: SessionView?

  /// What was agreed in the OPEN messages.
  public struct SessionView: Codable, Hashable, Sendable {
    public var routerID: String
    /// Seconds; 0 for none.
    public var holdTime: Int
    public var families: [String]
    /// Families whose End-of-RIB has come.
    public var complete: [String]
    public var capabilities: [String]
  }
}

/// What the looking glass tells of a prefix: one line of JSON.
public struct DestinationView: Codable, Hashable, Sendable {
  public var prefix: String
  /// What made the first route the best.
  public var reason: String
  /// The best first.
  public var routes: [RouteView]
  /// That policy does not let in.
  public var denied: [RouteView]
}

public struct RouteView: Codable, Hashable, Sendable {
  /// Nil for one of our own.
  public var neighbor: String?
  public var address: String?
  public var isBest: Bool
  /// As good as the best but for the last steps of the decision.
  public var isMultipath: Bool
  /// Its neighbor is lost, or has not named it again.
  public var isStale: Bool
  /// What put it behind the best.
  public var lostBy: String?
  /// What the neighbor's import policy says to it; nil without one, and where it was not asked.
  public var policy: String?
  /// What is known of its origin (RFC 6811): valid, invalid or not found; nil without validating caches.
  public var originValidity: String?
  /// RFC 7911; nil where there is none.
  public var pathIdentifier: UInt32?
  public var nextHop: String?
  public var asPath: String
  public var origin: String
  public var localPreference: UInt32?
  public var multiExitDisc: UInt32?
  public var isAtomicAggregate: Bool
  public var aggregator: String?
  public var communities: [String]
  public var extendedCommunities: [String]
  public var largeCommunities: [String]
  public var originatorID: String?
  public var clusterList: [String]
  /// RFC 9234.
  public var onlyToCustomer: UInt32?
  /// Types of attributes that are passed on unread.
  public var otherAttributes: [UInt8]
}

/// Answers requests out of a speaker's sessions and tables.
struct LookingGlass {
  let speaker: BGPSpeaker
  let validation: OriginValidation?
  let desk: RequestDesk
  /// Nil where flow specifications are not enforced.
  let filter: FlowspecFilter?
  let monitoring: Monitoring
  let announcer: Announcer
  /// Nil where nothing is checked.
  let health: ServiceHealth?

  /// Destinations that are looked up at once: the sessions wait so long.
  private static let page = 256

  /// Gives each line of the answer to `emit`, and waits for it to be taken.
  func answer(_ request: ControlRequest, _ emit: (any Encodable & Sendable) async throws -> Void) async throws {
    let statuses = await speaker.status()
    let names = Dictionary(statuses.map { ($0.address, $0.name) }) { first, _ in first }
    switch request {
    case .neighbors(let name):
      let asked = statuses.filter { name == nil || $0.name == name }
      guard !asked.isEmpty || name == nil else { throw LookingGlassError.noNeighbor(name ?? "") }
      let now = RingExecutor.monotonicNow()
      for status in asked { try await emit(NeighborView(status, now: now)) }
    case .routes(let prefix, let name):
      let peer = statuses.first { $0.name == name }?.address
      guard name == nil || peer != nil else { throw LookingGlassError.noNeighbor(name ?? "") }
      for range in prefix.map({ [$0] }) ?? Self.everything {
        try await answer(routesWithin: range, of: peer, names, emit)
      }
    case .whyPrefix(let prefix):
      guard let found = await speaker.destination(prefix) else {
        if let group = await healthViews().first(where: { $0.prefixes.contains("\(prefix)") }) {
          throw LookingGlassError.notAnnounced("\(prefix)", group: group.name, state: group.state, group.reason)
        }
        throw noRoute("\(prefix)", statuses)
      }
      try await emit(view(found, names))
    case .whyAddress(let address):
      guard let found = await speaker.destination(of: address) else { throw noRoute("\(address)", statuses) }
      try await emit(view(found, names))
    case .rpki:
      guard let validation else { throw LookingGlassError.noCaches }
      for view in await validation.views() { try await emit(view) }
    case .refresh, .reload, .stop: throw LookingGlassError.refused("that is no question")
    case .requests: for view in await desk.views() { try await emit(view) }
    case .flowspecs: for view in await flowspecs(names) { try await emit(view) }
    case .order(let order):
      do {
        if let view = try await desk.follow(order) { try await emit(view) }
      } catch let error as RoutingRefusal {
        throw LookingGlassError.refused("\(error)")
      }
    case .dump: try await dump(emit)
    case .monitoring: try await emit(await monitoring.view())
    case .health: for view in await healthViews() { try await emit(view) }
    }
  }

  private func view(_ destination: RIB.Destination, _ names: [IPAddress: String]) -> DestinationView {
    DestinationView(destination, names, isValidated: validation != nil)
  }

  /// With the neighbors whose routes would not be known of.
  private func noRoute(_ what: String, _ statuses: [BGPSession.Status]) -> LookingGlassError {
    .noRoute(
      what,
      untaken: statuses.compactMap { status in
        guard let policy = status.policy.incoming, policy.deniesAll else { return nil }
        return "\(status.name) (import: \(policy.name))"
      })
  }

  private static let everything: [IPPrefix] = [.v4(.any), .v6(.any)].compactMap { (address: IPAddress) in
    IPPrefix(address, length: 0)
  }

  private func answer(
    routesWithin range: IPPrefix, of peer: IPAddress?, _ names: [IPAddress: String],
    _ emit: (any Encodable & Sendable) async throws -> Void
  ) async throws {
    var last: IPPrefix?
    while true {
      let page = await speaker.destinations(within: range, after: last, limit: Self.page)
      for var destination in page {
        if let peer { destination.routes.removeAll { $0.peer != peer } }
        if !destination.routes.isEmpty { try await emit(view(destination, names)) }
      }
      guard page.count == Self.page else { return }
      last = page.last?.prefix
    }
  }
}

enum LookingGlassError: Error, CustomStringConvertible {
  case noNeighbors
  case noNeighbor(String)
  case noCaches
  case noRoute(String, untaken: [String])
  case notAnnounced(String, group: String, state: String, String)
  case refused(String)
  var description: String {
    switch self {
    case .noNeighbors: "this PoP has no BGP neighbors: bgp.neighbors is empty"
    case .noCaches: "this PoP validates no origins: bgp.rpki.caches is empty"
    case .noNeighbor(let name): "no neighbor is called \(name)"
    case .noRoute(let what, let untaken):
      "no route to \(what)"
        + (untaken.isEmpty ? "" : "; nothing is taken or kept of \(untaken.joined(separator: ", "))")
    case .notAnnounced(let prefix, let group, let state, let why):
      "no route to \(prefix); it is to be announced, but its group \(group) is \(state): \(why) "
        + "(cbpop bgp show health)"
    case .refused(let why): why
    }
  }
}

extension NeighborView {
  init(_ status: BGPSession.Status, now: Instant) {
    name = status.name
    address = "\(status.address)"
    localAddress = status.localAddress.map { "\($0)" }
    remoteAS = status.remoteAS
    state = status.state.rawValue
    seconds = Int((now - status.since).seconds)
    received = status.received
    accepted = status.received - status.denied
    denied = status.denied
    importPolicy = status.policy.incoming?.name ?? "all"
    exportPolicy = status.policy.outgoing?.name ?? "all"
    takesNothing = status.policy.incoming?.deniesAll ?? false
    advertised = status.advertised
    updatesReceived = status.updatesReceived
    faultyUpdates = status.faultyUpdates
    lastCause = status.lastCause.map { "\($0)" }
    session = status.parameters.map { SessionView($0, complete: status.complete) }
  }
}

extension NeighborView.SessionView {
  init(_ parameters: SessionParameters, complete: AddressFamilies) {
    routerID = "\(IPAddress.v4(parameters.peerIdentifier))"
    holdTime = Int(parameters.holdTime.seconds)
    families = parameters.families.members.map { "\($0)" }
    self.complete = complete.members.map { "\($0)" }
    capabilities = []
    if parameters.usesFourOctetAS { capabilities.append("4-octet AS numbers") }
    if parameters.peerRefreshesRoutes { capabilities.append("route refresh") }
    if parameters.marksRefresh { capabilities.append("enhanced route refresh") }
    if parameters.maximumMessageLength > MessageHeader.maximumLength { capabilities.append("extended messages") }
    for family in parameters.addPathFamilies.members { capabilities.append("several paths for \(family)") }
    if parameters.peerGracefulRestart != nil { capabilities.append("graceful restart") }
    if parameters.peerRole != nil { capabilities.append("role") }
  }
}

extension DestinationView {
  init(_ destination: RIB.Destination, _ names: [IPAddress: String], isValidated: Bool) {
    prefix = "\(destination.prefix)"
    reason = "\(destination.step)"
    routes = destination.routes.map { RouteView($0, names, isValidated: isValidated) }
    denied = destination.denied.map { RouteView($0, names, isValidated: isValidated) }
  }
}

extension RouteView {
  init(_ route: RIB.Route, _ names: [IPAddress: String], isValidated: Bool) {
    let attributes = route.attributes
    neighbor = route.peer.flatMap { names[$0] }
    address = route.peer.map { "\($0)" }
    isBest = route.isBest
    isMultipath = route.isMultipath
    isStale = route.isStale
    lostBy = route.lostAt.map { "\($0)" }
    policy = route.judgement?.reason
    originValidity = isValidated ? route.validity.rawValue : nil
    pathIdentifier = route.pathIdentifier == 0 ? nil : route.pathIdentifier
    nextHop = attributes.nextHop.map { "\($0)" }
    asPath = "\(attributes.asPath)"
    origin = "\(attributes.origin)"
    localPreference = attributes.localPreference
    multiExitDisc = attributes.multiExitDisc
    isAtomicAggregate = attributes.isAtomicAggregate
    aggregator = attributes.aggregator.map { "\(IPAddress.v4($0.address)) AS\($0.autonomousSystem)" }
    communities = attributes.communities.map { "\($0)" }
    extendedCommunities = attributes.extendedCommunities.map { "\($0)" }
    largeCommunities = attributes.largeCommunities.map { "\($0)" }
    originatorID = attributes.originatorID.map { "\(IPAddress.v4($0))" }
    clusterList = attributes.clusterList.map { "\(IPAddress.v4($0))" }
    onlyToCustomer = attributes.onlyToCustomer
    otherAttributes = attributes.others.map(\.type.rawValue)
  }
}
