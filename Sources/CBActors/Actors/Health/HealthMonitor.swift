public import Health
public import Logging
public import Ring
public import Wire

/// Probes what must be well, and says of each group of prefixes when it is to be announced and when no longer: drives
/// ``Health/HealthCheck`` and ``Health/Announcement``.
public actor HealthMonitor {
  /// What is probed. The probe is asked again only when it has answered, and not waited for beyond the check's timeout.
  public struct Check: Sendable {
    public enum Effect: Hashable, Sendable {
      /// Without it nothing is announced.
      case withdraws
      /// Without it what is announced is the lesser choice.
      case degrades
      /// The operator says by it that nothing is to be announced, which is no failure.
      case drains
    }

    public var name: String
    public var effect: Effect
    public var configuration: HealthCheck.Configuration
    public var probe: @Sendable () async -> Finding

    public init(
      _ name: String, _ effect: Effect = .withdraws, _ configuration: HealthCheck.Configuration = .init(),
      probe: @escaping @Sendable () async -> Finding
    ) {
      self.name = name
      self.effect = effect
      self.configuration = configuration
      self.probe = probe
    }
  }

  /// What is announced and withdrawn together.
  public struct Group: Sendable {
    public var name: String
    public var checks: Set<String>
    public var configuration: Announcement.Configuration

    /// - Parameter checks: by their names.
    public init(_ name: String, checks: Set<String>, _ configuration: Announcement.Configuration = .init()) {
      self.name = name
      self.checks = checks
      self.configuration = configuration
    }
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  let checks: [Check]
  private let logger: Logger
  let groups: [Group]
  private let onChange: @Sendable (Int, Announcement.State) -> Void
  private(set) var cores: [HealthCheck] = []
  /// What the last probe of each check has found, and when.
  private(set) var findings: [(finding: Finding?, at: Instant)]
  /// Probes that have not come back, late ones included: one at a time of each check.
  private var isBusy: [Bool]
  /// By group.
  private(set) var announcements: [Announcement]
  /// By group: since when it is at its level.
  private(set) var since: [Instant]
  private var timer: RingTimer?
  private var waiters: [CheckedContinuation<Void, Never>] = []

  /// - Parameter onChange: called on the ring's thread with a group's place and state when the state's level changes, from
  ///   that of what is down on.
  public init(
    ring: RingExecutor, checks: [Check], groups: [Group], logger: Logger,
    onChange: @escaping @Sendable (Int, Announcement.State) -> Void
  ) {
    self.ring = ring
    self.checks = checks
    self.groups = groups
    self.logger = logger
    self.onChange = onChange
    isBusy = checks.map { _ in false }
    let now = RingExecutor.monotonicNow()
    findings = checks.map { _ in (nil, now) }
    since = groups.map { _ in now }
    announcements = groups.map { group in
      let own = checks.filter { group.checks.contains($0.name) }
      let degrading = own.filter { $0.effect == .degrades }.map(\.name)
      // What the operator wants is not known either before it has been looked for.
      return Announcement(
        group.configuration, checks: own.filter { $0.effect != .degrades }.map(\.name), degrading: degrading, now: now)
    }
  }

  // MARK: Life

  public func start() {
    cores = checks.map { HealthCheck($0.configuration, now: ring.refreshNow()) }
    timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } }
    for index in announcements.indices where announcements[index].state.isAnnounced {
      onChange(index, announcements[index].state)
    }
    pump()
  }

  /// Probes no more, and says nothing more.
  public func stop() {
    timer?.cancel()
    timer = nil
    cores = []
    release()
  }

  private var isAllAnnounced: Bool { announcements.allSatisfy(\.state.isAnnounced) }

  /// Returns when all groups are announced for the first time, or after `time`.
  public func untilAnnounced(atMost time: Interval) async {
    guard !isAllAnnounced, timer != nil else { return }
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
    for index in cores.indices where cores[index].isLate(now: ring.now) {
      let patience = checks[index].configuration.timeout.nanoseconds / 1_000_000
      findings[index] = (Finding(false, "no answer within \(patience) ms"), ring.now)
      if cores[index].handleTimeout(now: ring.now) { judge(index) }
    }
    for index in announcements.indices where announcements[index].deadline <= ring.now {
      let before = announcements[index].state
      announcements[index].handleTimeout(now: ring.now)
      noteChange(of: index, from: before)
    }
    pump()
  }

  private func pump() {
    for index in cores.indices where !isBusy[index] {
      guard let id = cores[index].nextProbe(now: ring.now) else { continue }
      isBusy[index] = true
      let probe = checks[index].probe
      Task {
        let finding = await probe()
        self.completed(index, id, finding)
      }
    }
    schedule()
  }

  private func completed(_ index: Int, _ id: HealthCheck.ProbeID, _ finding: Finding) {
    isBusy[index] = false
    guard index < cores.count else { return }
    let now = ring.refreshNow()
    if cores[index].isAwaiting(id) { findings[index] = (finding, now) }
    if cores[index].completed(id, isGood: finding.isGood, now: now) { judge(index) }
    pump()
  }

  private func judge(_ index: Int) {
    let (check, isHealthy) = (checks[index], cores[index].isHealthy)
    let cause = findings[index].finding?.words ?? "-"
    let name = check.name
    logger.log(
      level: isHealthy ? .notice : .warning, "health",
      metadata: ["check": "\(name)", "state": isHealthy ? "healthy" : "unhealthy: \(cause)"])
    for place in groups.indices where groups[place].checks.contains(name) {
      let before = announcements[place].state
      if check.effect == .drains { announcements[place].setDrained(!isHealthy, now: ring.now) }
      // To be drained is no fall.
      if check.effect != .drains || isHealthy { announcements[place].set(name, isHealthy: isHealthy, now: ring.now) }
      noteChange(of: place, from: before)
    }
  }

  private func noteChange(of place: Int, from before: Announcement.State) {
    let state = announcements[place].state
    guard state != before else { return }
    let metadata: Logger.Metadata = ["group": "\(groups[place].name)", "cause": "\(state)"]
    guard state.level != before.level else { return logger.info("still \(state.level)", metadata: metadata) }
    since[place] = ring.now
    switch state {
    case .announced: logger.notice("announced", metadata: metadata)
    case .degraded: logger.warning("degraded", metadata: metadata)
    case .withdrawn: logger.warning("withdrawn", metadata: metadata)
    }
    if isAllAnnounced { release() }
    onChange(place, state)
  }

  private func schedule() {
    var deadline = announcements.map(\.deadline).min() ?? .distantFuture
    for index in cores.indices {
      // A probe that is late has had its time-out; the next begins when it is back.
      let next = cores[index].deadline
      if !isBusy[index] || next > ring.now { deadline = min(deadline, next) }
    }
    timer?.schedule(at: deadline)
  }
}
