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
