import CLinux
import Glibc
public import Wire

/// A program of someone else's that runs beside us, and is killed with all that it has started when its time is over. One
/// that a ring waits for is started off it, and watched on it.
public enum ChildProcess {
  public enum Outcome: Hashable, Sendable {
    case exited(Int32)
    case killed(signal: Int32)
    case timedOut
    case notStarted(RingError)
  }

  /// Runs a program to its end.
  ///
  /// - Parameters:
  ///   - arguments: the first is the program's path. No shell looks at them.
  ///   - environment: all that it gets.
  ///   - isolation: an actor of the ring.
  public static func run(
    _ arguments: [String], environment: [String: String], timeout: Interval, on ring: RingExecutor,
    isolation: isolated (any Actor) = #isolation
  ) async -> Outcome {
    let child = await start(arguments, environment)
    guard child > 0 else { return .notStarted(.system(arguments.first ?? "", child)) }
    return await withCheckedContinuation { continuation in
      let watch = ChildWatch(child, on: ring, continuation)
      watch.begin(timeout)
    }
  }

  /// What a program reads and writes, by descriptors; nil for nothing, and for errors that go to ours.
  public struct Files: Sendable {
    public var input: Int32?
    public var output: Int32?
    public var errors: Int32?
    public init(input: Int32? = nil, output: Int32? = nil, errors: Int32? = nil) {
      self.input = input
      self.output = output
      self.errors = errors
    }
  }

  /// Runs a program to its end, which the calling thread waits for: not on a ring.
  public static func runWaiting(
    _ arguments: [String], environment: [String: String], files: Files, timeout: Interval
  ) -> Outcome {
    let child = spawn(arguments, environment, files)
    guard child > 0 else { return .notStarted(.system(arguments.first ?? "", child)) }
    let end = RingExecutor.monotonicNow() + timeout
    var watched = pollfd(fd: cb_process_descriptor(child), events: Int16(POLLIN), revents: 0)
    guard watched.fd >= 0 else {
      cb_process_kill(child)
      return .notStarted(.system("pidfd_open", watched.fd))
    }
    defer { close(watched.fd) }
    while true {
      let left = max(.zero, end - RingExecutor.monotonicNow())
      let isOver = poll(&watched, 1, Int32(clamping: left.nanoseconds / 1_000_000)) == 0 && left == .zero
      let status = cb_process_status(child)
      if status != -EAGAIN { return outcome(status) }
      guard isOver else { continue }
      cb_process_kill(child)
      // Killed, it has nothing to wait for but the kernel.
      poll(&watched, 1, -1)
      _ = cb_process_status(child)
      return .timedOut
    }
  }

  fileprivate static func outcome(_ status: Int32) -> Outcome {
    status >= 256 ? .killed(signal: status - 256) : .exited(status)
  }

  /// To load a program may take a while: not on the ring.
  @concurrent private static func start(_ arguments: [String], _ environment: [String: String]) async -> Int32 {
    spawn(arguments, environment, Files())
  }

  private static func spawn(_ arguments: [String], _ environment: [String: String], _ files: Files) -> Int32 {
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    guard argv.count > 1 else { return -EINVAL }
    return cb_spawn(&argv, &envp, [files.input ?? -1, files.output ?? -1, files.errors ?? -1])
  }
}

/// Keeps itself until the child has ended.
private final class ChildWatch {
  private let child: Int32
  private let ring: RingExecutor
  private var continuation: CheckedContinuation<ChildProcess.Outcome, Never>?
  private var source: ReadinessSource?
  private var timer: RingTimer?
  private var descriptor: Int32 = -1
  private var hasTimedOut = false

  init(_ child: Int32, on ring: RingExecutor, _ continuation: CheckedContinuation<ChildProcess.Outcome, Never>) {
    self.child = child
    self.ring = ring
    self.continuation = continuation
  }

  deinit { continuation?.resume(returning: .notStarted(.closed("wait"))) }

  func begin(_ timeout: Interval) {
    descriptor = cb_process_descriptor(child)
    do throws(RingError) {
      guard descriptor >= 0 else { throw .system("pidfd_open", descriptor) }
      source = try ReadinessSource(on: ring, descriptor: descriptor) { [self] in ended() }
      let timer = RingTimer(on: ring) { [self] in
        hasTimedOut = true
        cb_process_kill(child)
      }
      timer.schedule(at: ring.refreshNow() + timeout)
      self.timer = timer
    } catch {
      cb_process_kill(child)
      finish(.notStarted(error))
    }
  }

  private func ended() {
    let status = cb_process_status(child)
    guard status != -EAGAIN else { return }
    // What it has left running goes with it where its time was over, and is its own matter otherwise.
    finish(hasTimedOut ? .timedOut : ChildProcess.outcome(status))
  }

  private func finish(_ outcome: ChildProcess.Outcome) {
    timer?.cancel()
    timer = nil
    source?.close()
    source = nil
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
    continuation?.resume(returning: outcome)
    continuation = nil
  }
}
