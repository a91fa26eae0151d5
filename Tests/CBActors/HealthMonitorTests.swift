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
    private let load = Atomic<Bool>(true)
    private let drain = Atomic<Bool>(false)

    var isBearable: Bool {
      get async { load.load(ordering: .relaxed) }
    }
    var isDrained: Bool {
      get async { drain.load(ordering: .relaxed) }
    }
    func setBearable(_ isBearable: Bool) { load.store(isBearable, ordering: .relaxed) }
    func setDrained(_ isDrained: Bool) { drain.store(isDrained, ordering: .relaxed) }

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
        ring: namespace.ring,
        checks: [
          .init("service", .withdraws, check) { Finding(await service.probe(), "asked") },
          .init("load", .degrades, check) { Finding(await service.isBearable, "measured") },
          .init("drain", .drains, check) { Finding(await !service.isDrained, "looked for") },
        ],
        groups: [
          .init("all", checks: ["service", "load", "drain"], announcement),
          .init("other", checks: ["drain"], announcement),
        ], logger: namespace.logger
      ) { if $0 == 0 { notes.add($1) } }
      await monitor.start()
      await monitor.untilAnnounced(atMost: .seconds(5))
      // The load may be known before or after the service.
      _ = try #require(try await notes.first { $0 == .announced })
      #expect(await monitor.statuses().map(\.state) == [.announced, .announced])
      try await body(monitor, service, notes)
      await monitor.stop()
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: [false, true]) func aDeadServiceIsWithdrawnAndComesBack(isSilent: Bool)
    async throws
  {
    try await Self.withMonitor { monitor, service, notes in
      service.become(isSilent ? .silent : .bad)
      let gone = try #require(try await notes.first { !$0.isAnnounced })
      #expect(gone.note == .withdrawn(.unhealthy(["service"])))
      let before = notes.all.count
      service.become(.good)
      _ = try #require(try await notes.first(from: before) { $0.isAnnounced })
      // Nothing was said in between, and the recovery was waited for.
      #expect(notes.all.last.map { $0.at - gone.at } ?? .zero >= .milliseconds(200))
    }
  }

  /// It is no fall: as often as the operator likes, and back at once.
  @Test(.timeLimit(.minutes(1))) func aDrainIsObeyedAndUndone() async throws {
    try await Self.withMonitor { monitor, service, notes in
      for _ in 0..<5 {
        let before = notes.all.count
        service.setDrained(true)
        _ = try #require(try await notes.first(from: before) { $0 == .withdrawn(.drained) })
        #expect(await monitor.statuses().map(\.state) == [.withdrawn(.drained), .withdrawn(.drained)])
        service.setDrained(false)
        _ = try #require(try await notes.first(from: before + 1) { $0 == .announced })
        #expect(notes.all.count == before + 2)
      }
    }
  }

  @Test(.timeLimit(.minutes(1))) func whatDegradesDoesNotWithdraw() async throws {
    try await Self.withMonitor { monitor, service, notes in
      let before = notes.all.count
      service.setBearable(false)
      _ = try #require(try await notes.first(from: before) { $0 == .degraded(["load"]) })
      #expect(
        await monitor.statuses().map(\.state) == [.degraded(["load"]), .announced], "a group hangs on its own checks")
      service.setBearable(true)
      _ = try #require(try await notes.first(from: before + 1) { $0 == .announced })
    }
  }

  /// What an operator sees: which check it is, what its probe saw, and how often it has been so.
  @Test(.timeLimit(.minutes(1)), arguments: [false, true]) func theReasonIsShown(isSilent: Bool) async throws {
    try await Self.withMonitor { monitor, service, notes in
      let well = await monitor.statuses()
      #expect(well.map(\.name) == ["all", "other"] && well.map(\.checks.count) == [3, 1])
      #expect(well[0].falls == 0 && well[0].checks.allSatisfy { $0.isHealthy && $0.last?.isGood == true })
      service.become(isSilent ? .silent : .bad)
      _ = try #require(try await notes.first { !$0.isAnnounced })
      let ill = await monitor.statuses()
      #expect(ill[0].state == .withdrawn(.unhealthy(["service"])) && ill[0].falls == 1 && ill[0].since > well[0].since)
      let check = try #require(ill[0].checks.first { $0.name == "service" })
      #expect(!check.isHealthy && check.needed == 3 && check.since != nil)
      #expect(check.last == Finding(false, isSilent ? "no answer within 60 ms" : "asked"))
      #expect(ill[1].state == .announced && ill[1].since == well[1].since)
      service.become(.good)
      let before = notes.all.count
      _ = try #require(try await notes.first(from: before) { $0.isAnnounced })
      #expect(await monitor.statuses()[0].recoversAt == nil)
    }
  }

  @Test(.timeLimit(.minutes(1))) func nothingIsProbedAfterTheStop() async throws {
    try await Self.withMonitor { monitor, service, notes in
      await monitor.stop()
      try await Task.sleep(for: .milliseconds(50))
      let (probes, said) = (service.probes, notes.all.count)
      service.become(.bad)
      try await Task.sleep(for: .milliseconds(300))
      #expect(service.probes == probes && notes.all.count == said)
    }
  }
}
