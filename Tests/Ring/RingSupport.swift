import Glibc
import Synchronization
import Testing
import Wire

@testable import Ring

/// Whether this machine lets us have a ring; tests that need one are skipped, and say why, where not.
let ringRefusal: String? = {
  let ring = RingExecutor()
  do throws(RingError) {
    try ring.start(name: "probe")
    ring.stop()
    return nil
  } catch {
    return error.description
  }
}()

extension Trait where Self == ConditionTrait {
  static var needsRing: Self {
    .enabled(if: ringRefusal == nil, "io_uring is not to be had: \(ringRefusal ?? "")")
  }
}

/// One after the other: several count the process's descriptors.
@Suite(.needsRing, .serialized) enum RingTests {}

/// An actor that runs what a test gives it on a ring.
actor RingActor {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
  init(_ ring: RingExecutor) { self.ring = ring }

  func run<Result: Sendable>(_ body: @Sendable () throws -> Result) rethrows -> Result { try body() }
}

/// Starts a ring, runs `body` with it, stops it.
func withRing<Result>(
  _ configuration: RingExecutor.Configuration = .init(), _ body: (RingExecutor, RingActor) async throws -> Result
) async throws -> Result {
  let ring = RingExecutor(configuration: configuration)
  try ring.start(name: "test")
  do {
    let result = try await body(ring, RingActor(ring))
    await ring.shutdown()
    return result
  } catch {
    await ring.shutdown()
    throw error
  }
}

/// Something that callbacks of one ring fill and a test waits for: resumes its waiter once `expected`
/// steps have been counted.
final class Countdown: Sendable {
  private struct State {
    var left: Int
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state: Mutex<State>

  init(_ expected: Int) { state = Mutex(State(left: expected, waiter: nil)) }

  func step(_ count: Int = 1) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      state.left -= count
      guard state.left <= 0 else { return nil }
      return state.waiter.take()
    }
    waiter?.resume()
  }

  func wait() async {
    await withCheckedContinuation { continuation in
      let reached = state.withLock { state -> Bool in
        if state.left <= 0 { return true }
        state.waiter = continuation
        return false
      }
      if reached { continuation.resume() }
    }
  }
}

func openDescriptors() -> Int {
  guard let directory = opendir("/proc/self/fd") else { return -1 }
  defer { closedir(directory) }
  var count = 0
  while readdir(directory) != nil { count += 1 }
  return count
}

/// True once no more descriptors are open than before: a ring's last owner may let go a moment after the
/// test's own code has gone on, that of an earlier test as well.
func descriptorsReturn(to before: Int) async throws -> Bool {
  for _ in 0..<2_000 where openDescriptors() > before { try await Task.sleep(for: .milliseconds(1)) }
  return openDescriptors() <= before
}

let loopback4 = SocketAddress(.v4(.loopback), port: 0)
let loopback6 = SocketAddress(.v6(.loopback), port: 0)
