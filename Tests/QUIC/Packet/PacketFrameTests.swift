import QUIC
import Testing
import Wire

/// Every frame of a payload, as text, or the error that ended it.
func frames(_ payload: [UInt8], _ level: EncryptionLevel = .oneRTT) -> Result<[String], TransportError> {
  payload.withUnsafeBytes { bytes in
    var reader = FrameReader(bytes, level: level)
    var all: [String] = []
    do throws(TransportError) {
      while let frame = try reader.next() { all.append(describe(frame)) }
      return .success(all)
    } catch {
      return .failure(error)
    }
  }
}

private func describe(_ frame: Frame) -> String {
  func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }
  return switch frame {
  case .padding(let count): "padding \(count)"
  case .ping: "ping"
  case .ack(let ack):
    "ack \(Array(ack)) delay \(ack.rawDelay) ecn \(ack.ecn.map { "\($0.ect0) \($0.ect1) \($0.ce)" } ?? "-")"
  case .resetStream(let id, let code, let size): "reset \(id) \(code) \(size)"
  case .stopSending(let id, let code): "stop \(id) \(code)"
  case .crypto(let offset, let data): "crypto \(offset) \(text(data))"
  case .newToken(let token): "token \(text(token))"
  case .stream(let stream): "stream \(stream.id) \(stream.offset) \(text(stream.data)) fin \(stream.isFin)"
  case .maxData(let value): "max data \(value)"
  case .maxStreamData(let id, let value): "max stream data \(id) \(value)"
  case .maxStreams(let direction, let value): "max streams \(direction) \(value)"
  case .dataBlocked(let limit): "data blocked \(limit)"
  case .streamDataBlocked(let id, let limit): "stream data blocked \(id) \(limit)"
  case .streamsBlocked(let direction, let limit): "streams blocked \(direction) \(limit)"
  case .newConnectionID(let new): "new id \(new.sequence) \(new.retirePriorTo) \(new.connectionID)"
  case .retireConnectionID(let sequence): "retire \(sequence)"
  case .pathChallenge(let data): "challenge \(data)"
  case .pathResponse(let data): "response \(data)"
  case .connectionClose(let close):
    "close \(close.isApplication) \(close.code) \(close.frameType) \(close.reasonText)"
  case .handshakeDone: "done"
  case .datagram(let data): "datagram \(text(data))"
  case .ackFrequency(let frame):
    "frequency \(frame.sequence) \(frame.ackElicitingThreshold) \(frame.requestedMaxAckDelay) \(frame.reorderingThreshold)"
  case .immediateAck: "immediate"
  }
}

private func withBytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) {
  Array(text.utf8).withUnsafeBytes(body)
}

struct PacketFrameTests {
  static let connectionID = ConnectionID([1, 2, 3])!
  static let token = StatelessResetToken([UInt8](repeating: 9, count: 16))!
  static let one = StreamID(rawValue: 1)

  static let samples: [(name: String, bytes: [UInt8])] = [
    ("padding 3", written { $0.writePadding(3) }),
    ("padding 11", written { $0.writePadding(11) }),
    ("ping", written { $0.writePing() }),
    ("immediate", written { $0.writeImmediateAck() }),
    (
      "frequency 7 10 25000 3",
      written {
        $0.writeAckFrequency(
          AckFrequencyFrame(
            sequence: 7, ackElicitingThreshold: 10, requestedMaxAckDelay: 25_000, reorderingThreshold: 3))
      }
    ),
    (
      "ack [ClosedRange(7...9), ClosedRange(2...4)] delay 5 ecn -",
      written { $0.writeAck([7...9, 2...4], rawDelay: 5) }
    ),
    (
      "ack [ClosedRange(0...0)] delay 0 ecn 1 2 3",
      written { $0.writeAck([0...0], rawDelay: 0, ecn: ECNCounts(ect0: 1, ect1: 2, ce: 3)) }
    ),
    ("reset 1 70 20000", written { $0.writeResetStream(one, code: 70, finalSize: 20000) }),
    ("stop 1 5", written { $0.writeStopSending(one, code: 5) }),
    ("crypto 9 hi", written { writer in withBytes("hi") { writer.writeCrypto(offset: 9, $0) } }),
    ("token t", written { writer in withBytes("t") { writer.writeNewToken($0) } }),
    ("stream 1 0 ab fin false", written { writer in withBytes("ab") { writer.writeStream(one, offset: 0, $0) } }),
    (
      "stream 1 66 ab fin true",
      written { writer in withBytes("ab") { writer.writeStream(one, offset: 66, $0, isFin: true) } }
    ),
    ("max data 5", written { $0.writeMaxData(5) }),
    ("max stream data 1 6", written { $0.writeMaxStreamData(one, maximum: 6) }),
    ("max streams bidirectional 7", written { $0.writeMaxStreams(.bidirectional, maximum: 7) }),
    ("max streams unidirectional 8", written { $0.writeMaxStreams(.unidirectional, maximum: 8) }),
    ("data blocked 9", written { $0.writeDataBlocked(limit: 9) }),
    ("stream data blocked 1 10", written { $0.writeStreamDataBlocked(one, limit: 10) }),
    ("streams blocked bidirectional 11", written { $0.writeStreamsBlocked(.bidirectional, limit: 11) }),
    ("streams blocked unidirectional 12", written { $0.writeStreamsBlocked(.unidirectional, limit: 12) }),
    (
      "new id 4 2 010203",
      written {
        $0.writeNewConnectionID(sequence: 4, retirePriorTo: 2, connectionID: connectionID, resetToken: token)
      }
    ),
    ("retire 3", written { $0.writeRetireConnectionID(sequence: 3) }),
    ("challenge 12345678901234567890", written { $0.writePathChallenge(12_345_678_901_234_567_890) }),
    ("response 1", written { $0.writePathResponse(1) }),
    (
      "close false 7 6 why",
      written { $0.writeConnectionClose(TransportError(.frameEncodingError, "why", frameType: 6)) }
    ),
    ("close true 256 0 bye", written { $0.writeApplicationClose(code: 256, reason: "bye") }),
    ("done", written { $0.writeHandshakeDone() }),
    ("datagram d", written { writer in withBytes("d") { writer.writeDatagram($0) } }),
  ]

