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

    /// With files in place of pipes, on a thread that may wait.
    @Test func whoWaitsGetsWhatItSays() throws {
      let files = try [0, 1].map { _ in try #require(tmpfile()) }
      defer { for file in files { fclose(file) } }
      fputs("what is read", files[0])
      rewind(files[0])
      func run(_ script: String, timeout: Interval = .seconds(20)) -> ChildProcess.Outcome {
        ChildProcess.runWaiting(
          ["/bin/sh", "-c", script], environment: ["PATH": "/bin:/usr/bin"],
          files: .init(input: fileno(files[0]), output: fileno(files[1])), timeout: timeout)
      }
      #expect(run("cat; exit 3") == .exited(3))
      rewind(files[1])
      let said = FileHandle(fileDescriptor: fileno(files[1]), closeOnDealloc: false).readDataToEndOfFile()
      #expect(String(decoding: said, as: UTF8.self) == "what is read")
      #expect(run("kill -KILL $$") == .killed(signal: 9))
      #expect(run("sleep 60", timeout: .milliseconds(50)) == .timedOut)
      let nowhere = ChildProcess.runWaiting(["/nowhere"], environment: [:], files: .init(), timeout: .seconds(1))
      guard case .notStarted = nowhere else {
        Issue.record("\(nowhere)")
        return
      }
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
      let script = "(sleep 3; touch \(file.path)) & trap '' TERM; sleep 60"
      #expect(
        try await outcome(["/bin/sh", "-c", script], ["PATH": "/bin:/usr/bin"], timeout: .milliseconds(200))
          == .timedOut)
      try await Task.sleep(for: .milliseconds(3_500))
      #expect(!FileManager.default.fileExists(atPath: file.path))
    }

    /// The ring turns while programs run: this one ends only when the ring has turned.
    @Test(.timeLimit(.minutes(1))) func nothingWaitsForAProgram() async throws {
      let file = FileManager.default.temporaryDirectory.appendingPathComponent("child-\(UInt64.random(in: 0 ... .max))")
      defer { try? FileManager.default.removeItem(at: file) }
      try await withRing { ring, actor in
        let runner = Runner(ring)
        async let slow = runner.run(
          ["/bin/sh", "-c", "while [ ! -e \(file.path) ]; do sleep 0.02; done"], ["PATH": "/bin:/usr/bin"],
          timeout: .seconds(50))
        for _ in 0..<50 {
          await actor.run {}
          try await Task.sleep(for: .milliseconds(2))
        }
        try Data().write(to: file)
        #expect(await slow == .exited(0))
      }
    }
  }
}
