import Testing
import Wire

@testable import QUIC

private func ms(_ value: Int64) -> Interval { .milliseconds(value) }
private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

@Suite struct PersistentCongestionTests {
  /// The example of RFC 9002 §7.6.3, with a unit of time such that the PTO with max_ack_delay is 2 units.
  @Test func followsTheExample() throws {
    var sender = Sender()
    sender.recovery.peerMaxAckDelay = .zero
    // The sample of 0.2 units gives smoothed 0.2 and rttvar 0.1: a PTO of 0.6, and a duration of 1.8 units.
    func unit(_ value: Double) -> Instant { .zero + .microseconds(Int64(value * 100_000)) }
    sender.send(1...1, at: unit(0))
    sender.send(2...2, at: unit(0.1))
    try sender.ack(1...1, at: unit(0.2))
    sender.send(3...3, at: unit(2))
    sender.send(4...4, at: unit(3))
    sender.send(9...9, at: unit(12))
    try sender.ack(9...9, at: unit(12.2))
    // Packet 2 left before the first sample and does not count; 3 and 4 lie too close together.
    #expect(sender.lost == [2, 3, 4])
    #expect(sender.recovery.statistics.persistentCongestions == 0)

    sender.send(10...10, at: unit(20))
    sender.send(11...11, at: unit(22.5))
    sender.send(14...14, at: unit(24))
    try sender.ack(14...14, at: unit(24.2))
    #expect(sender.recovery.statistics.persistentCongestions == 1)
    #expect(sender.recovery.controller.congestionWindow <= 2 * 1200 + 1200)
  }

  @Test func anAcknowledgmentBetweenPreventsIt() throws {
    var sender = Sender()
    sender.send(0...0, at: at(0))
    try sender.ack(0...0, at: at(10))
    for number: UInt64 in 1...20 { sender.send(number...number, at: at(Int64(number) * 100)) }
    try sender.ack(20...20, 10...10, at: at(2010))
    #expect(sender.recovery.statistics.persistentCongestions == 1, "1 to 9 alone are long enough")
    var other = Sender()
    other.send(0...0, at: at(0))
    try other.ack(0...0, at: at(10))
    for number: UInt64 in 1...20 { other.send(number...number, at: at(Int64(number) * 12)) }
    try other.ack(20...20, 10...10, at: at(250))
    #expect(other.recovery.statistics.packetsLost >= 15)
    #expect(other.recovery.statistics.persistentCongestions == 0)
  }
}

@Suite struct NewRenoTests {
  @Test func slowStartDoublesAndLossHalves() throws {
    var sender = Sender()
    #expect(sender.recovery.controller.congestionWindow == 12_000)
    sender.send(0...9, at: at(0))
    try sender.ack(0...9, at: at(50))
    #expect(sender.recovery.controller.congestionWindow == 24_000)
    sender.send(10...29, at: at(50))
    try sender.ack(13...20, at: at(100))
    // One reduction, whatever is lost in the same round trip; what was sent before it grows nothing.
    #expect(sender.recovery.controller.congestionWindow == 12_000)
    try sender.ack(28...28, 13...20, at: at(101))
    #expect(sender.recovery.controller.congestionWindow == 12_000)
    #expect(sender.recovery.statistics.congestionEvents == 1)
  }

  @Test func avoidanceGrowsByOneDatagramAWindow() {
    var reno = NewReno(maximumDatagramSize: 1000)
    reno.onLost(LossSample(now: at(10), newestSent: at(5)))
    let window = reno.congestionWindow
    #expect(window == 5000)
    var sample = AckSample(now: at(20), rtt: RTTEstimator())
    sample.priorInFlight = window
    sample.bytesAcked = window / 2
    sample.bytesAckedPastRecovery = window / 2
    reno.onAcknowledged(sample)
    #expect(reno.congestionWindow == window)
    reno.onAcknowledged(sample)
    #expect(reno.congestionWindow == window + 1000)
  }

  @Test func anUnusedWindowDoesNotGrow() throws {
    var sender = Sender()
    for round: UInt64 in 0..<20 {
      sender.send(round...round, at: at(Int64(round) * 100))
      try sender.ack(round...round, at: at(Int64(round) * 100 + 50))
    }
    #expect(sender.recovery.controller.congestionWindow == 12_000)
  }

  @Test func windowNeverFallsBelowTwoDatagrams() {
    for algorithm in [CongestionAlgorithm.newReno, .cubic] {
      var controller = AnyController(algorithm, maximumDatagramSize: 1200)
      for step: Int64 in 1...50 {
        controller.onLost(LossSample(now: at(step * 10), newestSent: at(step * 10 - 1)))
      }
      #expect(controller.congestionWindow == 2400)
    }
  }

