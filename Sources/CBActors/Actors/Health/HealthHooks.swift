public import Health
public import Logging
public import Ring
public import Wire

/// Tells programs of the operator's, such as a pager's, of what becomes of prefixes. None of them holds up anything: each runs
/// once at a time, hears the last state alone, and is killed when its time is over.
public actor HealthHooks {
  public struct Hook: Hashable, Sendable {
    public var name: String
    /// The first is the program's path.
    public var arguments: [String]
    public var timeout: Interval

    public init(_ name: String, _ arguments: [String], timeout: Interval) {
      self.name = name
      self.arguments = arguments
      self.timeout = timeout
    }
  }

  /// What a program is told.
  private struct State: Hashable, Sendable {
    var level: Announcement.Level
    var reason: String

    // The same state for another reason is no other state.
    static func == (a: Self, b: Self) -> Bool { a.level == b.level }
    func hash(into hasher: inout Hasher) { hasher.combine(level) }
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let hooks: [Hook]
  private let path: String
  private let logger: Logger
  private var queues: [HookQueue<IPPrefix, State>]
  private var waiters: [CheckedContinuation<Void, Never>] = []

  /// - Parameter path: where programs look for others (`PATH`); all else of their environment is what they are told.
  public init(ring: RingExecutor, _ hooks: [Hook], path: String, logger: Logger) {
    self.ring = ring
    self.hooks = hooks
    self.path = path
    self.logger = logger
    queues = hooks.map { _ in HookQueue() }
  }

  /// A prefix has come to a state.
  public func changed(_ prefix: IPPrefix, to level: Announcement.Level, because reason: String) {
    for index in hooks.indices {
      queues[index].changed(prefix, to: State(level: level, reason: reason))
      begin(index)
    }
  }

  /// Returns when nothing runs and nothing waits, or after `time`.
  public func settle(atMost time: Interval) async {
    guard !isIdle else { return }
    let limit = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.release() } }
    limit.schedule(at: ring.refreshNow() + time)
    await withCheckedContinuation { waiters.append($0) }
    limit.cancel()
  }

  private var isIdle: Bool { queues.allSatisfy(\.isIdle) }

  private func release() {
    for waiter in waiters { waiter.resume() }
    waiters = []
  }

  private func begin(_ index: Int) {
    guard let run = queues[index].next() else { return }
    let hook = hooks[index]
    let environment = [
      "PATH": path, "CBR_PREFIX": "\(run.subject)", "CBR_STATE": run.state.level.rawValue,
      "CBR_REASON": run.state.reason,
    ]
    Task {
      let outcome = await ChildProcess.run(
        hook.arguments, environment: environment, timeout: hook.timeout, on: self.ring)
      if outcome != .exited(0) {
        self.logger.warning("hook failed", metadata: ["hook": "\(hook.name)", "outcome": "\(outcome)"])
      }
      self.queues[index].ended()
      self.begin(index)
      if self.isIdle { self.release() }
    }
  }
}
