import Glibc
import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct SourceTests {
    @Test func signalsArrive() async throws {
      try await withRing { ring, actor in
        let seen = Countdown(2)
        let source = try await actor.run { () throws(RingError) in
          Held(
            try SignalSource(on: ring, signals: [SIGUSR1, SIGUSR2]) { signal in
              if signal == SIGUSR1 || signal == SIGUSR2 { seen.step() }
            })
        }
        await actor.run {
          // To this thread, which blocks them; other threads of the test process do not.
          pthread_kill(pthread_self(), SIGUSR1)
          pthread_kill(pthread_self(), SIGUSR2)
        }
        await seen.wait()
        await actor.run { source.value.close() }
      }
    }

    @Test func readinessIsSeenAgainAndAgain() async throws {
      var ends: [Int32] = [0, 0]
      #expect(pipe(&ends) == 0)
      let (reading, writing) = (ends[0], ends[1])
      defer { close(reading) }
      try await withRing { ring, actor in
        let first = Countdown(1)
        let second = Countdown(2)
        let source = try await actor.run { () throws(RingError) in
          Held(
            try ReadinessSource(on: ring, descriptor: reading) {
              var byte: UInt8 = 0
              guard read(reading, &byte, 1) == 1 else { return }
              first.step()
              second.step()
            })
        }
        write(writing, "a", 1)
        await first.wait()
        write(writing, "b", 1)
        await second.wait()
        #expect(await actor.run { source.value.isOpen })
        close(writing)
      }
    }
  }
}
