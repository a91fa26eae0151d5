import QUIC
import Testing
import Wire

@testable import HTTP3

@Suite struct ShutdownTests {
  @Test func aServerDrains() throws {
    var pair = Pair.started()
    let kept = try #require(try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic))
    pair.carry()
    pair.server.http.goAway(final: false, on: &pair.server.quic)
    pair.carry()
    #expect(pair.client.events.last == .goAway(identifier: Varint.max - 3))
    #expect(throws: SendError.goingAway) {
      try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic)
    }
    #expect(pair.client.http.openRequests == 1)

    // A request that was on its way when the last GOAWAY went out.
    pair.server.http.goAway(final: true, on: &pair.server.quic)
    let late = StreamID(rawValue: 4)
    pair.server.receive(late, .headers(getRequest), finish: true)
    #expect(pair.server.quic.resets[late] == ErrorCode.requestRejected.rawValue)
    #expect(pair.server.http.counters.rejectedRequests == 1)
    pair.server.quic.resets = [:]
    pair.server.quic.stops = [:]

    pair.carry()
    #expect(pair.client.events.last == .goAway(identifier: 4))
    try pair.server.http.sendResponse([":status": "204"], to: kept, finish: true, on: &pair.server.quic)
    pair.carry()
    #expect(pair.client.events.last == .responseReceived(kept, [":status": "204"], finished: true))
    #expect(pair.server.http.openRequests == 0)
    pair.server.http.shutdown(on: &pair.server.quic)
    #expect(pair.server.quic.closed?.code == ErrorCode.noError.rawValue)
  }

  @Test func requestsThatWillNotBeAnsweredComeBack() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    pair.client.events = []
    pair.client.receive(StreamID(.server, .unidirectional, sequence: 0), .frame(0x07, [0]))
    #expect(pair.client.events == [.goAway(identifier: 0), .streamReset(id, .requestRejected)])
    #expect(pair.client.quic.resets[id] == ErrorCode.requestCancelled.rawValue)
    #expect(pair.client.http.openRequests == 0)
  }

  @Test func goAwayOnlyGoesDown() throws {
    var pair = Pair.started()
    pair.server.http.goAway(final: true, on: &pair.server.quic)
    pair.server.http.goAway(final: false, on: &pair.server.quic)
    pair.server.http.goAway(final: true, on: &pair.server.quic)
    pair.client.events = []
    pair.carry()
    #expect(pair.client.events == [.goAway(identifier: 0)])
    #expect(pair.client.quic.closed == nil)
  }

  @Test func aClientMaySayGoodbye() throws {
    var pair = Pair.started()
    pair.client.http.goAway(final: true, on: &pair.client.quic)
    pair.carry()
    #expect(pair.server.events.last == .goAway(identifier: 0))
  }

  @Test func refusedEarlyDataStartsOver() throws {
    var end = End(.client, remembered: .tunnel)
    end.start()
    #expect(end.http.canSendDatagrams == true)
    let id = try #require(try end.http.sendRequest(connectUDP, finish: false, on: &end.quic))
    end.quic = MemoryTransport(.client)
    end.handle(.earlyDataRejected)
    #expect(end.events == [.streamReset(id, .requestRejected)])
    #expect(end.http.canSendDatagrams == false)
    #expect(end.written(StreamID(.client, .unidirectional, sequence: 0)).prefix(2) == [0, 4])
    // What was remembered binds no one any more.
    end.receive(StreamID(.server, .unidirectional, sequence: 0), [0] + settingsFrame)
    #expect(end.events.last == .settingsReceived(Settings()))
    #expect(try end.http.sendRequest(getRequest, finish: true, on: &end.quic) == id)
  }

  @Test(arguments: [
    Settings(maximumFieldSectionSize: 65536, enableConnectProtocol: true),
    Settings(maximumFieldSectionSize: 65536, h3Datagram: true),
    Settings(maximumFieldSectionSize: 65535, enableConnectProtocol: true, h3Datagram: true),
  ])
  func acceptedEarlyDataBindsTheServer(lowered: Settings) throws {
    for settings in [lowered, .tunnel] {
      var end = End(.client, remembered: .tunnel)
      end.start()
      end.receive(StreamID(.server, .unidirectional, sequence: 0), [0] + settings.encodedFrame(greaseSeed: 1))
      #expect(end.quic.closed?.code == (settings == .tunnel ? nil : ErrorCode.settingsError.rawValue))
    }
  }

  @Test func theTransportsEndIsTheLastEvent() throws {
    var pair = Pair.started()
    _ = try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic)
    pair.client.handle(.closed(.idleTimeout))
    #expect(pair.client.events.last == .closed(.idleTimeout))
    #expect(pair.client.http.openRequests == 0)
    #expect(throws: SendError.closed) {
      try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic)
    }
    #expect(ErrorCode(rawValue: 0x1f * 3 + 0x21).meaning == .noError)
    #expect(ErrorCode.connectError.meaning == .connectError)
  }
}