  @Test func initialWindowFollowsTheDatagramSize() {
    #expect(NewReno(maximumDatagramSize: 1200).congestionWindow == 12_000)
    #expect(NewReno(maximumDatagramSize: 1472).congestionWindow == 14_720)
    #expect(NewReno(maximumDatagramSize: 9000).congestionWindow == 18_000)
    var cubic = Cubic(maximumDatagramSize: 1200)
    cubic.setMaximumDatagramSize(9000)
    #expect(cubic.congestionWindow == 18_000)
  }
}

@Suite struct CubicTests {
  private func sample(_ now: Instant, _ cubic: Cubic, bytes: UInt64, rtt: Interval) -> AckSample {
    var estimator = RTTEstimator()
    estimator.update(rtt, ackDelay: .zero, maxAckDelay: nil, now: now)
    var sample = AckSample(now: now, rtt: estimator)
    sample.bytesAcked = bytes
    sample.bytesAckedPastRecovery = bytes
    sample.priorInFlight = cubic.congestionWindow
    return sample
  }

  @Test func cubeRootIsExactToTheLastDigits() {
    for value in [0.001, 0.5, 1, 2, 8, 27, 75, 1e3, 1e6 + 1, 1e12] {
      let root = cubeRoot(value)
      #expect(abs(root * root * root - value) / value < 1e-14)
    }
    #expect(cubeRoot(0) == 0)
    #expect(cubeRoot(-5) == 0)
    #expect(cubeRoot(.infinity) == 0)
  }

  /// A window of 1000 segments, cut to 700: K = cbrt(300 / 0.4) = 9.0856 s, and W_cubic(0) = 700.
  @Test func followsTheCurve() throws {
    var cubic = Cubic(maximumDatagramSize: 1000)
    cubic.onAcknowledged(sample(at(0), cubic, bytes: 990_000, rtt: ms(100)))
    #expect(cubic.congestionWindow == 1_000_000)
    cubic.onLost(LossSample(now: at(0), newestSent: .zero))
    #expect(cubic.congestionWindow == 700_000)
    var now = at(1)
    var windows: [Int64: Double] = [:]
    // A long round trip keeps the Reno-friendly region away.
    while now <= at(12_001) {
      for _ in 0..<10 {
        cubic.onAcknowledged(sample(now, cubic, bytes: cubic.congestionWindow / 10, rtt: ms(100)))
        now += ms(10)
      }
      windows[(now - at(1)).milliseconds] = Double(cubic.congestionWindow) / 1000
    }
    let epoch = try #require(cubic.epoch)
    #expect(abs(epoch.k - 9.0856) < 0.001)
    #expect(abs(epoch.window(after: 0) - 700) < 0.001)
    // W_cubic(3) = 0.4 * (3 - 9.0856)^3 + 1000 = 909.8; W_cubic(11) = 1002.8. The window trails by less than 1 %.
    let early = try #require(windows[3000])
    #expect(abs(early - 909.8) < 9)
    let late = try #require(windows[11_000])
    #expect(abs(late - 1002.8) < 10)
  }

  @Test func shortRoundTripsGrowAtLeastAsReno() {
    var cubic = Cubic(maximumDatagramSize: 1000)
    cubic.onLost(LossSample(now: at(0), newestSent: .zero))
    let start = cubic.congestionWindow
    var now = at(1)
    // Ten windows in 10 ms: the curve stands still, Reno's share does not.
    for _ in 0..<10 {
      cubic.onAcknowledged(sample(now, cubic, bytes: cubic.congestionWindow, rtt: ms(1)))
      now += ms(1)
    }
    let grown = Double(cubic.congestionWindow - start) / 1000
    #expect(grown > 10 * Cubic.friendlyAlpha * 0.95)
    #expect(grown < 11)
  }

  @Test func fastConvergenceGivesWay() {
    var cubic = Cubic(maximumDatagramSize: 1000)
    cubic.onAcknowledged(sample(at(0), cubic, bytes: 90_000, rtt: ms(50)))
    cubic.onLost(LossSample(now: at(0), newestSent: .zero))
    #expect(abs(cubic.maximumWindow - 100) < 1e-9)
    cubic.onLost(LossSample(now: at(100), newestSent: at(50)))
    #expect(abs(cubic.maximumWindow - 70 * 0.85) < 1e-9)
  }

  @Test func idleTimeDoesNotCount() throws {
    var cubic = Cubic(maximumDatagramSize: 1000)
    cubic.onAcknowledged(sample(at(0), cubic, bytes: 90_000, rtt: ms(50)))
    cubic.onLost(LossSample(now: at(0), newestSent: .zero))
    cubic.onAcknowledged(sample(at(10), cubic, bytes: 10_000, rtt: ms(50)))
    let start = try #require(cubic.epoch).start
    var unused = sample(at(5010), cubic, bytes: 1000, rtt: ms(50))
    unused.priorInFlight = 1000
    let window = cubic.congestionWindow
    cubic.onAcknowledged(unused)
    #expect(cubic.congestionWindow == window)
    #expect(try #require(cubic.epoch).start == start + ms(5000))
  }

