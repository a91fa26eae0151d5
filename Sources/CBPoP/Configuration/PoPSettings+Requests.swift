import Settings
public import Wire

extension PoPSettings.BGP {
  /// What operators may have announced while the PoP runs.
  public struct Requests: Hashable, Sendable {
    public var lifetime: Interval
    public var longestLifetime: Interval
    /// Nil: requests end with the process.
    public var file: String?

    init(_ settings: ResolvedSettings) {
      lifetime = settings.interval("bgp.requests.lifetime")
      longestLifetime = settings.interval("bgp.requests.maximumLifetime")
      file = settings.path("bgp.requests.file")
    }
  }

  static let requestsSection = Schema.Key.section(
    "requests", "What cbpop bgp announce, blackhole and flowspec have the running PoP tell its neighbors.",
    [
      .value(
        "lifetime", .duration(.seconds(1)...(.seconds(31_536_000))), default: "1h",
        "How long a blackhole or a flow specification lasts that was asked for without --for."),
      .value(
        "maximumLifetime", .duration(.seconds(1)...(.seconds(31_536_000))), default: "24h",
        "How long it may last at most. An announcement may last for ever."),
      .value(
        "file", .path, example: "/var/lib/cloudbridge/requests.json",
        "Keeps the requests through a restart, each to its end. Without it, they end with the process."),
    ])
}
