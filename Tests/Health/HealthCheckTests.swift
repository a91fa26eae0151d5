import Testing
import Wire

@testable import Health

@Suite("Health checks") struct HealthCheckTests {
  /// Runs a check against a service until `end`; `isGood` says how it is at an instant, nil that it does not answer.
  private static func run(
    _ check: inout HealthCheck, from start: Instant, to end: Instant, delay: Interval = .milliseconds(5),
    _ isGood: (Instant) -> Bool?
  ) -> [(at: Instant, isHealthy: Bool)] {
    var changes: [(at: Instant, isHealthy: Bool)] = []
    var answer: (at: Instant, id: HealthCheck.ProbeID, isGood: Bool)?
    var now = start
    while now <= end {
      if let due = answer, due.at <= now {
        answer = nil
        if check.completed(due.id, isGood: due.isGood, now: now) { changes.append((now, check.isHealthy)) }
      }
      if check.handleTimeout(now: now) { changes.append((now, check.isHealthy)) }
      if let id = check.nextProbe(now: now) { answer = isGood(now).map { (now + delay, id, $0) } }
      now = max(now + .microseconds(1), min(check.deadline, answer?.at ?? .distantFuture))
    }
    return changes
  }

  @Test func itRisesAndFallsAfterSoManyInARow() {
    var check = HealthCheck(now: .zero)
    let death = Instant.zero + .milliseconds(10_003)
    let changes = Self.run(&check, from: .zero, to: .zero + .seconds(15)) { $0 < death }
    #expect(changes.map(\.isHealthy) == [true, false])
    // Three fast probes to rise; at the worst a slow interval and a fast one to fall.
    #expect(changes[0].at == .zero + .milliseconds(105))
    #expect(changes[1].at - death <= .milliseconds(255))
  }

  @Test func oneBadProbeChangesNothing() {
    var check = HealthCheck(now: .zero)
    var count = 0
    let changes = Self.run(&check, from: .zero, to: .zero + .seconds(30)) { _ in
      count += 1
      return count % 4 != 0
    }
    #expect(changes.map(\.isHealthy) == [true])
  }

  @Test func silenceIsABadProbe() {
    var check = HealthCheck(now: .zero)
    let death = Instant.zero + .seconds(5)
    let changes = Self.run(&check, from: .zero, to: .zero + .seconds(10)) { $0 < death ? true : nil }
    #expect(changes.map(\.isHealthy) == [true, false])
    // A dead service is known in less than a second: an interval and two time-outs.
    #expect(changes[1].at - death <= .milliseconds(800))
  }

  @Test func anAnswerThatComesTooLateCountsForNothing() {
    var check = HealthCheck(now: .zero)
    let id = check.nextProbe(now: .zero)!
    check.handleTimeout(now: .zero + .milliseconds(300))
    check.completed(id, isGood: true, now: .zero + .milliseconds(301))
    #expect(check.contrary == 0 && !check.isHealthy)
    let next = check.nextProbe(now: .zero + .seconds(1))
    #expect(next != nil && next != id)
    // One at a time.
    let another = check.nextProbe(now: .zero + .seconds(1))
    #expect(another == nil)
  }

  @Test func itIsNotHealthyBeforeItHasRisen() {
    var check = HealthCheck(now: .zero)
    let changes = Self.run(&check, from: .zero, to: .zero + .seconds(10)) { _ in false }
    #expect(changes.isEmpty && !check.isHealthy)
  }
}

@Suite("Announcements by health") struct AnnouncementTests {
  private func at(_ seconds: Int64) -> Instant { .zero + .seconds(seconds) }

  @Test func itIsAnnouncedWhileAllAreHealthy() {
    var announcement = Announcement(checks: ["quic", "uplink"], now: .zero)
    #expect(announcement.state == .withdrawn(.unhealthy(["quic", "uplink"])))
    announcement.set("quic", isHealthy: true, now: at(1))
    #expect(announcement.state == .withdrawn(.unhealthy(["uplink"])))
    // The first time there is nothing to wait for.
    var hasChanged = announcement.set("uplink", isHealthy: true, now: at(2))
    #expect(hasChanged && announcement.state == .announced)
    // It is withdrawn at once.
    hasChanged = announcement.set("quic", isHealthy: false, now: at(3))
    #expect(hasChanged)
    #expect(announcement.state == .withdrawn(.unhealthy(["quic"])))
    announcement.set("quic", isHealthy: true, now: at(10))
    #expect(announcement.state == .withdrawn(.recovering) && announcement.deadline == at(12))
    hasChanged = announcement.handleTimeout(now: at(11))
    #expect(!hasChanged)
    hasChanged = announcement.handleTimeout(now: at(12))
    #expect(hasChanged && announcement.state == .announced)
    #expect(announcement.deadline == .distantFuture)
  }

  @Test func withoutChecksItIsAnnouncedFromTheStart() {
    #expect(Announcement(checks: [], now: .zero).state == .announced)
  }

  @Test func anUnknownCheckIsNoneOfIts() {
    var announcement = Announcement(checks: ["quic"], now: .zero)
    let hasChanged = announcement.set("other", isHealthy: true, now: .zero)
    #expect(!hasChanged && !announcement.state.isAnnounced)
  }

