import QUIC
import QUICTLS
import Testing
import Wire

@Suite struct ConnectionLossTests {
  /// Each of the first datagrams of each end is lost in turn, and then each two after one another.
  @Test(arguments: [ConnectionPair.End.client, .server], 0..<8)
  func survivesTheLossOfAnyHandshakeDatagram(of end: ConnectionPair.End, at index: Int) throws {
    for run in 1...3 {
      let pair = try ConnectionPair()
      pair.filter = { $0.from == end && (index..<index + run).contains($0.index) ? nil : $0 }
      #expect(pair.connect(), "\(run) lost")
      let id = try #require(pair.open(.client))
      pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 5_000, finish: true)
      #expect(pair.run(steps: 2_000) { $0.serverApplication.finished.contains(id) })
    }
  }

  @Test func survivesTheLossOfEveryOtherDatagram() throws {
    for seed in 0..<20 {
      let pair = try ConnectionPair(seed: UInt64(seed))
      let dice = SeededEntropy(seed: UInt64(seed) &+ 77)
      pair.filter = { dice.nextUInt64() % 100 < 40 ? nil : $0 }
      #expect(pair.connect(), "seed \(seed)")
    }
  }

  @Test(arguments: 0..<6)
  func deliversInOrderOverALossyReorderingLink(seed: Int) throws {
    let pair = try ConnectionPair(seed: UInt64(seed))
    let dice = SeededEntropy(seed: UInt64(seed) &+ 1_000)
    pair.filter = { datagram in
      var datagram = datagram
      let roll = dice.nextUInt64() % 1_000
      if roll < 20 { return nil }
      if roll < 70 { datagram.arrival += .milliseconds(Int64(dice.nextUInt64() % 20)) }
      return datagram
    }
    #expect(pair.connect())
    let total = seed == 0 ? 10_000_000 : 1_000_000
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: total, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: total, finish: true)
    #expect(
      pair.run(steps: 1_000_000) {
        $0.serverApplication.finished.contains(id) && $0.clientApplication.finished.contains(id)
          && $0.clientApplication.has(.streamFinished(id)) && $0.serverApplication.has(.streamFinished(id))
      })
    #expect(pair.serverApplication.received[id] == total)
    #expect(pair.clientApplication.received[id] == total)
    #expect(pair.serverApplication.corrupt + pair.clientApplication.corrupt == 0)
    #expect(pair.see { $0.client.statistics.packetsLost } > 0)
  }

  @Test func duplicatedDatagramsChangeNothing() throws {
    let pair = try ConnectionPair()
    pair.filter = { [unowned pair] datagram in
      var copy = datagram
      copy.arrival += .milliseconds(3)
      pair.insert(copy)
      return datagram
    }
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.received[id] == 100_000)
    #expect(pair.see { $0.server.statistics.drops.duplicate } > 0)
  }
}
