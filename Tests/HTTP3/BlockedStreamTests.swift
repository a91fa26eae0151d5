import QUIC
import Testing
import Wire

@testable import HTTP3

/// Streams that wait for the dynamic table, on a whole connection.
@Suite struct BlockedStreamTests {
  static let encoderStream = StreamID(.client, .unidirectional, sequence: 0)
  static let decoderStream = StreamID(.server, .unidirectional, sequence: 2)
  /// `x: y`, behind a capacity of 4096.
  static let insertion = [UInt8](hex: "3fe11f 41780179")
  static let request: HeaderList = [":method": "GET", ":scheme": "https", ":authority": "a", ":path": "/"]

  /// A section that needs one insertion: ``request``, then `tail`, in which 80 is that entry.
  static func section(_ tail: String) -> [UInt8] { .frame(1, [UInt8](hex: "02 00 d1 d7 50 01 61 c1" + tail)) }

  static func server() -> End {
    var end = End(.server)
    end.start()
    return end
  }

  @Test(arguments: [1, 3, Int.max])
  func aBlockedRequestGoesOnWhenItsEntriesCome(pieceSize: Int) {
    var end = Self.server()
    end.quic.pieceSize = pieceSize
    end.receive(firstStream, Self.section("80") + .frame(0, [7, 8]), finish: true)
    #expect(end.events.isEmpty)
    // Its last bytes are still the transport's.
    #expect(end.quic.incoming[firstStream]!.bytes.count >= 4)
    end.receive(Self.encoderStream, [2] + Self.insertion)
    var expected = Self.request
    expected.append("x", "y")
    #expect(end.events == [.requestReceived(firstStream, expected, finished: false), .dataReadable(firstStream)])
    #expect(end.content(firstStream) == ([7, 8], true))
    #expect(end.written(Self.decoderStream) == [3, 0x80])
  }

  @Test func blockedTrailersHoldBackTheEndAlone() {
    var end = Self.server()
    end.receive(firstStream, .headers(Self.request) + .frame(0, [7]) + .frame(1, [2, 0, 0x80]), finish: true)
    #expect(end.content(firstStream) == ([7], false))
    end.events = []
    end.receive(Self.encoderStream, [2] + Self.insertion)
    #expect(end.events == [.dataReadable(firstStream)])
    #expect(end.content(firstStream) == ([], true))
    #expect(end.events.contains(.trailersReceived(firstStream, ["x": "y"])))
  }

  @Test(arguments: [16, 17])
  func theLimitIsExact(count: Int) {
    var end = Self.server()
    for index in 0..<count { end.receive(StreamID(rawValue: UInt64(index) * 4), Self.section("80"), finish: true) }
    let code = count == 17 ? ErrorCode.qpackDecompressionFailed.rawValue : nil
    #expect(end.quic.closed?.code == code)
    guard count == 16 else { return }
    end.receive(Self.encoderStream, [2] + Self.insertion)
    #expect(end.events.count == 16)
    #expect(end.written(Self.decoderStream).count == 17)
  }

  @Test func aStreamThatIsResetLeavesItsPlace() {
    var end = Self.server()
    for index in 0..<40 {
      let id = StreamID(rawValue: UInt64(index) * 4)
      end.receive(id, Self.section("80"))
      // More bytes behind it do not count it twice.
      end.receive(id, .frame(0, [1]))
      end.handle(.streamReset(id, code: 0))
    }
    #expect(end.quic.closed == nil)
    #expect(end.http.openRequests == 0)
    // One Stream Cancellation for each.
    #expect(end.written(Self.decoderStream).prefix(3) == [3, 0x40, 0x44])
  }

  @Test func insertionsAloneAreAcknowledged() {
    var end = Self.server()
    end.receive(Self.encoderStream, [2] + Self.insertion)
    end.receive(Self.encoderStream, [UInt8](hex: "00 00"))
    #expect(end.written(Self.decoderStream) == [3, 0x01, 0x02])
  }

  @Test func twoEndsUseTheTable() throws {
    var pair = Pair.started()
    for _ in 0..<5 {
      let id = try #require(try pair.client.http.sendRequest(connectUDP, finish: false, on: &pair.client.quic))
      #expect(pair.client.written(id).count < [UInt8].headers(connectUDP).count / 2 + 20)
      pair.carry()
      #expect(pair.server.events.last == .requestReceived(id, connectUDP, finished: false))
      try pair.server.http.sendResponse(
        [":status": "200", "capsule-protocol": "?1"], to: id, finish: false, on: &pair.server.quic)
      pair.carry()
      #expect(
        pair.client.events.last
          == .responseReceived(id, [":status": "200", "capsule-protocol": "?1"], finished: false))
    }
    #expect(pair.client.quic.closed == nil && pair.server.quic.closed == nil)
  }

  /// A peer that takes nothing on its decoder stream cannot make us keep what we would say.
  @Test func acknowledgmentsThatNobodyReadsEndTheConnection() {
    var end = Self.server()
    end.quic.room = 0
    end.receive(Self.encoderStream, [2] + Self.insertion)
    for index in 0..<5000 where end.quic.closed == nil {
      end.receive(StreamID(rawValue: UInt64(index) * 4), Self.section("80"), finish: true)
    }
    #expect(end.quic.closed?.code == ErrorCode.excessiveLoad.rawValue)
  }

  @Test(arguments: [UInt64(0), 100, 4096])
  func theRememberedCapacityStays(announced: UInt64) throws {
    var end = End(.client, remembered: .tunnel)
    end.start()
    var settings = Settings.tunnel
    settings.qpackMaximumTableCapacity = announced
    end.receive(StreamID(.server, .unidirectional, sequence: 0), [0] + settings.encodedFrame(greaseSeed: 1))
    #expect(end.quic.closed?.code == (announced == 4096 ? nil : ErrorCode.qpackDecoderStreamError.rawValue))
  }
}
