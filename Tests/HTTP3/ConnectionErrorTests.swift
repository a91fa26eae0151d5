import QUIC
import Testing
import Wire

@testable import HTTP3

let settingsFrame = [UInt8].frame(0x04, [])
let grease = [UInt8].frame(0x21, [1, 2, 3])

/// What a peer may not do, and the code that it must meet with.
struct Offence: Sendable, CustomTestStringConvertible {
  var role: Role
  var stream: StreamID
  var bytes: [UInt8]
  var finish: Bool
  var code: ErrorCode
  var testDescription: String

  /// On the peer's `n`-th unidirectional stream.
  static func uni(
    _ role: Role, _ bytes: [UInt8], finish: Bool = false, _ code: ErrorCode, _ name: String
  ) -> Offence {
    Offence(
      role: role, stream: StreamID(role.peer, .unidirectional, sequence: 0), bytes: bytes, finish: finish, code: code,
      testDescription: name)
  }
  static func control(
    _ role: Role, _ bytes: [UInt8], finish: Bool = false, _ code: ErrorCode, _ name: String
  ) -> Offence { uni(role, [0] + bytes, finish: finish, code, name) }
  static func request(
    _ role: Role, _ bytes: [UInt8], finish: Bool = false, _ code: ErrorCode, _ name: String
  ) -> Offence {
    Offence(role: role, stream: firstStream, bytes: bytes, finish: finish, code: code, testDescription: name)
  }

  static func encoder(_ hex: String, _ name: String) -> Offence {
    uni(.server, [2] + [UInt8](hex: hex), .qpackEncoderStreamError, name)
  }
  static func decoder(_ hex: String, _ name: String) -> Offence {
    uni(.server, [3] + [UInt8](hex: hex), .qpackDecoderStreamError, name)
  }
  static func section(_ hex: String, _ name: String) -> Offence {
    request(.server, .frame(0x01, [UInt8](hex: hex)), .qpackDecompressionFailed, name)
  }

