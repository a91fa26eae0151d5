import Settings
public import Wire

extension PoPSettings {
  /// Which prefixes are announced, and to whom.
  public struct BGP: Hashable, Sendable {
    public var localAS: UInt32
    /// Nil where no neighbor needs it.
    public var routerID: IPv4Address?
    public var listen: [SocketAddress]
    public var announce: [IPPrefix]
    public var announcements: [Announcements]
    /// How long a stop waits between asking for other ways and taking the prefixes back (RFC 8326).
    public var shutdownDelay: Interval
    public var health: Health
    public var kernel: Kernel
    public var policies: Policies
    /// Validating caches, the most preferred first.
    public var caches: [SocketAddress]
    public var requests: Requests
    public var flowspec: Flowspec
    public var mrt: MRT
    public var bmp: BMP
    public var neighbors: [Neighbor]

    public struct Neighbor: Hashable, Sendable {
      public var name: String
      public var address: IPAddress
      /// Of a link-local address.
      public var interface: String?
      public var port: UInt16
      public var remoteAS: UInt32
      public var localAddress: IPAddress?
      /// Zero for no hold timer.
      public var holdTime: Interval
      public var connectRetry: Interval
      public var isPassive: Bool
      /// Nil: connections are not signed.
      public var passwordFile: String?
      /// Nil: not by the TCP Authentication Option.
      public var authentication: Authentication?
      public var hasTTLSecurity: Bool
      /// Empty: the address's own.
      public var families: [String]
      /// One of each family at most.
      public var nextHops: [IPAddress]
      /// 0: no bound.
      public var maximumPrefixes: Int
      /// What other neighbors announce goes on to it.
      public var isTransit: Bool
      /// A policy's name, `all` or `none`.
      public var importPolicy: String?
      public var exportPolicy: String?
      /// Several paths for one prefix are taken of it (RFC 7911).
      public var takesSeveralPaths: Bool
      /// Nil: RFC 9687's default.
      public var sendHoldTime: Interval?
      /// Routes are kept through a restart, on both sides (RFC 4724): seconds for ours; nil for neither.
      public var restartTime: Interval?
      /// What the neighbor is to us (RFC 9234); nil offers no role.
      public var role: String?
      /// The way to it is watched by BFD.
      public var hasBFD: Bool
      public var bfdInterval: Interval
      public var bfdMultiplier: Int
      /// Its flow specifications count only for traffic to where it leads (RFC 8955 §6).
      public var validatesFlowspec: Bool

      public var isIPv4Offered: Bool { families.isEmpty ? address.isIPv4 : families.contains("ipv4") }
      public var isIPv6Offered: Bool { families.isEmpty ? !address.isIPv4 : families.contains("ipv6") }
    }
  }

  static let bgpSection = Schema.Key.section(
    "bgp", "Announces prefixes to routers (BGP-4). Without neighbors nothing is opened.",
    [
      .value("localAS", .integer(1...4_294_967_294), default: "64512", "This PoP's autonomous system."),
      .value(
        "routerID", .address, example: "192.0.2.1",
        "The BGP Identifier: an IPv4 address of this PoP's own, different at each PoP."),
      .list(
        "listen", .socketAddress, default: ["0.0.0.0:179", "[::]:179"],
        "Where neighbors may connect. Opened for families that a neighbor is of."),
      .list(
        "announce", .prefix, example: ["198.51.100.0/24", "2001:db8:100::/48"], "Prefixes to announce to all neighbors."
      ),
      BGP.announcementsSection,
      .value(
        "shutdownDelay", .duration(.zero...(.seconds(3600))), default: "2s",
        "At a stop, the prefixes are first announced as going away (GRACEFUL_SHUTDOWN, RFC 8326), and so long after taken "
          + "back."),
      BGP.healthSection, BGP.kernelSection, BGP.policyFileKey, BGP.rpkiSection, BGP.requestsSection,
      BGP.flowspecSection, BGP.mrtSection, BGP.bmpSection,
      .sections(
        "neighbors", example: [["name": "tor1", "address": "192.0.2.254", "remoteAS": "65001"]], commentedOut: true,
        "The routers to announce to.", neighborKeys + BGP.authenticationKeys + BGP.Neighbor.policyKeys),
    ])

