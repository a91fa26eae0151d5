import QUIC
import QUICTLS
import Testing
import Wire

@Suite struct ConnectionHandshakeTests {
  @Test func completesAndConfirms() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    #expect(pair.see { $0.client.applicationProtocol } == "h3")
    #expect(pair.see { $0.server.applicationProtocol } == "h3")
    #expect(pair.see { $0.client.peerCertificates.count } == 1)
    #expect(pair.clientApplication.has(.handshakeCompleted))
    #expect(pair.clientApplication.has(.handshakeConfirmed))
    #expect(pair.serverApplication.has(.handshakeConfirmed))
    #expect(pair.see { $0.client.statistics.packetsLost } == 0)
  }

  @Test("A ClientHello of two packets arrives in any order, and through the loss of either", arguments: 0..<6)
  func clientHelloOfTwoPackets(disorder: Int) throws {
    let pair = try ConnectionPair(seed: UInt64(disorder))
    pair.keepsLog = true
    pair.filter = { datagram in
      guard datagram.from == .client, datagram.index < 2 else { return datagram }
      var later = datagram
      switch disorder {
      case 0, 1: return datagram.index == disorder ? nil : datagram
      case 2: return nil
      case 3, 4:
        if datagram.index == disorder - 3 { later.arrival = later.arrival + .milliseconds(5) }
        return later
      default: return datagram
      }
    }
    #expect(pair.connect())
    #expect(pair.log.prefix(2).allSatisfy { $0.from == .client && $0.bytes.count >= 1_200 })
  }

  @Test func movesStreamDataBothWays() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 300_000, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 200_000, finish: true)
    #expect(
      pair.run {
        $0.serverApplication.finished.contains(id) && $0.clientApplication.finished.contains(id)
      })
    #expect(pair.serverApplication.received[id] == 300_000)
    #expect(pair.clientApplication.received[id] == 200_000)
    #expect(pair.serverApplication.corrupt == 0)
    #expect(pair.clientApplication.corrupt == 0)
  }
}
