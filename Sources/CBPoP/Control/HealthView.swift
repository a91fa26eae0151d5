import CBActors
import Health
import Ring
import Wire

/// What the looking glass tells of a group of prefixes: one line of JSON.
public struct HealthView: Codable, Hashable, Sendable {
  public var name: String
  /// `up`, `degraded`, `drained` or `down`.
  public var state: String
  public var reason: String
  /// In this state; nil where nothing is checked.
  public var seconds: Int?
  public var prefixes: [String]
  /// The neighbors are told of them.
  public var isAnnounced: Bool
  public var med: UInt32?
  /// Within ``fallWindow`` seconds; as many as ``maximumFalls`` keep it away for a while.
  public var falls: Int
  public var maximumFalls: Int
  public var fallWindow: Int
  /// Seconds that it stays away for having fallen too often.
  public var suppressedFor: Int?
  /// Seconds until it is announced, if all stays well.
  public var recoversIn: Int?
  public var checks: [Check]

  public struct Check: Codable, Hashable, Sendable {
    public var name: String
    /// Without it the group `withdraws`, `degrades` or `drains`.
    public var effect: String
    public var isHealthy: Bool
    /// Since it came to be so; nil where it has never been healthy.
    public var seconds: Int?
    /// What the last probe has found; nil before it.
    public var isLastGood: Bool?
    public var last: String?
    /// Seconds.
    public var lastAge: Int?
    /// Probes in a row that said otherwise, and how many of them change its state.
    public var contrary: Int
    public var needed: Int
  }
}

extension LookingGlass {
  func healthViews() async -> [HealthView] {
    let now = RingExecutor.monotonicNow()
    let known = await health?.monitor.statuses()
    guard let announced = await announcer.statuses else { return [] }
    return announced.enumerated().map { index, status in HealthView(status, known?[index], now: now) }
  }
}

extension HealthView {
  /// - Parameter health: nil where nothing is checked.
  init(_ status: Announcer.Status, _ health: HealthMonitor.Status?, now: Instant) {
    name = status.group.name
    state = (health?.state.level ?? status.level).rawValue
    reason = health.map { "\($0.state)" } ?? "nothing is checked: bgp.health.off"
    seconds = health.map { Int((now - $0.since).seconds) }
    prefixes = status.group.prefixes.map { "\($0)" }
    isAnnounced = status.isAnnounced
    med = status.med
    falls = health?.falls ?? 0
    maximumFalls = health?.maximumFalls ?? 0
    fallWindow = health.map { Int($0.fallWindow.seconds) } ?? 0
    suppressedFor = health?.suppressedUntil.flatMap { $0 > now ? Int(($0 - now).seconds.rounded(.up)) : nil }
    recoversIn = health?.recoversAt.map { max(0, Int(($0 - now).seconds.rounded(.up))) }
    checks = health?.checks.map { Check($0, now: now) } ?? []
  }
}

extension HealthView.Check {
  init(_ status: HealthMonitor.CheckStatus, now: Instant) {
    name = status.name
    effect =
      switch status.effect {
      case .withdraws: "withdraws"
      case .degrades: "degrades"
      case .drains: "drains"
      }
    isHealthy = status.isHealthy
    seconds = status.since.map { Int((now - $0).seconds) }
    isLastGood = status.last?.isGood
    last = status.last?.words
    lastAge = status.last.map { _ in max(0, Int((now - status.lastAt).seconds)) }
    contrary = status.contrary
    needed = status.needed
  }
}
