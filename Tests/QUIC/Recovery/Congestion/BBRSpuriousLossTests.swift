import CongestionSimulation
import Testing
import Wire

@testable import QUIC

/// Losses that were none, as the draft's appendix has its cases.
@Suite struct BBRSpuriousLossTests {
  @Test("Handling Spurious Fast Recovery")
  func handlingSpuriousFastRecovery() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeUp))
    try path.run(.milliseconds(50))
    let before = path.bbr
    path.changeLink { $0.reordering = (0.1, .milliseconds(30)) }
    try path.run(.milliseconds(60))
    path.changeLink { $0.reordering = nil }
    #expect(try path.run(within: .seconds(1)) { $0.state == .probeDown })
    // SaveStateUponLoss(), and that the losses ended ProbeBW_UP.
    let undo = try #require(path.bbr.undo)
    #expect(undo.state == .probeUp)
    #expect(undo.bwShortterm == before.bwShortterm)
    #expect(undo.inflightShortterm == before.inflightShortterm)
    #expect(undo.inflightLongterm == before.inflightLongterm)
    #expect(path.bbr.inflightLongterm.isFinite)
    #expect(path.statistics.packetsLost > 0)
    #expect(path.statistics.spuriousRecoveries == 0)
    // The late ones arrive.
    #expect(try path.run(within: .seconds(1)) { $0.undo == nil })
    #expect(path.statistics.spuriousRecoveries == 1)
    #expect(path.bbr.state == .probeRefill)
    #expect(path.bbr.inflightLongterm == .infinity)
    #expect(path.bbr.bwShortterm == .infinity)
    #expect(path.bbr.inflightShortterm == .infinity)
    #expect(path.bbr.cwnd >= 0.95 * before.cwnd)
    #expect(try path.run(to: .probeUp, within: .milliseconds(200)))
  }

  @Test("Handling Spurious Fast Recovery: in STARTUP")
  func spuriousLossInStartup() throws {
    var path = BBRPath(megabits: 50, roundTrip: 40, buffer: 4)
    try path.run(.milliseconds(240))
    #expect(path.bbr.state == .startup)
    // Of every ten packets one is late: more than the threshold, in more than six ranges.
    path.changeLink { $0.reordering = (0.1, .milliseconds(30)) }
    #expect(try path.run(within: .milliseconds(400)) { $0.state != .startup })
    path.changeLink { $0.reordering = nil }
    let exit = try #require(path.exit(.startup))
    #expect(exit.after.undo?.state == .startup)
    #expect(try path.run(within: .seconds(1)) { $0.undo == nil })
    if path.bbr.state == .startup { #expect(!path.bbr.fullBwReached) }
    #expect(path.statistics.spuriousRecoveries >= 1)
  }

  /// QUIC's timeout declares nothing lost; what comes of a path that holds everything back is persistent congestion.
  @Test("Handling Spurious RTO Recovery")
  func handlingSpuriousRTORecovery() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4)
    #expect(try path.run(to: .probeUp))
    try path.run(.milliseconds(50))
    let before = path.bbr
    path.changeLink { $0.reordering = (1, .milliseconds(1_500)) }
    try path.run(.milliseconds(900))
    path.changeLink { $0.reordering = nil }
    #expect(path.statistics.persistentCongestions == 0)
    var windows: [UInt64] = []
    path.journal.onAck = { _, after in windows.append(after.congestionWindow) }
    #expect(try path.run(within: .seconds(1)) { $0.undo != nil })
    #expect(path.statistics.persistentCongestions == 1)
    #expect(path.bbr.cwnd < 0.1 * before.cwnd)
    #expect(path.bbr.priorCwnd == before.cwnd)
    // The model of the path is kept: a time-out that forgot it would spiral down.
    #expect(path.bbr.maxBw == before.maxBw)
    #expect(path.bbr.minRTT == before.minRTT)
    let undo = try #require(path.bbr.undo)
    #expect(undo.bwShortterm == before.bwShortterm)
    #expect(undo.inflightShortterm == before.inflightShortterm)
    #expect(undo.inflightLongterm == before.inflightLongterm)
    #expect(undo.state == .probeUp)
    #expect(try path.run(within: .seconds(3)) { $0.undo == nil })
    #expect(path.statistics.spuriousRecoveries == 1)
    #expect(path.bbr.inflightLongterm == .infinity)
    #expect(path.bbr.state == .probeRefill)
    #expect(path.bbr.cwnd > before.bdp)
    #expect(try path.run(to: .probeUp, within: .milliseconds(200)))
  }

  /// One packet of twenty is 10 ms late, all the time: Startup ends, and no queue stands.
  @Test func aPathThatGoesOnReorderingIsNotProbedWithoutEnd() throws {
    var path = BBRPath(megabits: 20, roundTrip: 40, buffer: 4) { _ in
    } link: {
      $0.reordering = (0.05, .milliseconds(10))
    }
    try path.run(.seconds(20))
    #expect(path.statistics.spuriousRecoveries > 100)
    #expect(path.bbr.fullBwReached)
    #expect(path.world.queuePercentile(0.5, from: 2, to: 20) < 0.25 * path.bdp)
    #expect(path.utilisation(from: 2, to: 20) > 0.7)
  }

  // MARK: What tells

  private func episode(_ lost: [UInt64], sent: Int64 = 0, now: Int64 = 100) -> LossEpisode {
    var episode = LossEpisode()
    for number in lost {
      episode.onLost(
        number, isOneRTT: true, sent: .zero + .milliseconds(sent), now: .zero + .milliseconds(now))
    }
    return episode
  }

  @Test func anEpisodeIsSpuriousOnceAllOfItHasArrived() {
    var some = episode([3, 4, 5, 9, 12])
    #expect(some.lowest == 3)
    #expect(whole { some.onAcknowledged(20...40) } == false)
    #expect(whole { some.onAcknowledged(4...4) } == false)
    #expect(whole { some.onAcknowledged(9...12) } == false)
    #expect(some.lowest == 3)
    #expect(whole { some.onAcknowledged(3...3) } == false)
    #expect(whole { some.onAcknowledged(3...3) } == false)
    #expect(some.isOpen)
    #expect(whole { some.onAcknowledged(0...7) })
    #expect(!some.isOpen)
    #expect(whole { some.onAcknowledged(0...7) } == false)
  }

  @Test func aLaterLossBeginsAnotherEpisode() {
    var two = episode([3, 4])
    // Sent before the first was declared: of the same.
    two.onLost(7, isOneRTT: true, sent: .zero + .milliseconds(50), now: .zero + .milliseconds(120))
    #expect(whole { two.onAcknowledged(3...4) } == false)
    two.onLost(30, isOneRTT: true, sent: .zero + .milliseconds(130), now: .zero + .milliseconds(200))
    #expect(two.lowest == 30)
    #expect(whole { two.onAcknowledged(30...30) })
  }

  @Test func tooManyHolesAreNoReordering() {
    let many = episode((0..<100).map { $0 * 2 })
    #expect(!many.isOpen)
    var mixed = episode([1])
    mixed.onLost(5, isOneRTT: false, sent: .zero, now: .zero + .milliseconds(101))
    #expect(!mixed.isOpen, "what another space lost is not followed")
  }

  /// `#expect` may not change what it captures.
  private func whole(_ body: () -> Bool) -> Bool { body() }
}
