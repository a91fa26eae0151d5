import CongestionSimulation
import Testing
import Wire

@testable import QUIC

/// The cycle of ProbeBW, as the draft's appendix has its cases.
@Suite struct BBRProbeBWTests {
  @Test("Exiting PROBE_UP on Bandwidth Plateau")
  func exitingProbeUpOnBandwidthPlateau() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeUp))
    #expect(path.bbr.state.pacingGain == 1.25)
    #expect(path.bbr.state.cwndGain == 2.25)
    let began = path.bbr.roundCount
    #expect(try path.run(within: .seconds(2)) { $0.state != .probeUp })
    let exit = try #require(path.exit(.probeUp))
    #expect(exit.after.state == .probeDown)
    #expect(exit.after.fullBwNow)
    #expect(exit.after.fullBwCount == 3)
    #expect(exit.after.roundCount == began + 3)
    #expect(path.statistics.packetsLost == 0)
    #expect(!exit.after.prevProbeTooHigh)
  }

  /// The pseudocode lowers inflight_longterm only for packets that were not application-limited; the appendix wants it
  /// "updated appropriately, regardless of the application-limited state". Appropriate to a packet that was sent before
  /// the application ran dry is the level at which it was lost, to one sent after that no lower level at all.
  @Test("Exiting PROBE_UP on Loss When Application-Limited", arguments: [Interval.zero, .milliseconds(300)])
  func exitingProbeUpOnLossWhenApplicationLimited(dry: Interval) throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeUp))
    if dry == .zero {
      path.changeLink { $0.loss = 0.3 }
      try path.run(.milliseconds(15))
    }
    path.write(.writes(bytes: 6_000, every: .milliseconds(4)))
    try path.run(dry)
    #expect(path.bbr.state == .probeUp)
    path.changeLink { $0.loss = 0.12 }
    #expect(try path.run(within: .seconds(2)) { $0.state != .probeUp })
    let exit = try #require(path.exit(.probeUp))
    #expect(exit.after.prevProbeTooHigh)
    #expect(!exit.after.fullBwNow)
    #expect(path.journal.transitions.last?.before.state == .probeUp)
    #expect([.probeDown, .probeCruise].contains(exit.after.state), "at once to CRUISE, when that little is in flight")
    #expect(exit.after.cycleStamp == exit.time, "DOWN began with this ACK")
    if dry == .zero {
      #expect(exit.after.inflightLongterm < 2 * path.bdp)
      #expect(exit.after.inflightLongterm >= path.bdp * BBR.beta)
    } else {
      #expect(exit.before.rs.isAppLimited)
      #expect(exit.after.inflightLongterm == .infinity)
    }
  }

  @Test("Never Exiting PROBE_UP (or STARTUP) When Application-Limited With No Loss: PROBE_UP")
  func neverExitingProbeUpWhenApplicationLimited() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeUp))
    path.write(.writes(bytes: 3_600, every: .milliseconds(4)))
    try path.run(.seconds(20))
    let after = path.journal.transitions.drop { $0.after.state != .probeUp }
    // Nothing but ProbeRTT, which is due every five seconds whatever the state, ends it.
    for exit in after where exit.before.state == .probeUp { #expect(exit.after.state == .probeRTT) }
    #expect(after.count { $0.before.state == .probeUp } >= 3)
    #expect(path.bbr.maxBw == path.rate)
  }

  @Test("Exiting PROBE_DOWN on Inflight", arguments: [0.5, 4])
  func exitingProbeDownOnInflight(buffer: Double) throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: buffer)
    #expect(try path.run(to: .probeUp))
    #expect(try path.run(to: .probeDown))
    #expect(path.bbr.state.pacingGain == 0.9)
    #expect(try path.run(within: .seconds(2)) { $0.state != .probeDown })
    let exit = try #require(path.exit(.probeDown))
    #expect(exit.after.state == .probeCruise)
    #expect(exit.after.inflightLongterm.isFinite == (buffer < 1))
    let inFlight = Double(exit.after.inFlight)
    #expect(inFlight <= exit.after.inflightWithHeadroom)
    #expect(inFlight <= exit.after.inflight(exit.after.maxBw, 1))
    let before = Double(exit.before.inFlight)
    #expect(
      before > exit.before.inflightWithHeadroom || before > exit.before.inflight(exit.before.maxBw, 1))
  }

  /// The appendix lowers the bandwidth by 10 %; with the pacing margin DOWN sends at 0.891 and would drain even that, slowly.
  @Test("Exiting PROBE_DOWN After Max Time")
  func exitingProbeDownAfterMaxTime() throws {
    var path = BBRPath(megabits: 50, roundTrip: 30, buffer: 10)
    #expect(try path.run(to: .probeRTT))
    #expect(try path.run(to: .probeUp))
    #expect(try path.run(to: .probeDown))
    path.changeRate(times: 0.88)
    let wait = path.bbr.bwProbeWait
    let began = path.bbr.cycleStamp
    #expect(wait >= .seconds(2) && wait <= .seconds(3))
    #expect(try path.run(within: .seconds(4)) { $0.state != .probeDown })
    let exit = try #require(path.exit(.probeDown))
    #expect(exit.after.state == .probeRefill)
    #expect(exit.time - began > wait)
    #expect(exit.time - began < wait + .milliseconds(10))
    #expect(Double(exit.after.inFlight) > exit.after.inflight(exit.after.maxBw, 1))
  }

  @Test("Achieving Expected Cruise Bandwidth on a Link With Aggregation", arguments: [10, 20, 40] as [Int64])
  func achievingExpectedCruiseBandwidthWithAggregation(slot: Int64) throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4) { $0.ackSlot = .milliseconds(slot) }
    #expect(try path.run(to: .probeCruise))
    let start = (path.now - .zero).seconds
    var leastExtra = Double.infinity
    var leastCwnd = Double.infinity
    path.journal.onAck = { _, after in
      guard after.state == .probeCruise else { return }
      leastExtra = min(leastExtra, after.extraAcked)
      leastCwnd = min(leastCwnd, after.cwnd - 2 * after.bdp)
    }
    try path.run(.seconds(2))
    // Of ten rounds the filter keeps the largest, so that no round without a burst makes it forget.
    #expect(leastExtra > path.rate * Double(slot) / 1000 * 0.9)
    #expect(leastCwnd > 0)
    #expect(path.utilisation(from: start, to: start + 2) > 0.95)
    #expect(path.statistics.packetsLost == 0)
  }

  @Test("Handling Loss During PROBE_UP After inflight_longterm is Set")
  func handlingLossDuringProbeUpAfterInflightLongtermIsSet() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 0.6)
    #expect(try path.run(to: .probeUp))
    let set = path.bbr.inflightLongterm
    #expect(set.isFinite)
    path.changeLink { $0.loss = 0.15 }
    #expect(try path.run(within: .seconds(2)) { $0.state != .probeUp })
    let exit = try #require(path.exit(.probeUp))
    #expect([.probeDown, .probeCruise].contains(exit.after.state))
    #expect(exit.after.cycleStamp == exit.time, "DOWN began with this ACK")
    #expect(exit.after.prevProbeTooHigh)
    #expect(!exit.after.isBwProbeSample, "one response to a probe")
    #expect(!exit.after.fullBwNow)
    // To where the losses crossed the threshold, and by 30 % at most.
    #expect(exit.after.inflightLongterm < set)
    #expect(exit.after.inflightLongterm >= exit.before.targetInflight * BBR.beta)
  }

  @Test("Handling Application-Limited Sending During PROBE_REFILL")
  func handlingApplicationLimitedSendingDuringProbeRefill() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeRefill))
    path.write(.writes(bytes: 2_400, every: .milliseconds(8)))
    let maxBw = path.bbr.maxBw
    #expect(try path.run(to: .probeUp, within: .seconds(1)))
    var samples = 0
    path.journal.onAck = { _, after in
      if after.rs.isAppLimited, after.rs.deliveryRate < after.maxBw { samples += 1 }
    }
    try path.run(.seconds(1))
    #expect(samples > 50)
    #expect(path.bbr.maxBw == maxBw)
    #expect(path.bbr.state == .probeUp)
    // Probing goes on where it was.
    path.write(.bulk)
    #expect(try path.run(to: .probeDown, within: .seconds(2)))
    #expect(path.exit(.probeUp)?.after.fullBwNow == true)
  }

  @Test func aProbeThatWentTooHighIsFollowedByACautiousOne() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 0.5)
    #expect(try path.run(to: .probeCruise))
    try path.run(.seconds(20))
    let ups = path.journal.transitions.filter { $0.before.state == .probeUp && $0.after.state != .probeRTT }
    #expect(ups.contains { $0.after.prevProbeTooHigh })
    #expect(ups.contains { $0.after.prevProbePrecautionary })
    #expect(path.journal.transitions.contains { $0.before.state == .probeDown && $0.after.state == .probeRefill })
    #expect(Double(path.statistics.packetsLost) / Double(path.statistics.packetsSent) < 0.01)
  }
}
