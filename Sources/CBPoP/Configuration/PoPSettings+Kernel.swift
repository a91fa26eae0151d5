import Netlink
import Settings

extension PoPSettings.BGP {
  /// How the kernel forwards by the routes that neighbors announce.
  public struct Kernel: Hashable, Sendable {
    public var isOn: Bool
    public var table: UInt32
    public var metric: UInt32
    public var paths: Int
    public var origin: UInt8
    public var rules: [Rule]

    init(_ settings: ResolvedSettings) {
      isOn = settings.boolean("bgp.kernel.on")
      table = UInt32(settings.integer("bgp.kernel.table"))
      metric = UInt32(settings.integer("bgp.kernel.metric"))
      paths = settings.integer("bgp.kernel.paths")
      origin = UInt8(settings.integer("bgp.kernel.protocol"))
      rules = (0..<settings.sectionCount("bgp.kernel.rules")).map { Rule(settings, "bgp.kernel.rules[\($0)]") }
    }
  }

  static let kernelSection = Schema.Key.section(
    "kernel", "Has the kernel forward by what neighbors announce. Routes of others are never touched.",
    [
      .value("on", .boolean, default: "false", "Needs CAP_NET_ADMIN."),
      .value("table", .integer(1...4_294_967_295), default: "\(RoutingTable.main)", "The routing table; 254 is main."),
      .value("metric", .integer(1...4_294_967_295), default: "32", "Of each route; the smaller wins."),
      .value("paths", .integer(1...64), default: "8", "Next hops of one destination at most (ECMP)."),
      .value(
        "protocol", .integer(5...255), default: "\(RouteOrigin.cloudBridge.rawValue)",
        "Marks the routes as ours (rtm_protocol); no other program here may use it."),
      .sections(
        "rules", example: [["priority": "1000", "table": "100", "from": "10.64.0.0/10"]], commentedOut: true,
        "Which packets look into which table (policy routing). Rules of others are never touched.", Kernel.ruleKeys),
    ])
}
