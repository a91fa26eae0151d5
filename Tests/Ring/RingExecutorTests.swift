import Glibc
import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct RingExecutorTests {
    @Test func actorRunsOnItsRing() async throws {
      try await withRing { ring, actor in
        #expect(await actor.run { ring.isCurrent })
        #expect(await actor.run { RingExecutor.current === ring })
        await RingExecutor.leave()
        #expect(!ring.isCurrent)
        #expect(ring.isIsolatingCurrentContext() == false)
        let isolated = await actor.run { actor.assumeIsolated { _ in ring.isCurrent } }
        #expect(isolated)
      }
    }

    @Test func continuationResumedOnTheRingStaysThere() async throws {
      actor Waiter {
        nonisolated let ring: RingExecutor
        nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
        var waiting: CheckedContinuation<Void, Never>?
        var timer: RingTimer?
        init(_ ring: RingExecutor) { self.ring = ring }

        func wait() async -> Bool {
          await withCheckedContinuation { continuation in
            let timer = RingTimer(on: ring) { continuation.resume() }
            timer.schedule(at: ring.now + .milliseconds(1))
            self.timer = timer
          }
          return ring.isCurrent
        }
        nonisolated func generic() async -> Bool { RingExecutor.current === ring }
        func callsGeneric() async -> Bool { await generic() }
      }
      try await withRing { ring, _ in
        let waiter = Waiter(ring)
        #expect(await waiter.wait())
        #expect(await waiter.callsGeneric())
        // So does this function, until it leaves.
        #expect(ring.isCurrent)
        await RingExecutor.leave()
        #expect(!ring.isCurrent)
      }
    }

    @Test func awaitAcrossTwoRings() async throws {
      actor Counter {
        nonisolated let ring: RingExecutor
        nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
        var count = 0
        init(_ ring: RingExecutor) { self.ring = ring }
        func add() -> Bool {
          count += 1
          return ring.isCurrent
        }
        func addAll(to other: Counter, _ times: Int) async -> Bool {
          var right = true
          for _ in 0..<times {
            right = await other.add() && right
            right = ring.isCurrent && right
          }
          return right
        }
      }
      try await withRing { one, _ in
        try await withRing { two, _ in
          let (a, b) = (Counter(one), Counter(two))
          async let forth = a.addAll(to: b, 2_000)
          async let back = b.addAll(to: a, 2_000)
          #expect(await forth)
          #expect(await back)
          #expect(await a.count == 2_000)
          #expect(await b.count == 2_000)
        }
      }
    }

    @Test func foreignJobsAllArrive() async throws {
      try await withRing { _, actor in
        let counter = Countdown(6_400)
        await withTaskGroup(of: Void.self) { group in
          for _ in 0..<64 {
            group.addTask {
              for _ in 0..<100 { await actor.run { counter.step() } }
            }
          }
        }
        await counter.wait()
      }
    }

    @Test func idleRingSleeps() async throws {
      try await withRing { ring, actor in
        let before = await actor.run { ring.statistics }
        try await Task.sleep(for: .milliseconds(200))
        let after = await actor.run { ring.statistics }
        // Woken by the two jobs, and by nothing else.
        #expect(after.turns - before.turns < 20)
      }
    }

    @Test func jobsAfterStopStillRun() async throws {
      let ring = RingExecutor()
      try ring.start()
      let actor = RingActor(ring)
      await ring.shutdown()
      #expect(await actor.run { 7 } == 7)
      #expect(await actor.run { ring.acceptsOperations } == false)
    }

    @Test func startReportsAnImpossibleProcessor() {
      let ring = RingExecutor()
      #expect(throws: RingError.self) { try ring.start(cpu: 100_000) }
    }

    @Test func setupErrorsSayWhatToDo() {
      #expect(RingError.setup(-ENOSYS).code == .unavailable)
      #expect(RingError.setup(-EPERM).code == .unavailable)
      #expect(RingError.setup(-EPERM).description.contains("Linux"))
      #expect(RingError.setup(-EINVAL).code == .unsupportedByKernel)
      #expect(RingError.setup(-ENOMEM).description.contains("RLIMIT_MEMLOCK"))
    }

    @Test func descriptorsComeBack() async throws {
      try await withRing { _, _ in }
      let before = openDescriptors()
      for _ in 0..<8 { try await withRing { _, actor in await actor.run {} } }
      #expect(try await descriptorsReturn(to: before))
    }

    @Test func moreOperationsThanEntries() async throws {
      final class Nothing: RingOperation {
        let done: Countdown
        init(_ done: Countdown) { self.done = done }
        override func complete(result: Int32, flags: UInt32) { done.step() }
      }
      var tiny = RingExecutor.Configuration()
      tiny.submissionEntries = 8
      tiny.completionEntries = 16
      try await withRing(tiny) { ring, actor in
        let done = Countdown(1_000)
        await actor.run {
          for _ in 0..<1_000 { ring.submit(Nothing(done)) { $0.pointee.prepareNothing() } }
        }
        await done.wait()
        #expect(await actor.run { ring.submissions.inFlight } == 1)
      }
    }
  }
}
