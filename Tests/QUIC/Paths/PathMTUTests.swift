import Testing
import Wire

@testable import QUIC

/// RFC 8899 over a path whose MTU changes.
@Suite struct PathMTUTests {
  /// A pair that has found 1452, and a limit on the size of what passes from the client.
  private func settled() throws -> ConnectionPair {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    #expect(pair.see { $0.client.statistics.mtu } == 1_452)
    return pair
  }

  private func narrow(_ pair: ConnectionPair, to limit: Int) {
    pair.filter = { $0.from == .client && $0.bytes.count > limit ? nil : $0 }
  }

  @Test func aBulkSenderFallsBackAndSearchesAgain() throws {
    let pair = try settled()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 3_000_000, finish: true)
    pair.run(for: .milliseconds(100))
    narrow(pair, to: 1_300)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    let mtu = pair.see { $0.client.statistics.mtu }
    #expect(mtu > 1_300 - 20 && mtu <= 1_300)
    #expect(pair.see { $0.client.statistics.blackHoles } == 1)
  }

  /// Small packets pass and keep the probe timeout from ever firing twice; the losses of large ones alone must do.
  @Test func smallPacketsDoNotHideABlackHole() throws {
    let pair = try settled()
    narrow(pair, to: 1_250)
    let most = 1_452 - 40
    for _ in 0..<60 {
      for size in [most, 50, 50, 50, 50] {
        _ = [UInt8](repeating: 1, count: size).withUnsafeBytes {
          pair.client.sendDatagram(UnsafeRawBufferPointer(start: nil, count: 0), $0)
        }
        // One packet each.
        pair.run(for: .milliseconds(5))
      }
      if pair.see({ $0.client.statistics.blackHoles }) > 0 { break }
    }
    #expect(pair.see { $0.client.statistics.blackHoles } == 1)
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.statistics.mtu } <= 1_250)
    // What is too large now is refused, not lost.
    let taken = [UInt8](repeating: 1, count: most).withUnsafeBytes {
      pair.client.sendDatagram(UnsafeRawBufferPointer(start: nil, count: 0), $0)
    }
    #expect(!taken)
  }

  @Test func lossOfAllSizesIsNoBlackHole() throws {
    let pair = try settled()
    let dice = SeededEntropy(seed: 6)
    pair.filter = { $0.from == .client && dice.nextUInt64() % 10 == 0 ? nil : $0 }
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 2_000_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.client.statistics.blackHoles } == 0)
    #expect(pair.see { $0.client.statistics.mtu } == 1_452)
  }

  /// RFC 8899 §5.1.1, PMTU_RAISE_TIMER.
  @Test func looksAgainWhetherThePathHasBecomeWider() throws {
    var configuration = Configuration()
    configuration.keepAliveInterval = .seconds(10)
    let pair = try ConnectionPair(configuration)
    narrow(pair, to: 1_350)
    #expect(pair.connect())
    pair.run(for: .seconds(5))
    #expect(pair.see { $0.client.statistics.mtu } <= 1_350)
    pair.filter = { $0 }
    pair.run(for: .seconds(500))
    #expect(pair.see { $0.client.statistics.mtu } <= 1_350)
    pair.run(for: .seconds(120))
    #expect(pair.see { $0.client.statistics.mtu } == 1_452)
  }
}
