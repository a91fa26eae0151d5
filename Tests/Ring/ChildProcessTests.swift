import Foundation
import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct ChildProcessTests {
    private actor Runner {
      nonisolated let ring: RingExecutor
      nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
      init(_ ring: RingExecutor) { self.ring = ring }

      func run(_ arguments: [String], _ environment: [String: String] = [:], timeout: Interval = .seconds(20)) async
        -> ChildProcess.Outcome
      {
        await ChildProcess.run(arguments, environment: environment, timeout: timeout, on: ring)
      }
    }

    private func outcome(
      _ arguments: [String], _ environment: [String: String] = [:], timeout: Interval = .seconds(20)
    ) async throws -> ChildProcess.Outcome {
      try await withRing { ring, _ in await Runner(ring).run(arguments, environment, timeout: timeout) }
    }

    @Test func theStatusIsTold() async throws {
      #expect(try await outcome(["/bin/true"]) == .exited(0))
      #expect(try await outcome(["/bin/sh", "-c", "exit 7"]) == .exited(7))
      #expect(try await outcome(["/bin/sh", "-c", "kill -TERM $$"]) == .killed(signal: 15))
    }

    @Test func whatCannotBeStartedIsTold() async throws {
      guard case .notStarted(let error) = try await outcome(["/nowhere/at/all"]) else {
        Issue.record("started")
        return
      }
      #expect("\(error)".contains("/nowhere/at/all: No such file"))
      guard case .notStarted = try await outcome([]) else {
        Issue.record("started")
        return
      }
    }

    /// Its environment is what it is told, no shell looks at its arguments, and none of our descriptors is its.
    @Test func itGetsWhatItIsMeantToGet() async throws {
      let file = FileManager.default.temporaryDirectory.appendingPathComponent("child-\(UInt64.random(in: 0 ... .max))")
      defer { try? FileManager.default.removeItem(at: file) }
      let script = "(env | grep -v '^_=\\|^PWD=\\|^SHLVL='; echo \"$1\"; ls /proc/self/fd | wc -l; cat) > \(file.path)"
      let result = try await outcome(
        ["/bin/sh", "-c", script, "sh", "$HOME; `x`"], ["PATH": "/bin:/usr/bin", "A": "b c"])
      #expect(result == .exited(0))
      let text = try String(contentsOf: file, encoding: .utf8)
      // Three, and the one that ls reads the directory by.
      #expect(Set(text.split(separator: "\n")) == ["PATH=/bin:/usr/bin", "A=b c", "$HOME; `x`", "4"], "\(text)")
    }

    @Test func whoTakesTooLongIsKilledWithAllOfItsOwn() async throws {
      let file = FileManager.default.temporaryDirectory.appendingPathComponent("child-\(UInt64.random(in: 0 ... .max))")
      defer { try? FileManager.default.removeItem(at: file) }
      let script = "(sleep 1; touch \(file.path)) & trap '' TERM; sleep 60"
      let began = RingExecutor.monotonicNow()
      #expect(
        try await outcome(["/bin/sh", "-c", script], ["PATH": "/bin:/usr/bin"], timeout: .milliseconds(200))
          == .timedOut)
      #expect(RingExecutor.monotonicNow() - began < .seconds(1))
      try await Task.sleep(for: .milliseconds(1_500))
      #expect(!FileManager.default.fileExists(atPath: file.path))
    }

    /// The ring turns while programs run.
    @Test func nothingWaitsForAProgram() async throws {
      try await withRing { ring, actor in
        let runner = Runner(ring)
        async let slow = runner.run(["/bin/sleep", "1"])
        var longest = Interval.zero
        for _ in 0..<50 {
          let asked = RingExecutor.monotonicNow()
          await actor.run {}
          longest = max(longest, RingExecutor.monotonicNow() - asked)
          try await Task.sleep(for: .milliseconds(10))
        }
        #expect(longest < .milliseconds(200), "\(longest)")
        #expect(await slow == .exited(0))
      }
    }
  }
}
