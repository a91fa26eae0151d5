import QUIC
import Testing
import Wire

@Suite struct ConnectionDatagramTests {
  private func send(_ pair: ConnectionPair, _ bytes: [UInt8]) -> Bool {
    let half = bytes.count / 2
    return bytes.withUnsafeBytes {
      pair.client.sendDatagram(
        UnsafeRawBufferPointer(rebasing: $0[..<half]), UnsafeRawBufferPointer(rebasing: $0[half...]))
    }
  }

  @Test func carriesDatagramsWhole() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let size = try #require(pair.see { $0.client.maximumDatagramSize })
    let payloads: [[UInt8]] = [[], [1], [UInt8](repeating: 7, count: 500), [UInt8](repeating: 9, count: size)]
    for payload in payloads { #expect(send(pair, payload)) }
    #expect(!send(pair, [UInt8](repeating: 0, count: size + 1)))
    #expect(pair.run { $0.serverApplication.datagrams.count == payloads.count })
    #expect(pair.serverApplication.datagrams == payloads)
  }

  @Test func aFullQueueDropsTheOldestAndCounts() throws {
    var small = Configuration()
    small.datagramQueueLimit = 10_000
    let pair = try ConnectionPair(small)
    #expect(pair.connect())
    for index in 0..<100 { #expect(send(pair, [UInt8](repeating: UInt8(index), count: 1_000))) }
    #expect(pair.run { $0.clientApplication.has(.datagramsSendable) })
    pair.run(for: .seconds(1))
    #expect(pair.serverApplication.datagrams.last?.first == 99)
    #expect(pair.see { $0.client.statistics.datagramsDroppedSending } == 90)
  }

  @Test func areRefusedWhenThePeerTakesNone() throws {
    var none = Configuration()
    none.maxDatagramFrameSize = 0
    let pair = try ConnectionPair(Configuration(), none)
    #expect(pair.connect())
    #expect(pair.see { $0.client.maximumDatagramSize } == nil)
    #expect(!send(pair, [1]))
  }

  @Test func shareWithStreamsUnderLoad() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 1_000_000, finish: true)
    var sent = 0
    #expect(
      pair.run { pair in
        if sent < 2_000, send(pair, [UInt8](repeating: 1, count: 900)) { sent += 1 }
        return pair.serverApplication.finished.contains(id)
      })
    #expect(pair.serverApplication.datagrams.count > 0)
    #expect(pair.serverApplication.corrupt == 0)
  }
}
