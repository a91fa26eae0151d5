public import Health
public import Logging
public import Ring
public import Wire

/// Probes what must be well, and says when something is to be announced and when no longer: drives ``Health/HealthCheck``
/// and ``Health/Announcement``.
public actor HealthMonitor {
  /// What is probed. The probe is asked again only when it has answered, and not waited for beyond the check's timeout.
  public struct Check: Sendable {
    public var name: String
    public var configuration: HealthCheck.Configuration
    public var probe: @Sendable () async -> Bool

    public init(
      _ name: String, _ configuration: HealthCheck.Configuration = .init(), probe: @escaping @Sendable () async -> Bool
    ) {
      self.name = name
      self.configuration = configuration
      self.probe = probe
    }
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let checks: [Check]
  private let logger: Logger
  private let onChange: @Sendable (Announcement.State) -> Void
  private var cores: [HealthCheck] = []
  /// Probes that have not come back, late ones included: one at a time of each check.
  private var isBusy: [Bool]
  private var announcement: Announcement
  private var timer: RingTimer?
  private var waiters: [CheckedContinuation<Void, Never>] = []

  /// - Parameter onChange: called on the ring's thread, first when all checks have become healthy.
  public init(
    ring: RingExecutor, checks: [Check], _ configuration: Announcement.Configuration = .init(), logger: Logger,
    onChange: @escaping @Sendable (Announcement.State) -> Void
  ) {
    self.ring = ring
    self.checks = checks
    self.logger = logger
    self.onChange = onChange
    isBusy = checks.map { _ in false }
    announcement = Announcement(configuration, checks: checks.map(\.name), now: RingExecutor.monotonicNow())
  }

  // MARK: Life

  public func start() {
    cores = checks.map { HealthCheck($0.configuration, now: ring.refreshNow()) }
    timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } }
    if announcement.state.isAnnounced { onChange(announcement.state) }
    pump()
  }

  /// Probes no more, and says nothing more.
  public func stop() {
    timer?.cancel()
    timer = nil
    cores = []
    release()
  }

  public var state: Announcement.State { announcement.state }

  /// Takes it out by hand, or back in.
  public func setDrained(_ isDrained: Bool) {
    guard timer != nil else { return }
    if announcement.setDrained(isDrained, now: ring.refreshNow()) { changed() }
    schedule()
  }

  /// Returns when it is announced for the first time, or after `time`.
  public func untilAnnounced(atMost time: Interval) async {
    guard !announcement.state.isAnnounced, timer != nil else { return }
    let limit = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.release() } }
    limit.schedule(at: ring.refreshNow() + time)
    await withCheckedContinuation { waiters.append($0) }
    limit.cancel()
  }

  private func release() {
    for waiter in waiters { waiter.resume() }
    waiters = []
  }

  // MARK: Probing

  private func timerFired() {
    for index in cores.indices where cores[index].handleTimeout(now: ring.now) { judge(index, cause: "no answer") }
    if announcement.deadline <= ring.now, announcement.handleTimeout(now: ring.now) { changed() }
    pump()
  }

  private func pump() {
    for index in cores.indices where !isBusy[index] {
      guard let id = cores[index].nextProbe(now: ring.now) else { continue }
      isBusy[index] = true
      let probe = checks[index].probe
      Task {
        let isGood = await probe()
        self.completed(index, id, isGood)
      }
    }
    schedule()
  }

  private func completed(_ index: Int, _ id: HealthCheck.ProbeID, _ isGood: Bool) {
    isBusy[index] = false
    guard index < cores.count else { return }
    if cores[index].completed(id, isGood: isGood, now: ring.refreshNow()) { judge(index, cause: "probes failed") }
    pump()
  }

  private func judge(_ index: Int, cause: String) {
    let (name, isHealthy) = (checks[index].name, cores[index].isHealthy)
    logger.log(
      level: isHealthy ? .notice : .warning, "health",
      metadata: ["check": "\(name)", "state": isHealthy ? "healthy" : "unhealthy: \(cause)"])
    if announcement.set(name, isHealthy: isHealthy, now: ring.now) { changed() }
  }

  private func changed() {
    switch announcement.state {
    case .announced:
      logger.notice("announced")
      release()
    case .withdrawn(let reason): logger.warning("withdrawn", metadata: ["cause": "\(reason)"])
    }
    onChange(announcement.state)
  }

  private func schedule() {
    var deadline = announcement.deadline
    for index in cores.indices {
      // A probe that is late has had its time-out; the next begins when it is back.
      let next = cores[index].deadline
      if !isBusy[index] || next > ring.now { deadline = min(deadline, next) }
    }
    timer?.schedule(at: deadline)
  }
}
