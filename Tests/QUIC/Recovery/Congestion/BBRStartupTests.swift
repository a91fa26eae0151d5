import CongestionSimulation
import Testing
import Wire

@testable import QUIC

/// Startup and Drain, as the draft's appendix has its cases.
@Suite struct BBRStartupTests {
  @Test("Exiting STARTUP on Bandwidth Plateau", arguments: [(0.5, 200.0), (20, 40), (400, 5)])
  func exitingStartupOnBandwidthPlateau(megabits: Double, roundTrip: Double) throws {
    var path = BBRPath(megabits: megabits, roundTrip: roundTrip, buffer: 4)
    var counts: [Int] = []
    path.journal.onAck = { before, after in
      if before.fullBwCount != after.fullBwCount { counts.append(after.fullBwCount) }
    }
    #expect(path.bbr.state == .startup)
    #expect(path.bbr.state.pacingGain == 2.77)
    #expect(try path.run(to: .drain))
    let exit = try #require(path.exit(.startup))
    #expect(!exit.before.fullBwNow && !exit.before.fullBwReached)
    #expect(exit.after.fullBwNow && exit.after.fullBwReached)
    #expect(exit.after.fullBwCount == 3)
    #expect(counts.suffix(3) == [1, 2, 3])
    #expect(!exit.after.rs.isAppLimited)
    #expect(abs(exit.after.maxBw / path.rate - 1) < 0.02, "\(exit.after.maxBw / path.rate)")
    #expect(exit.after.rs.deliveryRate < exit.after.fullBw * 1.25)
  }

  @Test("Exiting STARTUP on Loss When Application-Limited")
  func exitingStartupOnLossWhenApplicationLimited() throws {
    // Ten megabits a second of fifty: 200 packets in a round trip.
    var path = BBRPath(megabits: 50, roundTrip: 200, buffer: 2) {
      $0.application = .writes(bytes: 6_000, every: .milliseconds(5))
    }
    try path.run(.seconds(3))
    #expect(path.bbr.state == .startup)
    #expect(!path.bbr.fullBwReached)
    path.changeLink { $0.loss = 0.06 }
    #expect(try path.run(within: .seconds(2)) { $0.state != .startup })
    let exit = try #require(path.exit(.startup))
    #expect(exit.after.rs.isAppLimited)
    #expect(exit.after.lossRoundStart)
    #expect(exit.after.isInflightTooHigh)
    #expect(exit.before.lossRangesInRound >= 5, "the sixth may have come with this ACK")
    #expect(exit.after.fullBwNow && exit.after.fullBwReached)
    #expect(exit.after.undo?.state == .startup)
    #expect(exit.after.inflightLongterm > 0 && exit.after.inflightLongterm.isFinite)
    // Drain began, and so little was in flight that it ended with the same ACK.
    #expect(exit.after.drainStartRound == exit.after.roundCount)
  }

