import Testing
import Wire

@testable import QUIC

/// What changes with the path, and what is said on which (RFC 9000 §8.2.2, §9.3.3, §9.4, §9.5).
@Suite struct ChangedPathTests {
  private static func elsewhere(_ address: String = "203.0.113.9:40000") -> Path {
    Path(local: SocketAddress(address)!, remote: ConnectionPair.clientPath.remote)
  }

  private func settled(_ server: Configuration = Configuration()) throws -> ConnectionPair {
    let pair = try ConnectionPair(Configuration(), server)
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    pair.keepsLog = true
    return pair
  }

  /// The server sees the client at another address.
  private func rebind(_ pair: ConnectionPair, to path: Path = Self.elsewhere()) {
    pair.route = { $0.from == .client ? path : ConnectionPair.reversed(ConnectionPair.clientPath) }
  }

  /// A client that was asked not to move seems to have moved all the same, as a NAT can make it: it is followed, once
  /// the address has been validated for good.
  @Test func aClientThatShouldNotMoveIsFollowedAllTheSame() throws {
    var fixed = Configuration()
    fixed.disableActiveMigration = true
    let pair = try settled(fixed)
    rebind(pair)
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 100_000, finish: true)
    pair.serverApplication.reply = .init(total: 100_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) && $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(Self.elsewhere()))
    #expect(pair.see { $0.server.active.isValidated })
  }

  /// RFC 9000 §9: complete is not confirmed: until HANDSHAKE_DONE comes a client stays where it is.
  @Test func aClientDoesNotMoveBeforeItsHandshakeIsConfirmed() throws {
    let pair = try ConnectionPair()
    pair.filter = { [unowned pair] in $0.from == .server && pair.server.isHandshakeComplete ? nil : $0 }
    #expect(pair.run { $0.client.isHandshakeComplete && $0.server.isHandshakeComplete })
    #expect(pair.see { !$0.client.isHandshakeConfirmed })
    #expect(pair.client.migrate(to: Self.elsewhere(), now: pair.now) == false)
    #expect(pair.see { $0.client.path } == ConnectionPair.clientPath)
    pair.filter = { $0 }
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    #expect(pair.client.migrate(to: Self.elsewhere(), now: pair.now) == true)
  }

  /// On what seems to be a move, the former path is challenged too, in a whole datagram.
  @Test func theFormerPathIsValidatedToo() throws {
    let pair = try settled()
    rebind(pair)
    pair.client.keepAlive(now: pair.now)
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(Self.elsewhere()) })
    pair.flush()
    let former = ConnectionPair.clientPath.local
    #expect(pair.see { $0.server.others.first?.challenges.count } == 1)
    #expect(pair.log.contains { $0.from == .server && $0.path.remote == former && $0.bytes.count >= 1_200 })
  }

  /// The answer to a challenge may come on any path: it validates the one that the challenge went out on.
  @Test func anAnswerCountsOnWhicheverPathItComes() throws {
    let pair = try settled()
    rebind(pair)
    pair.client.keepAlive(now: pair.now)
    // The client hears what goes to its new address, and answers from its former one.
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(Self.elsewhere()) })
    pair.route = { datagram in
      datagram.from == .client ? ConnectionPair.clientPath : ConnectionPair.reversed(ConnectionPair.clientPath)
    }
    // Nothing that the server would follow back: a path probe alone is whole.
    pair.filter = { $0.from == .client && $0.bytes.count < 1_200 ? nil : $0 }
    #expect(pair.see { !$0.server.active.isValidated })
    #expect(pair.run { $0.server.active.isValidated && $0.server.path == ConnectionPair.reversed(Self.elsewhere()) })
  }

  /// A PATH_RESPONSE leaves on the path that its challenge came on, and is no larger than three times what came.
  @Test func answersGoBackAndAreNoAmplification() throws {
    let pair = try settled()
    let from = ConnectionPair.reversed(Self.elsewhere("203.0.113.66:40000"))
    pair.client.active.path = Self.elsewhere("203.0.113.66:40000")
    // A probe: nothing that would make the server follow.
    pair.inject { $0.writePathChallenge(0x1122_3344_5566_7788) }
    let allowance = try #require(pair.see { $0.server.others.first?.sendAllowance })
    #expect(allowance < 200 && pair.see { $0.server.path } != from)
    pair.flush()
    let answers = pair.log.filter { $0.from == .server }
    #expect(answers.count == 1 && answers[0].path == from && UInt64(answers[0].bytes.count) <= allowance)
    #expect(answers[0].bytes.count >= 64)
  }

  /// A new address starts from nothing; a new port alone keeps what was learned. What is acknowledged of before tells
  /// nothing of the new path.
  @Test(arguments: [false, true]) func congestionControlStartsAgainWhereItMust(portOnly: Bool) throws {
    let pair = try settled()
    let id = try #require(pair.open(.server))
    pair.serverApplication.outgoing[id] = .init(total: 3_000_000, finish: false)
    pair.run(for: .milliseconds(100))
    let initial = LossRecovery(role: .server, maximumDatagramSize: 1_200).controller.congestionWindow
    let window = pair.see { $0.server.statistics.congestionWindow }
    #expect(window > initial)
    #expect(pair.see { $0.server.recovery.rtt.hasSample && $0.server.statistics.bytesInFlight > 0 })
    let path = Self.elsewhere(portOnly ? "192.0.2.1:50000" : "203.0.113.9:40000")
    rebind(pair, to: path)
    // Nothing goes to the new address yet: only what is still on its way is acknowledged.
    pair.filter = { $0.from == .server && $0.path.remote == path.local ? nil : $0 }
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(path) })
    #expect(pair.see { $0.server.recovery.rtt.hasSample } == portOnly)
    #expect((pair.see { $0.server.statistics.congestionWindow } >= window) == portOnly)
    guard !portOnly else { return }
    pair.run(for: .milliseconds(15))
    #expect(pair.see { $0.server.recovery.rtt.hasSample } == false)
    #expect(pair.see { $0.server.statistics.congestionWindow } <= initial)
  }

  /// RFC 9000 §9.3: a packet that was overtaken on its way from the former address says nothing of where the client is.
  @Test func anOvertakenPacketIsNotFollowedBack() throws {
    let pair = try settled()
    var held: Int?
    pair.filter = { datagram in
      guard datagram.from == .client, held == nil else { return datagram }
      held = datagram.index
      var late = datagram
      late.arrival += .milliseconds(900)
      return late
    }
    pair.route = { datagram in
      guard datagram.from == .client else { return datagram.path }
      return datagram.index == held ? ConnectionPair.clientPath : Self.elsewhere()
    }
    pair.client.keepAlive(now: pair.now)
    pair.flush()
    let arrival = try #require(pair.inFlight.last?.arrival)
    pair.run(for: .milliseconds(100))
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 20_000, finish: true)
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(Self.elsewhere()) && $0.server.active.isValidated })
    let received = pair.see { $0.server.statistics.packetsReceived }
    #expect(pair.now < arrival)
    pair.run { $0.now >= arrival }
    pair.run(for: .milliseconds(1))
    #expect(pair.see { $0.server.statistics.packetsReceived } > received)
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(Self.elsewhere()))
    #expect(pair.see { $0.server.statistics.migrations } == 1)
  }

  /// RFC 9000 §9.3.2: nobody answers at the address that the client seems to have moved to, and the client itself is
  /// silent: the server goes back to where it was, of its own accord.
  @Test func aServerGoesBackFromAnAddressThatDoesNotAnswer() throws {
    let pair = try settled()
    rebind(pair)
    pair.client.keepAlive(now: pair.now)
    pair.flush()
    pair.filter = { $0.from == .client || $0.path.remote == Self.elsewhere().local ? nil : $0 }
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(Self.elsewhere()) })
    pair.route = { $0.path }
    let deadline = try #require(pair.see { $0.server.active.validationDeadline })
    pair.run { $0.now >= deadline || $0.server.path == ConnectionPair.reversed(ConnectionPair.clientPath) }
    #expect(pair.now == deadline)
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(ConnectionPair.clientPath))
    pair.filter = { $0.path.remote == Self.elsewhere().local ? nil : $0 }
    let id = try #require(pair.open(.server))
    pair.serverApplication.outgoing[id] = .init(total: 50_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
  }

  /// A challenge is repeated no sooner than a probe timeout of a path of which nothing is known.
  @Test func challengesAreNoMoreFrequentThanProbes() throws {
    let pair = try settled()
    var sent: [Instant] = []
    var challenges = 0
    let path = Self.elsewhere()
    pair.filter = { [unowned pair] datagram in
      guard datagram.from == .client, datagram.path.local == path.local else { return datagram }
      let count = pair.client.active.challenges.count
      if count != challenges { sent.append(pair.now) }
      challenges = count
      return nil
    }
    #expect(pair.client.migrate(to: path, now: pair.now) == true)
    let timeout = pair.see { $0.client.recovery.probeTimeout }
    #expect(timeout >= .milliseconds(999))
    pair.run(for: .seconds(6))
    #expect(sent.count >= 3)
    for (before, after) in zip(sent, sent.dropFirst()) { #expect(after - before >= timeout) }
  }

  /// Neither end uses one ID from, or to, two addresses, when the client moves of its own accord.
  @Test func noIDIsUsedOnTwoPaths() throws {
    let pair = try settled()
    for hop in 0..<5 {
      let path = Self.elsewhere("203.0.113.\(hop + 20):40000")
      #expect(pair.client.migrate(to: path, now: pair.now) == true)
      let id = try #require(pair.open(.client))
      pair.clientApplication.outgoing[id] = .init(total: 20_000, finish: true)
      pair.serverApplication.reply = .init(total: 20_000, finish: true)
      #expect(pair.run { $0.clientApplication.finished.contains(id) })
      pair.run(for: .seconds(2))
    }
    for end in [ConnectionPair.End.client, .server] {
      var addresses: [[UInt8]: Set<SocketAddress>] = [:]
      for datagram in pair.log where datagram.from == end {
        let id = Array(datagram.bytes[1..<9])
        addresses[id, default: []].insert(end == .client ? datagram.path.local : datagram.path.remote)
      }
      #expect(addresses.count >= 5)
      for (id, used) in addresses { #expect(used.count == 1, "\(end): \(id) with \(used)") }
    }
  }
}
