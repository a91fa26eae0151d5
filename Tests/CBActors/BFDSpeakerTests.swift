import BFD
import Foundation
import Glibc
import Ring
import Testing
import Wire

@testable import CBActors

/// Why BIRD is not to be had; nil where it is.
private let birdRefusal: String? =
  FileManager.default.isExecutableFile(atPath: "/usr/sbin/bird")
  ? nil : "bird2 is not installed (scripts/prerequisites test)"

extension Trait where Self == ConditionTrait {
  fileprivate static var needsBIRD: Self {
    .enabled(if: birdRefusal == nil, "NOT TESTED against BIRD: \(birdRefusal ?? "")")
  }
}

/// Against BIRD's BFD: both in one network namespace, over a pair of interfaces, BIRD's in a namespace below it.
@Suite("BFD with BIRD", .needsNamespace, .needsBIRD, .serialized) struct BFDSpeakerTests {
  final class Bird: Sendable {
    let directory: String
    let pid: pid_t
    let namespace: Namespace

    /// BIRD of a network namespace of its own, at the other end of `a0`.
    init(_ namespace: Namespace, detectMultiplier: Int = 3) async throws {
      self.namespace = namespace
      directory = FileManager.default.temporaryDirectory.appendingPathComponent("bird-\(UUID())").path
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      let configuration = """
        router id 10.0.0.2;
        protocol device { scan time 1; }
        protocol bfd {
          interface "a1" { min rx interval 50 ms; min tx interval 50 ms; idle tx interval 1 s; multiplier \(detectMultiplier); };
          neighbor 10.0.0.1 dev "a1";
          neighbor 2001:db8:a::1 dev "a1";
        }
        """
      try configuration.write(toFile: "\(directory)/bird.conf", atomically: true, encoding: .utf8)
      let text = await namespace.run(
        """
        ip link add a0 type veth peer name a1
        ip addr add 10.0.0.1/24 dev a0; ip addr add 2001:db8:a::1/64 dev a0 nodad; ip link set a0 up
        unshare -n sh -c 'echo $$ > \(directory)/pid; while ! ip link show a1 >/dev/null 2>&1; do sleep 0.01; done
          ip link set lo up; ip link set a1 up; ip addr add 10.0.0.2/24 dev a1; ip addr add 2001:db8:a::2/64 dev a1 nodad
          exec bird -f -c \(directory)/bird.conf -s \(directory)/ctl -P \(directory)/bird.pid' >/dev/null 2>&1 &
        while ! [ -s \(directory)/pid ]; do sleep 0.01; done
        ip link set a1 netns $(cat \(directory)/pid); cat \(directory)/pid
        """)
      pid = pid_t(text.split(separator: "\n").last.map(String.init) ?? "") ?? -1
      #expect(pid > 0, "\(text)")
    }

    func ask(_ words: String) async -> String { await namespace.run("birdc -s \(directory)/ctl \(words)") }

    func close() {
      guard pid > 0 else { return }
      kill(pid, SIGCONT)
      kill(pid, SIGKILL)
      try? FileManager.default.removeItem(atPath: directory)
    }
  }

  static let four = SessionTable.Peer(local: IPAddress("10.0.0.1")!, remote: IPAddress("10.0.0.2")!)
  static let six = SessionTable.Peer(local: IPAddress("2001:db8:a::1")!, remote: IPAddress("2001:db8:a::2")!)

