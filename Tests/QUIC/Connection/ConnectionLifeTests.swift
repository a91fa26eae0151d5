import QUIC
import QUICTLS
import Testing
import Wire

@Suite struct ConnectionKeyUpdateTests {
  @Test func bothEndsFollowUpdates() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    for round in 0..<3 {
      if round == 1 { pair.server.initiateKeyUpdate() } else { pair.client.initiateKeyUpdate() }
      let id = try #require(pair.open(.client))
      pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
      #expect(pair.run { $0.serverApplication.finished.contains(id) })
      pair.run(for: .seconds(1))
      // What was asked for may have waited for an acknowledgement; the next packet shows it.
      pair.client.keepAlive(now: pair.now)
      pair.server.keepAlive(now: pair.now)
      pair.run(for: .seconds(1))
    }
    #expect(pair.see { $0.client.statistics.keyUpdates } == 3)
    #expect(pair.see { $0.server.statistics.keyUpdates } == 3)
    #expect(pair.see { $0.server.statistics.drops.undecryptable } == 0)
    #expect(pair.see { $0.client.statistics.drops.undecryptable } == 0)
  }

  @Test func updatesByItselfAfterManyPackets() throws {
    var configuration = Configuration()
    configuration.keyUpdateInterval = 100
    let pair = try ConnectionPair(configuration)
    let dice = SeededEntropy(seed: 5)
    pair.filter = { datagram in
      var datagram = datagram
      if dice.nextUInt64() % 10 == 0 { datagram.arrival += .milliseconds(7) }
      return datagram
    }
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 3_000_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.client.statistics.keyUpdates } > 2)
    #expect(pair.see { $0.client.statistics.keyUpdates - $0.server.statistics.keyUpdates } <= 1)
    #expect(pair.serverApplication.corrupt == 0)
  }
}

@Suite struct ConnectionTimeTests {
  @Test func idleConnectionsEndSilently() throws {
    var configuration = Configuration()
    configuration.maxIdleTimeout = .seconds(5)
    let pair = try ConnectionPair(configuration)
    #expect(pair.connect())
    pair.run(for: .seconds(4))
    #expect(pair.see { !$0.client.isClosed && !$0.server.isClosed })
    pair.run(for: .seconds(4))
    #expect(pair.clientApplication.closeReason == .idleTimeout)
    #expect(pair.serverApplication.closeReason == .idleTimeout)
    #expect(pair.see { $0.client.isDrained && $0.server.isDrained })
    #expect(pair.see { $0.client.deadline } == nil)
  }

  @Test func keepAliveHoldsAConnection() throws {
    var configuration = Configuration()
    configuration.maxIdleTimeout = .seconds(5)
    configuration.keepAliveInterval = .seconds(2)
    let pair = try ConnectionPair(configuration)
    #expect(pair.connect())
    pair.run(for: .seconds(60))
    #expect(pair.see { !$0.client.isClosed && !$0.server.isClosed })
  }

  @Test func aHandshakeThatGetsNowhereEnds() throws {
    var configuration = Configuration()
    configuration.handshakeTimeout = .seconds(4)
    let pair = try ConnectionPair(configuration)
    pair.filter = { $0.from == .server ? nil : $0 }
    pair.run(for: .seconds(5))
    #expect(pair.clientApplication.closeReason == .handshakeTimeout)
    #expect(pair.see { $0.client.isDrained })
  }

  @Test func aQuietConnectionAsksForNoWork() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(5))
    let before = pair.see { $0.client.statistics.bytesSent + $0.server.statistics.bytesSent }
    pair.run(for: .seconds(10))
    #expect(pair.see { $0.client.statistics.bytesSent + $0.server.statistics.bytesSent } == before)
  }
}

@Suite struct ConnectionClosingTests {
  @Test func applicationCloseReachesThePeer() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.client.close(code: 0x101, reason: "done")
    #expect(pair.run { $0.serverApplication.closeReason != nil })
    #expect(pair.clientApplication.closeReason == .localApplication(code: 0x101, reason: "done"))
    #expect(pair.serverApplication.closeReason == .peerApplication(code: 0x101, reason: "done"))
    #expect(pair.run { $0.client.isDrained && $0.server.isDrained })
  }

  @Test func transportCloseReachesThePeer() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let error = TransportError(.internalError, "test")
    pair.server.close(error)
    #expect(pair.run { $0.clientApplication.closeReason != nil })
    #expect(pair.clientApplication.closeReason == .peerTransport(error))
  }

  @Test func closeDuringTheHandshakeHidesTheApplicationsReason() throws {
    for steps in 0..<4 {
      let pair = try ConnectionPair()
      for _ in 0..<steps { pair.step() }
      if pair.see({ $0.client.isHandshakeConfirmed }) { break }
      pair.client.close(code: 5, reason: "secret")
      pair.run { $0.serverApplication.closeReason != nil }
      switch pair.serverApplication.closeReason {
      case .peerTransport(let error):
        #expect(error.code == .applicationError)
        #expect(error.reason.isEmpty)
      case .peerApplication(let code, _): #expect(code == 5)
      case let other: Issue.record("\(steps): \(String(describing: other))")
      }
    }
  }

  @Test func aLostCloseIsAnsweredAgain() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let id = try #require(pair.open(.server))
    pair.run(for: .seconds(1))
    var dropped = 0
    pair.filter = { datagram in
      if datagram.from == .client, dropped == 0 {
        dropped += 1
        return nil
      }
      return datagram
    }
    pair.serverApplication.outgoing[id] = TestApplication.Outgoing(total: 50_000, finish: true)
    pair.client.close(code: 1, reason: "")
    #expect(pair.run { $0.serverApplication.closeReason != nil })
    #expect(dropped == 1)
    #expect(pair.serverApplication.closeReason == .peerApplication(code: 1, reason: ""))
  }

  @Test func noApplicationProtocolInCommonFails() throws {
    let pair = try ConnectionPair(clientTLS: ConnectionFixture.client(["other"]))
    #expect(pair.run(steps: 500) { $0.clientApplication.closeReason != nil && $0.serverApplication.closeReason != nil })
    // RFC 9001 §8.1: 0x0178, no_application_protocol.
    guard case .peerTransport(let error) = pair.clientApplication.closeReason else {
      Issue.record("\(String(describing: pair.clientApplication.closeReason))")
      return
    }
    #expect(error.code.alert == 120)
  }

  @Test func anUntrustedCertificateFails() throws {
    let pair = try ConnectionPair(serverName: "other.example")
    #expect(pair.run(steps: 500) { $0.clientApplication.closeReason != nil && $0.serverApplication.closeReason != nil })
    guard case .localTransport(let error) = pair.clientApplication.closeReason else {
      Issue.record("\(String(describing: pair.clientApplication.closeReason))")
      return
    }
    #expect(error.code.alert != nil)
  }
}
