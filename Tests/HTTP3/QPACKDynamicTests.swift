import QUIC
import Testing
import Wire

@testable import HTTP3

/// What the tests ask of both sides, without unsafe buffers.
extension QPACKDecoder {
  mutating func read(_ bytes: [UInt8]) throws {
    var failure: ConnectionError?
    bytes.withUnsafeBytes { buffer in
      do throws(ConnectionError) { try readInstructions(buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }
  func decode(_ bytes: [UInt8]) throws -> FieldSectionDecoder.Section {
    try bytes.withUnsafeBytes { try sectionDecoder(maximumSize: 65536).decode($0) }
  }
  mutating func taken() -> [UInt8] {
    defer { unsent = [] }
    return unsent
  }
}

extension QPACKEncoder {
  init(capacity: UInt64, blockedStreams: UInt64) {
    self.init()
    apply(Settings(qpackMaximumTableCapacity: capacity, qpackBlockedStreams: blockedStreams))
  }
  mutating func read(_ bytes: [UInt8]) throws {
    var failure: ConnectionError?
    bytes.withUnsafeBytes { buffer in
      do throws(ConnectionError) { try readInstructions(buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }
  mutating func encode(_ list: HeaderList, _ stream: UInt64) -> (section: [UInt8], instructions: [UInt8]) {
    var section: [UInt8] = []
    var instructions: [UInt8] = []
    encode(
      list, on: StreamID(rawValue: stream), mayInsert: true, to: &section, instructions: &instructions)
    return (section, instructions)
  }
}

extension DynamicTable {
  var lines: [String] {
    (dropCount..<insertCount).map { index in entry(at: index).map { "\($0.name)=\($0.value)" } ?? "" }
  }
}

/// RFC 9204 Appendix B, as the decoder sees it, the encoder stream in pieces of any size.
@Suite struct QPACKAppendixBTests {
  @Test(arguments: [1, 3, 1000])
  func theExchange(pieceSize: Int) throws {
    var decoder = QPACKDecoder(maximumCapacity: 220, maximumBlockedStreams: 1)
    func feed(_ hex: String) throws {
      let bytes = [UInt8](hex: hex)
      for start in stride(from: 0, to: bytes.count, by: pieceSize) {
        try decoder.read(Array(bytes[start..<min(start + pieceSize, bytes.count)]))
      }
    }
    // B.2
    let second = [UInt8](hex: "0381 10 11")
    #expect(throws: FieldSectionDecoder.Failure.blocked(requiredInsertCount: 2)) { try decoder.decode(second) }
    try feed("3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d c10c 2f73 616d 706c 652f 7061 7468")
    #expect(decoder.table.size == 106)
    let section = try decoder.decode(second)
    #expect(section.list == [":authority": "www.example.com", ":path": "/sample/path"])
    decoder.processed(StreamID(rawValue: 4), requiredInsertCount: section.requiredInsertCount)
    decoder.acknowledgeInsertions()
    #expect(decoder.taken() == [0x84])
    // B.3
    try feed("4a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565")
    #expect(decoder.table.size == 160)
    decoder.acknowledgeInsertions()
    #expect(decoder.taken() == [0x01])
    // B.4
    let fourth = [UInt8](hex: "0500 80 c1 81")
    #expect(throws: FieldSectionDecoder.Failure.blocked(requiredInsertCount: 4)) { try decoder.decode(fourth) }
    decoder.abandoned(StreamID(rawValue: 8))
    #expect(decoder.taken() == [0x48])
    try feed("02")
    #expect(decoder.table.size == 217)
    #expect(
      try decoder.decode(fourth).list == [
        ":authority": "www.example.com", ":path": "/", "custom-key": "custom-value",
      ])
    // B.5
    try feed("810d 6375 7374 6f6d 2d76 616c 7565 32")
    #expect(decoder.table.size == 215)
    #expect(
      decoder.table.lines == [
        ":path=/sample/path", "custom-key=custom-value", ":authority=www.example.com", "custom-key=custom-value2",
      ])
    // The first entry is gone: what still refers to it is an error.
    #expect(throws: FieldSectionDecoder.Failure.decompressionFailed("reference to the dynamic table")) {
      try decoder.decode(second)
    }
  }
}

@Suite struct RequiredInsertCountTests {
  /// RFC 9204 §4.5.1.1: "if the dynamic table is 100 bytes, then the Required Insert Count will be encoded modulo 6.
  /// If a decoder has received 10 inserts, then an encoded value of 4 indicates that the Required Insert Count is 9"
  @Test func theExampleOfTheRFC() throws {
    var decoder = QPACKDecoder(maximumCapacity: 100, maximumBlockedStreams: 1)
    try decoder.read([UInt8](hex: "3f45"))
    for _ in 0..<10 { try decoder.read([UInt8](hex: "41610162")) }
    #expect(try decoder.decode([4, 0, 0x80]).requiredInsertCount == 9)
  }

  /// Each count that an encoder may mean comes back, however often the numbers have wrapped.
  @Test func everyCountComesBack() throws {
    for capacity in [32, 64, 100, 220, 4096] {
      var decoder = QPACKDecoder(maximumCapacity: capacity, maximumBlockedStreams: 1)
      var capacityBytes: [UInt8] = []
      EncoderInstruction.encodeCapacity(capacity, to: &capacityBytes)
      try decoder.read(capacityBytes)
      let entries = UInt64(capacity / 32)
      for total in 1...UInt64(300) {
        try decoder.read([0x40, 0x00])
        #expect(decoder.table.insertCount == total)
        let low = total > entries ? total - entries + 1 : 1
        for count in low...total + entries {
          var bytes: [UInt8] = []
          PrefixedInteger.encode(count % (2 * entries) + 1, prefix: 8, flags: 0, to: &bytes)
          // The Base is that count, and the one line refers to the entry below it.
          bytes += [0, 0x80]
          do {
            #expect(try decoder.decode(bytes).requiredInsertCount == count)
            #expect(count <= total)
          } catch FieldSectionDecoder.Failure.blocked(let needed) {
            #expect(needed == count && count > total)
          }
        }
      }
    }
  }

  @Test func postBaseAndRelativeReferencesMeet() throws {
    var decoder = QPACKDecoder(maximumCapacity: 4096, maximumBlockedStreams: 0)
    try decoder.read([UInt8](hex: "3fe11f 41610131 41620132 41630133"))
    // Base 1: a=1 from below it, b=2 and c=3 from above; then names alone, with the never-indexed bit.
    let list = try decoder.decode([UInt8](hex: "04 81 80 10 11 60 0178 0801 79")).list
    #expect(list.fields.map { "\($0.name)=\($0.value)" } == ["a=1", "b=2", "c=3", "a=x", "b=y"])
    #expect(list.fields.map(\.neverIndexed) == [false, false, false, true, true])
    // At or beyond the Required Insert Count, though the entry is there.
    #expect(throws: FieldSectionDecoder.Failure.self) { try decoder.decode([UInt8](hex: "03 00 11")) }
    #expect(throws: FieldSectionDecoder.Failure.self) { try decoder.decode([UInt8](hex: "03 01 80")) }
  }

  /// The count must be just what the lines need: one more than the newest entry that they refer to.
  @Test func theCountIsExact() throws {
    var decoder = QPACKDecoder(maximumCapacity: 4096, maximumBlockedStreams: 4)
    try decoder.read([UInt8](hex: "3fe11f 41610131 41620132 41630133"))
    // Lines by each way of reference to `a` (absolute index 0), then to `b`, as encoded for a Base of 0 or 2.
    let cases: [(lines: String, base: UInt64, needed: UInt64)] = [
      ("10", 0, 1), ("00 0178", 0, 1), ("81", 2, 1), ("41 0178", 2, 1), ("80", 2, 2), ("81 80", 2, 2), ("80 81", 2, 2),
      ("10 11", 0, 2), ("d1", 0, 0), ("51 0178", 0, 0), ("", 0, 0),
    ]
    for (lines, base, needed) in cases {
      for count: UInt64 in 0...3 {
        // The sign and the distance of the Base from the count.
        let delta = base >= count ? UInt8(base - count) : 0x80 | UInt8(count - base - 1)
        let section = [count == 0 ? 0 : UInt8(count) + 1, delta] + [UInt8](hex: lines)
        if count == needed {
          #expect(try decoder.decode(section).requiredInsertCount == needed, "\(lines)")
        } else {
          let error = #expect(throws: FieldSectionDecoder.Failure.self, "\(lines) with \(count)") {
            try decoder.decode(section)
          }
          guard case .decompressionFailed = error else {
            Issue.record("\(lines) with \(count): \(String(describing: error))")
            continue
          }
        }
      }
    }
  }

  /// Bytes that are not UTF-8 count as they came, or the two tables would part.
  @Test func sizesAreThoseOfTheWire() throws {
    var decoder = QPACKDecoder(maximumCapacity: 4096, maximumBlockedStreams: 0)
    try decoder.read([UInt8](hex: "3fe11f 4161 03 fffefd 80 01ff 00"))
    #expect(decoder.table.size == 36 + 34 + 34)
  }
}

@Suite struct QPACKEncoderTests {
  static let line: HeaderList = ["x-custom": "value"]

  @Test func nothingIsInsertedWithoutLeave() {
    var encoder = QPACKEncoder()
    let (section, instructions) = encoder.encode(Self.line, 0)
    #expect(instructions.isEmpty)
    #expect(section == FieldSectionTests.encode(Self.line))
  }

  @Test func noStreamIsBlockedUnlessAllowed() throws {
    var encoder = QPACKEncoder(capacity: 4096, blockedStreams: 0)
    let first = encoder.encode(Self.line, 0)
    #expect(!first.instructions.isEmpty)
    #expect(first.section == FieldSectionTests.encode(Self.line))
    #expect(encoder.encode(Self.line, 4).instructions.isEmpty)
    try encoder.read([0x01])
    #expect(encoder.encode(Self.line, 8).section == [0x02, 0x00, 0x80])
    #expect(encoder.blockedStreams == 0)
  }

  @Test(arguments: [1, 2, 16])
  func theBlockedLimitIsExact(limit: Int) throws {
    var encoder = QPACKEncoder(capacity: 4096, blockedStreams: UInt64(limit))
    for index in 0..<limit {
      #expect(encoder.encode(Self.line, UInt64(index) * 4).section == [0x02, 0x00, 0x80])
      #expect(encoder.blockedStreams == index + 1)
    }
    #expect(encoder.encode(Self.line, 400).section == FieldSectionTests.encode(Self.line))
    // One that may be blocked already is no further one.
    #expect(encoder.encode(Self.line, 0).section == [0x02, 0x00, 0x80])
    #expect(encoder.blockedStreams == limit)
    // A cancellation makes room for one more.
    try encoder.read([0x40])
    #expect(encoder.encode(Self.line, 404).section == [0x02, 0x00, 0x80])
    #expect(encoder.encode(Self.line, 408).section == FieldSectionTests.encode(Self.line))
  }

  @Test func credentialsAreNeverIndexed() {
    var encoder = QPACKEncoder(capacity: 4096, blockedStreams: 16)
    let list: HeaderList = ["authorization": "Bearer secret", "cookie": "a=b", ":path": "/once"]
    let (section, instructions) = encoder.encode(list, 0)
    #expect(instructions.isEmpty)
    #expect(section == FieldSectionTests.encode(list))
  }

  @Test func entriesInUseAreNotEvicted() throws {
    var encoder = QPACKEncoder(capacity: 100, blockedStreams: 16)
    _ = encoder.encode(["a": "1"], 0)
    _ = encoder.encode(["b": "2"], 4)
    #expect(encoder.table.lines == ["a=1", "b=2"])
    // Neither is acknowledged; then both are, but the first is referred to again.
    #expect(encoder.encode(["c": "3"], 8).instructions.isEmpty)
    try encoder.read([0x80, 0x84])
    _ = encoder.encode(["a": "1"], 12)
    #expect(encoder.encode(["c": "3"], 16).instructions.isEmpty)
    #expect(encoder.table.lines == ["a=1", "b=2"])
    try encoder.read([0x8c])
    #expect(!encoder.encode(["c": "3"], 20).instructions.isEmpty)
    #expect(encoder.table.lines == ["b=2", "c=3"])
  }

  /// A line of the same section holds its entry too.
  @Test func aSectionDoesNotEvictWhatItRefersTo() throws {
    var encoder = QPACKEncoder(capacity: 100, blockedStreams: 16)
    _ = encoder.encode(["a": "1", "b": "2"], 0)
    try encoder.read([0x80])
    _ = encoder.encode(["a": "1", "c": "3"], 4)
    #expect(encoder.table.lines == ["a=1", "b=2"])
  }

  @Test func anUnknownAcknowledgmentIsAnError() throws {
    var encoder = QPACKEncoder(capacity: 4096, blockedStreams: 16)
    _ = encoder.encode(Self.line, 0)
    try encoder.read([0x80])
    for bytes: [UInt8] in [[0x80], [0x84], [0x00], [0x01]] {
      var other = encoder
      #expect {
        try other.read(bytes)
      } throws: { ($0 as? ConnectionError)?.code == .qpackDecoderStreamError }
    }
    // Cancellations may name any stream.
    try encoder.read([0x40, 0x7f, 0x80, 0x01])
  }

  @Test func aPeerThatAcknowledgesNothingCostsLittle() {
    var encoder = QPACKEncoder(capacity: 4096, blockedStreams: .max)
    for stream in 0..<1000 { _ = encoder.encode(Self.line, UInt64(stream) * 4) }
    #expect(encoder.encode(Self.line, 4000).section == FieldSectionTests.encode(Self.line))
  }
}

/// Both sides with streams between them that deliver when chance says so: what is encoded comes back, no stream is
/// blocked beyond the limit, and nothing that is in use is evicted.
@Suite struct QPACKModelTests {
  @Test(arguments: 0..<60)
  func whatIsEncodedComesBack(seed: Int) throws {
    let entropy = SeededEntropy(seed: UInt64(seed))
    func pick(_ count: Int) -> Int { Int(entropy.nextUInt64() % UInt64(count)) }
    let limit = [0, 1, 3, 16][seed % 4]
    let capacity = [64, 100, 300, 4096][seed / 4 % 4]
    var encoder = QPACKEncoder(capacity: UInt64(capacity), blockedStreams: UInt64(limit))
    var decoder = QPACKDecoder(maximumCapacity: capacity, maximumBlockedStreams: limit)
    var toDecoder: [UInt8] = []
    var toEncoder: [UInt8] = []
    var sections: [(stream: UInt64, bytes: [UInt8], list: HeaderList)] = []
    var decoded = 0
    for round in 0..<400 {
      switch pick(4) {
      case 0, 1:
        let list = HeaderList(
          (0..<1 + pick(5)).map { _ in
            Field("x-\(pick(6))", String(repeating: "v", count: pick(20)), neverIndexed: pick(9) == 0)
          })
        let (bytes, instructions) = encoder.encode(list, UInt64(round) * 4)
        toDecoder += instructions
        sections.append((UInt64(round) * 4, bytes, list))
        #expect(encoder.blockedStreams <= limit)
      case 2:
        let count = pick(toDecoder.count + 1)
        try decoder.read(Array(toDecoder[..<count]))
        toDecoder.removeFirst(count)
        if pick(2) == 0 { decoder.acknowledgeInsertions() }
      default:
        toEncoder += decoder.taken()
        let count = pick(toEncoder.count + 1)
        try encoder.read(Array(toEncoder[..<count]))
        toEncoder.removeFirst(count)
      }
      var waiting: [(stream: UInt64, bytes: [UInt8], list: HeaderList)] = []
      for section in sections {
        if pick(3) == 0 {
          waiting.append(section)
          continue
        }
        if pick(20) == 0 {
          decoder.abandoned(StreamID(rawValue: section.stream))
          continue
        }
        do {
          let result = try decoder.decode(section.bytes)
          #expect(result.list == section.list)
          decoder.processed(StreamID(rawValue: section.stream), requiredInsertCount: result.requiredInsertCount)
          decoded += 1
        } catch FieldSectionDecoder.Failure.blocked { waiting.append(section) }
      }
      sections = waiting
    }
    #expect(decoded > 50)
    try decoder.read(toDecoder)
    #expect(decoder.table.lines == encoder.table.lines)
  }

  @Test func mutatedInstructionsNeverTrap() {
    let entropy = SeededEntropy(seed: 92)
    let seed = [UInt8](hex: "3fe11f 41610131 4162 81ff c0023132 80 023334 00 3f45 41610131")
    for _ in 0..<3000 {
      var decoder = QPACKDecoder(maximumCapacity: 4096, maximumBlockedStreams: 2)
      let bytes = mutate(seed, entropy)
      try? decoder.read(bytes)
      _ = try? decoder.decode(mutate([UInt8](hex: "04 81 80 10 11 60 0178 0801 79"), entropy))
      #expect(decoder.table.size <= decoder.table.capacity)
      var encoder = QPACKEncoder(capacity: 4096, blockedStreams: 2)
      _ = encoder.encode(["a": "b"], 0)
      try? encoder.read(mutate([0x80, 0x01, 0x44, 0x7f, 0x01], entropy))
      _ = encoder.encode(["a": "b", "c": "d"], 4)
    }
  }
}