  @Test func everyFrameReadsAsWritten() {
    for sample in Self.samples {
      #expect(!sample.bytes.isEmpty)
      #expect(frames(sample.bytes) == .success([sample.name]))
    }
    let all = Self.samples.dropFirst(2)
    #expect(frames(all.flatMap(\.bytes)) == .success(all.map(\.name)))
  }

  private static func type(_ frame: [UInt8]) -> UInt64 { frame[0] == 0x40 ? UInt64(frame[1]) : UInt64(frame[0]) }

  @Test("A frame cut short anywhere is FRAME_ENCODING_ERROR and names its type")
  func truncated() {
    for sample in Self.samples.dropFirst(2) {
      for length in 1..<sample.bytes.count {
        guard case .failure(let error) = frames(Array(sample.bytes[..<length])) else {
          Issue.record("\(sample.name) cut to \(length) was accepted")
          continue
        }
        #expect(error.code == .frameEncodingError)
        // One type has two bytes; of half of it nothing can be said.
        let isHalfType = sample.bytes[0] == 0x40 && length == 1
        #expect(error.frameType == (isHalfType ? 0 : Self.type(sample.bytes)))
      }
    }
  }

  @Test("A frame without a length goes to the end of its packet")
  func withoutLength() {
    let stream = written { writer in
      writer.writeStreamHeader(Self.one, offset: 5, length: nil, isFin: true)
      withBytes("rest") { writer.write($0) }
    }
    #expect(frames(stream) == .success(["stream 1 5 rest fin true"]))
    let datagram = written { writer in
      writer.writeDatagramHeader(length: nil)
      withBytes("rest") { writer.write($0) }
    }
    #expect(frames(datagram) == .success(["datagram rest"]))
    #expect(frames([0x30]) == .success(["datagram "]))
    #expect(frames([0x08, 0x01]) == .success(["stream 1 0  fin false"]))
  }

  @Test("RFC 9000 §12.4, table 3")
  func permittedLevels() {
    for sample in Self.samples {
      let type = Self.type(sample.bytes)
      for level in EncryptionLevel.allCases {
        let isPermitted: Bool
        switch (level, type) {
        case (.oneRTT, _): isPermitted = true
        case (.initial, _), (.handshake, _): isPermitted = [0x00, 0x01, 0x02, 0x03, 0x06, 0x1c].contains(type)
        case (.zeroRTT, _): isPermitted = ![0x02, 0x03, 0x06, 0x07, 0x19, 0x1b, 0x1e, 0x1f, 0xaf].contains(type)
        }
        switch frames(sample.bytes, level) {
        case .success: #expect(isPermitted)
        case .failure(let error):
          #expect(!isPermitted)
          #expect(error.code == .protocolViolation)
          #expect(error.frameType == type)
        }
      }
    }
  }

  static let hostile: [(what: String, bytes: String, code: TransportError.Code)] = [
    ("no frames", "", .protocolViolation),
    ("unknown type", "20", .frameEncodingError),
    ("unknown type of DATAGRAM's neighbourhood", "32", .frameEncodingError),
    ("unknown two-byte type", "4fff", .frameEncodingError),
    ("PING in two bytes", "4001", .protocolViolation),
    ("PING in eight bytes", "c000000000000001", .protocolViolation),
    ("half a type", "40", .frameEncodingError),
    ("first ACK range below zero", "0205000006", .frameEncodingError),
    ("second ACK range below zero", "020a0001030303", .frameEncodingError),
    ("ACK gap below zero", "020a0001030600", .frameEncodingError),
    ("ACK of more ranges than there are bytes", "020a00bfffffff00", .frameEncodingError),
    ("ACK with half its ECN counts", "030000000001", .frameEncodingError),
    ("empty NEW_TOKEN", "0700", .frameEncodingError),
    ("NEW_TOKEN longer than the packet", "07ffffffffffffffff", .frameEncodingError),
    ("STREAM past 2^62-1", "0e01ffffffffffffffff0141", .frameEncodingError),
    ("CRYPTO past 2^62-1", "06ffffffffffffffff0141", .frameEncodingError),
    ("MAX_STREAMS above 2^60", "12d000000000000001", .frameEncodingError),
    ("STREAMS_BLOCKED above 2^60", "17d000000000000001", .frameEncodingError),
    ("connection ID of 0 bytes", "18010000" + String(repeating: "09", count: 16), .frameEncodingError),
    ("connection ID of 21 bytes", "18010015" + String(repeating: "09", count: 37), .frameEncodingError),
    ("Retire Prior To above its sequence", "18010201" + String(repeating: "09", count: 17), .frameEncodingError),
    ("reason longer than the packet", "1c000040ff", .frameEncodingError),
  ]

