import CongestionSimulation
import Testing
import Wire

@testable import QUIC

/// ProbeRTT and idle times, as the draft's appendix has its cases.
@Suite struct BBRProbeRTTTests {
  @Test("Entering and Exiting PROBE_RTT")
  func enteringAndExitingProbeRTT() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeCruise))
    #expect(try path.run(to: .probeRTT))
    let entry = try #require(path.entry(.probeRTT))
    #expect(entry.time > entry.before.probeRTTMinStamp + .seconds(5))
    #expect(entry.after.state.cwndGain == 0.5)
    #expect(entry.after.congestionWindow <= UInt64(0.51 * path.bdp))
    #expect(entry.after.priorCwnd == entry.before.cwnd)
    var held: (from: Instant, least: UInt64)?
    path.journal.onAck = { _, after in
      guard after.state == .probeRTT, let done = after.probeRTTDoneStamp else { return }
      held = (done - BBR.probeRTTDuration, min(held?.least ?? .max, after.inFlight))
    }
    #expect(try path.run(within: .seconds(2)) { $0.state != .probeRTT })
    let exit = try #require(path.exit(.probeRTT))
    let since = try #require(held?.from)
    #expect(exit.time - since > .milliseconds(200))
    #expect(exit.after.roundCount >= entry.after.roundCount + 1)
    #expect(exit.after.state == .probeCruise)
    #expect(exit.after.cwnd > 1.9 * path.bdp)
    #expect(exit.after.minRTT < .milliseconds(43), "the queue was empty")
    let resumed = (path.now - .zero).seconds + 0.1
    try path.run(.seconds(1))
    #expect(path.utilisation(from: resumed, to: resumed + 0.8) > 0.95)
  }

  @Test("Skipping PROBE_RTT Due to Application-Limited Sending")
  func skippingProbeRTTDueToApplicationLimitedSending() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeCruise))
    path.write(.silent)
    try path.run(.seconds(6))
    #expect(path.bbr.state == .probeCruise)
    #expect(path.bbr.inFlight == 0)
    #expect(path.now > path.bbr.probeRTTMinStamp + .seconds(5))
    path.write(.bulk)
    #expect(path.bbr.idleRestart)
    #expect(path.bbr.pacingBytesPerSecond == path.bbr.bw * 0.99)
    #expect(path.flow.sender.bytesInFlight > 0)
    #expect(path.flow.sender.bytesInFlight <= path.bbr.sendQuantum! * 2, "paced, not a window at once")
    #expect(try path.run(within: .seconds(1)) { !$0.idleRestart })
    try path.run(.seconds(4))
    #expect(path.entry(.probeRTT) == nil)
    // The idle time was as good as a ProbeRTT: the next is due five seconds after it.
    #expect(path.bbr.probeRTTMinStamp > .zero + .seconds(6))
  }

  @Test func idleInProbeRTTEndsIt() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeRTT))
    #expect(try path.run(within: .seconds(1)) { $0.probeRTTDoneStamp != nil })
    path.write(.silent)
    try path.run(.seconds(1))
    #expect(path.bbr.state == .probeRTT)
    path.write(.bulk)
    #expect(path.bbr.state == .probeCruise, "before the first packet is acknowledged")
    #expect(path.bbr.cwnd > 1.9 * path.bdp)
  }

  /// The window of 10 s spans two ProbeRTTs, so that one in which the queue did not drain is not believed at once.
  @Test func aLongerPathIsLearnedWithinTwoProbeRTTs() throws {
    var rtt = RTTEstimator()
    rtt.update(.milliseconds(40), ackDelay: .zero, maxAckDelay: nil, now: .zero)
    var bbr = BBR(maximumDatagramSize: 1200, seed: 1)
    func ack(_ milliseconds: Int64, _ rtt: Int64) {
      bbr.now = .zero + .milliseconds(milliseconds)
      bbr.rs.rtt = .milliseconds(rtt)
      bbr.updateMinRTT()
    }
    ack(0, 40)
    #expect(bbr.minRTT == .milliseconds(40))
    ack(4_000, 70)
    #expect(bbr.minRTT == .milliseconds(40))
    ack(5_001, 70)
    #expect(bbr.probeRTTExpired)
    #expect(bbr.minRTT == .milliseconds(40))
    ack(9_999, 65)
    #expect(bbr.minRTT == .milliseconds(40))
    ack(10_002, 66)
    #expect(bbr.minRTT == .milliseconds(65))
  }
}