  static let connectionErrors: [Offence] = [
    control(.server, grease, .missingSettings, "unknown frame before SETTINGS"),
    control(.server, .frame(0x07, [0]), .missingSettings, "GOAWAY before SETTINGS"),
    control(.server, settingsFrame + settingsFrame, .frameUnexpected, "second SETTINGS"),
    control(.server, settingsFrame + .frame(0, [1]), .frameUnexpected, "DATA on the control stream"),
    control(.server, settingsFrame + .headers(getRequest), .frameUnexpected, "HEADERS on the control stream"),
    control(.client, settingsFrame + .frame(5, [0, 0, 0]), .frameUnexpected, "PUSH_PROMISE on the control stream"),
    control(.client, settingsFrame + .frame(0x0d, [0]), .frameUnexpected, "MAX_PUSH_ID to a client"),
    control(.server, settingsFrame + .frame(0x0d, [5]) + .frame(0x0d, [4]), .idError, "MAX_PUSH_ID down"),
    control(.server, settingsFrame + .frame(0x03, [0]), .idError, "CANCEL_PUSH to a server"),
    control(.client, settingsFrame + .frame(0x03, [0]), .idError, "CANCEL_PUSH to a client"),
    control(.client, settingsFrame + .frame(0x07, [1]), .idError, "GOAWAY of another kind of stream"),
    control(.client, settingsFrame + .frame(0x07, [4]) + .frame(0x07, [8]), .idError, "GOAWAY up"),
    control(.server, settingsFrame + .frame(0x07, []), .frameError, "GOAWAY without identifier"),
    control(.server, settingsFrame + .frame(0x07, [0, 0]), .frameError, "GOAWAY with more"),
    control(.server, settingsFrame + .frame(0x07, [UInt8](repeating: 0, count: 9)), .frameError, "GOAWAY of 9 bytes"),
    control(.server, settingsFrame + .frame(0x02, []), .frameUnexpected, "PRIORITY of HTTP/2"),
    control(.server, settingsFrame + .frame(0x09, []), .frameUnexpected, "CONTINUATION of HTTP/2"),
    control(.server, settingsFrame, finish: true, .closedCriticalStream, "control stream ends"),
    control(.server, .frame(0x04, [0x06]), .frameError, "setting without value"),
    control(.server, .frame(0x04, [0x06, 1, 0x06, 1]), .settingsError, "setting twice"),
    control(.server, .frame(0x04, [0x02, 1]), .settingsError, "ENABLE_PUSH of HTTP/2"),
    control(.server, .frame(0x04, [0x33, 2]), .settingsError, "H3_DATAGRAM of 2"),
    control(.server, .frame(0x04, [0x08, 2]), .settingsError, "ENABLE_CONNECT_PROTOCOL of 2"),
    control(.server, .frame(0x04, [UInt8](repeating: 0, count: 5000)), .excessiveLoad, "large SETTINGS"),
    control(.client, settingsFrame + .frame(0xf0700, [0]), .frameUnexpected, "PRIORITY_UPDATE to a client"),
    control(.client, settingsFrame + .frame(0xf0701, [0]), .frameUnexpected, "PRIORITY_UPDATE of a push to a client"),
    control(.server, settingsFrame + .frame(0xf0701, [0]), .idError, "PRIORITY_UPDATE of a push"),
    control(.server, settingsFrame + .frame(0xf0700, [3]), .idError, "PRIORITY_UPDATE of another kind of stream"),
    control(.server, settingsFrame + .frame(0xf0700, []), .frameError, "PRIORITY_UPDATE without identifier"),
    control(.server, .frame(0xf0700, [0]), .missingSettings, "PRIORITY_UPDATE before SETTINGS"),
    control(
      .server, settingsFrame + .frame(0xf0700, [UInt8](repeating: 0x20, count: 600)), .excessiveLoad,
      "large PRIORITY_UPDATE"),
    request(.server, .frame(0xf0700, [0]), .frameUnexpected, "PRIORITY_UPDATE on a request stream"),
    request(.client, .frame(0xf0700, [0]), .frameUnexpected, "PRIORITY_UPDATE on a response"),
    uni(.server, [0x01, 0x00], .streamCreationError, "push stream to a server"),
    uni(.client, [0x01, 0x00], .idError, "push stream to a client"),
    encoder("8000", "insertion whose name is not in the table"),
    encoder("41610162", "insertion into a table of no capacity"),
    encoder("3f02 41610162", "insertion larger than the table"),
    encoder("3fe21f", "capacity beyond what was allowed"),
    encoder("ff2400", "static index 99"),
    encoder("00", "duplicate of nothing"),
    encoder("3fe11f 5fff7f", "name longer than any table"),
    encoder("3fe11f c0ff80ff01", "coded value longer than any table"),
    encoder("3fe11f c08118", "badly padded value"),
    encoder("3fffffffffffffffffffff", "capacity of more than 62 bits"),
    encoder("3f0e 416101620041630164 01", "duplicate of what was evicted"),
    decoder("00", "increment of zero"),
    decoder("01", "increment beyond what was sent"),
    decoder("7fffffffffffffffffffff", "stream ID of more than 62 bits"),
    section("82 00", "Required Insert Count out of reach"),
    section("ff02 00", "Required Insert Count beyond the range"),
    section("01 00", "Required Insert Count that wraps to zero"),
    section("00 80", "negative Base without a table"),
    section("00 00 10", "post-Base reference"),
    section("00 00 00 00", "post-Base name reference"),
    section("00 00 40 00", "name reference to an empty table"),
    section("00 00 ff24", "static index 99 in a section"),
    section("00 00 ff ffffffffffffffffff01", "index of more than 62 bits"),
    section("00 00 29 18 00", "badly padded name"),
    section("00 00 51 05 61", "value cut short"),
    uni(.server, [0x02], finish: true, .closedCriticalStream, "encoder stream ends"),
    uni(.server, [0x03, 0x80], .qpackDecoderStreamError, "acknowledgment"),
    uni(.server, [0x03], finish: true, .closedCriticalStream, "decoder stream ends"),
    request(.server, .frame(0, [1]), .frameUnexpected, "DATA before HEADERS"),
    request(.server, .headers(getRequest) + .headers([:]) + .headers([:]), .frameUnexpected, "third HEADERS"),
    request(.server, .headers(getRequest) + .headers([:]) + .frame(0, [1]), .frameUnexpected, "DATA after trailers"),
    request(.server, .headers(connectTCP) + .headers([:]), .frameUnexpected, "HEADERS in a tunnel"),
    request(.server, settingsFrame, .frameUnexpected, "SETTINGS on a request stream"),
    request(.server, .frame(0x07, [0]), .frameUnexpected, "GOAWAY on a request stream"),
    request(.server, .frame(0x0d, [0]), .frameUnexpected, "MAX_PUSH_ID on a request stream"),
    request(.server, .frame(0x03, [0]), .frameUnexpected, "CANCEL_PUSH on a request stream"),
    request(.server, .frame(0x05, [0]), .frameUnexpected, "PUSH_PROMISE to a server"),
    request(.client, .frame(0x05, [0, 0, 0]), .idError, "PUSH_PROMISE to a client"),
    request(.server, .frame(0x06, []), .frameUnexpected, "PING of HTTP/2"),
    request(.server, .frame(0x08, []), .frameUnexpected, "WINDOW_UPDATE of HTTP/2"),
    request(.server, .frame(0x01, []), .qpackDecompressionFailed, "empty HEADERS"),
    request(.server, .frame(0x01, [0, 0, 0x80]), .qpackDecompressionFailed, "dynamic reference"),
    request(
      .server, .headers(connectTCP) + .frame(0, [1]) + .headers([:]), .frameUnexpected, "HEADERS in a tunnel after DATA"
    ),
    request(.server, .headers(getRequest) + .frame(0, [1]) + settingsFrame, .frameUnexpected, "SETTINGS after DATA"),
    request(.server, .headers(getRequest) + .frame(0, [1]) + .frame(0x06, []), .frameUnexpected, "PING after DATA"),
    request(
      .client, .headers([":status": "200"]) + .frame(0, [1]) + .frame(0x05, [0, 0, 0]), .idError,
      "PUSH_PROMISE after DATA"),
    request(.server, [0x01], finish: true, .frameError, "end inside a frame header"),
    request(.server, [0x01, 0x04, 0x00], finish: true, .frameError, "end inside HEADERS"),
    request(.server, [0x21, 0x04, 0x00], finish: true, .frameError, "end inside an unknown frame"),
  ]