  @Test func hyStartLeavesSlowStartWhenTheRTTRises() {
    var hyStart = HyStart()
    var advice = HyStart.Advice.slowStart
    for _ in 0..<2 {
      for index in 0..<10 { advice = hyStart.onAcknowledged(rttSample: ms(100), isRoundStart: index == 0) }
    }
    #expect(advice == .slowStart)
    for index in 0..<10 { advice = hyStart.onAcknowledged(rttSample: ms(115), isRoundStart: index == 0) }
    #expect(advice == .conservative)
    for _ in 0..<5 {
      for index in 0..<10 { advice = hyStart.onAcknowledged(rttSample: ms(120), isRoundStart: index == 0) }
    }
    #expect(advice == .leave)
  }

  @Test func hyStartGoesOnAfterJitter() {
    var hyStart = HyStart()
    var advice = HyStart.Advice.slowStart
    for rtt: Int64 in [100, 100, 120, 100] {
      for index in 0..<10 { advice = hyStart.onAcknowledged(rttSample: ms(rtt), isRoundStart: index == 0) }
    }
    #expect(advice == .slowStart)
  }
}

@Suite struct PacerTests {
  @Test func releasesBurstsAtTheRate() {
    var pacer = Pacer(maximumDatagramSize: 1000, rate: 1_000_000)
    #expect(whole { pacer.budget(at(0)) } == 16_000)
    pacer.onSent(16_000)
    #expect(whole { pacer.budget(at(0)) } == 0)
    #expect(pacer.nextSendTime > at(1))
    #expect(pacer.nextSendTime < at(3))
    #expect(whole { pacer.budget(at(2)) } == 2000)
    #expect(whole { pacer.budget(at(1000)) } == 16_000)
  }

  @Test(arguments: [1, 1000, 12_345_678, 1_250_000_000] as [UInt64]) func keepsToTheRate(rate: UInt64) {
    var pacer = Pacer(maximumDatagramSize: 1200, rate: rate)
    var now = Instant.zero
    var sent: UInt64 = 0
    for _ in 0..<1000 {
      let budget = pacer.budget(now)
      if budget > 0 {
        sent += UInt64(budget)
        pacer.onSent(UInt64(budget))
      }
      let next = pacer.nextSendTime
      #expect(next > now)
      if next == .distantFuture { break }
      now = next
    }
    let allowed = Double(rate) * (now - .zero).seconds + 65_536
    #expect(Double(sent) <= allowed)
    #expect(Double(sent) >= (allowed - 65_536) * 0.99 - 1200)
  }

  @Test("A quantum leaves together, and a timer late by a millisecond costs nothing")
  func quantum() {
    var pacer = Pacer(maximumDatagramSize: 1_452, rate: 6_250_000)
    pacer.setRate(6_250_000, quantum: 2_904, now: at(0))
    #expect(whole { pacer.budget(at(0)) } == 2_904 + 6_250)
    pacer.onSent(2_904 + 6_250)
    let next = pacer.nextSendTime
    #expect(abs((next - at(0)).seconds - 2_904 / 6_250_000) < 1e-6)
    #expect(whole { pacer.budget(next) } == 2_904)
    pacer.onSent(2_904)
    #expect(whole { pacer.budget(next + .milliseconds(1)) } == 6_250)
    #expect(whole { pacer.budget(next + .seconds(1)) } == 2_904 + 6_250)
  }

  @Test func impliedRateIsAWindowAndAQuarterEachRoundTrip() {
    #expect(Pacer.rate(window: 100_000, smoothedRTT: ms(100)) == 1_250_000)
    #expect(Pacer.rate(window: .max, smoothedRTT: .zero) == .max)
  }

  @Test func budgetRespectsWindowAndPacer() {
    var sender = Sender()
    #expect(whole { sender.recovery.sendBudget(at(0)) } == .bytes(12_000))
    sender.send(0...9, at: at(0))
    #expect(whole { sender.recovery.sendBudget(at(0)) } == .congestionLimited)
  }
}