  @Test func aDrainIsByWillAndNoFall() {
    var announcement = Announcement(checks: ["quic"], now: .zero)
    announcement.set("quic", isHealthy: true, now: at(1))
    for second in 2..<20 {
      announcement.setDrained(second % 2 == 0, now: at(Int64(second)))
      #expect(announcement.state == (second % 2 == 0 ? .withdrawn(.drained) : .announced))
    }
    announcement.setDrained(true, now: at(20))
    announcement.set("quic", isHealthy: false, now: at(21))
    announcement.setDrained(false, now: at(22))
    #expect(announcement.state == .withdrawn(.unhealthy(["quic"])))
  }

  @Test func whatFallsTooOftenStaysAwayForLongerEachTime() {
    var announcement = Announcement(checks: ["quic"], now: .zero)
    var announcements = 0
    // Up for 4 seconds, down for 1, for 20 minutes.
    for second in 0..<1_200 {
      let isHealthy = second % 5 != 0
      if announcement.handleTimeout(now: at(Int64(second))), announcement.state.isAnnounced { announcements += 1 }
      if announcement.set("quic", isHealthy: isHealthy, now: at(Int64(second))), announcement.state.isAnnounced {
        announcements += 1
      }
    }
    #expect(announcement.state == .withdrawn(.suppressed) || !announcement.state.isAnnounced)
    // Not the 240 of a switch that follows each turn.
    #expect(announcements <= 8, "\(announcements)")
    // Then it stays well, and is announced when the suppression is over.
    announcement.set("quic", isHealthy: true, now: at(1_200))
    #expect(announcement.deadline <= at(1_800))
    announcement.handleTimeout(now: announcement.deadline)
    #expect(announcement.state == .announced)
    // After a quiet window a single fall is but one.
    announcement.set("quic", isHealthy: false, now: at(4_000))
    announcement.set("quic", isHealthy: true, now: at(4_001))
    announcement.handleTimeout(now: at(4_003))
    #expect(announcement.state == .announced)
  }

  @Test func fallsAreCountedAsLongAsTheyCount() {
    var announcement = Announcement(checks: ["quic"], now: .zero)
    for second in [1, 11, 31] as [Int64] {
      announcement.set("quic", isHealthy: true, now: at(second))
      announcement.set("quic", isHealthy: false, now: at(second + 5))
    }
    // The third has brought the suppression about, and one more would prolong it.
    #expect(announcement.falls(now: at(37)) == 2 && announcement.suppressedUntil == at(96))
    #expect([76, 77, 96, 97].map { announcement.falls(now: at($0)) } == [2, 1, 1, 0])
    announcement.handleTimeout(now: at(97))
    #expect(announcement.suppressedUntil == nil)
  }

  @Test func whatDegradesDoesNotWithdraw() {
    var announcement = Announcement(checks: ["quic"], degrading: ["load", "memory"], now: .zero)
    #expect(announcement.state.level == .down)
    announcement.set("quic", isHealthy: true, now: at(1))
    #expect(announcement.state == .degraded(["load", "memory"]), "as long as it is not known")
    announcement.set("load", isHealthy: true, now: at(1))
    announcement.set("memory", isHealthy: true, now: at(1))
    #expect(announcement.state == .announced && announcement.state.level == .up)
    // As often as may be: it is no fall.
    for second in 2..<20 {
      let hasChanged = announcement.set("load", isHealthy: second % 2 == 1, now: at(Int64(second)))
      #expect(hasChanged && announcement.state.isAnnounced)
      #expect(announcement.state.level == (second % 2 == 1 ? .up : .degraded))
    }
    announcement.set("load", isHealthy: false, now: at(30))
    announcement.set("quic", isHealthy: false, now: at(31))
    #expect(announcement.state == .withdrawn(.unhealthy(["quic"])) && announcement.state.level == .down)
    announcement.set("quic", isHealthy: true, now: at(32))
    announcement.handleTimeout(now: at(34))
    #expect(announcement.state == .degraded(["load"]))
    announcement.setDrained(true, now: at(35))
    #expect(announcement.state.level == .drained)
  }

  /// Whatever happens, it is never announced while a check is unhealthy or it is drained, and is announced in the end
  /// when all have long been well.
  @Test(arguments: 1...50) func itIsNeverAnnouncedWrongly(seed: Int) {
    let entropy = SeededEntropy(seed: UInt64(seed))
    let names = ["a", "b", "c"]
    var announcement = Announcement(checks: names, now: .zero)
    var health = [false, false, false]
    var isDrained = false
    var now = Instant.zero
    for _ in 0..<2_000 {
      now += .milliseconds(Int64(entropy.nextUInt64() % 3_000))
      if announcement.deadline <= now { announcement.handleTimeout(now: now) }
      let place = Int(entropy.nextUInt64() % 4)
      if place < 3 {
        health[place] = entropy.nextUInt64() % 4 != 0
        announcement.set(names[place], isHealthy: health[place], now: now)
      } else {
        isDrained = entropy.nextUInt64() % 8 == 0
        announcement.setDrained(isDrained, now: now)
      }
      if announcement.state.isAnnounced { #expect(health.allSatisfy { $0 } && !isDrained) }
    }
    for name in names { announcement.set(name, isHealthy: true, now: now) }
    announcement.setDrained(false, now: now)
    announcement.handleTimeout(now: now + .seconds(600))
    #expect(announcement.state == .announced)
  }
}
