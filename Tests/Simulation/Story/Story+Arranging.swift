import PacketCrypto
import QUIC
import Wire

/// What each turn makes of the path, the configurations and the transfer.
extension Story {
  static func arrange(_ turn: Turn, _ scenario: inout Scenario, _ dice: inout Dice) {
    let soon = Scenario.start + .milliseconds(Int64(dice.below(800)))
    arrangePath(turn, &scenario, soon, &dice)
    arrangeEnds(turn, &scenario, &dice)
    if turn == .keyUpdates || dice.chance(0.1) {
      scenario.client.keyUpdateInterval = 10 + dice.below(20)
      scenario.server.keyUpdateInterval = dice.chance(0.5) ? 10 + dice.below(20) : nil
    }
  }

  private static func arrangePath(_ turn: Turn, _ scenario: inout Scenario, _ soon: Instant, _ dice: inout Dice) {
    switch turn {
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
    case .intermittentPath:
      let works = Interval.milliseconds(1_200 + Int64(dice.below(1_500)))
      let dead = Interval.milliseconds(300 + Int64(dice.below(1_500)))
      scenario.up.blackouts = IntermittentPathTests.outages(after: works, of: dead)
      scenario.down.blackouts = scenario.up.blackouts
      scenario.up.rate = 30_000
      scenario.down.rate = 30_000
      scenario.up.queueBytes = 8_000
      scenario.down.queueBytes = 8_000
      scenario.plan.bytes *= 4
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
    case .serverCrash:
      // Long enough that it is not over when the server dies.
      scenario.up.rate = 100_000
      scenario.down.rate = 100_000
      scenario.plan.bytes = 300_000
    default: break
    }
  }

  private static func arrangeEnds(_ turn: Turn, _ scenario: inout Scenario, _ dice: inout Dice) {
    switch turn {
    case .intermittentPath:
      // As the programs have it.
      scenario.client.keepAliveInterval = .seconds(10)
      scenario.client.maxIdleTimeout = .seconds(30)
      scenario.server.maxIdleTimeout = .seconds(30)
      scenario.client.probeTimeoutLimit = .seconds(1)
      scenario.server.probeTimeoutLimit = .seconds(1)
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
    case .versionTwo:
      scenario.client.versions = [.v2, .v1]
      scenario.server.versions = dice.chance(0.5) ? [.v2, .v1] : [.v1, .v2]
    case .versionNegotiation:
      let isTwo = dice.chance(0.5)
      scenario.server.versions = [isTwo ? .v2 : .v1]
      scenario.client.initialVersion = isTwo ? .v1 : .v2
    case .addressToken: scenario.retry = .always
    case .preferredAddress:
      scenario.server.preferredAddresses = [Network.preferredAddress]
      scenario.plan.bytes *= 2
    case .drain, .earlyRequests:
      scenario.plan = TransferPlan(streams: 0, bytes: 0, datagrams: 0)
      scenario.server.maxStreamsBidi = 1 + dice.below(30)
    default: break
    }
  }

  /// What comes before the connection that the story is about.
  /// - Returns: what went wrong in it, or nil.
  func prepare(_ scenario: inout Scenario, _ dice: inout Dice) -> String? {
    switch turn {
    case .resumption, .addressToken, .serverCrash: return Acquaintance.make(for: &scenario)
    case .earlyData, .earlyDataReplayed, .earlyDataRefused, .earlyRequests:
      if let fault = Acquaintance.make(for: &scenario) { return fault }
      scenario.acquaintance?.wallet.offersEarlyData = true
      // Where there is no token, a Retry may come between.
      if dice.chance(0.5) { scenario.acquaintance?.wallet.token = [] }
      if turn == .earlyDataRefused || (turn == .earlyRequests && dice.chance(0.5)) {
        scenario.acquaintance?.book = TicketBook()
      }
      return nil
    case .limitsLowered, .limitsRaised:
      var former = scenario.server
      let change = { (limit: UInt64) in turn == .limitsLowered ? limit + limit / 2 + 3 : max(1, limit / 2) }
      former.initialMaxData = change(former.initialMaxData)
      former.initialMaxStreamDataBidiRemote = change(former.initialMaxStreamDataBidiRemote)
      former.maxStreamsBidi = change(former.maxStreamsBidi)
      if let fault = Acquaintance.make(for: &scenario, server: former) { return fault }
      scenario.acquaintance?.wallet.offersEarlyData = true
      // RFC 9000 §7.4.1 lets a server raise them.
      scenario.acquaintance?.book.ignoresContext = turn == .limitsRaised
      return nil
    case .versionTwo:
      guard dice.chance(0.4) else { return nil }
      if let fault = Acquaintance.make(for: &scenario) { return fault }
      scenario.acquaintance?.wallet.offersEarlyData = true
      return nil
    case .versionNegotiation: return negotiateVersion(&scenario)
    default: return nil
    }
  }

  /// RFC 9000 §6: the server speaks another version, and the client begins again with that.
  private func negotiateVersion(_ scenario: inout Scenario) -> String? {
    var first = scenario
    first.seed ^= 1 << 41
    let network = first.makeNetwork()
    network.run(until: Scenario.start + .seconds(200)) { network.client.closeReason != nil }
    guard network.firstFault == nil, case .versionMismatch(let offered) = network.client.closeReason,
      let next = scenario.client.following(offered)
    else {
      return "version-negotiation: \(network.firstFault ?? String(describing: network.client.closeReason))"
    }
    scenario.client = next
    return nil
  }
}
