import QUIC
import Wire

/// One run of the sweep, drawn from its seed.
struct Story: CustomStringConvertible {
  /// What befalls the connection beside the path's everyday faults.
  enum Turn: CaseIterable {
    case nothing
    case burstLoss
    case blackHole
    case portRebinding
    case addressRebinding
    case migration
    case migrationAwayFromADeadPath
    case blackout
    case ecnTrouble
    case delayStep
    case keyUpdates
    case asymmetricRates
    case smallWindows
    case manyStreams
  }

  let seed: UInt64
  let turn: Turn
  private(set) var scenario: Scenario
  private let dice: Dice

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

  private static func arrange(_ turn: Turn, _ scenario: inout Scenario, _ dice: inout Dice) {
    let soon = Scenario.start + .milliseconds(Int64(dice.below(800)))
    switch turn {
    case .nothing, .keyUpdates: break
    case .burstLoss:
      scenario.up.bursts = BurstLoss(goodToBad: dice.unit() * 0.05, badToGood: 0.2 + dice.unit() * 0.5)
      scenario.down.bursts = BurstLoss(goodToBad: dice.unit() * 0.05, badToGood: 0.2 + dice.unit() * 0.5)
    case .blackHole:
      scenario.up.mtu = 1_472
      scenario.down.mtu = 1_472
      let mtu = 1_200 + Int(dice.below(240))
      if dice.chance(0.7) { scenario.up.mtuSteps = [(soon, mtu)] }
      if dice.chance(0.7) { scenario.down.mtuSteps = [(soon, mtu)] }
      scenario.plan.bytes *= 4
    case .portRebinding, .addressRebinding, .migration, .migrationAwayFromADeadPath:
      scenario.up.rate = 100_000 + Double(dice.below(400_000))
      scenario.down.rate = 100_000 + Double(dice.below(400_000))
      scenario.plan.bytes *= 2
      if turn == .migration || dice.chance(0.5) {
        scenario.second = (.random(&dice, worst: 0.03), .random(&dice, worst: 0.03))
      }
    case .blackout:
      let outage = soon..<soon + .milliseconds(Int64(dice.below(6_000)))
      if dice.chance(0.7) { scenario.up.blackouts = [outage] }
      if dice.chance(0.7) { scenario.down.blackouts = [outage] }
    case .ecnTrouble:
      let treatments: [ECNTreatment] = [.bleaches, .remarks, .marksAll, .dropsMarked, .passes]
      scenario.up.ecnTreatment = treatments[Int(dice.below(5))]
      scenario.down.ecnTreatment = treatments[Int(dice.below(5))]
      scenario.up.markingThreshold = 3_000
      scenario.down.markingThreshold = 3_000
    case .delayStep:
      scenario.up.delaySteps = [(soon, .milliseconds(Int64(dice.below(400))))]
      scenario.down.delaySteps = [(soon + .milliseconds(100), .milliseconds(Int64(dice.below(400))))]
    case .asymmetricRates:
      scenario.up.rate = 20_000 + Double(dice.below(50_000))
      scenario.up.queueBytes = 20_000
    case .smallWindows:
      scenario.client.initialMaxData = 1_000 + dice.below(5_000)
      scenario.server.initialMaxData = 1_000 + dice.below(5_000)
      scenario.client.initialMaxStreamDataBidiLocal = 500 + dice.below(2_000)
      scenario.server.initialMaxStreamDataBidiRemote = 500 + dice.below(2_000)
      scenario.client.sendBufferLimit = 3_000
    case .manyStreams:
      scenario.plan.streams = 20 + Int(dice.below(40))
      scenario.plan.bytes = 1 + Int(dice.below(600))
      scenario.server.maxStreamsBidi = 1 + dice.below(8)
    }
    if turn == .keyUpdates || dice.chance(0.1) {
      scenario.client.keyUpdateInterval = 10 + dice.below(20)
      scenario.server.keyUpdateInterval = dice.chance(0.5) ? 10 + dice.below(20) : nil
    }
  }

  func makeNetwork() -> Network { scenario.makeNetwork() }

  /// Runs it. Nil when every rule held, otherwise what did not.
  func run() -> String? { verdict(of: makeNetwork()) }

  func verdict(of network: Network) -> String? {
    befall(network)
    network.runToTheEnd()
    return network.verdict
  }

  /// Runs it again with a trace, and says how to do so alone.
  func retell() -> String {
    let network = makeNetwork()
    let trace = PacketTrace()
    network.trace = trace
    let verdict = verdict(of: network)
    trace.note("verdict: \(verdict ?? "none: the run is not deterministic")", now: network.now)
    let place = trace.write(seed: seed) ?? "nowhere: it could not be written"
    return """
      \(self)
      alone: SIMULATION_SEED=\(seed) swift test --filter SeedSweepTests
      trace: \(place); it ends
      \(trace.lines.suffix(40).joined(separator: "\n"))
      """
  }

  private func befall(_ network: Network) {
    var dice = dice
    switch turn {
    case .portRebinding, .addressRebinding:
      // RFC 9000 §9: an address is to stay as it is until the handshake is confirmed.
      network.run(until: Scenario.start + .seconds(100)) { network.client.connection.isHandshakeConfirmed }
      for step: Int64 in 1...Int64(1 + dice.below(2)) {
        let host = turn == .portRebinding ? Network.clientAddress.ip : .v4(IPv4Address(198, 51, 100, UInt8(step)))
        let address = SocketAddress(host, port: 50_000 + UInt16(step))
        network.rebindings.append((network.now + .milliseconds(100 * step + Int64(dice.below(100))), address))
      }
    case .migration, .migrationAwayFromADeadPath:
      network.run(until: Scenario.start + .seconds(100)) { network.client.connection.isHandshakeConfirmed }
      network.run(until: network.now + .milliseconds(Int64(dice.below(300)))) { network.isTransferDone }
      if turn == .migrationAwayFromADeadPath {
        network.publicAddress = SocketAddress(.v4(IPv4Address(192, 0, 2, 99)), port: 9)
      }
      let target = Path(local: Network.secondClientAddress, remote: Network.serverAddress)
      while network.firstFault == nil, !network.client.connection.migrate(to: target, now: network.now) {
        // No ID may be left for it yet.
        if network.now > Scenario.start + .seconds(100) || network.isTransferDone { return }
        network.run(until: network.now + .milliseconds(100)) { false }
      }
    case .keyUpdates:
      for step in 0..<6 {
        network.run(until: network.now + .milliseconds(Int64(dice.below(200)))) { network.isTransferDone }
        let peer = step % 2 == 0 ? network.client : network.server
        if peer?.connection.isHandshakeConfirmed == true { peer?.connection.initiateKeyUpdate() }
      }
    default: break
    }
  }
}