  /// A session that is up, what it tells, and the peer that it is with.
  static func withSession(
    _ peer: SessionTable.Peer, _ body: (BFDSpeaker, Bird, Notes<BFD.Session.Event>) async throws -> Void
  ) async throws {
    try await withNamespace { namespace in
      let bird = try await Bird(namespace)
      defer { bird.close() }
      let speaker = BFDSpeaker(ring: namespace.ring, logger: namespace.logger)
      try await speaker.start()
      let notes = Notes<BFD.Session.Event>()
      try await speaker.watch(peer) { _, event, _ in notes.add(event) }
      _ = try #require(try await notes.first(within: 15) { $0.isUp }, "never up")
      // The pace of a session that is up is agreed on.
      for _ in 0..<200 where await speaker.status().first?.detectionTime != .milliseconds(150) {
        try await Task.sleep(for: .milliseconds(10))
      }
      #expect(await speaker.status().first?.detectionTime == .milliseconds(150))
      #expect(await speaker.status().first?.transmitInterval == .milliseconds(50))
      try await body(speaker, bird, notes)
      await speaker.stop()
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: [four, six]) func aSessionComesUpAndStays(peer: SessionTable.Peer)
    async throws
  {
    try await Self.withSession(peer) { speaker, bird, notes in
      try await Task.sleep(for: .seconds(2))
      #expect(await speaker.status().map(\.state) == [.up])
      let text = await bird.ask("show bfd sessions")
      #expect(text.contains("\(peer.local)") && text.contains("Up"), "\(text)")
      #expect(notes.all.count == 2, "\(notes.all)")
      let discards = await speaker.discards
      // BIRD asks over the other family as well, where there is no session.
      #expect(discards.allSatisfy { $0.key == .unknownSession }, "\(discards)")
    }
  }

  /// RFC 5880 §6.8.4: 150 ms from its last packet on, which is 50 ms old at most.
  @Test(.timeLimit(.minutes(1)), arguments: [four, six]) func aFrozenPeerIsMissed(peer: SessionTable.Peer) async throws
  {
    try await Self.withSession(peer) { speaker, bird, notes in
      var times: [Interval] = []
      for _ in 0..<3 {
        let known = notes.all.count
        let frozen = RingExecutor.monotonicNow()
        kill(bird.pid, SIGSTOP)
        let down = try #require(try await notes.first(from: known) { $0.isDown })
        #expect(down.note == .stateChanged(from: .up, to: .down, .detectionTimeExpired))
        times.append(down.at - frozen)
        kill(bird.pid, SIGCONT)
        _ = try #require(try await notes.first(from: known, within: 15) { $0.isUp }, "never up again")
        try await Task.sleep(for: .milliseconds(1_500))
      }
      print("BFD: frozen peer missed after", times.map(\.description).joined(separator: ", "))
      // 100 to 150 ms by the clock of the machine that is idle; a loaded one may be late, never early.
      #expect(times.allSatisfy { $0 > .milliseconds(95) && $0 < .milliseconds(400) }, "\(times)")
      #expect(times.min()! < .milliseconds(160), "\(times)")
    }
  }

  @Test(.timeLimit(.minutes(1))) func aPathThatIsCutIsMissedAtBothEnds() async throws {
    try await Self.withSession(Self.four) { speaker, bird, notes in
      let known = notes.all.count
      let cut = RingExecutor.monotonicNow()
      // Silently: both links stay up, but neither end's frames reach the other.
      await bird.namespace.run(
        """
        ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:99 dev a0 nud permanent
        nsenter -t \(bird.pid) -n ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:98 dev a1 nud permanent
        """)
      let down = try #require(try await notes.first(from: known) { $0.isDown })
      #expect(down.at - cut < .milliseconds(400))
      try await Task.sleep(for: .milliseconds(300))
      let text = await bird.ask("show bfd sessions")
      #expect(!text.split(separator: "\n").contains { $0.contains("10.0.0.1 ") && $0.contains("Up") }, "\(text)")
    }
  }

  @Test(.timeLimit(.minutes(1))) func aStopIsToldAsOneByWill() async throws {
    try await Self.withSession(Self.four) { speaker, bird, _ in
      await speaker.stop()
      try await Task.sleep(for: .milliseconds(50))
      let text = await bird.ask("show bfd sessions")
      #expect(text.contains("Down"), "\(text)")
    }
  }
}

extension BFD.Session.Event {
  fileprivate var isUp: Bool { if case .stateChanged(_, to: .up, _) = self { true } else { false } }
  fileprivate var isDown: Bool { if case .stateChanged(from: .up, _, _) = self { true } else { false } }
}
