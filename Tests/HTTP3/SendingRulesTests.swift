import QUIC
import Testing
import Wire

@testable import HTTP3

/// What we never send, and what we never take for granted (RFC 9114 §4, §5.4, §6.2.1, §7.2.4.2).
@Suite struct SendingRulesTests {
  // MARK: Messages

  /// What would be malformed when it came does not leave either: names in upper case, fields of a connection,
  /// pseudo-header fields that there are not.
  @Test(arguments: MessageRulesTests.malformed) func malformedRequestsAreNotSent(list: HeaderList) throws {
    var pair = Pair.started()
    let before = pair.client.quic.writes
    #expect(throws: SendError.self) { try pair.client.http.sendRequest(list, finish: true, on: &pair.client.quic) }
    #expect(pair.client.quic.writes == before && pair.client.http.openRequests == 0)
  }

  @Test(
    arguments: [
      [":status": "200", "X-Upper": "y"], [":status": "200", "connection": "close"],
      [":status": "200", "te": "trailers"],
      [":status": "200", ":path": "/"], ["x": "y"], [":status": "101"],
      [":status": "200", "transfer-encoding": "chunked"],
    ] as [HeaderList])
  func malformedResponsesAreNotSent(list: HeaderList) throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic))
    pair.carry()
    #expect(throws: SendError.self) {
      try pair.server.http.sendResponse(list, to: id, finish: false, on: &pair.server.quic)
    }
    try pair.server.http.sendResponse([":status": "200"], to: id, finish: false, on: &pair.server.quic)
    for trailers: HeaderList in [[":status": "200"], ["X": "y"], ["connection": "close"]] {
      #expect(throws: SendError.self) {
        try pair.server.http.sendTrailers(trailers, on: id, over: &pair.server.quic)
      }
    }
  }

  /// The peer's limit holds from the moment that it is known, below our own too.
  @Test func fieldSectionsKeepToThePeersLimit() throws {
    var settings = Settings.tunnel
    settings.maximumFieldSectionSize = 300
    var pair = Pair(server: settings)
    pair.client.start()
    pair.server.start()
    var large = getRequest
    large.append("x-large", String(repeating: "a", count: 300))
    // Not known yet.
    #expect(try pair.client.http.sendRequest(large, finish: true, on: &pair.client.quic) != nil)
    pair.carry()
    #expect(throws: SendError.fieldSectionTooLarge(size: large.size, limit: 300)) {
      try pair.client.http.sendRequest(large, finish: true, on: &pair.client.quic)
    }
    #expect(try pair.client.http.sendRequest(getRequest, finish: true, on: &pair.client.quic) != nil)
  }

  /// In early data the remembered limit holds; where none is remembered, the defaults.
  @Test func earlyRequestsKeepToRememberedSettings() throws {
    var large = getRequest
    large.append("x-large", String(repeating: "a", count: 400))
    for limit in [UInt64(400), 4_000] {
      var remembered = Settings.tunnel
      remembered.maximumFieldSectionSize = limit
      var end = End(.client, remembered: remembered)
      end.start()
      if limit == 400 {
        #expect(throws: SendError.fieldSectionTooLarge(size: large.size, limit: 400)) {
          try end.http.sendRequest(large, finish: true, on: &end.quic)
        }
      } else {
        #expect(try end.http.sendRequest(large, finish: true, on: &end.quic) != nil)
      }
      #expect(try end.http.sendRequest(connectUDP, finish: false, on: &end.quic) != nil)
    }
    var end = End(.client)
    end.start()
    #expect(throws: SendError.extendedConnectNotEnabled) {
      try end.http.sendRequest(connectUDP, finish: false, on: &end.quic)
    }
  }

  /// A request that the owner has heard of is never called rejected, whatever becomes of it.
  @Test func requestsThatWereSeenAreNotRejected() throws {
    for isGoingAway in [false, true] {
      var pair = Pair.started()
      let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
      pair.carry()
      #expect(pair.server.events.last == .requestReceived(id, connectTCP, finished: false))
      if isGoingAway { pair.server.http.goAway(final: true, on: &pair.server.quic) }
      pair.client.http.cancel(id, code: .requestCancelled, on: &pair.client.quic)
      pair.carry()
      #expect(pair.server.quic.resets[id] != ErrorCode.requestRejected.rawValue)
      #expect(pair.server.quic.stops[id] != ErrorCode.requestRejected.rawValue)
    }
  }

  /// An owner ends a message inside a frame that has announced more: the peer must not take what came for the whole.
  @Test func aFrameThatIsNotFilledIsAnInternalError() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    let used = try #require(pair.client.quic.outgoing[id]?.bytes.count)
    // Room for a frame's header and none of its ten bytes.
    pair.client.quic.room = used + 2
    let ten = [UInt8](repeating: 1, count: 10)
    #expect(ten.withUnsafeBytes { pair.client.http.sendData(id, $0, finish: true, on: &pair.client.quic) } == 0)
    pair.client.quic.room = .max
    let five = ten.prefix(5)
    #expect(five.withUnsafeBytes { pair.client.http.sendData(id, $0, finish: true, on: &pair.client.quic) } == 5)
    #expect(pair.client.quic.resets[id] == ErrorCode.internalError.rawValue)
    #expect(pair.client.quic.closed == nil)
  }

  // MARK: Critical streams

  /// Our control and QPACK streams are never ended, nor is the peer asked to end its own, whatever goes on.
  @Test func criticalStreamsStayOpen() throws {
    var pair = Pair.started()
    for _ in 0..<3 {
      let id = try #require(try pair.client.http.sendRequest(connectUDP, finish: false, on: &pair.client.quic))
      pair.carry()
      try pair.server.http.sendResponse([":status": "200"], to: id, finish: true, on: &pair.server.quic)
      pair.client.http.cancel(id, code: .requestCancelled, on: &pair.client.quic)
      pair.carry()
    }
    pair.server.http.goAway(final: false, on: &pair.server.quic)
    pair.server.http.goAway(final: true, on: &pair.server.quic)
    pair.client.http.goAway(final: true, on: &pair.client.quic)
    pair.carry()
    pair.client.http.shutdown(on: &pair.client.quic)
    pair.server.http.shutdown(on: &pair.server.quic)
    for role in [Role.client, .server] {
      for sequence in UInt64(0)..<3 {
        let id = StreamID(role, .unidirectional, sequence: sequence)
        let (own, peers) =
          role == .client
          ? (pair.client.quic.outgoing[id], pair.server.quic.stops[id])
          : (pair.server.quic.outgoing[id], pair.client.quic.stops[id])
        #expect(own != nil && own?.isFinished == false && own?.isDropped == false, "\(id)")
        #expect(peers == nil, "\(id)")
      }
    }
    #expect(pair.client.quic.resets.isEmpty && pair.server.quic.resets.isEmpty)
  }

  /// Where our settings leave nothing for QPACK streams to say, the peer may open them all the same.
  @Test func qpackStreamsMayBeOpenedInVain() throws {
    var end = End(.server, settings: Settings())
    end.start()
    end.receive(StreamID(.client, .unidirectional, sequence: 0), [0x02])
    end.receive(StreamID(.client, .unidirectional, sequence: 1), [0x03])
    // A capacity of zero is what there is anyway.
    end.receive(StreamID(.client, .unidirectional, sequence: 0), [0x20])
    end.receive(StreamID(.client, .unidirectional, sequence: 2), [0x00] + settingsFrame)
    end.receive(firstStream, .headers(getRequest), finish: true)
    #expect(end.events.last == .requestReceived(firstStream, getRequest, finished: true))
    #expect(end.quic.closed == nil && end.quic.stops.isEmpty)
  }

  /// Our encoder uses no more of the peer's table than the peer allows, nor than we want.
  @Test(arguments: [(UInt64(0), 0), (40, 40), (220, 220), (4_096, 4_096), (1 << 30, 4_096)])
  func theTableIsNoLargerThanAllowed(allowed: UInt64, used: Int) throws {
    var encoder = QPACKEncoder(capacity: allowed, blockedStreams: 16)
    var decoder = QPACKDecoder(maximumCapacity: Int(allowed), maximumBlockedStreams: 16)
    for index in 0..<50 {
      let (section, instructions) = encoder.encode(["x": "\(index)"], UInt64(index) * 4)
      #expect(allowed > 0 || instructions.isEmpty)
      try decoder.read(instructions)
      #expect(try decoder.decode(section).list == ["x": "\(index)"])
      decoder.acknowledgeInsertions()
      try encoder.read(decoder.taken())
    }
    #expect(encoder.table.capacity == used && decoder.table.capacity == used)
    #expect(encoder.table.size <= used)
  }

  // MARK: What is assumed

  /// A connection that ends without a GOAWAY leaves open whether its requests were processed: none is called rejected.
  @Test func requestsOfALostConnectionMayHaveBeenProcessed() throws {
    for isWhole in [false, true] {
      var pair = Pair.started()
      let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: isWhole, on: &pair.client.quic))
      pair.client.events = []
      pair.client.handle(.closed(.statelessReset))
      #expect(pair.client.events == [.closed(.statelessReset)], "\(id)")
    }
    // Nor after one that spoke of later requests only.
    var pair = Pair.started()
    _ = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    pair.server.http.goAway(final: false, on: &pair.server.quic)
    pair.carry()
    pair.client.events = []
    pair.client.handle(.closed(.idleTimeout))
    #expect(pair.client.events == [.closed(.idleTimeout)])
  }

  struct Lowering: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let change: @Sendable (inout Settings) -> Void
    init(_ name: String, _ change: @escaping @Sendable (inout Settings) -> Void) {
      (testDescription, self.change) = (name, change)
    }
  }

  /// A server that took early data may lower nothing that it went by, nor leave it out.
  @Test(arguments: [
    Lowering("datagrams") { $0.h3Datagram = false },
    Lowering("extended CONNECT") { $0.enableConnectProtocol = false },
    Lowering("blocked streams") { $0.qpackBlockedStreams -= 1 },
    Lowering("no blocked streams") { $0.qpackBlockedStreams = 0 },
    Lowering("field section") { $0.maximumFieldSectionSize = 65_535 },
    // Its default is without limit, but a server that said otherwise must say so again.
    Lowering("no field section") { $0.maximumFieldSectionSize = nil },
  ])
  func settingsOfEarlyDataStand(lowering: Lowering) throws {
    for isLowered in [false, true] {
      var settings = Settings.tunnel
      if isLowered { lowering.change(&settings) }
      var end = End(.client, remembered: .tunnel)
      end.start()
      end.receive(StreamID(.server, .unidirectional, sequence: 0), [0] + settings.encodedFrame(greaseSeed: 1))
      #expect(end.quic.closed?.code == (isLowered ? ErrorCode.settingsError.rawValue : nil))
    }
  }
}
