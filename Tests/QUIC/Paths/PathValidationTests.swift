import Testing
import Wire

@testable import QUIC

/// Validation of paths whose datagrams were small, or that nobody answers on (RFC 9000 §8.2, §9.3.2).
@Suite struct PathValidationTests {
  private static let rebound = Path(
    local: SocketAddress("203.0.113.9:40000")!, remote: ConnectionPair.clientPath.remote)

  /// A pair whose client has sent one small packet from another address, as a NAT may give it.
  private func seenElsewhere() throws -> ConnectionPair {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    pair.route = { $0.from == .client ? Self.rebound : ConnectionPair.reversed(ConnectionPair.clientPath) }
    pair.keepsLog = true
    pair.client.keepAlive(now: pair.now)
    return pair
  }

  /// Three times a PING has no room for a whole datagram: a second validation must show that one passes.
  @Test func aSmallChallengeIsFollowedByAWholeOne() throws {
    let pair = try seenElsewhere()
    var answers: [(size: Int, isValidated: Bool)] = []
    pair.filter = { [unowned pair] datagram in
      if datagram.from == .server, datagram.path.remote == Self.rebound.local {
        answers.append((datagram.bytes.count, pair.server.active.isValidated))
      }
      return datagram
    }
    pair.flush()
    let ping = try #require(pair.log.last { $0.from == .client }?.bytes.count)
    #expect(ping < 400)
    #expect(pair.run { $0.server.active.isValidated && $0.server.path == ConnectionPair.reversed(Self.rebound) })
    // The address is validated, the size is not.
    #expect(pair.see { $0.server.active.isProvingSize && $0.server.active.validationDeadline != nil })
    #expect(pair.see { $0.server.active.challenges.count } == 1)
    let small = answers.filter { !$0.isValidated }.map(\.size)
    #expect(!small.isEmpty && small.reduce(0, +) <= 3 * ping)
    #expect(answers.contains { $0.isValidated && $0.size >= 1_200 })
    #expect(pair.run { !$0.server.active.isProvingSize })
    #expect(pair.see { $0.server.active.challenges.isEmpty && $0.server.active.validationDeadline == nil })
    pair.run(for: .seconds(5))
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(Self.rebound))
    #expect(pair.see { $0.server.isClosed } == false)
  }

  /// A challenge that was whole needs no second.
  @Test func aWholeChallengeIsEnough() throws {
    let pair = try seenElsewhere()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 20_000, finish: true)
    #expect(pair.run { $0.server.active.isValidated && $0.server.path == ConnectionPair.reversed(Self.rebound) })
    #expect(pair.see { $0.server.active.isProvingSize } == false)
  }

  /// The address answers, but nothing of full size reaches it: the server finds out and gives the path up.
  @Test func aPathThatTakesOnlySmallDatagramsIsNotKept() throws {
    let pair = try seenElsewhere()
    pair.filter = {
      $0.from == .server && $0.path.remote == Self.rebound.local && $0.bytes.count >= 1_200 ? nil : $0
    }
    pair.serverApplication.reply = TestApplication.Outgoing(total: 200_000, finish: true)
    let id = try #require(pair.open(.client))
    pair.run { $0.server.active.isProvingSize }
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 10, finish: true)
    #expect(pair.run { $0.serverApplication.closeReason != nil })
    guard case .localTransport(let error) = pair.serverApplication.closeReason else { return }
    #expect(error.code == .noViablePath && error.reason == "the path carries less than 1200 bytes")
    #expect(pair.run { $0.clientApplication.closeReason == .peerTransport(error) })
  }

  /// The client has taken back all IDs but one, and from the address that it then seems to have moved to nobody answers:
  /// there is nowhere to go back to, and nobody to tell.
  @Test func aServerWithoutAValidatedPathEndsSilently() throws {
    let pair = try seenElsewhere()
    pair.filter = { $0.from == .server && $0.path.remote == Self.rebound.local ? nil : $0 }
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(Self.rebound) })
    #expect(pair.see { !$0.server.active.isValidated && $0.server.others.count == 1 })
    pair.filter = { $0.from == .server ? nil : $0 }
    let path = ConnectionPair.reversed(Self.rebound)
    pair.client.active.path = Self.rebound
    pair.inject { writer in
      writer.writeNewConnectionID(
        sequence: 9, retirePriorTo: 9, connectionID: ConnectionID([UInt8](repeating: 9, count: 8))!,
        resetToken: StatelessResetToken([UInt8](repeating: 9, count: 16))!)
    }
    #expect(pair.see { $0.server.others.isEmpty && $0.server.path == path })
    let deadline = try #require(pair.see { $0.server.active.validationDeadline })
    pair.run { $0.serverApplication.closeReason != nil }
    #expect(pair.now >= deadline)
    guard case .localTransport(let error) = pair.serverApplication.closeReason else {
      Issue.record("\(String(describing: pair.serverApplication.closeReason))")
      return
    }
    #expect(error.code == .noViablePath)
    // All state is discarded at once: no CONNECTION_CLOSE, no closing period, no answer to anything.
    #expect(pair.see { $0.server.isDrained })
    let sent = pair.sent[.server]
    pair.inject { $0.writePing() }
    pair.run(for: .seconds(5))
    #expect(pair.sent[.server] == sent)
  }

  /// What comes from the client's former address once the connection is closed lets nothing go to one that has proved
  /// nothing.
  @Test func aClosedServerOwesAnAddressOnlyWhatCameFromIt() throws {
    let pair = try seenElsewhere()
    pair.filter = { $0.from == .server ? nil : $0 }
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(Self.rebound) })
    pair.flush()
    #expect(pair.see { $0.server.active.isValidated } == false)
    pair.server.close(code: 0, reason: "enough")
    let former = ConnectionPair.reversed(ConnectionPair.clientPath)
    for _ in 0..<64 {
      var datagram = [UInt8](repeating: 0x40, count: 1_200)
      datagram.withUnsafeMutableBytes { pair.server.receive($0, path: former, ecn: .notECT, now: pair.now) }
      pair.flush()
    }
    let received = pair.log.filter { $0.from == .client }.map(\.bytes.count).reduce(0, +)
    let sent = pair.log.filter { $0.from == .server && $0.path.remote == Self.rebound.local }.map(\.bytes.count)
    #expect(!sent.isEmpty && sent.reduce(0, +) <= 3 * received)
  }
}
