public import Wire

/// Whether something, such as a prefix, is to be announced: only while all of its checks are healthy, and not again and
/// again when they come and go. Some of the checks may but degrade it: it is then still announced, as the lesser choice.
public struct Announcement: Sendable {
  public struct Configuration: Hashable, Sendable {
    /// How long all must have been healthy again before it is announced anew. Not awaited at the start.
    public var recoveryDelay = Interval.seconds(2)
    /// As many falls within ``fallWindow`` are one too many: it then stays away for ``suppression``, which doubles from
    /// time to time up to ``maximumSuppression``, until a window has passed without a fall.
    public var maximumFalls = 3
    public var fallWindow = Interval.seconds(60)
    public var suppression = Interval.seconds(60)
    public var maximumSuppression = Interval.seconds(600)

    public init() {}
  }

  public enum State: Hashable, Sendable {
    case announced
    /// Announced, but for these checks, by name, it should not be the first choice.
    case degraded([String])
    case withdrawn(Reason)

    public var isAnnounced: Bool { if case .withdrawn = self { false } else { true } }

    public var level: Level {
      switch self {
      case .announced: .up
      case .degraded: .degraded
      case .withdrawn(.drained): .drained
      case .withdrawn: .down
      }
    }
  }

  /// How good a choice it is.
  public enum Level: String, Hashable, Sendable, CaseIterable {
    case up
    case degraded
    /// Taken out by the operator.
    case drained
    case down
  }

  public enum Reason: Hashable, Sendable {
    /// By name; the checks that have not yet been healthy are among them.
    case unhealthy([String])
    /// The operator has taken it out.
    case drained
    /// All are healthy, but not for long enough.
    case recovering
    /// It has fallen too often.
    case suppressed
  }

  public let configuration: Configuration
  public private(set) var state: State
  private var checks: [String: Bool]
  private var degrading: [String: Bool]
  private var isDrained = false
  private var fallTimes: [Instant] = []
  /// After too many falls; nil where none is in force.
  public private(set) var suppressedUntil: Instant?
  private var nextSuppression: Interval
  /// Since when all have been healthy; nil while one is not.
  private var healthySince: Instant?
  private var hasFallen = false

  /// - Parameters:
  ///   - checks: the names of all that must be healthy; without any it is announced from the start.
  ///   - degrading: the names of those that degrade it while they are not.
  public init(_ configuration: Configuration = .init(), checks: [String], degrading: [String] = [], now: Instant) {
    self.configuration = configuration
    self.checks = Dictionary(checks.map { ($0, false) }) { first, _ in first }
    self.degrading = Dictionary(degrading.map { ($0, false) }) { first, _ in first }
    nextSuppression = configuration.suppression
    if checks.isEmpty { healthySince = now }
    state = .announced
    _ = settle(now)
  }

  /// When to call ``handleTimeout(now:)``.
  public var deadline: Instant {
    guard case .withdrawn(let reason) = state else { return .distantFuture }
    return switch reason {
    case .recovering: healthySince.map { $0 + configuration.recoveryDelay } ?? .distantFuture
    case .suppressed: suppressedUntil ?? .distantFuture
    case .unhealthy, .drained: .distantFuture
    }
  }

  /// Falls that count toward ``Configuration/maximumFalls``.
  public func falls(now: Instant) -> Int { fallTimes.count { now - $0 <= configuration.fallWindow } }

  /// What a check has come to. Each of these returns true when ``state`` has changed.
  @discardableResult
  public mutating func set(_ check: String, isHealthy: Bool, now: Instant) -> Bool {
    if let before = degrading[check] {
      degrading[check] = isHealthy
      return before == isHealthy ? false : settle(now)
    }
    guard let before = checks[check], before != isHealthy else { return false }
    checks[check] = isHealthy
    if checks.values.allSatisfy({ $0 }) {
      healthySince = now
    } else if healthySince != nil {
      healthySince = nil
      fell(now)
    }
    return settle(now)
  }

  /// The operator takes it out, or back in; that is no fall.
  @discardableResult
  public mutating func setDrained(_ isDrained: Bool, now: Instant) -> Bool {
    self.isDrained = isDrained
    return settle(now)
  }

  @discardableResult
  public mutating func handleTimeout(now: Instant) -> Bool { settle(now) }

  private mutating func fell(_ now: Instant) {
    hasFallen = true
    if let last = fallTimes.last, now - last > configuration.fallWindow { nextSuppression = configuration.suppression }
    fallTimes.removeAll { now - $0 > configuration.fallWindow }
    fallTimes.append(now)
    guard fallTimes.count >= max(1, configuration.maximumFalls) else { return }
    suppressedUntil = now + nextSuppression
    nextSuppression = min(nextSuppression * 2, configuration.maximumSuppression)
    // One fall more counts again.
    fallTimes.removeFirst()
  }

  private mutating func settle(_ now: Instant) -> Bool {
    let before = state
    if let until = suppressedUntil, until <= now { suppressedUntil = nil }
    if isDrained {
      state = .withdrawn(.drained)
    } else if let since = healthySince {
      if suppressedUntil != nil {
        state = .withdrawn(.suppressed)
      } else if hasFallen, now - since < configuration.recoveryDelay {
        state = .withdrawn(.recovering)
      } else {
        let bad = degrading.filter { !$0.value }.keys.sorted()
        state = bad.isEmpty ? .announced : .degraded(bad)
      }
    } else {
      state = .withdrawn(.unhealthy(checks.filter { !$0.value }.keys.sorted()))
    }
    return state != before
  }
}

extension Announcement.State: CustomStringConvertible {
  public var description: String {
    switch self {
    case .announced: "all is well"
    case .degraded(let checks): "degraded: " + checks.joined(separator: ", ")
    case .withdrawn(let reason): "\(reason)"
    }
  }
}

extension Announcement.Reason: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unhealthy(let checks): "unhealthy: " + checks.joined(separator: ", ")
    case .drained: "drained"
    case .recovering: "healthy again, but not for long enough"
    case .suppressed: "it has come and gone too often"
    }
  }
}
