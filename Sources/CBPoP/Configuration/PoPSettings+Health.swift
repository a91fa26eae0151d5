public import Health
import Settings
public import Wire

extension PoPSettings.BGP {
  /// What must be well for the prefixes to be announced.
  public struct Health: Hashable, Sendable {
    /// Nothing is checked, and the prefixes are announced whenever the process runs.
    public var isOff: Bool
    public var interval: Interval
    public var fastInterval: Interval
    public var timeout: Interval
    public var rise: Int
    public var fall: Int
    public var recoveryDelay: Interval
    public var maximumFalls: Int
    public var suppression: Interval
    /// Listeners that must complete a handshake. Empty: all of our own.
    public var addresses: [SocketAddress]
    /// Interfaces of which each must carry packets.
    public var interfaces: [String]
    /// While this file exists, nothing is announced.
    public var drainFile: String?
    public var load: Load
    public var commands: [Command]
    public var hooks: [Command]

    /// Too much to do for more.
    public struct Load: Hashable, Sendable {
      public var limits: [LoadCheck.Quantity: LoadCheck.Limit]
      public var interval: Interval
      /// It is no reason to withdraw.
      public var degrades: Bool
    }

    /// A program that is asked, or told.
    public struct Command: Hashable, Sendable {
      public var name: String
      public var arguments: [String]
      public var timeout: Interval
      /// Zero where it is told.
      public var interval: Interval
      /// Its failure is no reason to withdraw.
      public var degrades: Bool
    }

    init(_ settings: ResolvedSettings) {
      isOff = settings.boolean("bgp.health.off")
      interval = settings.interval("bgp.health.interval")
      fastInterval = settings.interval("bgp.health.fastInterval")
      timeout = settings.interval("bgp.health.timeout")
      rise = settings.integer("bgp.health.rise")
      fall = settings.integer("bgp.health.fall")
      recoveryDelay = settings.interval("bgp.health.recoveryDelay")
      maximumFalls = settings.integer("bgp.health.maximumFalls")
      suppression = settings.interval("bgp.health.suppression")
      addresses = settings.list("bgp.health.addresses").compactMap { SocketAddress($0) }
      interfaces = settings.list("bgp.health.interfaces")
      drainFile = settings.path("bgp.health.drainFile")
      load = Load(settings)
      commands = (0..<settings.sectionCount("bgp.health.commands")).map {
        Command(settings, "bgp.health.commands[\($0)]", isCheck: true)
      }
      hooks = (0..<settings.sectionCount("bgp.health.hooks")).map {
        Command(settings, "bgp.health.hooks[\($0)]", isCheck: false)
      }
    }
  }

  static let healthSection = Schema.Key.section(
    "health",
    "The prefixes are announced only while all of this is well, and withdrawn at once when it is not.",
    [
      .value("off", .boolean, default: "false", "Announce whenever the process runs, serving or not."),
      .list(
        "addresses", .socketAddress, example: ["198.51.100.1:443"],
        "QUIC listeners that must complete a handshake, with this PoP's certificate. Without any, all of listen."),
      .list("interfaces", .identifier, example: ["eth1"], "Network interfaces that must be up and connected."),
      .value("interval", .duration(.milliseconds(10)...(.seconds(3600))), default: "200ms", "Between two probes."),
      .value(
        "fastInterval", .duration(.milliseconds(10)...(.seconds(3600))), default: "50ms",
        "The same while the last probe said otherwise than those before."),
      .value(
        "timeout", .duration(.milliseconds(10)...(.seconds(60))), default: "300ms",
        "A probe without an answer by then has failed."),
      .value("rise", .integer(1...100), default: "3", "Good probes in a row that make it healthy."),
      .value("fall", .integer(1...100), default: "2", "Bad probes in a row that make it unhealthy."),
      .value(
        "recoveryDelay", .duration(.zero...(.seconds(3600))), default: "2s",
        "How long all must have been well again before the prefixes are announced anew."),
      .value(
        "maximumFalls", .integer(1...1000), default: "3",
        "As many falls within a minute keep the prefixes away for the time of suppression, longer each time."),
      .value("suppression", .duration(.zero...(.seconds(3600))), default: "60s", "The first time of it."),
      .value(
        "drainFile", .path, example: "/run/cloudbridge/drain", "While this file exists, nothing is announced."),
      loadSection, commandsSection, hooksSection,
    ])
}

extension HealthCheck.Configuration {
  init(_ settings: PoPSettings.BGP.Health) {
    self.init()
    interval = settings.interval
    fastInterval = settings.fastInterval
    timeout = settings.timeout
    rise = settings.rise
    fall = settings.fall
  }
}

extension Announcement.Configuration {
  init(_ settings: PoPSettings.BGP.Health) {
    self.init()
    recoveryDelay = settings.recoveryDelay
    maximumFalls = settings.maximumFalls
    suppression = settings.suppression
  }
}