  private static let neighborKeys: [Schema.Key] = [
    .value("name", .identifier, required: true, "For logs."),
    .value(
      "address", .scopedAddress, required: true,
      "Its address, a link-local one with its interface as in fe80::1%eth1; connections from elsewhere are refused."),
    .value(
      "remoteAS", .integer(1...4_294_967_294), required: true, "Its autonomous system; localAS for an internal peer."),
    .value("port", .integer(1...65_535), default: "179", "Where it listens (TCP)."),
    .value("localAddress", .address, example: "192.0.2.1", "What to connect from. Without it, the system chooses."),
    .value(
      "holdTime", .duration(.zero...(.seconds(65_535))), default: "90s",
      "Silence after which it counts as dead, in whole seconds: 3 or more, or 0 for never."),
    .value(
      "connectRetry", .duration(.seconds(1)...(.seconds(3600))), default: "30s",
      "How often to try while it cannot be reached."),
    .value(
      "sendHoldTime", .duration(.seconds(3)...(.seconds(86_400))), example: "480s",
      "How long it may read nothing of what it is sent (RFC 9687). Without it, twice holdTime, and at least 8 minutes."),
    .value("passive", .boolean, default: "false", "Wait for its connection."),
    .value(
      "passwordFile", .path, example: "/etc/cloudbridge/tor1.key",
      "The key of the TCP MD5 signature (RFC 2385), at most 80 bytes. Must not be readable by others."),
    .value("ttlSecurity", .boolean, default: "false", "It is one hop away, and sends with a TTL of 255 (RFC 5082)."),
    .list(
      "families", .choice(["ipv4", "ipv6", "flowspec4", "flowspec6"]),
      "What to exchange: routes, and flow specifications (RFC 8955, RFC 8956). Without any, the family of its address."),
    .value(
      "flowspecValidation", .boolean, default: "true",
      "Its flow specifications count only for traffic to where it leads (RFC 8955 section 6, RFC 9117). Switched off, it may "
        + "have any traffic dropped."),
    .list("nextHops", .address, "Our own next hops for it. Without one of a family, the session's local address."),
    .value("transit", .boolean, default: "false", "Pass on to it what other neighbors announce, besides our own."),
    .value("addPath", .boolean, default: "false", "Take several paths for one prefix of it (ADD-PATH, RFC 7911)."),
    .value("maximumPrefixes", .integer(0...100_000_000), default: "0", "More routes end the session. 0: no bound."),
    .value(
      "restartTime", .duration(.seconds(1)...(.seconds(4095))), example: "120s",
      "Graceful restart (RFC 4724): keep its routes while it restarts, and have it keep ours so long when this process is "
        + "gone without a goodbye, or by cbpop stop --graceful-restart. Traffic is then sent into the void until it is back. "
        + "Without it, routes go at once."),
    .value(
      "role", .choice(["provider", "customer", "peer", "route-server", "route-server-client"]), example: "provider",
      "What the neighbor is to this PoP (RFC 9234). Without it, no role is offered."),
    .value(
      "bfd", .boolean, default: "false",
      "Watch the way to it by BFD (RFC 5880), and end the session at once when it is dead."),
    .value(
      "bfdInterval", .duration(.milliseconds(10)...(.seconds(60))), default: "50ms",
      "How often either side sends; the slower one decides."),
    .value("bfdMultiplier", .integer(1...50), default: "3", "So many missed in a row are too many."),
  ]
}

extension PoPSettings.BGP {
  init(_ settings: ResolvedSettings, _ problems: inout [SettingsError.Problem]) {
    localAS = UInt32(settings.integer("bgp.localAS"))
    if case .v4(let four)? = settings.text("bgp.routerID").flatMap({ IPAddress($0) }) { routerID = four }
    listen = settings.list("bgp.listen").compactMap { SocketAddress($0) }
    announce = settings.list("bgp.announce").compactMap { IPPrefix(settingsText: $0) }
    announcements = (0..<settings.sectionCount("bgp.announcements")).map {
      Announcements(settings, "bgp.announcements[\($0)]")
    }
    shutdownDelay = settings.interval("bgp.shutdownDelay")
    health = Health(settings)
    kernel = Kernel(settings)
    caches = Self.caches(settings)
    let file = settings.path("bgp.policyFile")
    do {
      policies = try Policies(file: file)
    } catch {
      policies = Policies(unreadable: file)
      problems += error.problems
    }
    requests = Requests(settings)
    flowspec = Flowspec(settings)
    mrt = MRT(settings)
    bmp = BMP(settings)
    neighbors = (0..<settings.sectionCount("bgp.neighbors")).map { Neighbor(settings, "bgp.neighbors[\($0)]") }
  }

