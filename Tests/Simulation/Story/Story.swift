import QUIC
import Wire

/// One run of the sweep, drawn from its seed.
struct Story: CustomStringConvertible {
  /// What befalls the connection beside the path's everyday faults.
  enum Turn: CaseIterable {
    case nothing
    case burstLoss, blackHole, blackout, intermittentPath, ecnTrouble, delayStep, asymmetricRates
    case portRebinding, addressRebinding, migration, migrationAwayFromADeadPath, preferredAddress
    case keyUpdates, smallWindows, manyStreams
    case resumption, earlyData, earlyDataRefused, earlyDataReplayed, limitsLowered, limitsRaised
    case versionTwo, versionNegotiation, addressToken
    case serverCrash
    case drain, earlyRequests
  }

  let seed: UInt64
  let turn: Turn
  var scenario: Scenario
  /// What is left of the seed's luck once the scenario has been drawn.
  let dice: Dice

  init(seed: UInt64) {
    self.seed = seed
    var dice = Dice(seed: seed ^ 0x57_0419)
    // The turns take their turns, so that each has its share of any range of seeds.
    turn = Turn.allCases[Int(seed % UInt64(Turn.allCases.count))]
    scenario = Scenario.random(seed, totalBytes: 2_000 + Int(dice.below(24_000)), worst: dice.chance(0.3) ? 0.1 : 0.03)
    scenario.up.blackouts = []
    scenario.down.blackouts = []
    // A client that only listens must speak now and then, or a server whose path has died cannot know it.
    scenario.client.keepAliveInterval = .seconds(1)
    Self.arrange(turn, &scenario, &dice)
    self.dice = dice
  }

  var description: String { "\(turn), \(scenario)" }

  /// How it went.
  struct Outcome: Equatable {
    /// What did not hold; nil when every rule did.
    var verdict: String?
    var fingerprint: UInt64 = 0
  }

  /// Runs it.
  func run(_ recorder: Recorder? = nil) -> Outcome {
    var scenario = scenario
    scenario.recorder = recorder
    var dice = dice
    if let verdict = prepare(&scenario, &dice) { return Outcome(verdict: verdict) }
    let network = makeNetwork(scenario)
    befall(network, &dice)
    finish(network)
    let verdict = verdict(of: network, scenario)
    recorder?.trace.note("verdict: \(verdict ?? "none")", now: network.now)
    return Outcome(verdict: verdict, fingerprint: network.fingerprint)
  }

  /// Runs it again and writes it down, and says how to do so alone.
  func retell() -> String {
    let recorder = Recorder(name: "seed-\(seed)")
    let outcome = run(recorder)
    return """
      \(self)
      alone: SIMULATION_SEED=\(seed) swift test --filter SeedSweepTests
      written: \(recorder.write())
      the second run: \(outcome.verdict ?? "no fault: the run is not deterministic"); its trace ends
      \(recorder.trace.lines.suffix(40).joined(separator: "\n"))
      """
  }
}
