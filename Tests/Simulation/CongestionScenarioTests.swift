import CongestionSimulation
import Testing
import Wire

@testable import QUIC

/// The scenarios that congestion control is judged by, within the bands that others' or the draft's goals set.
/// `Benchmarks/scenarios` runs all nine at full length and draws the curves.
@Suite struct CongestionScenarioTests {
  /// Flows over a path of `megabits` and `roundTrip` ms with a queue of `buffer` bandwidth-delay products.
  static func world(
    _ megabits: Double, roundTrip: Int64, buffer: Double, _ algorithms: [CongestionAlgorithm], starts: [Int64] = [],
    seed: UInt64 = 1, plan change: (inout Flow.Plan) -> Void = { _ in },
    link: (inout SharedLink.Conditions) -> Void = { _ in }
  ) -> Dumbbell {
    let bytes = Self.bdp(megabits, roundTrip)
    var conditions = SharedLink.Conditions(rate: megabits * 125_000, queueBytes: Int(bytes * buffer))
    link(&conditions)
    var world = Dumbbell(conditions, seed: seed)
    for (index, algorithm) in algorithms.enumerated() {
      var plan = Flow.Plan(algorithm, roundTrip: .milliseconds(roundTrip))
      if index < starts.count { plan.start = .zero + .milliseconds(starts[index]) }
      change(&plan)
      world.add(plan)
    }
    return world
  }

  static func bdp(_ megabits: Double, _ roundTrip: Int64) -> Double { megabits * 125 * Double(roundTrip) }

  // MARK: 1 and 2: one flow of 12 MB, as google/quiche tests its own

  @Test func oneFlowWithRoomFindsTheBandwidthAndLosesNothing() throws {
    var world = Self.world(4, roundTrip: 67, buffer: 2, [.bbrV3]) { $0.bytes = 12_000_000 }
    var flatRounds: Int?
    world.onAck = { flow, _, _ in
      guard let bbr = flow.sender.controller.bbr, flatRounds == nil, bbr.state != .startup else { return }
      #expect(bbr.state == .drain)
      flatRounds = bbr.fullBwCount
    }
    try world.run(until: .zero + .seconds(40))
    let flow = world.flows[0]
    #expect(flow.finished != nil)
    #expect(flow.sender.statistics.packetsLost == 0)
    #expect(world.link.counters.dropped == 0)
    #expect(flatRounds == 3, "Drain after three rounds without growth")
    let bandwidth = try #require(flow.sender.controller.bbr?.maxBw)
    #expect(abs(bandwidth / 500_000 - 1) < 0.01)
    #expect(flow.sender.rtt.smoothed < .milliseconds(67) * 5 / 2)
    #expect(world.goodput(0, from: 1, to: 24) > 0.95 * 500_000)
  }

  @Test(arguments: [1_200, 1_250, 1_400]) func aShallowBufferLosesLittleInStartup(datagram: Int) throws {
    var world = Self.world(4, roundTrip: 67, buffer: 0.5, [.bbrV3]) {
      $0.bytes = 1 << 20
      $0.datagramSize = datagram
    }
    try world.run(until: .zero + .seconds(15))
    let flow = world.flows[0]
    #expect(flow.finished != nil)
    let statistics = flow.sender.statistics
    #expect(Double(statistics.packetsLost) / Double(statistics.packetsSent) <= 0.05, "\(statistics)")
    let bandwidth = try #require(flow.sender.controller.bbr?.maxBw)
    #expect(abs(bandwidth / 500_000 - 1) < 0.02)
  }

  // MARK: 3: the draft's goal for the queue

  @Test(arguments: [1, 10, 50, 100] as [Double], [0, 1_300] as [Int64])
  func twoFlowsKeepTheQueueShort(buffer: Double, start: Int64) throws {
    var world = Self.world(50, roundTrip: 30, buffer: buffer, [.bbrV3, .bbrV3], starts: [0, start])
    try world.run(until: .zero + .seconds(25))
    let queue = world.queuePercentile(0.5, from: 5, to: 25) / Self.bdp(50, 30)
    #expect(queue <= 1.5, "P50 of the queue is \(queue) BDP")
    #expect(world.utilisation(from: 5, to: 25) > 0.95)
    let lost = world.flows.reduce(0) { $0 + $1.sender.statistics.packetsLost }
    let sent = world.flows.reduce(0) { $0 + $1.sender.statistics.packetsSent }
    #expect(Double(lost) / Double(sent) < 0.02)
  }