  /// What only several values together show.
  func problems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    var problems: [SettingsError.Problem] = []
    if let text = settings.text("bgp.routerID"), routerID.map({ $0 == .any }) ?? true {
      problems.append(settings.problem("bgp.routerID", "\(text) is no IPv4 address of a host"))
    }
    problems += kernel.ruleProblems(settings)
    problems += announcementProblems(settings) + health.problems(settings)
    problems += mrt.problems(settings) + bmp.problems(settings) + cacheProblems(settings)
    guard !neighbors.isEmpty else { return problems }
    if settings.text("bgp.routerID") == nil {
      problems.append(settings.problem("bgp.neighbors", "need bgp.routerID"))
    }
    problems += policyProblems(policies) { settings.problem($0, $1) }
    var addresses: Set<String> = []
    var names: Set<String> = []
    for (index, neighbor) in neighbors.enumerated() {
      let path = "bgp.neighbors[\(index)]"
      if !names.insert(neighbor.name).inserted {
        problems.append(settings.problem("\(path).name", "'\(neighbor.name)' is taken by an earlier neighbor"))
      }
      let address = "\(neighbor.address)" + (neighbor.interface.map { "%\($0)" } ?? "")
      if !addresses.insert(address).inserted {
        problems.append(settings.problem("\(path).address", "\(address) has an earlier neighbor already"))
      }
      // The kernel knows them by the address alone.
      if let other = neighbors[..<index].first(where: { $0.address == neighbor.address }),
        other.passwordFile != neighbor.passwordFile || other.hasTTLSecurity != neighbor.hasTTLSecurity
          || other.authentication != neighbor.authentication
      {
        problems.append(
          settings.problem(
            "\(path).address",
            "\(neighbor.address) is that of \(other.name) too: both need the same keys and ttlSecurity"))
      }
      if neighbor.passwordFile != nil, neighbor.authentication != nil {
        problems.append(settings.problem("\(path).keyFile", "and passwordFile exclude each other"))
      }
      // RFC 4271 §4.2: "The Hold Time MUST be either zero or at least three seconds."
      if neighbor.holdTime != .zero, neighbor.holdTime < .seconds(3) {
        problems.append(settings.problem("\(path).holdTime", "must be 0 or at least 3s"))
      }
      if let local = neighbor.localAddress, local.isIPv4 != neighbor.address.isIPv4 {
        problems.append(settings.problem("\(path).localAddress", "is of another family than the neighbor's address"))
      }
      let hops = neighbor.nextHops
      if hops.count(where: \.isIPv4) > 1 || hops.count(where: { !$0.isIPv4 }) > 1 {
        problems.append(settings.problem("\(path).nextHops", "names two addresses of one family"))
      }
      let isOther = neighbor.address.isIPv4 ? neighbor.isIPv6Offered : neighbor.isIPv4Offered
      if isOther, !hops.contains(where: { $0.isIPv4 != neighbor.address.isIPv4 }) {
        let family = neighbor.address.isIPv4 ? "IPv6" : "IPv4"
        problems.append(settings.problem("\(path).families", "needs an \(family) address in nextHops"))
      }
    }
    return problems
  }
}

extension PoPSettings.BGP.Neighbor {
  init(_ settings: ResolvedSettings, _ path: String) {
    name = settings.text("\(path).name") ?? ""
    let scoped = settings.text("\(path).address").flatMap { ValueKind.scopedAddress($0) }
    address = scoped?.ip ?? .v4(.any)
    interface = scoped?.interface
    port = UInt16(settings.integer("\(path).port"))
    remoteAS = UInt32(settings.integer("\(path).remoteAS"))
    localAddress = settings.text("\(path).localAddress").flatMap { IPAddress($0) }
    holdTime = settings.interval("\(path).holdTime")
    connectRetry = settings.interval("\(path).connectRetry")
    isPassive = settings.boolean("\(path).passive")
    passwordFile = settings.path("\(path).passwordFile")
    authentication = PoPSettings.BGP.Authentication(settings, path)
    hasTTLSecurity = settings.boolean("\(path).ttlSecurity")
    families = settings.list("\(path).families")
    nextHops = settings.list("\(path).nextHops").compactMap { IPAddress($0) }
    maximumPrefixes = settings.integer("\(path).maximumPrefixes")
    isTransit = settings.boolean("\(path).transit")
    importPolicy = settings.text("\(path).import")
    exportPolicy = settings.text("\(path).export")
    takesSeveralPaths = settings.boolean("\(path).addPath")
    sendHoldTime = settings.text("\(path).sendHoldTime").flatMap { Interval(settingsText: $0) }
    restartTime = settings.text("\(path).restartTime").flatMap { Interval(settingsText: $0) }
    role = settings.text("\(path).role")
    hasBFD = settings.boolean("\(path).bfd")
    bfdInterval = settings.interval("\(path).bfdInterval")
    bfdMultiplier = settings.integer("\(path).bfdMultiplier")
    validatesFlowspec = settings.boolean("\(path).flowspecValidation")
  }
}
