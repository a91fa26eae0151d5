public import Health
import Ring
public import Wire

/// How groups and their checks stand, for an operator who looks.
extension HealthMonitor {
  public struct Status: Sendable {
    public var name: String
    public var state: Announcement.State
    /// Since when it is at the level of its state.
    public var since: Instant
    /// That count toward its suppression, of how many that bring it about, and within which time.
    public var falls: Int
    public var maximumFalls: Int
    public var fallWindow: Interval
    /// It is not announced before then; nil where it may be.
    public var suppressedUntil: Instant?
    /// All is well, and it is announced then.
    public var recoversAt: Instant?
    public var checks: [CheckStatus]
  }

  public struct CheckStatus: Sendable {
    public var name: String
    public var effect: Check.Effect
    public var isHealthy: Bool
    /// Of the last change; nil where it has never been healthy.
    public var since: Instant?
    /// Probes in a row that said otherwise than what holds, and how many of them change it.
    public var contrary: Int
    public var needed: Int
    /// Nil before the first probe has ended.
    public var last: Finding?
    public var lastAt: Instant
  }

  /// By group.
  public func statuses() -> [Status] {
    let all = cores.indices.map(status)
    let now = ring.refreshNow()
    return groups.indices.map { place in
      let announcement = announcements[place]
      return Status(
        name: groups[place].name, state: announcement.state, since: since[place], falls: announcement.falls(now: now),
        maximumFalls: announcement.configuration.maximumFalls, fallWindow: announcement.configuration.fallWindow,
        suppressedUntil: announcement.suppressedUntil,
        recoversAt: announcement.state == .withdrawn(.recovering) ? announcement.deadline : nil,
        checks: all.filter { groups[place].checks.contains($0.name) })
    }
  }

  private func status(of index: Int) -> CheckStatus {
    let (check, core) = (checks[index], cores[index])
    return CheckStatus(
      name: check.name, effect: check.effect, isHealthy: core.isHealthy, since: core.lastChange,
      contrary: core.contrary,
      needed: max(1, core.isHealthy ? core.configuration.fall : core.configuration.rise),
      last: findings[index].finding, lastAt: findings[index].at)
  }
}