  @Test func cubicFillsWhatItIsGiven() throws {
    var world = Self.world(50, roundTrip: 30, buffer: 10, [.cubic, .cubic])
    try world.run(until: .zero + .seconds(25))
    #expect(world.queuePercentile(0.5, from: 5, to: 25) / Self.bdp(50, 30) > 5)
  }

  // MARK: 5: random loss

  /// At 100 Mbit/s here, for the time that a build without optimisation takes; `Benchmarks/scenarios` has 1 Gbit/s.
  @Test func randomLossOfOnePercentLeavesTheRate() throws {
    func share(_ algorithm: CongestionAlgorithm) throws -> Double {
      var world = Self.world(100, roundTrip: 100, buffer: 1, [algorithm]) { _ in
      } link: {
        $0.loss = 0.01
      }
      try world.run(until: .zero + .seconds(30))
      return world.utilisation(from: 5, to: 30)
    }
    let bbr = try share(.bbrV3)
    let cubic = try share(.cubic)
    #expect(bbr > 0.9, "\(bbr)")
    #expect(cubic < 0.05, "\(cubic)")
  }

  // MARK: 7: convergence

  @Test(arguments: [1, 4] as [Double]) func aLaterFlowGetsItsShare(buffer: Double) throws {
    var world = Self.world(100, roundTrip: 100, buffer: buffer, [.bbrV3, .bbrV3], starts: [0, 15_000])
    try world.run(until: .zero + .seconds(75))
    #expect(world.jain(from: 45, to: 75) >= 0.95, "\(world.jain(from: 45, to: 75))")
    #expect(world.utilisation(from: 20, to: 75) > 0.95)
    #expect(world.queuePercentile(0.5, from: 20, to: 75) / Self.bdp(100, 100) <= 1.5)
  }

  // MARK: Others on the same link

  /// A share of its own for each, where the buffer is neither so small that nothing can be probed nor so deep that CUBIC
  /// lives off what it has queued.
  @Test(arguments: [0.5, 1, 2, 4]) func cubicAndBBRLiveTogether(buffer: Double) throws {
    var world = Self.world(50, roundTrip: 30, buffer: buffer, [.bbrV3, .cubic])
    try world.run(until: .zero + .seconds(40))
    let share = world.goodput(0, from: 10, to: 40) / 6_250_000
    #expect(share > 0.25 && share < 0.75, "\(share)")
    #expect(world.utilisation(from: 10, to: 40) > 0.95)
  }

  /// A call of 2 Mbit/s beside a bulk flow: what it waits for is the queue of the other.
  @Test func aCallWaitsLessBesideBBRThanBesideCubic() throws {
    func late(_ bulk: CongestionAlgorithm) throws -> Double {
      var isCall = true
      var world = Self.world(20, roundTrip: 40, buffer: 4, [.bbrV3, bulk]) {
        if isCall { $0.application = .writes(bytes: 4_800, every: .microseconds(19_200)) }
        isCall = false
      }
      try world.run(until: .zero + .seconds(30))
      #expect(world.goodput(0, from: 10, to: 30) > 0.99 * 250_000)
      return world.inducedDelay(0, 0.95, from: 10, to: 30)
    }
    let beside = (bbr: try late(.bbrV3), cubic: try late(.cubic))
    #expect(beside.bbr < 0.07, "\(beside.bbr) s")
    #expect(beside.bbr < beside.cubic / 2, "\(beside)")
  }

  @Test func marksAreHeededBeforeAnythingIsLost() throws {
    var world = Self.world(20, roundTrip: 40, buffer: 4, [.bbrV3]) {
      $0.isECNEnabled = true
    } link: {
      $0.markingThreshold = 30_000
    }
    try world.run(until: .zero + .seconds(15))
    #expect(world.link.counters.marked > 0)
    #expect(world.flows[0].sender.statistics.congestionEvents > 3)
    #expect(world.flows[0].sender.statistics.packetsLost == 0)
    #expect(world.queuePercentile(0.95, from: 2, to: 15) < 30_000)
    #expect(world.utilisation(from: 2, to: 15) > 0.9)
  }

  @Test func oneSeedIsOneRun() throws {
    func run() throws -> (SharedLink.Counters, [Int], [Int]) {
      var world = Self.world(20, roundTrip: 40, buffer: 1, [.bbrV3, .cubic, .newReno], seed: 7) { _ in
      } link: {
        $0.loss = 0.003
      }
      try world.run(until: .zero + .seconds(5))
      return (world.link.counters, world.queue, world.flows.flatMap(\.progress))
    }
    let first = try run()
    let second = try run()
    #expect(first.0 == second.0)
    #expect(first.1 == second.1)
    #expect(first.2 == second.2)
  }
}