  /// Streams given up while the connection goes on.
  static let streamErrors: [Offence] = [
    request(.server, [], finish: true, .requestIncomplete, "no request"),
    request(.server, grease, finish: true, .requestIncomplete, "nothing but an unknown frame"),
    request(.client, [], finish: true, .messageError, "no response"),
    request(.client, .headers([":status": "103"]), finish: true, .messageError, "no final response"),
    request(
      .client, (0..<17).flatMap { _ in [UInt8].headers([":status": "103"]) }, .messageError, "many interim responses"),
    request(.client, .headers([":status": "101"]), .messageError, "101"),
    request(.client, .headers([":status": "20"]), .messageError, "status of two digits"),
    request(.client, .headers([":status": "+20"]), .messageError, "status with a sign"),
    request(.client, .headers([":status": "600"]), .messageError, "status beyond 599"),
    request(.client, .headers(["x": "y"]), .messageError, "no status"),
    request(.client, .headers([":status": "200", ":path": "/"]), .messageError, "request pseudo-header in response"),
    request(
      .client, .headers([":status": "200", "content-length": "5"]), finish: true, .messageError, "content missing"),
    request(
      .client, .headers([":status": "200"]) + .headers([":status": "200"]), .messageError, "a second final response"),
    request(.server, .headers(getRequest) + .headers([":path": "/"]), .messageError, "pseudo-header in trailers"),
    request(.server, [0x01, 0x80, 0x01, 0x00, 0x01], .excessiveLoad, "HEADERS of 65537 bytes"),
    request(
      .server, .headers(getRequest) + .frame(0, [1]) + [0x01, 0x80, 0x01, 0x00, 0x01], .excessiveLoad,
      "trailers of 65537 bytes"),
    request(
      .server, .frame(0x01, [0, 0] + (0..<2000).flatMap { _ in [UInt8(0xff), 0x16] }), .excessiveLoad,
      "field section that grows"),
  ]
}

@Suite struct ConnectionErrorTests {
  @Test(arguments: Offence.connectionErrors, [1, Int.max])
  func theConnectionEnds(offence: Offence, pieceSize: Int) throws {
    var end = End(offence.role)
    end.start()
    end.quic.pieceSize = pieceSize
    if offence.role == .client { _ = try end.http.sendRequest(getRequest, finish: true, on: &end.quic) }
    end.receive(offence.stream, offence.bytes, finish: offence.finish)
    // Beyond the headers the owner drives the reading.
    _ = end.content(offence.stream)
    #expect(end.quic.closed?.code == offence.code.rawValue)
    guard case .connectionError(let error) = end.events.last else {
      Issue.record("no event")
      return
    }
    #expect(error.code == offence.code)
    // What comes after is passed over.
    end.receive(StreamID(rawValue: 4), .headers(getRequest))
    #expect(end.events.last == .connectionError(error))
    let isOpen = end.http.isOpen
    #expect(!isOpen)
  }

