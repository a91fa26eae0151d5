import CBActors
import Settings
public import Wire

extension PoPSettings.BGP {
  /// Monitoring stations, and what they are told.
  public struct BMP: Hashable, Sendable {
    public struct Collector: Hashable, Sendable {
      public var name: String
      public var address: SocketAddress
      public var localAddress: IPAddress?
      public var retry: Interval
    }

    public var collectors: [Collector]
    /// Zero for none.
    public var statistics: Interval
    /// Megabytes of 1,048,576 octets.
    public var queue: Int

    init(_ settings: ResolvedSettings) {
      collectors = (0..<settings.sectionCount("bgp.bmp.collectors")).map {
        Collector(settings, "bgp.bmp.collectors[\($0)]")
      }
      statistics = settings.interval("bgp.bmp.statistics")
      queue = settings.integer("bgp.bmp.queue")
    }

    func problems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
      var problems: [SettingsError.Problem] = []
      if statistics != .zero, statistics < .seconds(1) {
        problems.append(settings.problem("bgp.bmp.statistics", "must be 0 or at least 1s"))
      }
      var names: Set<String> = []
      for (index, collector) in collectors.enumerated() {
        let path = "bgp.bmp.collectors[\(index)]"
        if !names.insert(collector.name).inserted {
          problems.append(settings.problem("\(path).name", "'\(collector.name)' is taken by an earlier collector"))
        }
        if collector.address.port == 0 { problems.append(settings.problem("\(path).address", "needs a port")) }
        if let local = collector.localAddress, local.isIPv4 != collector.address.ip.isIPv4 {
          problems.append(
            settings.problem("\(path).localAddress", "is of another family than the collector's address"))
        }
      }
      return problems
    }
  }

  static let bmpSection = Schema.Key.section(
    "bmp", "Tells monitoring stations what neighbors announce (BMP, RFC 7854).",
    [
      .sections(
        "collectors", example: [["name": "watch1", "address": "192.0.2.200:1790"]], commentedOut: true,
        "The stations. The PoP connects to them.",
        [
          .value("name", .identifier, required: true, "For logs."),
          .value("address", .socketAddress, required: true, "Where it listens (TCP)."),
          .value(
            "localAddress", .address, example: "192.0.2.1", "What to connect from. Without it, the system chooses."),
          .value(
            "retry", .duration(.milliseconds(100)...(.seconds(3600))), default: "30s",
            "Before it is tried again; twice as long each time, up to 12 minutes."),
        ]),
      .value(
        "statistics", .duration(.zero...(.seconds(86_400))), default: "60s",
        "Between two reports of each neighbor's counters. 0: none."),
      .value(
        "queue", .integer(1...1024), default: "16",
        "Megabytes that may wait for a station. One that is slower is cut off, and told everything anew when it is back."
      ),
    ])
}

extension PoPSettings.BGP.BMP.Collector {
  init(_ settings: ResolvedSettings, _ path: String) {
    name = settings.text("\(path).name") ?? ""
    address = settings.text("\(path).address").flatMap { SocketAddress($0) } ?? SocketAddress(.v4(.any), port: 0)
    localAddress = settings.text("\(path).localAddress").flatMap { IPAddress($0) }
    retry = settings.interval("\(path).retry")
  }
}

extension BMPStation.Configuration {
  init(_ collector: PoPSettings.BGP.BMP.Collector, _ settings: PoPSettings.BGP.BMP, systemName: String) {
    self.init(name: collector.name, address: collector.address)
    localAddress = collector.localAddress
    retry = collector.retry
    statistics = settings.statistics == .zero ? nil : settings.statistics
    queueLimit = settings.queue << 20
    self.systemName = systemName
    systemDescription = "CloudBridge point of presence"
  }
}
