import Settings

extension PoPSettings.BGP {
  /// How flow specifications become filters of this machine.
  public struct Flowspec: Hashable, Sendable {
    public var isEnforced: Bool
    /// Empty: all but the loopback.
    public var interfaces: [String]
    public var table: String
    public var program: String

    init(_ settings: ResolvedSettings) {
      isEnforced = settings.boolean("bgp.flowspec.enforce")
      interfaces = settings.list("bgp.flowspec.interfaces")
      table = settings.text("bgp.flowspec.table") ?? ""
      program = settings.path("bgp.flowspec.program") ?? ""
    }
  }

  static let flowspecSection = Schema.Key.section(
    "flowspec",
    "Has this machine drop, limit and mark by the flow specifications that were accepted, and by its own (RFC 8955).",
    [
      .value("enforce", .boolean, default: "false", "Needs nftables and CAP_NET_ADMIN."),
      .list(
        "interfaces", .identifier, example: ["eth0"],
        "What comes in there is filtered. Without any, all but what comes from the loopback."),
      .value(
        "table", .identifier, default: "cloudbridge_flowspec",
        "The nftables table (inet) that holds the rules; it is replaced at the start. Others are never touched."),
      .value("program", .path, default: "/usr/sbin/nft", "nftables' own."),
    ])
}
