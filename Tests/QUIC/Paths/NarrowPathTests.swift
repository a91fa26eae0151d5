import Testing
import Wire

@testable import QUIC

/// Paths that carry less than QUIC needs (RFC 9000 §14, §8.2.1).
@Suite struct NarrowPathTests {
  private static let narrow = CloseReason.localTransport(
    TransportError(.noViablePath, "the path carries less than 1200 bytes"))

  private func settled(_ change: (inout Configuration) -> Void = { _ in }) throws -> ConnectionPair {
    var configuration = Configuration()
    change(&configuration)
    let pair = try ConnectionPair(configuration, configuration)
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    return pair
  }

  /// Nothing of more than `limit` bytes passes from the client any more.
  private func narrow(_ pair: ConnectionPair, to limit: Int) {
    pair.filter = { $0.from == .client && $0.bytes.count > limit ? nil : $0 }
  }

  /// Whatever the path still carries, a bulk sender finds out, says why, and is heard by its peer.
  @Test(arguments: [1_199, 1_000, 600, 256]) func aBulkSenderEnds(limit: Int) throws {
    let pair = try settled()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 3_000_000, finish: true)
    pair.run(for: .milliseconds(100))
    narrow(pair, to: limit)
    let start = pair.now
    #expect(pair.run { $0.clientApplication.closeReason != nil })
    #expect(pair.clientApplication.closeReason == Self.narrow)
    #expect(pair.now - start < .seconds(20))
    // From then on nothing leaves but CONNECTION_CLOSE, which is short.
    pair.keepsLog = true
    #expect(pair.run { $0.serverApplication.closeReason != nil })
    guard case .peerTransport(let error) = pair.serverApplication.closeReason else { return }
    #expect(error.code == .noViablePath)
    #expect(pair.log.allSatisfy { $0.from == .server || $0.bytes.count < 200 })
  }

  /// Small datagrams that pass keep the probe timeout from firing; the losses of the large ones tell.
  @Test func smallPacketsDoNotHideIt() throws {
    let pair = try settled()
    narrow(pair, to: 1_100)
    for _ in 0..<400 where pair.clientApplication.closeReason == nil {
      for size in [pair.see { $0.client.maximumDatagramSize } ?? 0, 50, 50, 50, 50] {
        _ = [UInt8](repeating: 1, count: size).withUnsafeBytes {
          pair.client.sendDatagram(UnsafeRawBufferPointer(start: nil, count: 0), $0)
        }
        pair.run(for: .milliseconds(5))
      }
    }
    #expect(pair.clientApplication.closeReason == Self.narrow)
  }

  /// A path that carries just what it must is no reason to end.
  @Test func theLeastPathWillDo() throws {
    let pair = try settled()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 1_000_000, finish: true)
    pair.run(for: .milliseconds(50))
    narrow(pair, to: 1_200)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.client.statistics.mtu } >= 1_200)
    #expect(pair.see { $0.client.mtu.isConfirmingBase } == false)
  }

  /// A link that was dead for a while, or loses much of all sizes, is not narrow.
  @Test(arguments: 0..<6) func deadAndLossyLinksAreNotNarrow(seed: Int) throws {
    let pair = try settled { $0.maxIdleTimeout = .zero }
    let dice = SeededEntropy(seed: UInt64(seed) &+ 40)
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 3_000_000, finish: true)
    for _ in 0..<12 where !pair.serverApplication.finished.contains(id) {
      pair.filter = { _ in nil }
      pair.run(for: .milliseconds(Int64(dice.nextUInt64() % 5_000)))
      pair.filter = { dice.nextUInt64() % 100 < 25 ? nil : $0 }
      pair.run(for: .milliseconds(Int64(dice.nextUInt64() % 3_000)))
      #expect(pair.clientApplication.closeReason == nil)
    }
    pair.filter = { $0 }
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.corrupt == 0)
  }

  /// Where there is another path, the connection goes on there.
  @Test func anotherPathIsTakenInstead() throws {
    let pair = try settled()
    let rebound = Path(local: SocketAddress("203.0.113.9:40000")!, remote: ConnectionPair.clientPath.remote)
    pair.route = { $0.from == .client ? rebound : ConnectionPair.reversed(ConnectionPair.clientPath) }
    // The former path stays known to the server until the new one has proved itself.
    pair.filter = { $0.from == .server && $0.bytes.count > 1_100 && $0.path.remote == rebound.local ? nil : $0 }
    pair.client.keepAlive(now: pair.now)
    #expect(pair.run { $0.server.path == ConnectionPair.reversed(rebound) })
    pair.server.leaveNarrowPath()
    #expect(pair.see { $0.server.path } == ConnectionPair.reversed(ConnectionPair.clientPath))
    #expect(pair.see { $0.server.isClosed } == false)
  }

  // MARK: What the operating system refuses to send

  @Test(arguments: [false, true]) func aRefusedDatagramEndsTheConnection(isConfirmed: Bool) throws {
    let pair = isConfirmed ? try settled() : try ConnectionPair()
    pair.flush()
    let sent = pair.sent[.client]
    pair.client.datagramRefused(size: 1_200, on: pair.see { $0.client.path }, now: pair.now)
    pair.flush()
    #expect(pair.clientApplication.closeReason == Self.narrow)
    // An Initial packet that said so would be refused like the others.
    #expect(pair.see { $0.client.isDrained } == !isConfirmed)
    #expect((pair.sent[.client] == sent) == !isConfirmed)
  }

  @Test func aRefusedProbeOnlyEndsTheSearch() throws {
    let pair = try ConnectionPair()
    var refused: [Int] = []
    pair.filter = { [unowned pair] datagram in
      guard datagram.from == .client, datagram.bytes.count > 1_300 else { return datagram }
      refused.append(datagram.bytes.count)
      pair.client.datagramRefused(size: datagram.bytes.count, on: datagram.path, now: pair.now)
      return nil
    }
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    let mtu = pair.see { $0.client.statistics.mtu }
    #expect(mtu > 1_300 - 20 && mtu <= 1_300)
    // Each size once: what the link does not take is not tried again.
    #expect(Set(refused).count == refused.count && !refused.isEmpty)
    #expect(pair.clientApplication.closeReason == nil)
  }

  @Test func aLinkThatHasBecomeNarrowerIsFollowed() throws {
    let pair = try settled()
    #expect(pair.see { $0.client.statistics.mtu } == 1_452)
    pair.client.datagramRefused(size: 1_452, on: ConnectionPair.clientPath, now: pair.now)
    #expect(pair.see { $0.client.statistics.mtu } == 1_200)
    narrow(pair, to: 1_400)
    pair.run(for: .seconds(2))
    let mtu = pair.see { $0.client.statistics.mtu }
    #expect(mtu > 1_400 - 20 && mtu <= 1_400)
  }
}
