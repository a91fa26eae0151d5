import QUIC
import QUICTLS
import Testing
import Wire

@Suite struct EarlyDataTests {
  /// Two contexts that have met once, so that the client holds a ticket that allows early data.
  private func acquainted(
    _ client: Configuration = Configuration(), _ server: Configuration = Configuration()
  ) throws -> (ClientTLSContext, ServerTLSContext) {
    let clientTLS = try ConnectionFixture.client(offersEarlyData: true)
    let serverTLS = try ConnectionFixture.server(earlyDataContext: [1])
    let pair = try ConnectionPair(client, server, clientTLS: clientTLS, serverTLS: serverTLS)
    try #require(pair.connect())
    pair.run(for: .milliseconds(100))
    return (clientTLS, serverTLS)
  }

  @Test func aRequestAndItsAnswerTakeOneRoundTrip() throws {
    let (clientTLS, serverTLS) = try acquainted()
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 2)
    pair.flush()
    #expect(pair.clientApplication.has(.earlyDataReady))
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 3_000, finish: true)
    pair.serverApplication.reply = .init(total: 1_000, finish: true)
    let start = pair.now
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
    #expect(pair.serverApplication.received[id] == 3_000)
    #expect(pair.clientApplication.received[id] == 1_000)
    #expect(pair.clientApplication.corrupt + pair.serverApplication.corrupt == 0)
    #expect(pair.now - start == pair.delay * 2)
    #expect(pair.see { $0.client.earlyData } == .accepted)
    #expect(pair.connect())
    #expect(!pair.clientApplication.has(.earlyDataRejected))
  }

  @Test func withoutATicketThereIsNoEarlyData() throws {
    let pair = try ConnectionPair(
      clientTLS: ConnectionFixture.client(offersEarlyData: true),
      serverTLS: ConnectionFixture.server(earlyDataContext: [1]))
    pair.flush()
    #expect(!pair.clientApplication.has(.earlyDataReady))
    #expect(pair.open(.client) == nil)
    #expect(pair.connect())
    #expect(pair.see { $0.client.earlyData } == .notOffered)
  }

  @Test func aRefusalVoidsTheStreamsAndTheyCanBeOpenedAnew() throws {
    let (clientTLS, _) = try acquainted()
    // Another server has other ticket keys.
    let pair = try ConnectionPair(
      clientTLS: clientTLS, serverTLS: ConnectionFixture.server(earlyDataContext: [1]), seed: 3)
    pair.flush()
    let early = try #require(pair.open(.client))
    pair.clientApplication.outgoing[early] = .init(total: 3_000, finish: true)
    #expect(pair.run { $0.clientApplication.has(.earlyDataRejected) })
    pair.clientApplication.outgoing = [:]
    #expect(pair.serverApplication.received.isEmpty)
    #expect(pair.connect())
    #expect(pair.see { $0.client.liveStreamCount } == 0)
    let id = try #require(pair.open(.client))
    #expect(id == early)
    pair.clientApplication.outgoing[id] = .init(total: 5_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.received[id] == 5_000)
    #expect(pair.serverApplication.corrupt == 0)
  }

  @Test(arguments: 0..<40) func survivesLossOfAnyOneDatagram(_ lost: Int) throws {
    let (clientTLS, serverTLS) = try acquainted()
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: UInt64(lost + 10))
    let end: ConnectionPair.End = lost < 20 ? .client : .server
    pair.filter = { $0.from == end && $0.index == lost % 20 ? nil : $0 }
    pair.flush()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 8_000, finish: true)
    pair.serverApplication.reply = .init(total: 8_000, finish: true)
    #expect(
      pair.run { $0.clientApplication.finished.contains(id) && $0.serverApplication.finished.contains(id) })
    #expect(pair.clientApplication.corrupt + pair.serverApplication.corrupt == 0)
  }

  @Test func earlyPacketsThatOvertakeTheClientHelloAreKept() throws {
    let (clientTLS, serverTLS) = try acquainted()
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 4)
    pair.holdClientHelloBack()
    pair.flush()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 3_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.client.statistics.packetsLost } == 0)
  }

  @Test func limitsThatGrewApplyAfterTheHandshake() throws {
    var small = Configuration()
    small.initialMaxStreamDataBidiRemote = 2_000
    small.initialMaxData = 4_000
    let (clientTLS, serverTLS) = try acquainted(Configuration(), small)
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 5)
    pair.flush()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 200_000, finish: true)
    // Everything that the client sends before it hears from the server.
    #expect(pair.run { $0.serverApplication.received[id] != nil })
    pair.run(for: .milliseconds(9))
    #expect(pair.see { $0.server.isHandshakeComplete } == false)
    #expect(pair.serverApplication.received[id] == 2_000)
    #expect(pair.run { $0.serverApplication.received[id] == 200_000 })
    #expect(pair.serverApplication.corrupt == 0)
  }

  @Test func aServerThatAcceptsWithSmallerLimitsIsInError() throws {
    let (clientTLS, serverTLS) = try acquainted()
    var smaller = Configuration()
    smaller.initialMaxData = 1_000
    let pair = try ConnectionPair(Configuration(), smaller, clientTLS: clientTLS, serverTLS: serverTLS, seed: 6)
    #expect(pair.run { $0.clientApplication.closeReason != nil })
    guard case .localTransport(let error) = pair.clientApplication.closeReason else {
      Issue.record("\(String(describing: pair.clientApplication.closeReason))")
      return
    }
    #expect(error.code == .protocolViolation)
  }

  @Test func aServerAnswersBeforeTheHandshakeIsComplete() throws {
    // RFC 9001 §5.7: without resumption too.
    let pair = try ConnectionPair()
    pair.flush()
    #expect(pair.run { $0.serverApplication.has(.earlyDataReady) })
    let id = try #require(pair.open(.server, .unidirectional))
    pair.serverApplication.outgoing[id] = .init(total: 100, finish: true)
    let ready = pair.now
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
    #expect(pair.now - ready == pair.delay)
  }
}
