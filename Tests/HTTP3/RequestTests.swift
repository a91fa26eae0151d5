import QUIC
import Testing
import Wire

@testable import HTTP3

let getRequest: HeaderList = [
  ":method": "GET", ":scheme": "https", ":authority": "pop.example", ":path": "/status",
]
let connectUDP: HeaderList = [
  ":method": "CONNECT", ":protocol": "connect-udp", ":scheme": "https", ":authority": "pop.example",
  ":path": "/.well-known/masque/udp/192.0.2.6/443/", "capsule-protocol": "?1",
]
let connectTCP: HeaderList = [":method": "CONNECT", ":authority": "192.0.2.6:443"]
let firstStream = StreamID(rawValue: 0)

@Suite struct RequestTests {
  @Test(arguments: [1, 2, 3, 7, 64, Int.max])
  func requestAndResponseCrossInAnyPieces(pieceSize: Int) throws {
    var pair = Pair()
    pair.client.quic.pieceSize = pieceSize
    pair.server.quic.pieceSize = pieceSize
    pair.client.start()
    pair.server.start()
    pair.carry()
    #expect(pair.client.events == [.settingsReceived(.tunnel)])
    #expect(pair.server.events == [.settingsReceived(.tunnel)])
    pair.client.events = []
    pair.server.events = []

    let id = try #require(try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic))
    pair.carry()
    let events = pair.server.events
    // Bytes cut small enough let the headers come before it is known that nothing follows.
    if events != [.requestReceived(id, getRequest, finished: true)] {
      #expect(events == [.requestReceived(id, getRequest, finished: false), .dataReadable(id)])
      let rest = pair.server.content(id)
      #expect(rest.bytes.isEmpty && rest.finished)
    }

    let response: HeaderList = [":status": "200", "content-length": "1000"]
    try pair.server.http.sendResponse(response, to: id, finish: false, on: &pair.server.quic)
    let content = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
    #expect(pair.server.send(id, content, finish: true) == 1000)
    pair.carry()
    #expect(pair.client.events == [.responseReceived(id, response, finished: false), .dataReadable(id)])
    let received = pair.client.content(id)
    #expect(received.bytes == content)
    #expect(received.finished)
    #expect(pair.client.http.openRequests == 0)
    #expect(pair.server.http.openRequests == 0)
  }

