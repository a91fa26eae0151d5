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
    _ makePeer: @escaping (consuming Connection, TransferPlan, Int) -> Peer = {
      Peer($0, plan: $1, maxSegments: $2)
    }
  ) -> Network {
    let peer = makePeer(
      Connection(
        client: client, tls: ScriptedTLS(.client, seed: seed, sizes: handshake),
        path: Path(local: Network.clientAddress, remote: Network.serverAddress), now: Self.start,
        entropy: SeededEntropy(seed: seed &* 2)),
      plan, maxSegments)
    let scenario = self
    var endpoint = Endpoint<Int>.Configuration(acceptsConnections: true)
    endpoint.retry = retry
    endpoint.statelessResetKey = server.statelessResetKey
    let network = Network(
      client: peer, up: Link(up, seed: seed ^ 0x1000), down: Link(down, seed: seed ^ 0x2000), start: Self.start,
      server: endpoint, opening: server, entropy: SeededEntropy(seed: seed &* 2 &+ 77)
    ) { request, path, now, earlier in
      makePeer(
        Connection(
          server: scenario.server, tls: ScriptedTLS(.server, seed: scenario.seed, sizes: scenario.handshake),
          path: path,
          initial: request, now: now, entropy: SeededEntropy(seed: scenario.seed &* 2 &+ 1 &+ UInt64(earlier) << 40)),
        scenario.plan, scenario.maxSegments)
    }
    network.observer = WireObserver(seed: seed, idLength: client.connectionIDs.length)
    if let second {
      network.secondUp = Link(second.up, seed: seed ^ 0x3000)
      network.secondDown = Link(second.down, seed: seed ^ 0x4000)
    }
    return network
  }
}

extension Network {
  /// Both applications have sent and received everything.
  var isTransferDone: Bool { client.isDone && (server?.isDone ?? false) }

  var firstFault: String? { fault ?? faultAtTheEnd ?? client.fault ?? servers.lazy.compactMap(\.fault).first }

  /// Runs the transfer, then closes from the client's side and runs until both ends have ended.
  func runToTheEnd(limit: Interval = .seconds(900)) {
    run(until: now + limit) { isTransferDone || client.closeReason != nil || server?.closeReason != nil }
    guard isTransferDone, firstFault == nil else { return }
    for end in [client, server].compactMap({ $0 }) where end.checksContent && end.connection.liveStreamCount > 0 {
      faultAtTheEnd = "memory: \(end.connection.liveStreamCount) streams that are over at the \(end.role)"
    }
    client.connection.close(code: 7, reason: "done")
    run(until: now + limit) { client.connection.isDrained && (server?.connection.isDrained ?? true) }
  }

  /// How the run differs from what it must be; nil when it does not.
  var verdict: String? {
    if let firstFault { return firstFault }
    guard isTransferDone else {
      return "unfinished at \(now.nanoseconds / 1_000_000) ms: client \(Self.state(client)), "
        + "server \(server.map(Self.state) ?? "none")"
    }
    guard client.closeReason == .localApplication(code: 7, reason: "done") else {
      return "client ended with \(String(describing: client.closeReason))"
    }
    for end in [client] + servers where end.closeReason != nil && !end.connection.isDrained {
      return "convergence: the \(end.role) is closed and never drained"
    }
    // Its CONNECTION_CLOSE may have been lost.
    switch server?.closeReason {
    case .peerApplication(code: 7, reason: "done"), .idleTimeout: return nil
    case let other: return "server ended with \(String(describing: other))"
    }
  }

  private static func state(_ peer: Peer) -> String {
    "\(peer.connection.isHandshakeComplete ? "connected" : "handshaking"), "
      + "received \(peer.receivedBytes.values.reduce(0, +)), ended \(peer.ended.count), "
      + "acknowledged \(peer.acknowledged.count), closed \(String(describing: peer.closeReason)), "
      + "deadline \((peer.connection.deadline?.nanoseconds ?? -1) / 1_000_000), \(peer.connection.statistics)"
  }
}
