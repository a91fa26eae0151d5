import QUIC
import Testing
import Wire

@Suite struct ConnectionMigrationTests {
  private func rebound(_ port: Bool) -> Path {
    Path(
      local: SocketAddress(port ? "192.0.2.1:50001" : "203.0.113.9:40000")!,
      remote: ConnectionPair.clientPath.remote)
  }

  /// A NAT gives the client another address; only the server sees it.
  @Test(arguments: [true, false]) func serverFollowsARebinding(portOnly: Bool) throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    let new = rebound(portOnly)
    pair.route = { $0.from == .client ? new : ConnectionPair.reversed(ConnectionPair.clientPath) }
    // Only what goes to the new address arrives.
    pair.filter = { datagram in
      datagram.from == .server && datagram.path.remote != new.local ? nil : datagram
    }
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 500_000, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 500_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) && $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.has(.pathChanged(ConnectionPair.reversed(new))))
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(new))
    #expect(pair.see { $0.server.statistics.migrations } == 1)
  }

  /// A packet replayed from another address must not take the connection with it for long.
  @Test func aFalseMigrationIsTakenBack() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    let attacker = rebound(false)
    var stolen = 0
    pair.route = { [unowned pair] datagram in
      guard datagram.from == .client else { return ConnectionPair.reversed(ConnectionPair.clientPath) }
      _ = pair
      stolen += 1
      return stolen == 1 ? attacker : ConnectionPair.clientPath
    }
    // The attacker answers nothing.
    pair.filter = { $0.from == .server && $0.path.remote == attacker.local ? nil : $0 }
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 400_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    pair.run(for: .seconds(10))
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(ConnectionPair.clientPath))
  }

  @Test func clientMigratesAndUsesAnotherID() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    let new = rebound(false)
    pair.keepsLog = true
    #expect(pair.client.migrate(to: new, now: pair.now) == true)
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 300_000, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 300_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) && $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(new))
    #expect(pair.clientApplication.has(.pathChanged(new)))
    // The ID left behind has been retired, once nothing can be on its way to it, and another issued.
    pair.run(for: .seconds(4))
    #expect(
      pair.serverApplication.events.contains {
        if case .connectionIDRetired = $0 { true } else { false }
      })
    // It can go on so, again and again.
    for hop in 0..<12 {
      let next = Path(
        local: SocketAddress("203.0.113.\(hop + 20):40000")!, remote: ConnectionPair.clientPath.remote)
      #expect(pair.client.migrate(to: next, now: pair.now) == true, "hop \(hop)")
      pair.run(for: .seconds(2))
      #expect(pair.see { $0.server.path } == ConnectionPair.reversed(next))
    }
  }

  @Test func respectsDisableActiveMigration() throws {
    var fixed = Configuration()
    fixed.disableActiveMigration = true
    let pair = try ConnectionPair(Configuration(), fixed)
    #expect(pair.connect())
    #expect(pair.client.migrate(to: rebound(false), now: pair.now) == false)
  }

  @Test func doesNotMigrateBeforeTheHandshakeIsConfirmed() throws {
    let pair = try ConnectionPair()
    pair.step()
    #expect(pair.client.migrate(to: rebound(false), now: pair.now) == false)
  }
}
