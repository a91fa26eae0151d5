import CongestionSimulation
import Testing
import Wire

@testable import QUIC

/// Paths at the edge, and paths that change, as the draft's appendix has its cases.
@Suite struct BBRPathChangeTests {
  @Test("Correctly Managing Sub-Packet BDPs", arguments: [(0.064, 10.0), (0.064, 100), (1, 1)])
  func correctlyManagingSubPacketBDPs(megabits: Double, roundTrip: Double) throws {
    var path = BBRPath(megabits: megabits, roundTrip: roundTrip, buffer: 0) { _ in
    } link: {
      $0.queueBytes = 60_000
    }
    #expect(path.bdp < 1_200)
    var least = UInt64.max
    path.journal.onAck = { _, after in least = min(least, after.congestionWindow) }
    #expect(try path.run(to: .probeCruise, within: .seconds(60)))
    try path.run(.seconds(30))
    #expect(least >= 4_800)
    #expect(abs(path.bbr.maxBw / path.rate - 1) < 0.02)
    let pacing = path.bbr.pacingBytesPerSecond / path.rate
    #expect(pacing > 0.85 && pacing < 1.3)
    #expect(path.utilisation(from: 5, to: 30) > 0.97)
    #expect(path.statistics.packetsLost == 0)
    // A window of packets of its own making is all the queue there is.
    #expect(path.world.queuePercentile(0.95, from: 5, to: 30) < 20 * 1_200)
  }

  /// picoquic #2118: round trips of less than a millisecond must not stop a flow.
  @Test(arguments: [(1_000.0, 0.05), (100, 0.1)])
  func roundTripsBelowAMillisecond(megabits: Double, roundTrip: Double) throws {
    var path = BBRPath(megabits: megabits, roundTrip: roundTrip, buffer: 10) { _ in
    } link: {
      $0.queueBytes = 250_000
    }
    try path.run(.milliseconds(500))
    #expect(path.utilisation(from: 0.1, to: 0.5) > 0.97)
    #expect(path.bbr.roundCount > 400)
  }

  @Test("Increasing Bandwidth 10x and Ensuring Full Bandwidth is Reached", arguments: [0.5, 4])
  func increasingBandwidthTenfold(buffer: Double) throws {
    var path = BBRPath(megabits: 10, roundTrip: 40, buffer: buffer)
    #expect(try path.run(to: .probeRTT))
    #expect(try path.run(to: .probeCruise))
    path.changeRate(times: 10)
    path.changeLink { $0.queueBytes = max($0.queueBytes, 50_000) }
    var increments: [Double] = []
    var upRounds: UInt64 = 0
    path.journal.onAck = { before, after in
      guard after.state == .probeUp else { return }
      if before.state == .probeUp, after.roundStart { upRounds += 1 }
      // The first probe may be a cautious one.
      if before.state != .probeUp { increments = [] }
      if after.bwProbeUpRounds > before.bwProbeUpRounds { increments.append(after.cwnd / after.probeUpAckedPerInc) }
    }
    let tenfold = 10 * path.rate
    #expect(try path.run(within: .seconds(10)) { $0.maxBw > 0.95 * tenfold })
    // O(log(BDP)): 417 packets of it are 333 more than before, and 2^9 times one.
    #expect(upRounds <= 25, "\(upRounds) rounds")
    if buffer < 1 {
      // inflight_longterm was set, and is raised by 1, 2, 4, 8... packets a round.
      #expect(increments.count >= 8)
      for (round, increment) in increments.enumerated() {
        let growth = Double(1 << round)
        #expect(abs(increment / growth - 1) < 0.1, "\(increment) datagrams in round \(round)")
      }
    } else {
      #expect(path.bbr.inflightLongterm == .infinity)
    }
  }

  @Test("Decreasing Bandwidth 10x and Ensuring Max Bandwidth Adapts Down", arguments: [0.2, 1])
  func decreasingBandwidthTenfold(buffer: Double) throws {
    var path = BBRPath(megabits: 100, roundTrip: 40, buffer: buffer)
    #expect(try path.run(to: .probeRTT))
    #expect(try path.run(to: .probeCruise))
    path.changeRate(times: 0.1)
    let rate = path.rate
    #expect(path.bbr.bwShortterm == .infinity)
    #expect(try path.run(within: .seconds(3)) { $0.bwShortterm < 0.5 * rate })
    #expect(path.statistics.packetsLost > 0)
    var advances = 0
    path.journal.onAck = { before, after in
      if after.maxBwFilter.current == 0, before.maxBwFilter.current > 0 { advances += 1 }
    }
    #expect(try path.run(within: .seconds(15)) { $0.maxBw < 0.11 * rate })
    #expect(advances <= 3, "the cycle of the change is one of the two that are remembered")
    #expect(abs(path.bbr.maxBw / (0.1 * path.rate) - 1) < 0.02)
    let settled = (path.now - .zero).seconds + 5
    let lost = path.statistics.packetsLost
    try path.run(.seconds(15))
    #expect(path.utilisation(from: settled, to: settled + 10) > 0.093)
    #expect(path.statistics.packetsLost - lost < 20)
  }

  @Test("Handling Token Bucket Policers", arguments: [16_000, 64_000, 250_000] as [Double])
  func handlingTokenBucketPolicers(burst: Double) throws {
    let tokens = 1_250_000.0
    var path = BBRPath(megabits: 100, roundTrip: 40, buffer: 2) { _ in
    } link: {
      $0.policer = (tokens, burst)
    }
    var isShortterm = (bw: false, inflight: false)
    path.journal.onAck = { _, after in
      if after.bwShortterm.isFinite { isShortterm.bw = true }
      if after.inflightShortterm.isFinite { isShortterm.inflight = true }
    }
    try path.run(.seconds(20))
    #expect(isShortterm.bw && isShortterm.inflight)
    let before = path.statistics
    try path.run(.seconds(20))
    let conformity = path.world.goodput(0, from: 20, to: 40) / tokens
    #expect(conformity > 0.9 && conformity <= 1.01, "\(conformity)")
    let lost = Double(path.statistics.packetsLost - before.packetsLost)
    // A bucket of 200 ms lets a probe run far ahead before it is empty.
    let most = burst < 100_000 ? 0.025 : 0.05
    #expect(lost / Double(path.statistics.packetsSent - before.packetsSent) < most)
  }
}
