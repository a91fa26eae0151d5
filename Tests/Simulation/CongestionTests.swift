import Testing
import Wire

@testable import QUIC

/// What the congestion controllers do with a bottleneck, in virtual time.
@Suite struct CongestionSimulationTests {
  /// A path of `rate` Mbit/s and a round trip of `rtt` ms, with a queue of `buffer` bandwidth-delay products.
  static func path(_ rate: Double, rtt: Int64, buffer: Double) -> (LinkConditions, LinkConditions) {
    var forward = LinkConditions()
    forward.rate = rate * 125_000
    forward.delay = .microseconds(rtt * 500)
    forward.queueBytes = max(Int(forward.rate * Double(rtt) / 1000 * buffer), 20_000)
    var backward = LinkConditions()
    backward.rate = 125_000_000
    backward.delay = forward.delay
    return (forward, backward)
  }

  @Test(arguments: CongestionAlgorithm.allCases, [0.5, 1, 4])
  func aloneFillsTheBottleneck(algorithm: CongestionAlgorithm, buffer: Double) throws {
    let (forward, backward) = Self.path(20, rtt: 40, buffer: buffer)
    var world = Bottleneck(forward: forward, backward: backward, seed: 1)
    world.addFlow(algorithm, pieces: 12_000)
    try world.run(until: .zero + .seconds(60))
    let finished = try #require(world.flows[0].finished)
    let utilisation = Double(12_000 * Bottleneck.packetSize) / forward.rate / (finished - .zero).seconds
    // NewReno halves, and half a bandwidth-delay product of buffer does not carry it over that.
    let least = algorithm == .newReno ? 0.8 : 0.88
    #expect(utilisation > least, "\(algorithm) with \(buffer) BDP: \(utilisation)")
    let flow = world.flows[0]
    let resent = Double(flow.sender.statistics.bytesLost) / Double(flow.sender.statistics.bytesSent)
    #expect(resent < 0.05, "\(resent)")
    #expect(flow.sender.statistics.persistentCongestions == 0)
  }

  /// Conservative slow start grows threefold at most; plain slow start goes on until it loses.
  @Test func hyStartLeavesBeforeADeepQueueOverflows() throws {
    func drops(_ algorithm: CongestionAlgorithm) throws -> Int {
      let (forward, backward) = Self.path(20, rtt: 60, buffer: 8)
      var world = Bottleneck(forward: forward, backward: backward, seed: 1)
      world.addFlow(algorithm, pieces: nil)
      try world.run(until: .zero + .seconds(3))
      return world.forward.counters.dropped
    }
    let withHyStart = try drops(.cubic)
    let without = try drops(.newReno)
    #expect(withHyStart == 0)
    #expect(without > 100)
  }

  @Test(arguments: CongestionAlgorithm.allCases) func twoFlowsShareFairly(algorithm: CongestionAlgorithm) throws {
    let (forward, backward) = Self.path(20, rtt: 30, buffer: 1)
    var world = Bottleneck(forward: forward, backward: backward, seed: 3)
    world.addFlow(algorithm, pieces: nil)
    world.addFlow(algorithm, pieces: nil, start: .zero + .seconds(2))
    try world.run(until: .zero + .seconds(40))
    let shares = world.flows.map { Double($0.progress[399] - $0.progress[199]) }
    let sum = shares.reduce(0, +)
    let jain = sum * sum / (2 * shares.reduce(0) { $0 + $1 * $1 })
    #expect(jain > 0.9, "\(shares)")
    #expect(sum / 20 / forward.rate > 0.9)
  }

  @Test(arguments: 0..<60 as Range<UInt64>) func everythingArrivesWhateverThePathDoes(seed: UInt64) throws {
    var dice = Dice(seed: seed)
    var forward = LinkConditions.random(&dice, worst: 0.1)
    var backward = LinkConditions.random(&dice, worst: 0.1)
    forward.markingThreshold = seed % 4 == 0 ? forward.queueBytes / 2 : nil
    let blackout = Instant.zero + .milliseconds(Int64(dice.below(2000)))
    forward.blackouts = [blackout..<blackout + .milliseconds(Int64(dice.below(3000)))]
    backward.blackouts = seed % 3 == 0 ? forward.blackouts : []
    var world = Bottleneck(forward: forward, backward: backward, seed: seed)
    world.addFlow(
      CongestionAlgorithm.allCases[Int(seed % 3)], pieces: 2000, ackThreshold: seed % 5 == 0 ? 10 : 2,
      ecn: seed % 4 == 0)
    try world.run(until: .zero + .seconds(600))
    let flow = world.flows[0]
    #expect(flow.finished != nil, "\(forward) \(backward)")
    // No timer fires for ever, and no storm of probes.
    #expect(flow.sender.statistics.packetsSent < 12_000)
  }

  @Test func acknowledgingEveryTenthPacketCostsNoThroughput() throws {
    var times: [Double] = []
    for threshold in [2, 10] {
      let (forward, backward) = Self.path(100, rtt: 20, buffer: 1)
      var world = Bottleneck(forward: forward, backward: backward, seed: 1)
      world.addFlow(.cubic, pieces: 20_000, ackThreshold: threshold)
      try world.run(until: .zero + .seconds(60))
      times.append((try #require(world.flows[0].finished) - .zero).seconds)
    }
    #expect(times[1] < times[0] * 1.1, "\(times)")
  }

  @Test func marksKeepTheQueueShortWithoutLoss() throws {
    var (forward, backward) = Self.path(20, rtt: 40, buffer: 4)
    forward.markingThreshold = 50_000
    backward.queueBytes = 1 << 20
    var world = Bottleneck(forward: forward, backward: backward, seed: 1)
    world.addFlow(.cubic, pieces: 10_000, ecn: true)
    try world.run(until: .zero + .seconds(30))
    #expect(world.flows[0].finished != nil)
    #expect(world.flows[0].sender.ecn.state == .capable)
    #expect(world.forward.counters.marked > 0)
    #expect(world.forward.counters.dropped == 0)
    #expect(world.flows[0].sender.statistics.packetsLost == 0)
  }

  @Test func oneSeedIsOneRun() throws {
    func run() throws -> (Link.Counters, RecoveryStatistics, Instant?) {
      var dice = Dice(seed: 7)
      let conditions = LinkConditions.random(&dice, worst: 0.05)
      var world = Bottleneck(forward: conditions, backward: conditions, seed: 7)
      world.addFlow(.cubic, pieces: 3000)
      try world.run(until: .zero + .seconds(300))
      return (world.forward.counters, world.flows[0].sender.statistics, world.flows[0].finished)
    }
    let first = try run()
    let second = try run()
    #expect(first.0 == second.0)
    #expect(first.1 == second.1)
    #expect(first.2 == second.2)
    #expect(first.2 != nil)
  }
}