  @Test(arguments: Offence.streamErrors, [1, Int.max])
  func theStreamEnds(offence: Offence, pieceSize: Int) throws {
    var end = End(offence.role)
    end.start()
    end.quic.pieceSize = pieceSize
    if offence.role == .client { _ = try end.http.sendRequest(getRequest, finish: false, on: &end.quic) }
    end.receive(offence.stream, offence.bytes, finish: offence.finish)
    _ = end.content(offence.stream)
    #expect(end.quic.closed == nil)
    #expect(end.quic.resets[offence.stream] == offence.code.rawValue)
    #expect(end.http.openRequests == 0)
    #expect(end.http.counters.malformedMessages == 1)
  }

  @Test func criticalStreamsMayNotBeResetOrStopped() throws {
    for type in UInt8(0)...3 where type != 1 {
      var end = End(.server)
      end.start()
      let id = StreamID(.client, .unidirectional, sequence: 0)
      end.receive(id, type == 0 ? [0] + settingsFrame : [type])
      end.handle(.streamReset(id, code: 0))
      #expect(end.quic.closed?.code == ErrorCode.closedCriticalStream.rawValue)
    }
    for sequence in UInt64(0)..<3 {
      var end = End(.server)
      end.start()
      end.handle(.streamStopped(StreamID(.server, .unidirectional, sequence: sequence), code: 0))
      #expect(end.quic.closed?.code == ErrorCode.closedCriticalStream.rawValue)
    }
  }

  @Test func secondCriticalStreamsAreRefused() throws {
    for type in UInt8(0)...3 where type != 1 {
      var end = End(.server)
      end.start()
      end.receive(StreamID(.client, .unidirectional, sequence: 0), [type])
      end.receive(StreamID(.client, .unidirectional, sequence: 1), [type])
      #expect(end.quic.closed?.code == ErrorCode.streamCreationError.rawValue)
    }
  }

  @Test func serverInitiatedBidirectionalStreamsAreRefused() throws {
    var end = End(.client)
    end.start()
    end.handle(.streamOpened(StreamID(.server, .bidirectional, sequence: 0)))
    #expect(end.quic.closed?.code == ErrorCode.streamCreationError.rawValue)
  }

  @Test func unknownStreamsAreAbortedAndShortOnesTolerated() throws {
    var end = End(.server)
    end.start()
    let unknown = StreamID(.client, .unidirectional, sequence: 0)
    end.receive(unknown, [0x40])
    #expect(end.quic.stops.isEmpty)
    end.receive(unknown, [0x21, 1, 2, 3])
    #expect(end.quic.stops == [unknown: ErrorCode.streamCreationError.rawValue])
    let empty = StreamID(.client, .unidirectional, sequence: 1)
    end.receive(empty, [], finish: true)
    let reset = StreamID(.client, .unidirectional, sequence: 2)
    end.receive(reset, [0x40])
    end.handle(.streamReset(reset, code: 1))
    #expect(end.quic.closed == nil)
  }

  @Test func greaseIsPassedOver() throws {
    var end = End(.server)
    end.start()
    var control: [UInt8] = [0]
    control += [UInt8].frame(0x04, [0x40, 0x40, 7, 0x33, 1])
    control += grease
    control += [UInt8].frame(0x40, [])
    end.receive(StreamID(.client, .unidirectional, sequence: 0), control)
    var request = grease + [UInt8].headers(getRequest) + grease
    request += [UInt8].frame(0, [])
    request += [UInt8].frame(0, [1, 2])
    request += grease
    end.receive(firstStream, request, finish: true)
    #expect(end.content(firstStream) == ([1, 2], true))
    #expect(end.events.first == .settingsReceived(Settings(h3Datagram: true)))
    #expect(end.quic.closed == nil)
  }

