import Health
import Ring
import Synchronization
import Testing
import Wire

@testable import CBActors

@Suite("A service's health on a ring", .needsNamespace) struct HealthMonitorTests {
  /// How a service is, as a test says.
  private final class Service: Sendable {
    enum Manner { case good, bad, silent }
    private let manner = Mutex(Manner.good)
    private let probed = Atomic<Int>(0)

    func become(_ new: Manner) { manner.withLock { $0 = new } }
    var probes: Int { probed.load(ordering: .relaxed) }

    func probe() async -> Bool {
      probed.wrappingAdd(1, ordering: .relaxed)
      switch manner.withLock({ $0 }) {
      case .good: return true
      case .bad: return false
      case .silent:
        try? await Task.sleep(for: .milliseconds(300))
        return true
      }
    }
  }

  private static func withMonitor(
    _ body: (HealthMonitor, Service, Notes<Announcement.State>) async throws -> Void
  ) async throws {
    try await withNamespace { namespace in
      let service = Service()
      let notes = Notes<Announcement.State>()
      var check = HealthCheck.Configuration()
      check.interval = .milliseconds(100)
      check.fastInterval = .milliseconds(20)
      check.timeout = .milliseconds(60)
      var announcement = Announcement.Configuration()
      announcement.recoveryDelay = .milliseconds(200)
      let monitor = HealthMonitor(
        ring: namespace.ring, checks: [.init("service", check) { await service.probe() }], announcement,
        logger: namespace.logger
      ) { notes.add($0) }
      await monitor.start()
      await monitor.untilAnnounced(atMost: .seconds(5))
      #expect(await monitor.state == .announced && notes.all.map(\.note) == [.announced])
      try await body(monitor, service, notes)
      await monitor.stop()
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: [false, true]) func aDeadServiceIsWithdrawnAndComesBack(isSilent: Bool)
    async throws
  {
    try await Self.withMonitor { monitor, service, notes in
      service.become(isSilent ? .silent : .bad)
      let died = RingExecutor.monotonicNow()
      let gone = try #require(try await notes.first { !$0.isAnnounced })
      #expect(gone.note == .withdrawn(.unhealthy(["service"])))
      // The interval and two probes or time-outs; the silent one's probe must come back before the next.
      #expect(gone.at - died < .milliseconds(isSilent ? 1_500 : 1_000), "\(gone.at - died)")
      service.become(.good)
      _ = try #require(try await notes.first(from: 2) { $0.isAnnounced })
      #expect(notes.all.map(\.note).contains(.withdrawn(.recovering)))
    }
  }

  @Test(.timeLimit(.minutes(1))) func aDrainIsObeyedAndUndone() async throws {
    try await Self.withMonitor { monitor, _, notes in
      await monitor.setDrained(true)
      #expect(notes.all.last?.note == .withdrawn(.drained))
      await monitor.setDrained(false)
      #expect(notes.all.last?.note == .announced)
    }
  }

  @Test(.timeLimit(.minutes(1))) func nothingIsProbedAfterTheStop() async throws {
    try await Self.withMonitor { monitor, service, notes in
      await monitor.stop()
      try await Task.sleep(for: .milliseconds(50))
      let probes = service.probes
      service.become(.bad)
      try await Task.sleep(for: .milliseconds(300))
      #expect(service.probes == probes && notes.all.count == 1)
    }
  }
}
