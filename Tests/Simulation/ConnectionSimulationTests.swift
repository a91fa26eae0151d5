import QUIC
import Testing
import Wire

/// Two connections on a path that loses, delays, doubles, reorders, corrupts and falls silent.
@Suite struct ConnectionSimulationTests {
  @Test func aCleanPathIsFilled() {
    var scenario = Scenario(seed: 1)
    scenario.plan.bytes = 1_000_000
    let network = scenario.makeNetwork()
    network.runToTheEnd()
    #expect(network.verdict == nil)
    // A megabyte each way at 12.5 MB/s, and a slow start over a round trip of 20 ms.
    let statistics = network.client.connection.statistics
    #expect(statistics.minimumRTT >= .milliseconds(20))
    #expect(statistics.minimumRTT < .milliseconds(30))
    #expect(network.down.counters.dropped + network.up.counters.dropped <= 2, "no more than the MTU's probes")
  }

  @Test func aCleanPathMovesAMegabyteInTime() {
    var scenario = Scenario(seed: 2)
    scenario.plan.bytes = 1_000_000
    let network = scenario.makeNetwork()
    network.run(until: Scenario.start + .seconds(2)) { network.isTransferDone }
    #expect(network.isTransferDone)
    #expect(network.now - Scenario.start < .milliseconds(600))
  }

  @Test(arguments: Scenario.seeds(0, 300)) func everyByteArrivesOnceAndInOrder(seed: UInt64) {
    Scenario.random(seed, totalBytes: 150_000).expectHolds()
  }

  @Test(arguments: Scenario.seeds(100_000, 12)) func aMegabyteEachWay(seed: UInt64) {
    Scenario.random(seed, totalBytes: 1_000_000, worst: 0.05).expectHolds()
  }

  /// A NAT gives the client another port, or another address, in the middle of the transfer (RFC 9000 §9.3).
  @Test(arguments: Scenario.seeds(200_000, 40)) func aReboundClientIsFollowed(seed: UInt64) {
    var scenario = Scenario.random(seed, totalBytes: 200_000, worst: 0.03)
    scenario.up.blackouts = []
    scenario.down.blackouts = []
    scenario.up.rate = 500_000
    scenario.down.rate = 500_000
    // A client that only listens must speak now and then, or the server cannot know where it is.
    scenario.client.keepAliveInterval = .seconds(1)
    scenario.expectHolds {
      var dice = Dice(seed: seed)
      let network = $0.makeNetwork()
      // RFC 9000 §9: an address is to stay as it is until the handshake is confirmed.
      network.run(until: Scenario.start + .seconds(100)) { network.client.connection.isHandshakeConfirmed }
      for step: Int64 in 1...2 {
        let host = dice.chance(0.5) ? Network.clientAddress.ip : .v4(IPv4Address(198, 51, 100, UInt8(step)))
        let address = SocketAddress(host, port: 50_000 + UInt16(step))
        network.rebindings.append((network.now + .milliseconds(150 * step + Int64(dice.below(100))), address))
      }
      network.runToTheEnd()
      if let verdict = network.verdict { return verdict }
      return network.server!.connection.statistics.migrations > 0 ? nil : "the server followed nobody"
    }
  }

  /// The client moves to another address of its own while the old path dies (RFC 9000 §9).
  @Test(arguments: Scenario.seeds(300_000, 40)) func aMovingClientArrives(seed: UInt64) {
    var scenario = Scenario.random(seed, totalBytes: 200_000, worst: 0.03)
    scenario.up.rate = 500_000
    scenario.down.rate = 500_000
    scenario.expectHolds {
      var dice = Dice(seed: seed)
      let network = $0.makeNetwork()
      network.run(until: Scenario.start + .seconds(100)) { network.client.connection.isHandshakeConfirmed }
      network.run(until: network.now + .milliseconds(Int64(dice.below(300)))) { network.isTransferDone }
      if dice.chance(0.5) {
        // Nothing more gets through to the address that the client leaves.
        network.publicAddress = SocketAddress(.v4(IPv4Address(192, 0, 2, 99)), port: 9)
      }
      let target = Path(local: Network.secondClientAddress, remote: Network.serverAddress)
      guard network.isTransferDone || network.client.connection.migrate(to: target, now: network.now) else {
        return "the client may not move"
      }
      network.runToTheEnd()
      return network.verdict
    }
  }

  @Test(arguments: 0..<20 as Range<UInt64>) func aServerThatForgotSaysSo(seed: UInt64) {
    var scenario = Scenario(seed: seed)
    scenario.plan.bytes = 5_000_000
    scenario.expectHolds {
      let network = $0.makeNetwork()
      network.run(until: Scenario.start + .milliseconds(200 + Int64(seed) * 10)) { false }
      guard network.client.connection.isHandshakeConfirmed else { return "no handshake" }
      network.restartServer()
      network.run(until: network.now + .seconds(20)) { network.client.closeReason != nil }
      guard network.client.closeReason == .statelessReset, network.serverEndpoint.resetsSent > 0 else {
        return "the client ended with \(String(describing: network.client.closeReason))"
      }
      return network.firstFault
    }
  }

  /// Each of the first datagrams of each direction is lost in turn, and then each two that follow each other.
  @Test(arguments: 0..<10, [1, 2]) func anyLossInTheHandshakeIsRepaired(first: Int, count: Int) {
    for direction in [Network.Destination.client, .server] {
      var scenario = Scenario(seed: UInt64(first))
      scenario.handshake.serverFlight = 6000
      scenario.plan.bytes = 5000
      scenario.retry = first % 2 == 0 ? .never : .always
      scenario.expectHolds("\(direction)-\(first)-\(count)") {
        let network = $0.makeNetwork()
        var seen = 0
        network.interceptor = { destination, datagram in
          guard destination == direction else { return [datagram] }
          seen += 1
          return (first..<first + count).contains(seen - 1) ? [] : [datagram]
        }
        network.runToTheEnd()
        return network.verdict
      }
    }
  }

  /// The first datagram keeps its destination and loses its source: the connection that it begins must still become
  /// the client's when the client sends again.
  @Test(arguments: [false, true]) func aDamagedSourceIDIsNotBelieved(retries: Bool) {
    var scenario = Scenario(seed: 5)
    scenario.plan.bytes = 2000
    scenario.retry = retries ? .always : .never
    scenario.expectHolds {
      let network = $0.makeNetwork()
      var hasDamaged = false
      network.interceptor = { destination, datagram in
        // After a Retry the second Initial begins the connection.
        guard destination == .server, !hasDamaged, !retries || network.serverEndpoint.retriesSent > 0 else {
          return [datagram]
        }
        hasDamaged = true
        var damaged = datagram
        damaged.bytes[6 + Int(datagram.bytes[5]) + 3] ^= 0x10
        return [damaged]
      }
      network.runToTheEnd()
      return network.verdict ?? (hasDamaged ? nil : "nothing was damaged")
    }
  }

  @Test func oneSeedIsOneRunToTheByte() {
    let scenario = Scenario.random(77, totalBytes: 100_000)
    let runs = (0..<2).map { _ in
      let network = scenario.makeNetwork()
      network.runToTheEnd()
      return (network.fingerprint, network.now, network.up.counters)
    }
    #expect(runs[0].0 == runs[1].0)
    #expect(runs[0].1 == runs[1].1)
    #expect(runs[0].2 == runs[1].2)
  }
}