  @Test("Exiting DRAIN Based on Inflight")
  func exitingDrainBasedOnInflight() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .drain))
    #expect(path.bbr.state.pacingGain == BBR.drainPacingGain)
    #expect(path.bbr.pacingBytesPerSecond == 0.5 * path.bbr.bw * 0.99)
    #expect(Double(path.bbr.inFlight) > path.bbr.inflight(path.bbr.bw, 1))
    #expect(try path.run(within: .seconds(1)) { $0.state != .drain })
    let exit = try #require(path.exit(.drain))
    #expect(exit.after.state.isProbeBW)
    #expect(Double(exit.before.inFlight) > exit.before.inflight(exit.before.bw, 1))
    #expect(Double(exit.after.inFlight) <= exit.after.inflight(exit.after.bw, 1))
    #expect(exit.after.roundCount <= exit.after.drainStartRound + 3)
  }

  /// The appendix lowers the bandwidth by 10 %, but a gain of 0.5 drains that in one round trip: here it falls by 60 %, so
  /// that what is in flight stays.
  @Test("Exiting DRAIN Based on Time")
  func exitingDrainBasedOnTime() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 10)
    #expect(try path.run(to: .drain))
    path.changeRate(times: 0.4)
    var least = Double.infinity
    path.journal.onAck = { _, after in
      if after.state == .drain { least = min(least, Double(after.inFlight) - after.inflight(after.bw, 1)) }
    }
    #expect(try path.run(within: .seconds(5)) { $0.state != .drain })
    let exit = try #require(path.exit(.drain))
    #expect(exit.after.state == .probeDown)
    #expect(least > 0)
    #expect(exit.after.roundCount == exit.after.drainStartRound + 4, "more than three rounds later")
  }

  @Test("Never Exiting PROBE_UP (or STARTUP) When Application-Limited With No Loss: STARTUP")
  func neverExitingStartupWhenApplicationLimited() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4) {
      $0.application = .writes(bytes: 3_600, every: .milliseconds(4))
    }
    try path.run(.seconds(30))
    #expect(path.bbr.rs.isAppLimited)
    #expect(!path.bbr.fullBwReached)
    // ProbeRTT comes between, and leads back.
    #expect(path.journal.transitions.allSatisfy { [.startup, .probeRTT].contains($0.after.state) })
    #expect(path.statistics.packetsLost == 0)
  }

  @Test("Achieving Expected STARTUP Bandwidth on a Link With Aggregation", arguments: [10, 20, 40] as [Int64])
  func achievingExpectedStartupBandwidthWithAggregation(slot: Int64) throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4) { $0.ackSlot = .milliseconds(slot) }
    #expect(try path.run(to: .drain))
    let exit = try #require(path.exit(.startup))
    let perSlot = path.rate * Double(slot) / 1000
    #expect(exit.before.extraAcked > perSlot * 0.9 && exit.before.extraAcked < perSlot * 2)
    #expect(exit.before.cwnd > 2 * path.bdp)
    // A whole slot's acknowledgments at one instant look like any rate; the send rate bounds what is believed.
    #expect(exit.after.maxBw > path.rate * 0.98 && exit.after.maxBw < path.rate * 1.3, "\(exit.after.maxBw)")
    #expect(exit.after.fullBwReached)
  }

  @Test("Entering and Exiting PROBE_RTT During STARTUP")
  func enteringAndExitingProbeRTTDuringStartup() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4) {
      $0.application = .writes(bytes: 3_600, every: .milliseconds(4))
    }
    #expect(try path.run(to: .probeRTT))
    #expect(!path.bbr.fullBwReached)
    #expect(path.now - .zero > .seconds(5))
    #expect(try path.run(within: .seconds(1)) { $0.state != .probeRTT })
    #expect(path.bbr.state == .startup)
    #expect(path.bbr.state.pacingGain == BBR.startupPacingGain)
    // And it goes on to find the bandwidth.
    path.write(.bulk)
    #expect(try path.run(to: .drain))
    #expect(abs(path.bbr.maxBw / path.rate - 1) < 0.02)
  }

  /// Losses of Startup at a queue of half a BDP: packet conservation keeps them from doubling.
  @Test func whatStartupLosesIsNotRefilled() throws {
    var path = BBRPath(megabits: 4, roundTrip: 67, buffer: 0.5)
    var most = 0.0
    path.journal.onAck = { _, after in
      if after.state == .startup, after.conservesPackets { most = max(most, after.cwnd - Double(after.inFlight)) }
    }
    #expect(try path.run(within: .seconds(5)) { $0.state != .startup })
    #expect(most > 0)
    #expect(Double(path.bbr.inFlight) < 1.6 * path.bdp)
  }

  @Test func theFirstRTTSetsThePacingRate() throws {
    var path = BBRPath(megabits: 20, roundTrip: 100, buffer: 4)
    #expect(path.bbr.pacingBytesPerSecond == 2.77 * 12_000 / 0.001)
    #expect(try path.run(within: .seconds(1)) { $0.hasSeenRTT })
    let rtt = path.flow.sender.rtt.smoothed.seconds
    #expect(abs(path.bbr.pacingBytesPerSecond / (2.77 * 12_000 / rtt) - 1) < 0.001)
  }
}