@Suite struct ECNValidationTests {
  /// What one path did to the marks does not condemn the next.
  @Test func aNewPathIsJudgedFromWhereTheCountsAre() {
    var ecn = ECNValidation(isEnabled: true)
    for _ in 0..<10 { ecn.onSent(.applicationData) }
    // This one turns ECT(0) into ECT(1), and marks what was not marked.
    #expect(
      whole {
        ecn.onAcknowledged(.applicationData, reported: ECNCounts(ect0: 20, ect1: 3), newlyAckedMarked: 5)
      } == 0)
    #expect(ecn.state == .failed)
    #expect(
      whole {
        ecn.onAcknowledged(.applicationData, reported: ECNCounts(ect0: 20, ect1: 5), newlyAckedMarked: 2)
      } == 0)
    ecn.onNewPath()
    #expect(ecn.codepoint == .ect0)
    for _ in 0..<4 { ecn.onSent(.applicationData) }
    // An acknowledgement of what took the other path proves nothing.
    #expect(
      whole {
        ecn.onAcknowledged(
          .applicationData, reported: ECNCounts(ect0: 21, ect1: 5), newlyAckedMarked: 1, isOfThisPath: false)
      } == 0)
    #expect(ecn.state == .testing)
    #expect(
      whole {
        ecn.onAcknowledged(.applicationData, reported: ECNCounts(ect0: 24, ect1: 5), newlyAckedMarked: 3)
      } == 0)
    #expect(ecn.state == .capable)
    #expect(
      whole {
        ecn.onAcknowledged(.applicationData, reported: ECNCounts(ect0: 25, ect1: 6), newlyAckedMarked: 1)
      } == 0)
    #expect(ecn.state == .failed)
  }

  @Test func marksTenAndThenWaits() {
    var ecn = ECNValidation(isEnabled: true)
    for _ in 0..<10 {
      #expect(ecn.codepoint == .ect0)
      ecn.onSent(.applicationData)
    }
    #expect(ecn.codepoint == .notECT)
    #expect(whole { ecn.onAcknowledged(.applicationData, reported: ECNCounts(ect0: 4), newlyAckedMarked: 4) } == 0)
    #expect(ecn.state == .capable)
    #expect(
      whole { ecn.onAcknowledged(.applicationData, reported: ECNCounts(ect0: 5, ce: 1), newlyAckedMarked: 2) } == 1)
  }

  @Test(
    arguments: [
      nil, ECNCounts(ect0: 1), ECNCounts(ect0: 2, ect1: 1), ECNCounts(ect0: 11), ECNCounts(ect0: 1, ce: 900),
    ] as [ECNCounts?])
  func countsThatCannotBeDisableIt(reported: ECNCounts?) {
    var ecn = ECNValidation(isEnabled: true)
    for _ in 0..<10 { ecn.onSent(.applicationData) }
    #expect(whole { ecn.onAcknowledged(.applicationData, reported: reported, newlyAckedMarked: 2) } == 0)
    #expect(ecn.state == .failed)
    #expect(ecn.codepoint == .notECT)
  }

  @Test func losingAllMarkedPacketsDisablesIt() {
    var ecn = ECNValidation(isEnabled: true)
    for _ in 0..<10 { ecn.onSent(.initial) }
    for _ in 0..<10 { ecn.onLost() }
    #expect(ecn.state == .failed)
  }

  /// On a path that drops everything marked there is no acknowledgment either that would tell of losses.
  @Test func threeSilentTimeoutsEndTheMarking() {
    var recovery = LossRecovery(role: .client, isECNEnabled: true)
    for number: UInt64 in 0..<3 {
      #expect(recovery.ecn.codepoint == .ect0)
      recovery.onPacketSent(
        .initial, number: number, size: 1200, isAckEliciting: true, isInFlight: true, ecn: .ect0, now: at(0))
      _ = recovery.onTimeout(at(60_000 * Int64(number + 1)))
    }
    #expect(recovery.ecn.codepoint == .notECT)
  }

  @Test func acknowledgmentsThatBringNothingNewerSayNothing() throws {
    var sender = Sender()
    sender.recovery.ecn = ECNValidation(isEnabled: true)
    sender.send(0...9, ecn: .ect0, at: at(0))
    try sender.ack(5...5, ecn: ECNCounts(ect0: 1), at: at(50))
    // Overtaken on its way: it counts less than what has been heard, or nothing.
    try sender.ack(4...4, ecn: nil, at: at(51))
    try sender.ack(3...3, ecn: ECNCounts(ect1: 7), at: at(52))
    #expect(sender.recovery.ecn.state != .failed)
    try sender.ack(6...6, ecn: nil, at: at(53))
    #expect(sender.recovery.ecn.state == .failed)
  }

  @Test func aMarkReducesTheWindowOnce() throws {
    var sender = Sender()
    sender.recovery.ecn = ECNValidation(isEnabled: true)
    sender.send(0...9, ecn: .ect0, at: at(0))
    try sender.ack(0...1, ecn: ECNCounts(ect0: 1, ce: 1), at: at(50))
    #expect(sender.recovery.controller.congestionWindow == 6000)
    try sender.ack(0...3, ecn: ECNCounts(ect0: 2, ce: 2), at: at(51))
    #expect(sender.recovery.controller.congestionWindow == 6000)
    #expect(sender.recovery.statistics.congestionEvents == 1)
  }
}
