import Testing
import Wire

@testable import HTTP3

@Suite struct HuffmanTests {
  /// RFC 7541 Appendix C.4 and C.6.
  static let vectors: [(String, String)] = [
    ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
    ("no-cache", "a8eb10649cbf"),
    ("custom-key", "25a849e95ba97d7f"),
    ("custom-value", "25a849e95bb8e8b4bf"),
    ("302", "6402"),
    ("private", "aec3771a4b"),
    ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
    ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
    ("307", "640eff"),
    ("Mon, 21 Oct 2013 20:13:22 GMT", "d07abe941054d444a8200595040b8166e084a62d1bff"),
    ("gzip", "9bd9ab"),
    (
      "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
      "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
  ]

  @Test(arguments: vectors)
  func appendixC(text: String, hex: String) {
    var coded: [UInt8] = []
    Huffman.encode(text.utf8, to: &coded)
    #expect(coded == [UInt8](hex: hex))
    #expect(Huffman.encodedLength(text.utf8) == coded.count)
    #expect(coded.withUnsafeBytes { Huffman.decode($0, limit: 1000) } == Array(text.utf8))
  }

  @Test func everyByteComesBack() {
    for byte in UInt8.min...UInt8.max {
      for count in 1...4 {
        let text = [UInt8](repeating: byte, count: count)
        var coded: [UInt8] = []
        Huffman.encode(text, to: &coded)
        #expect(coded.withUnsafeBytes { Huffman.decode($0, limit: 100) } == text)
      }
    }
    let all = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    var coded: [UInt8] = []
    Huffman.encode(all, to: &coded)
    #expect(coded.withUnsafeBytes { Huffman.decode($0, limit: 4096) } == all)
    #expect(coded.withUnsafeBytes { Huffman.decode($0, limit: 4095) } == nil)
  }

  @Test(arguments: [
    "1f ff",  // "a", then eleven bits of padding
    "18",  // "a", padded with zeros
    "ff ff ff ff",  // EOS and two bits
    "ff ff ff fc",  // EOS, padded with zeros
    "ff",  // eight bits of padding
    "f1e3c2e5f23a6ba0ab90f4ff ff",
  ])
  func badPaddingAndEOSAreErrors(hex: String) {
    #expect([UInt8](hex: hex).withUnsafeBytes { Huffman.decode($0, limit: 1000) } == nil)
  }
}

@Suite struct PrefixedIntegerTests {
  /// RFC 7541 Appendix C.1, and the edges of what RFC 9204 §4.1.1 asks for.
  @Test(arguments: [
    (UInt64(10), 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (0, 1, "00"), (1, 1, "0100"), (255, 8, "ff00"),
    (Varint.max, 8, "ff80feffffffffffff3f"), (Varint.max, 3, "07f8ffffffffffffff3f"),
  ])
  func vectors(value: UInt64, bits: Int, hex: String) {
    var coded: [UInt8] = []
    PrefixedInteger.encode(value, prefix: bits, flags: 0, to: &coded)
    #expect(coded == [UInt8](hex: hex))
    #expect(decode(coded, bits) == value)
    for cut in 0..<coded.count { #expect(decode(Array(coded[..<cut]), bits) == nil) }
  }

  @Test(arguments: [
    "ffffffffffffffffffff01", "ff81feffffffffffff3f", "ff80808080808080808000", "ff8080808080808080808080808000",
  ])
  func overflowIsAnError(hex: String) { #expect(decode([UInt8](hex: hex), 8) == nil) }

  private func decode(_ bytes: [UInt8], _ bits: Int) -> UInt64? {
    bytes.withUnsafeBytes {
      var reader = ByteReader($0)
      return PrefixedInteger.decode(&reader, prefix: bits)
    }
  }
}

@Suite struct FieldSectionTests {
  static func decode(_ bytes: [UInt8], limit: Int = 65536) throws -> HeaderList {
    try bytes.withUnsafeBytes { try FieldSectionDecoder(maximumSize: limit).decode($0).list }
  }
  static func encode(_ list: HeaderList) -> [UInt8] {
    var bytes: [UInt8] = []
    FieldSectionEncoder.encode(list, to: &bytes)
    return bytes
  }

  @Test func appendixB1() throws {
    let list = try Self.decode([UInt8](hex: "0000 510b 2f69 6e64 6578 2e68 746d 6c"))
    #expect(list == [":path": "/index.html"])
  }

  @Test func staticLinesTakeOneOrTwoBytes() throws {
    #expect(Self.encode([":method": "CONNECT"]) == [0, 0, 0xcf])
    #expect(Self.encode([":status": "200"]) == [0, 0, 0xd9])
    #expect(Self.encode([":status": "100"]) == [0, 0, 0xff, 0x00])
    #expect(Self.encode(["x-frame-options": "sameorigin"]) == [0, 0, 0xff, 0x23])
  }

  @Test func everyStaticEntryComesBack() throws {
    for entry in StaticTable.entries {
      let list = HeaderList([Field(entry.name, entry.value, neverIndexed: false)])
      let coded = Self.encode(list)
      #expect(coded.count <= 4)
      #expect(try Self.decode(coded) == list)
    }
    #expect(StaticTable.entries.count == StaticTable.count)
  }

  @Test func literalsComeBackWithTheirNeverIndexedBit() throws {
    let list = HeaderList([
      Field(":status", "418"), Field("authorization", "Bearer abc"), Field("x-own", ""),
      Field("", "", neverIndexed: true),
      Field("x-long-name-that-needs-a-second-byte", String(repeating: "\u{1}", count: 300)),
      Field("content-type", "text/css", neverIndexed: true), Field("x", "ünïcödé"),
    ])
    #expect(try Self.decode(Self.encode(list)) == list)
    #expect(list.fields[1].neverIndexed)
    #expect(!list.description.contains("abc"))
  }

  @Test(arguments: [
    "", "00", "01 00", "00 80", "00 81", "00 00 80", "00 00 10", "00 00 00", "00 00 40 00", "00 00 ff 24",
    "00 00 ff ff ff ff ff ff ff ff ff ff 01", "00 00 51", "00 00 51 05 61", "00 00 27", "00 00 23 61", "00 00 29 18 00",
    "00 00 51 ff ff ff ff ff ff ff ff 7f",
  ])
  func badSectionsFail(hex: String) throws {
    do {
      _ = try Self.decode([UInt8](hex: hex))
      Issue.record("decoded")
    } catch let error as FieldSectionDecoder.Failure {
      guard case .decompressionFailed = error else {
        Issue.record("\(error)")
        return
      }
    }
  }

  @Test func sizeIsBounded() throws {
    let bomb = [0, 0] + [UInt8](repeating: 0xff, count: 0) + (0..<1000).flatMap { _ in [UInt8(0xff), 0x16] }
    #expect(throws: FieldSectionDecoder.Failure.tooLarge) { try Self.decode(bomb, limit: 4096) }
    #expect(throws: FieldSectionDecoder.Failure.tooLarge) { try Self.decode([0, 0, 0xd9], limit: 41) }
    #expect(try Self.decode([0, 0, 0xd9], limit: 42) == [":status": "200"])
  }

  @Test func mutatedSectionsNeverTrap() throws {
    let entropy = SeededEntropy(seed: 9204)
    let seed = Self.encode(connectUDP) + Self.encode(["authorization": "Bearer x", "x-y": "z"]).dropFirst(2)
    for _ in 0..<5000 {
      let mutant = mutate(seed, entropy)
      if let list = try? Self.decode(mutant) { #expect(try Self.decode(Self.encode(list)) == list) }
    }
  }
}

/// `seed` with a few bytes changed, cut out, put in, or its end cut off.
func mutate(_ seed: [UInt8], _ entropy: SeededEntropy) -> [UInt8] {
  var bytes = seed
  for _ in 0...Int(entropy.nextUInt64() % 4) where !bytes.isEmpty {
    let at = Int(entropy.nextUInt64() % UInt64(bytes.count))
    let byte = UInt8(truncatingIfNeeded: entropy.nextUInt64())
    switch entropy.nextUInt64() % 5 {
    case 0: bytes[at] = byte
    case 1: bytes[at] ^= 1 << (byte & 7)
    case 2: bytes.remove(at: at)
    case 3: bytes.insert(byte, at: at)
    default: bytes.removeLast(bytes.count - at)
    }
  }
  return bytes
}