  @Test func aTunnelCarriesDataBothWays() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    #expect(pair.client.send(id, [1, 2, 3]) == 3)
    pair.carry()
    #expect(pair.server.content(id) == ([1, 2, 3], false))
    try pair.server.http.sendResponse([":status": "200"], to: id, finish: false, on: &pair.server.quic)
    #expect(pair.server.send(id, [4, 5]) == 2)
    pair.carry()
    #expect(pair.client.content(id) == ([4, 5], false))
    #expect(pair.client.send(id, [6]) == 1)
    pair.carry()
    #expect(pair.server.content(id) == ([6], false))
    #expect(pair.server.send(id, [], finish: true) == 0)
    pair.carry()
    #expect(pair.client.content(id) == ([], true))
    #expect(pair.client.send(id, [7], finish: true) == 1)
    pair.carry()
    #expect(pair.server.content(id) == ([7], true))
    #expect(pair.client.http.openRequests == 0)
    #expect(pair.server.http.openRequests == 0)
  }

  @Test(arguments: [1, 2, 3, 5, 9, 10, 11, 63, 64, 65, 100, 1000])
  func contentPassesThroughAnyRoom(room: Int) throws {
    var pair = Pair.started()
    pair.client.quic.room = room
    pair.client.quic.pieceSize = 33
    pair.server.quic.pieceSize = 17
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    let content = (0..<3000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    var offset = 0
    var received: [UInt8] = []
    var finished = false
    for _ in 0..<20_000 where !finished {
      if offset < content.count {
        let offered = Array(content[offset..<min(offset + 700, content.count)])
        offset += pair.client.send(id, offered, finish: offset + offered.count == content.count)
      }
      pair.carry()
      let piece = pair.server.content(id)
      received += piece.bytes
      finished = piece.finished
    }
    #expect(received == content)
    #expect(finished)
    #expect(pair.client.quic.closed == nil)
    #expect(pair.server.quic.closed == nil)
  }

  @Test func roomIsAnnouncedAfterAShortWrite() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    pair.carry()
    pair.client.quic.room = 50
    pair.client.events = []
    #expect(pair.client.send(id, [UInt8](repeating: 1, count: 200)) == 48)
    pair.carry()
    #expect(pair.client.events == [.dataWritable(id)])
    #expect(pair.server.content(id).bytes.count == 48)
  }

  @Test func framesFillTheRoomToTheByte() {
    for room in 3..<20_000 {
      let (length, size) = Connection.fit(1 << 20, into: room)
      #expect(1 + size + length == room)
      #expect(length > 0 && size >= Varint.length(of: UInt64(length)))
    }
    #expect(Connection.fit(5, into: 2) == (5, 1))
    #expect(Connection.fit(5, into: 1) == (5, 1))
    #expect(Connection.fit(63, into: 65) == (63, 1))
    #expect(Connection.fit(64, into: 66) == (63, 2))
    #expect(Connection.fit(1 << 40, into: 1 << 35) == (1 << 35 - 9, 8))
  }

  @Test func aReaderThatTakesPartComesBack() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    #expect(pair.client.send(id, [1, 2, 3, 4], finish: true) == 4)
    pair.carry()
    var got: [UInt8] = []
    var outcomes: [StreamRead] = []
    for take in [0, 1, 2, 1] {
      let outcome = pair.server.http.readData(id, on: &pair.server.quic) { bytes, finished in
        #expect(finished)
        got += bytes[..<take]
        return take
      }
      outcomes.append(outcome)
    }
    #expect(got == [1, 2, 3, 4])
    #expect(outcomes == [.blocked, .progressed, .progressed, .ended])
  }

  @Test func interimResponsesAndTrailers() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(getRequest, finish: false, on: &pair.client.quic))
    try pair.client.http.sendTrailers(["x-check": "1"], on: id, over: &pair.client.quic)
    pair.carry()
    #expect(pair.server.content(id) == ([], true))
    #expect(pair.server.events.contains(.trailersReceived(id, ["x-check": "1"])))

    pair.client.events = []
    try pair.server.http.sendResponse([":status": "103"], to: id, finish: false, on: &pair.server.quic)
    try pair.server.http.sendResponse([":status": "200"], to: id, finish: false, on: &pair.server.quic)
    #expect(pair.server.send(id, [9]) == 1)
    try pair.server.http.sendTrailers(["x-sum": "9"], on: id, over: &pair.server.quic)
    pair.carry()
    #expect(
      pair.client.events == [
        .interimResponseReceived(id, [":status": "103"]), .responseReceived(id, [":status": "200"], finished: false),
        .dataReadable(id),
      ])
    #expect(pair.client.content(id) == ([9], true))
    #expect(pair.client.events.last == .trailersReceived(id, ["x-sum": "9"]))
  }

  @Test func requestsWaitForAStream() throws {
    var pair = Pair.started()
    pair.client.quic.streamLimit[.bidirectional] = 0
    #expect(try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic) == nil)
    pair.client.events = []
    pair.client.handle(.streamsAvailable(.bidirectional))
    pair.client.handle(.streamsAvailable(.bidirectional))
    #expect(pair.client.events == [.requestsAvailable])
  }

  @Test func settingsWaitForAStream() throws {
    var end = End(.client)
    end.quic.streamLimit[.unidirectional] = 0
    end.start()
    #expect(end.quic.outgoing.isEmpty)
    end.quic.streamLimit[.unidirectional] = 3
    end.quic.room = 2
    end.handle(.streamsAvailable(.unidirectional))
    let control = StreamID(.client, .unidirectional, sequence: 0)
    var wire: [UInt8] = []
    for _ in 0..<40 {
      wire += end.written(control)
      end.quic.outgoing[control]!.bytes = []
      end.handle(.streamWritable(control))
    }
    var reader = ControlReader()
    try wire.dropFirst().withUnsafeBytes { try reader.read($0, role: .server, limit: 4096) }
    #expect(wire.first == 0)
    #expect(reader.newSettings == .tunnel)
    #expect(end.written(StreamID(.client, .unidirectional, sequence: 1)) == [2])
    #expect(end.written(StreamID(.client, .unidirectional, sequence: 2)) == [3])
  }

  @Test func extendedConnectWaitsForSettings() throws {
    var end = End(.client)
    end.start()
    #expect(throws: SendError.extendedConnectNotEnabled) {
      try end.http.sendRequest(connectUDP, finish: false, on: &end.quic)
    }
  }

  @Test func whatWeSendKeepsTheRulesToo() throws {
    var pair = Pair.started()
    #expect(throws: SendError.self) {
      try pair.client.http.sendRequest([":method": "GET"], finish: true, on: &pair.client.quic)
    }
    var large = getRequest
    large.append("x-large", String(repeating: "a", count: 70_000))
    #expect(throws: SendError.self) { try pair.client.http.sendRequest(large, finish: true, on: &pair.client.quic) }
    #expect(pair.client.http.openRequests == 0)
    let id = try #require(try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic))
    pair.carry()
    #expect(throws: SendError.self) {
      try pair.server.http.sendResponse([":status": "100"], to: id, finish: true, on: &pair.server.quic)
    }
    try pair.server.http.sendResponse([":status": "200"], to: id, finish: false, on: &pair.server.quic)
    #expect(throws: SendError.malformed("a final response has been sent")) {
      try pair.server.http.sendResponse([":status": "200"], to: id, finish: false, on: &pair.server.quic)
    }
  }

  @Test func cancelResetsBothWays() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    pair.carry()
    pair.server.events = []
    pair.client.http.cancel(id, code: .requestCancelled, on: &pair.client.quic)
    pair.carry()
    #expect(
      pair.server.events == [.streamReset(id, .requestCancelled), .streamStopped(id, .requestCancelled)])
    #expect(pair.server.http.openRequests == 0)
    #expect(pair.client.http.openRequests == 0)
  }

  @Test func stoppingAndResettingEachSide() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    pair.carry()
    pair.server.http.stopReading(id, code: .noError, on: &pair.server.quic)
    pair.carry()
    #expect(pair.client.events.last == .streamStopped(id, .noError))
    #expect(pair.client.send(id, [1]) == 1)
    pair.server.http.reset(id, code: .connectError, on: &pair.server.quic)
    pair.carry()
    #expect(pair.client.events.last == .streamReset(id, .connectError))
    #expect(pair.client.http.openRequests == 0)
    #expect(pair.server.http.openRequests == 0)
  }
}
