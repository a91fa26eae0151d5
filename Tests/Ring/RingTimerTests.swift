import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct RingTimerTests {
    /// What the handlers saw; of the ring's thread until the test reads it there.
    final class Log: @unchecked Sendable {  // only touched in jobs and handlers of one ring
      var fired: [Int64] = []
      var timers: [RingTimer] = []
    }

    @Test func tenThousandTimersFireInOrderUnlessCancelled() async throws {
      try await withRing { ring, actor in
        let log = Log()
        let entropy = SeededEntropy(seed: 1)
        let deadlines = (0..<10_000).map { _ in Int64(entropy.nextUInt64() % 50_000_000) }
        let cancelled = (0..<10_000).map { _ in entropy.nextUInt64() % 3 == 0 }
        let moved = (0..<10_000).map { _ in entropy.nextUInt64() % 4 == 0 }
        let expected = zip(deadlines, cancelled).filter { !$1 }.count
        let done = Countdown(expected)
        await actor.run {
          let start = ring.now + .milliseconds(20)
          for (index, deadline) in deadlines.enumerated() {
            let at = start + .nanoseconds(deadline)
            let timer = RingTimer(on: ring) {
              log.fired.append(at.nanoseconds)
              if ring.refreshNow() < at { Issue.record("fired too early") }
              done.step()
            }
            timer.schedule(at: moved[index] ? start + .seconds(3_600) : at)
            log.timers.append(timer)
          }
          for (index, timer) in log.timers.enumerated() {
            if moved[index] { timer.schedule(at: start + .nanoseconds(deadlines[index])) }
            if cancelled[index] { timer.cancel() }
            if timer.isScheduled == cancelled[index] { Issue.record("scheduled is the opposite of cancelled") }
          }
        }
        await done.wait()
        await actor.run {
          #expect(log.fired.count == expected)
          #expect(log.fired == log.fired.sorted())
          #expect(ring.timers.count == 0)
        }
      }
    }

    @Test func handlerMaySetItsTimerAgain() async throws {
      try await withRing { ring, actor in
        let log = Log()
        let done = Countdown(5)
        await actor.run {
          let timer = RingTimer(on: ring) {
            log.fired.append(0)
            // Into the past: handled in the next turn, not for ever in this one.
            if log.fired.count < 5 { log.timers[0].schedule(at: .zero) }
            done.step()
          }
          log.timers = [timer]
          timer.schedule(at: .zero)
        }
        await done.wait()
        #expect(await actor.run { log.fired.count } == 5)
        await actor.run { log.timers = [] }
      }
    }

    @Test func stopDropsTimers() async throws {
      let log = Log()
      try await withRing { ring, actor in
        await actor.run {
          let timer = RingTimer(on: ring) { log.fired.append(0) }
          timer.schedule(at: ring.now + .seconds(3_600))
          timer.schedule(at: .distantFuture)
          #expect(!timer.isScheduled)
          timer.schedule(at: ring.now + .seconds(3_600))
          log.timers = [timer]
        }
      }
      #expect(log.fired.isEmpty)
      #expect(!log.timers[0].isScheduled)
    }
  }
}
