import QUIC
import Testing
import Wire

/// A path that comes and goes: a train between tunnels, a radio at the edge of its cell.
@Suite struct IntermittentPathTests {
  /// Works for a time and is dead for a time, over and over, for three minutes.
  static func outages(after works: Interval, of dead: Interval) -> [Range<Instant>] {
    var outages: [Range<Instant>] = []
    var start = Scenario.start + works
    while start < Scenario.start + .seconds(180) {
      outages.append(start..<start + dead)
      start = start + dead + works
    }
    return outages
  }

  /// Both ends as the programs configure them, and a transfer that takes minutes.
  static func scenario(_ seed: UInt64, works: Interval, dead: Interval) -> Scenario {
    var dice = Dice(seed: seed)
    var scenario = Scenario(seed: seed)
    for end in [\Scenario.client, \Scenario.server] {
      scenario[keyPath: end].maxIdleTimeout = .seconds(30)
      scenario[keyPath: end].handshakeTimeout = .seconds(10)
      scenario[keyPath: end].probeTimeoutLimit = .seconds(1)
    }
    scenario.client.keepAliveInterval = .seconds(10)
    let delay = Interval.milliseconds(2 + Int64(dice.below(120)))
    let outages = outages(after: works, of: dead)
    for link in [\Scenario.up, \Scenario.down] {
      scenario[keyPath: link].rate = 60_000
      scenario[keyPath: link].queueBytes = 10_000 + Int(dice.below(40_000))
      scenario[keyPath: link].delay = delay
      scenario[keyPath: link].blackouts = outages
    }
    scenario.plan.bytes = 1_000_000
    return scenario
  }

  @Test(arguments: Scenario.seeds(600_000, 12)) func aSecondInTwoAndAHalfIsEnough(seed: UInt64) {
    Self.scenario(seed, works: .seconds(1), dead: .milliseconds(1_500)).expectHolds {
      let network = $0.makeNetwork()
      network.runToTheEnd()
      return network.verdict ?? (network.now > Scenario.start + .seconds(40) ? nil : "it was over before it mattered")
    }
  }

  /// What works for longer than the longest probe timeout is found.
  @Test(arguments: Scenario.seeds(610_000, 24)) func otherRhythmsToo(seed: UInt64) {
    var dice = Dice(seed: seed ^ 0x0ff0)
    let works = Interval.milliseconds(1_200 + Int64(dice.below(1_500)))
    let dead = Interval.milliseconds(300 + Int64(dice.below(2_700)))
    Self.scenario(seed, works: works, dead: dead).expectHolds()
  }
}
