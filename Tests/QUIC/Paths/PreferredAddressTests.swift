import Testing
import Wire

@testable import QUIC

/// RFC 9000 §9.6.
@Suite struct PreferredAddressTests {
  private static let preferred = SocketAddress("203.0.113.80:443")!
  private static let original = ConnectionPair.clientPath.remote

  private func pair(_ change: (inout Configuration) -> Void = { _ in }) throws -> ConnectionPair {
    var server = Configuration()
    server.preferredAddresses = [Self.preferred, SocketAddress("[2001:db8::80]:443")!]
    change(&server)
    return try ConnectionPair(Configuration(), server)
  }

  private func transfer(_ pair: ConnectionPair) throws {
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 200_000, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 200_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) && $0.serverApplication.finished.contains(id) })
  }

  @Test func clientGoesWhereTheServerPrefersIt() throws {
    let pair = try pair()
    pair.keepsLog = true
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.path.remote } == Self.preferred)
    #expect(pair.see { $0.server.path.local } == Self.preferred)
    // The handshake alone took place at the original address, and what was sent there came from there.
    #expect(pair.log.contains { $0.from == .server && $0.path.local == Self.original })
    pair.log = []
    try transfer(pair)
    #expect(pair.log.allSatisfy { ($0.from == .client ? $0.path.remote : $0.path.local) == Self.preferred })
    #expect(pair.see { $0.server.statistics.migrations } == 1)
    #expect(
      pair.clientApplication.has(.pathChanged(Path(local: ConnectionPair.clientPath.local, remote: Self.preferred))))
  }

  /// What the client sent by a slower way before it moved, and before it retired the ID that it sent it to.
  @Test func packetsToTheFormerIDAreTakenIn() throws {
    let pair = try pair()
    var late = 0
    pair.filter = { datagram in
      guard datagram.from == .client, datagram.path.remote == Self.original, datagram.bytes[0] & 0x80 == 0 else {
        return datagram
      }
      late += 1
      var slow = datagram
      // Our own client keeps the way back open for three seconds.
      slow.arrival = slow.arrival + .seconds(4)
      return slow
    }
    #expect(pair.connect())
    try transfer(pair)
    #expect(late > 0)
    #expect(pair.see { $0.server.path.local } == Self.preferred)
    pair.run(for: .seconds(5))
    #expect(pair.see { $0.server.statistics.drops.mismatched } == 0)
    pair.run(for: .seconds(4))
    // In the end it is over, as is the one that the client chose for its first packets.
    let retired = pair.serverApplication.events.count { if case .connectionIDRetired = $0 { true } else { false } }
    #expect(retired == 2)
  }

  @Test func clientStaysWhenThePreferredAddressIsDead() throws {
    let pair = try pair()
    pair.filter = { $0.from == .client && $0.path.remote == Self.preferred ? nil : $0 }
    #expect(pair.connect())
    try transfer(pair)
    pair.run(for: .seconds(20))
    try transfer(pair)
    #expect(pair.see { $0.client.path.remote } == Self.original)
    #expect(pair.see { $0.server.path.local } == Self.original)
    #expect(pair.see { $0.client.others.isEmpty })
  }

  /// Nothing but probes goes to the new address before it is validated, and nothing but probes comes from there.
  @Test func aLostChallengeIsSentAgain() throws {
    let pair = try pair()
    var toPreferred = 0
    pair.filter = { datagram in
      guard datagram.from == .client, datagram.path.remote == Self.preferred else { return datagram }
      toPreferred += 1
      return toPreferred == 1 ? nil : datagram
    }
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    #expect(pair.see { $0.client.path.remote } == Self.preferred)
    try transfer(pair)
  }

  /// What the last packet of an end's carried.
  private static func lastFrames(_ collector: QLogTests.Collector, _ role: Role) -> [String] {
    let records = (try? collector.records(role)) ?? []
    let sent = records.last { $0["name"] as? String == "quic:packet_sent" }
    let frames = (sent?["data"] as? [String: Any])?["frames"] as? [[String: Any]]
    return frames?.compactMap { $0["frame_type"] as? String } ?? ["nothing"]
  }

  /// RFC 9000 §9.6.2, §21.5.3: until the client has validated it nothing but probes goes to the preferred address, and
  /// until the server has gone there nothing but probes comes from it; its own challenge is among them.
  @Test func nothingButProbesGoesThereBeforeItIsValidated() throws {
    let collector = QLogTests.Collector()
    let server = collector.configuration { $0.preferredAddresses = [Self.preferred] }
    let pair = try ConnectionPair(collector.configuration(), server)
    var seen: [ConnectionPair.End: Set<String>] = [:]
    var answers = 0
    pair.filter = { [unowned pair] datagram in
      let isClients = datagram.from == .client
      guard (isClients ? datagram.path.remote : datagram.path.local) == Self.preferred else { return datagram }
      let isThere =
        isClients ? pair.client.path.remote == Self.preferred : pair.server.path.local == Self.preferred
      if isThere { return datagram }
      seen[datagram.from, default: []].formUnion(Self.lastFrames(collector, isClients ? .client : .server))
      if isClients { return datagram }
      // The first answers are lost, so that there is time to do otherwise.
      answers += 1
      return answers > 2 ? datagram : nil
    }
    #expect(pair.connect())
    try transfer(pair)
    pair.run(for: .seconds(5))
    #expect(pair.see { $0.client.path.remote } == Self.preferred && pair.see { $0.server.path.local } == Self.preferred)
    for end in [ConnectionPair.End.client, .server] {
      let frames = try #require(seen[end])
      #expect(frames.contains("path_challenge"))
      #expect(frames.isSubset(of: ["padding", "path_challenge", "path_response", "new_connection_id"]), "\(frames)")
    }
  }

  /// RFC 9000 §9.6.3: a client that moves before it is there validates both addresses from its new one. When the
  /// preferred one answers, the original is given up.
  @Test func aClientThatMovesMeanwhileGoesThereFromItsNewAddress() throws {
    let pair = try pair()
    let elsewhere = SocketAddress("192.0.2.77:40000")!
    // From the preferred address nothing reaches the client's first one, from the original nothing its second.
    pair.filter = { datagram in
      guard datagram.from == .server else { return datagram }
      return (datagram.path.local == Self.preferred) == (datagram.path.remote == elsewhere) ? datagram : nil
    }
    #expect(pair.connect())
    #expect(pair.client.migrate(to: Path(local: elsewhere, remote: Self.original), now: pair.now) == true)
    let path = Path(local: elsewhere, remote: Self.preferred)
    pair.flush()
    #expect(pair.see { !$0.client.active.challenges.isEmpty && $0.client.others.contains { $0.path == path } })
    #expect(pair.run { $0.client.path == path })
    #expect(pair.see { $0.client.others.allSatisfy { $0.challenges.isEmpty && !$0.isChallengeDue } })
    try transfer(pair)
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(path))
  }

  /// RFC 9000 §9.6.3: what comes to another address of the server's from another address than the client's is answered
  /// with no more than three times as much, and followed only when it has proved itself.
  @Test func aStrangeSourceThereMustProveItself() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    let strange = Path(local: SocketAddress("203.0.113.99:5000")!, remote: Self.preferred)
    var (received, sent) = (0, 0)
    pair.route = { $0.from == .client ? strange : $0.path }
    pair.filter = { datagram in
      if datagram.from == .client { received += datagram.bytes.count }
      guard datagram.path == ConnectionPair.reversed(strange) else { return datagram }
      sent += datagram.bytes.count
      #expect(sent <= 3 * received)
      return nil
    }
    pair.serverApplication.reply = TestApplication.Outgoing(total: 50_000, finish: true)
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 500, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
    pair.run(for: .seconds(5))
    #expect(sent > 0)
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(ConnectionPair.clientPath))
    #expect(pair.see { $0.server.statistics.migrations } == 0)
  }

  /// RFC 9000 §9.6.2: what an attacker forwards to another address of the server's moves nothing.
  @Test func serverFollowsToAnotherAddressOnlyWhenItIsValidated() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    pair.route = { datagram in
      guard datagram.from == .client else { return datagram.path }
      return Path(local: datagram.path.local, remote: Self.preferred)
    }
    pair.filter = { $0.from == .server && $0.path.local == Self.preferred ? nil : $0 }
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.server.path.local } == Self.original)
    #expect(pair.see { $0.server.statistics.migrations } == 0)
  }

  /// RFC 9000 §18.2: disable_active_migration binds a client only at the original address.
  @Test func aClientMayMoveOnceItIsThere() throws {
    let pair = try pair { $0.disableActiveMigration = true }
    let elsewhere = SocketAddress("192.0.2.77:40000")!
    pair.filter = { $0.from == .client && $0.path.remote == Self.preferred && $0.index < 12 ? nil : $0 }
    #expect(pair.connect())
    #expect(pair.client.migrate(to: Path(local: elsewhere, remote: Self.original), now: pair.now) == false)
    pair.filter = { $0 }
    pair.run(for: .seconds(2))
    #expect(pair.client.migrate(to: Path(local: elsewhere, remote: Self.preferred), now: pair.now) == true)
    try transfer(pair)
    #expect(pair.see { $0.server.path } == Path(local: Self.preferred, remote: elsewhere))
  }
}
