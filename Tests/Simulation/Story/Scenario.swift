import Glibc
import QUIC
import Wire

/// Everything that makes a run: with the same scenario every run is the same to the byte.
struct Scenario: CustomStringConvertible {
  var seed: UInt64
  var up = LinkConditions()
  var down = LinkConditions()
  /// The way of the client's second address, where it is another than that of the first.
  var second: (up: LinkConditions, down: LinkConditions)?
  var plan = TransferPlan()
  var handshake = ScriptedTLS.Sizes()
  var client = Configuration()
  var server = Configuration()
  var maxSegments = 8
  var retry = Endpoint<Int>.RetryPolicy.never
  /// What the two ends know of each other from before; nil leaves tickets and tokens out.
  var acquaintance: Acquaintance?
  /// Writes down what happens.
  var recorder: Recorder?

  static let start = Instant.zero + .seconds(1)

  /// `count` seeds from `first`, or as many times more as SIMULATION_SCALE says.
  static func seeds(_ first: UInt64, _ count: UInt64) -> Range<UInt64> {
    let scale = getenv("SIMULATION_SCALE").flatMap { UInt64(String(cString: $0)) } ?? 1
    return first..<first + count * max(scale, 1)
  }

  init(seed: UInt64) {
    self.seed = seed
    // Time-outs that no path below can bring about: what does not arrive is a fault.
    client.handshakeTimeout = .seconds(120)
    client.maxIdleTimeout = .seconds(240)
    server.handshakeTimeout = .seconds(120)
    server.maxIdleTimeout = .seconds(240)
    server.statelessResetKey = [UInt8](repeating: 7, count: 32)
  }

  /// A path, a transfer and a pair of configurations drawn from the seed.
  static func random(_ seed: UInt64, totalBytes: Int, worst: Double = 0.1) -> Scenario {
    var dice = Dice(seed: seed)
    var scenario = Scenario(seed: seed)
    scenario.up = .random(&dice, worst: worst)
    scenario.down = .random(&dice, worst: worst)
    scenario.plan.streams = 1 + Int(dice.below(8))
    scenario.plan.bytes = max(1, totalBytes / scenario.plan.streams - Int(dice.below(1000)))
    scenario.plan.datagrams = dice.below(40)
    scenario.handshake.serverFlight = 500 + Int(dice.below(8000))
    scenario.handshake.clientHello = 200 + Int(dice.below(2500))
    scenario.maxSegments = 1 + Int(dice.below(16))
    scenario.client.congestion = CongestionAlgorithm.allCases[Int(dice.below(3))]
    scenario.server.congestion = CongestionAlgorithm.allCases[Int(dice.below(3))]
    scenario.client.ackElicitingThreshold = dice.chance(0.5) ? 2 : 10
    scenario.server.ackElicitingThreshold = dice.chance(0.5) ? 2 : 10
    scenario.client.initialMaxStreamDataBidiLocal = dice.chance(0.3) ? 10_000 : 1 << 20
    scenario.server.initialMaxData = dice.chance(0.3) ? 20_000 : 3 << 19
    scenario.server.maxStreamsBidi = dice.chance(0.3) ? 2 : 100
    if dice.chance(0.3) { scenario.client.keyUpdateInterval = 50 }
    if dice.chance(0.3) { scenario.retry = .always }
    if dice.chance(0.25) {
      let begin = start + .milliseconds(Int64(dice.below(1000)))
      let outage = begin..<begin + .milliseconds(Int64(dice.below(4000)))
      if dice.chance(0.7) { scenario.up.blackouts = [outage] }
      if dice.chance(0.7) { scenario.down.blackouts = [outage] }
    }
    if dice.chance(0.5) { scenario.up.markingThreshold = scenario.up.queueBytes / 2 }
    return scenario
  }

  var description: String { "seed \(seed): \(plan), up \(up), down \(down)" }

  /// - Parameter makePeer: makes an end from a connection, the plan and the most segments that it sends at once.
  func makeNetwork(
    start: Instant = Self.start,
    _ makePeer: @escaping (consuming Connection, TransferPlan, Int) -> Peer = {
      Peer($0, plan: $1, maxSegments: $2)
    }
  ) -> Network {
    var (client, server) = (client, server)
    if let acquaintance {
      server.addressTokens = acquaintance.tokens
      acquaintance.book.context = server.earlyDataContext
    }
    if let recorder { (client.qlog, server.qlog) = (recorder.makeSink, recorder.makeSink) }
    let peer = makePeer(
      Connection(
        client: client, tls: ScriptedTLS(.client, seed: seed, sizes: handshake, wallet: acquaintance?.wallet),
        path: Path(local: Network.clientAddress, remote: Network.serverAddress), now: start,
        entropy: SeededEntropy(seed: seed &* 2), token: acquaintance?.wallet.takeToken() ?? []),
      plan, maxSegments)
    var endpoint = Endpoint<Int>.Configuration(acceptsConnections: true)
    endpoint.retry = retry
    endpoint.versions = server.versions
    endpoint.statelessResetKey = server.statelessResetKey
    endpoint.addressTokens = server.addressTokens
    let scenario = self
    let network = Network(
      client: peer, up: Link(up, seed: seed ^ 0x1000), down: Link(down, seed: seed ^ 0x2000), start: start,
      server: endpoint, limits: WireInvariants.Limits(now: server, remembered: acquaintance?.remembered),
      entropy: SeededEntropy(seed: seed &* 2 &+ 77)
    ) { [server] request, path, now, earlier in
      makePeer(
        Connection(
          server: server,
          tls: ScriptedTLS(
            .server, seed: scenario.seed, sizes: scenario.handshake, book: scenario.acquaintance?.book),
          path: path, initial: request, now: now,
          entropy: SeededEntropy(seed: scenario.seed &* 2 &+ 1 &+ UInt64(earlier) << 40)),
        scenario.plan, scenario.maxSegments)
    }
    network.observer = WireObserver(seed: seed, idLength: client.connectionIDs.length)
    network.trace = recorder?.trace
    if let second {
      network.secondUp = Link(second.up, seed: seed ^ 0x3000)
      network.secondDown = Link(second.down, seed: seed ^ 0x4000)
    }
    return network
  }
}
