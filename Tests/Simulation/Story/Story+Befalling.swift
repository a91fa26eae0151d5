import PacketCrypto
import Wire

@testable import QUIC

/// What happens in each turn while it runs, and what must have come of it.
extension Story {
  func makeNetwork(_ scenario: Scenario) -> Network {
    switch turn {
    case .drain: scenario.makeNetwork { HTTP3Peer($0, plan: $1, maxSegments: $2, drainsAfter: 3 + Int(seed % 20)) }
    case .earlyRequests:
      scenario.makeNetwork { HTTP3Peer($0, plan: $1, maxSegments: $2, remembered: scenario.acquaintance != nil) }
    default: scenario.makeNetwork()
    }
  }

  func befall(_ network: Network, _ dice: inout Dice) {
    switch turn {
    case .portRebinding, .addressRebinding: rebind(network, &dice)
    case .migration, .migrationAwayFromADeadPath: migrate(network, &dice)
    case .preferredAddress: withdraw(network, &dice)
    case .keyUpdates: updateKeys(network, &dice)
    case .earlyDataReplayed: replay(network, &dice)
    case .addressToken where dice.chance(0.4):
      // It has come to another network since.
      network.publicAddress = SocketAddress(.v4(IPv4Address(198, 51, 100, 77)), port: 7_777)
    case .serverCrash:
      confirm(network)
      network.run(until: network.now + .milliseconds(Int64(dice.below(1_000)))) { false }
      network.restartServer()
    default: break
    }
  }

  /// Runs to the end that the turn leads to.
  func finish(_ network: Network) {
    switch turn {
    case .serverCrash:
      network.run(until: network.now + .seconds(100)) { network.client.closeReason != nil }
    case .drain:
      network.run(until: network.now + .seconds(900)) {
        network.client.connection.isDrained && network.server?.connection.isDrained == true
      }
    default: network.runToTheEnd()
    }
  }

  func verdict(of network: Network, _ scenario: Scenario) -> String? {
    switch turn {
    case .serverCrash: return verdictAfterACrash(network, scenario)
    case .drain: return network.firstFault ?? HTTP3Peer.drainFault(network)
    default: break
    }
    if let fault = network.verdict { return fault }
    switch turn {
    case .resumption: return network.client.connection.isResumed ? nil : "resumption: the ticket was not good"
    case .earlyData, .earlyDataReplayed, .limitsRaised: return earlyDataFault(network, scenario)
    case .earlyDataRefused, .limitsLowered:
      return network.client.connection.earlyData == .rejected ? nil : "early-data: it was not refused"
    case .addressToken: return tokenFault(network)
    case .versionTwo:
      return network.client.connection.version == .v2 && network.server?.connection.version == .v2
        ? nil : "version: \(network.client.connection.version)"
    default: return nil
    }
  }

  // MARK: Paths

  /// RFC 9000 §9: an address is to stay as it is until the handshake is confirmed.
  private func confirm(_ network: Network) {
    network.run(until: Scenario.start + .seconds(100)) { network.client.connection.isHandshakeConfirmed }
  }

  private func rebind(_ network: Network, _ dice: inout Dice) {
    confirm(network)
    for step: Int64 in 1...Int64(1 + dice.below(2)) {
      let host = turn == .portRebinding ? Network.clientAddress.ip : .v4(IPv4Address(198, 51, 100, UInt8(step)))
      let address = SocketAddress(host, port: 50_000 + UInt16(step))
      network.rebindings.append((network.now + .milliseconds(100 * step + Int64(dice.below(100))), address))
    }
  }

  private func migrate(_ network: Network, _ dice: inout Dice) {
    confirm(network)
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
  }

  /// The client goes on at the address that is the server's own, and the one it was found at leads elsewhere then; or it
  /// cannot get there, and stays.
  private func withdraw(_ network: Network, _ dice: inout Dice) {
    let isOpen = dice.chance(0.7)
    if !isOpen { network.unreachable.insert(Network.preferredAddress) }
    confirm(network)
    let hasMoved = { network.client.connection.path.remote == Network.preferredAddress }
    network.run(until: network.now + .seconds(20)) { hasMoved() }
    guard hasMoved() else { return }
    network.run(until: network.now + .milliseconds(Int64(dice.below(500)))) { false }
    network.unreachable.insert(Network.serverAddress)
  }

  private func updateKeys(_ network: Network, _ dice: inout Dice) {
    for step in 0..<6 {
      network.run(until: network.now + .milliseconds(Int64(dice.below(200)))) { network.isTransferDone }
      let peer = step % 2 == 0 ? network.client : network.server
      if peer?.connection.isHandshakeConfirmed == true { peer?.connection.initiateKeyUpdate() }
    }
  }

  // MARK: What was kept from before

  /// Someone sends the client's first flight again, from where it came or from elsewhere, while the connection lives and
  /// when it is forgotten.
  private func replay(_ network: Network, _ dice: inout Dice) {
    var flight: [Network.Datagram] = []
    network.interceptor = { destination, datagram in
      if destination == .server, flight.count < 8 { flight.append(datagram) }
      return [datagram]
    }
    confirm(network)
    for _ in 0..<3 {
      network.run(until: network.now + .milliseconds(Int64(dice.below(1_500)))) { false }
      let source = dice.chance(0.5) ? nil : SocketAddress(.v4(IPv4Address(198, 51, 100, 66)), port: 6_666)
      for var datagram in flight {
        if let source { datagram.path.remote = source }
        network.replay(datagram, to: .server)
      }
    }
  }

  private func earlyDataFault(_ network: Network, _ scenario: Scenario) -> String? {
    guard network.client.connection.earlyData == .accepted else { return "early-data: it was refused" }
    // RFC 8446 §8: a replay begins a connection that gets nothing of it.
    for server in network.servers where server !== network.server && !server.receivedBytes.isEmpty {
      return "early-data: it was taken twice"
    }
    return scenario.acquaintance?.book.earlyDataAdmitted == 1 ? nil : "early-data: a ticket let it in twice"
  }

  /// RFC 9000 §8.1.4: a token is good once, and where it was given.
  private func tokenFault(_ network: Network) -> String? {
    let endpoint = network.serverEndpoint
    if endpoint.tokensAccepted > 1 { return "token: taken \(endpoint.tokensAccepted) times" }
    if network.publicAddress != Network.clientAddress {
      if endpoint.tokensAccepted > 0 { return "token: taken from elsewhere" }
      return endpoint.retriesSent > 0 ? nil : "token: nothing proved the address"
    }
    // A bit of it may have been flipped on the way.
    let isIntact = scenario.up.corruption == 0
    return endpoint.tokensAccepted == 1 || (!isIntact && endpoint.retriesSent > 0) ? nil : "token: not taken"
  }

  /// The client learns that its server has forgotten it, and comes back with what it kept.
  private func verdictAfterACrash(_ network: Network, _ scenario: Scenario) -> String? {
    if let fault = network.firstFault { return fault }
    guard network.client.closeReason == .statelessReset else {
      return "stateless-reset: the client ended with \(String(describing: network.client.closeReason)), "
        + "resets sent \(network.serverEndpoint.resetsSent)"
    }
    var next = scenario
    next.seed ^= 1 << 42
    next.plan.bytes = 5_000
    next.acquaintance?.keep(of: network.client)
    next.acquaintance?.wallet.offersEarlyData = true
    let second = next.makeNetwork()
    second.runToTheEnd()
    return second.verdict.map { "after the crash: \($0)" }
  }
}
