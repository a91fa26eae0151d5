public import Wire

/// One thing that must be well for a service to be offered, probed again and again.
///
/// It is healthy after `rise` good probes in a row, and no longer so after `fall` bad ones. While it is in doubt it is
/// probed faster: a service that has died is known within `fall` fast intervals, and one slow answer changes nothing.
public struct HealthCheck: Sendable {
  public struct Configuration: Hashable, Sendable {
    /// Between the beginnings of two probes, while all is as it was.
    public var interval = Interval.milliseconds(200)
    /// The same while the last probe said otherwise than what holds, and before the first.
    public var fastInterval = Interval.milliseconds(50)
    /// A probe that has no answer by then is a bad one.
    public var timeout = Interval.milliseconds(300)
    public var rise = 3
    public var fall = 2

    public init() {}
  }

  /// Names a probe, so that an answer which comes too late counts for nothing.
  public struct ProbeID: Hashable, Sendable {
    let number: UInt64
  }

  public let configuration: Configuration
  /// False until it has risen for the first time.
  public private(set) var isHealthy = false
  /// Probes in a row that said otherwise than ``isHealthy``.
  public private(set) var contrary = 0
  public private(set) var lastChange: Instant?
  private var outstanding: (id: ProbeID, began: Instant)?
  private var nextNumber: UInt64 = 1
  private var due: Instant

  public init(_ configuration: Configuration = .init(), now: Instant) {
    self.configuration = configuration
    due = now
  }

  /// When to call ``handleTimeout(now:)`` and then ``nextProbe(now:)``.
  public var deadline: Instant { outstanding.map { $0.began + configuration.timeout } ?? due }

  /// The probe that is to be made now; nil when none is due or one is under way.
  public mutating func nextProbe(now: Instant) -> ProbeID? {
    guard outstanding == nil, due <= now else { return nil }
    let id = ProbeID(number: nextNumber)
    nextNumber += 1
    outstanding = (id, now)
    return id
  }

  /// What a probe says still counts.
  public func isAwaiting(_ id: ProbeID) -> Bool { outstanding?.id == id }

  /// A probe has had no answer in time.
  public func isLate(now: Instant) -> Bool {
    outstanding.map { $0.began + configuration.timeout <= now } ?? false
  }

  /// How a probe went. True when ``isHealthy`` has changed by it.
  @discardableResult
  public mutating func completed(_ id: ProbeID, isGood: Bool, now: Instant) -> Bool {
    guard let probe = outstanding, probe.id == id else { return false }
    outstanding = nil
    var hasChanged = false
    if isGood == isHealthy {
      contrary = 0
    } else {
      contrary += 1
      if contrary >= max(1, isHealthy ? configuration.fall : configuration.rise) {
        isHealthy.toggle()
        contrary = 0
        lastChange = now
        hasChanged = true
      }
    }
    // From the beginning of the probe on, so that a slow answer does not stretch the interval.
    let isSettled = contrary == 0
    due = max(now, probe.began + (isSettled ? configuration.interval : configuration.fastInterval))
    return hasChanged
  }

  /// True when ``isHealthy`` has changed because a probe had no answer in time.
  @discardableResult
  public mutating func handleTimeout(now: Instant) -> Bool {
    guard let probe = outstanding, isLate(now: now) else { return false }
    return completed(probe.id, isGood: false, now: now)
  }
}