  @Test func hostileEncodings() {
    for (what, bytes, code) in Self.hostile {
      guard case .failure(let error) = frames(hex(bytes)) else {
        Issue.record("\(what) was accepted")
        continue
      }
      #expect(error.code == code, "\(what)")
    }
    #expect((try? frames(hex("12d000000000000000")).get()) == ["max streams bidirectional \(1 << 60)"])
  }

  @Test func acknowledgementsThatDoNotFitLoseTheirOldestRanges() throws {
    let ranges = (0..<100).reversed().map { (index: UInt64) -> ClosedRange<UInt64> in
      index * 10...index * 10 + 3
    }
    for capacity in 0..<300 {
      let bytes = written(capacity) { writer in
        let done = writer.writeAck(ranges, rawDelay: 3, ecn: ECNCounts(ect0: 1000))
        #expect(done == !writer.written.isEmpty)
        #expect(!writer.overflowed)
      }
      guard !bytes.isEmpty else {
        #expect(capacity < 10)
        continue
      }
      bytes.withUnsafeBytes { payload in
        var reader = FrameReader(payload, level: .oneRTT)
        guard case .ack(let ack)? = try? reader.next() else {
          Issue.record("no ACK in \(capacity) bytes")
          return
        }
        let read = Array(ack)
        #expect(read == Array(ranges.prefix(read.count)))
        #expect(ack.rangeCount == UInt64(read.count))
        #expect(ack.smallest == read.last?.lowerBound)
        #expect(read.count <= ByteWriter.maximumAckRanges)
        #expect(capacity < 290 || read.count == ByteWriter.maximumAckRanges)
      }
    }
    let none = written { writer in
      let done = writer.writeAck([], rawDelay: 0)
      #expect(!done)
    }
    #expect(none.isEmpty)
  }

  @Test func capacitiesAreExact() {
    let ids: [UInt64] = [0, 100, 20_000]
    let offsets: [UInt64] = [0, 1, 70, 1 << 20, 1 << 40]
    for space in Array(0..<200) + Array(16_300..<16_500) {
      for (id, offset) in ids.flatMap({ id in offsets.map { (StreamID(rawValue: id), $0) } }) {
        for withLength in [false, true] {
          func size(_ data: Int) -> Int {
            data + StreamFrameSize.header(id, offset: offset, length: withLength ? data : nil)
          }
          if let capacity = StreamFrameSize.capacity(id, offset: offset, space: space, withLength: withLength) {
            #expect(size(capacity) <= space && size(capacity + 1) > space)
          } else {
            #expect(size(0) > space)
          }
        }
      }
      if let capacity = DatagramFrameSize.capacity(space: space, withLength: true) {
        #expect(DatagramFrameSize.total(payload: capacity, withLength: true) <= space)
        #expect(DatagramFrameSize.total(payload: capacity + 1, withLength: true) > space)
      }
      if let capacity = CryptoFrameSize.capacity(offset: 70, space: space) {
        let data = [UInt8](repeating: 0, count: capacity)
        #expect(written(space) { writer in data.withUnsafeBytes { writer.writeCrypto(offset: 70, $0) } }.count <= space)
      }
    }
  }

  @Test func reasonsAreCutBetweenCharacters() {
    let long = String(repeating: "ä", count: 300)
    for capacity in [8, 9, 10, 50, 200, 1000] {
      let bytes = written(capacity) { $0.writeApplicationClose(code: 1, reason: long) }
      guard case .success(let all) = frames(bytes) else {
        Issue.record("no CONNECTION_CLOSE in \(capacity) bytes")
        continue
      }
      #expect(all.count == 1)
      #expect(!all[0].contains("\u{fffd}"))
    }
  }

  @Test("Mutated payloads never crash the reader", arguments: 0..<4)
  func mutations(seed: Int) {
    let entropy = SeededEntropy(seed: UInt64(seed))
    let whole = Self.samples.flatMap(\.bytes)
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0...(entropy.nextUInt64() % 6) {
        let index = Int(entropy.nextUInt64() % UInt64(bytes.count))
        switch entropy.nextUInt64() % 3 {
        case 0: bytes[index] = UInt8(truncatingIfNeeded: entropy.nextUInt64())
        case 1: bytes.removeSubrange(index..<min(index + 3, bytes.count))
        default: bytes.insert(0xff, at: index)
        }
      }
      for level in EncryptionLevel.allCases { _ = frames(bytes, level) }
    }
  }
}