  @Test func contentLengthIsKeptTo() throws {
    let trailers = [UInt8].headers(["x": "y"])
    let three = [UInt8].frame(0, [1, 2, 3])
    let cases: [(String, [[UInt8]], Bool)] = [
      ("3", [three], true), ("3", [.frame(0, [1, 2])], false), ("3", [.frame(0, [1, 2, 3, 4])], false),
      ("3", [.frame(0, [1]), .frame(0, [2, 3])], true), ("0", [], true), ("1", [], false),
      ("3", [three, .frame(0, []), trailers], true), ("4", [three, trailers], false),
    ]
    for (length, frames, isGood) in cases {
      for pieceSize in [1, Int.max] {
        var end = End(.server)
        end.start()
        end.quic.pieceSize = pieceSize
        var request = getRequest
        request.append("content-length", length)
        end.receive(firstStream, .headers(request) + Array(frames.joined()), finish: true)
        let content = end.content(firstStream)
        #expect(content.finished == isGood || frames.isEmpty)
        #expect((end.quic.resets[firstStream] == ErrorCode.messageError.rawValue) == !isGood)
      }
    }
  }

  @Test func truncatedContentEndsTheConnection() throws {
    for bytes: [UInt8] in [[0, 5, 1, 2], [0, 5], [0]] {
      for pieceSize in [1, Int.max] {
        var end = End(.server)
        end.start()
        end.quic.pieceSize = pieceSize
        end.receive(firstStream, .headers(getRequest) + bytes, finish: true)
        #expect(end.content(firstStream).finished == false)
        #expect(end.quic.closed?.code == ErrorCode.frameError.rawValue)
      }
    }
  }

  /// The owner must not take for an end what breaks off over an error: it would pass on a part as the whole.
  @Test func whatIsGivenUpDoesNotEnd() throws {
    var short = getRequest
    short.append("content-length", "9")
    let request = [UInt8].headers(getRequest) + [UInt8].frame(0, [1])
    let cases: [(String, [UInt8], Bool)] = [
      ("HEADERS in a tunnel", .headers(connectTCP) + .frame(0, [1]) + .headers([:]), false),
      ("SETTINGS", request + settingsFrame, false),
      ("trailers too long", request + [0x01, 0x80, 0x01, 0x00, 0x01], false),
      ("content too short", .headers(short) + .frame(0, [1]), true), ("a frame cut off", request + [0, 5, 1], true),
      ("malformed trailers", request + .headers([":path": "/"]), true),
    ]
    for (about, bytes, finish) in cases {
      for pieceSize in [1, Int.max] {
        var end = End(.server)
        end.start()
        end.quic.pieceSize = pieceSize
        end.receive(firstStream, bytes, finish: finish)
        var outcome = StreamRead.progressed
        while outcome == .progressed {
          outcome = end.http.readData(firstStream, on: &end.quic) { bytes, finished in
            #expect(!finished, "\(about)")
            return bytes.count
          }
        }
        #expect(outcome == .blocked, "\(about)")
        #expect(end.quic.closed != nil || end.quic.resets[firstStream] != nil, "\(about)")
      }
    }
  }

  @Test func mutatedStreamsNeverTrap() throws {
    let entropy = SeededEntropy(seed: 9114)
    var request = [UInt8].headers(connectUDP) + grease
    request += [UInt8].frame(0, [0, 4, 0, 1, 2, 3])
    request += [UInt8].frame(0, [UInt8](repeating: 7, count: 90))
    var control: [UInt8] = [0]
    control += [UInt8].frame(0x04, [0x06, 0x40, 0x80, 0x33, 1, 0x21, 9])
    control += grease
    control += [UInt8].frame(0x0d, [1])
    control += [UInt8].frame(0x07, [0])
    for round in 0..<3000 {
      var end = End(round % 3 == 0 ? .client : .server)
      end.start()
      end.quic.pieceSize = round % 4 == 0 ? 1 + round % 7 : .max
      let isClient = end.http.role == .client
      if isClient { _ = try end.http.sendRequest(connectTCP, finish: false, on: &end.quic) }
      end.receive(StreamID(end.http.role.peer, .unidirectional, sequence: 0), mutate(control, entropy))
      let response = [UInt8].headers([":status": "200", "server": "pop"]) + [UInt8].frame(0, [1, 2])
      let message = isClient ? response : request
      end.receive(firstStream, mutate(message, entropy), finish: round % 2 == 0)
      _ = end.content(firstStream)
      end.receiveDatagram(mutate([0, 0, 1, 2, 3], entropy))
      end.http.readDatagrams(on: &end.quic) { _, _ in }
    }
  }
}
