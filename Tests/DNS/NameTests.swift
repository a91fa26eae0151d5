import Testing
import Wire

@testable import DNS

@Suite struct NameTests {
  @Test(arguments: [
    "example.com", "a.b.c", "_cloudbridge._udp.pop.example", "x\\.y.example", "\\000\\255.example", ".",
  ])
  func textRoundTrips(_ text: String) throws {
    let name = try DNSName(text)
    #expect(name.description == text)
    #expect(try DNSName(name.description) == name)
  }

  @Test func dotAtTheEndIsTheSameName() throws {
    #expect(try DNSName("example.com.") == DNSName("example.com"))
    #expect(try DNSName("example.com").wire == [7] + Array("example".utf8) + [3] + Array("com".utf8) + [0])
  }

  @Test func caseIsFoldedInComparisonAndKeptOnTheWire() throws {
    let upper = try DNSName("EXAMPLE.Com")
    let lower = try DNSName("example.com")
    #expect(upper == lower)
    #expect(upper.hashValue == lower.hashValue)
    #expect(upper.wire != lower.wire)
    // '@' and '`', '[' and '{' differ by the case bit and are no letters.
    #expect(try DNSName("@[") != DNSName("`{"))
  }

  @Test func refusesWhatIsNoName() {
    func error(_ text: String) -> DNSName.TextError? {
      do {
        _ = try DNSName(text)
        return nil
      } catch { return error }
    }
    #expect(error("") == .empty)
    #expect(error(".a") == .emptyLabel)
    #expect(error("a..b") == .emptyLabel)
    #expect(error("a..") == .emptyLabel)
    #expect(error(String(repeating: "a", count: 64)) == .labelTooLong)
    #expect(error(String(repeating: "a", count: 63)) == nil)
    #expect(error("a\\") == .badEscape)
    #expect(error("a\\25") == .badEscape)
    #expect(error("a\\256") == .badEscape)
    #expect(error("bücher.example") == .notASCII)
    let label = String(repeating: "a", count: 63)
    // 3 × 64 + 62 + root is 255.
    #expect(error("\(label).\(label).\(label).\(String(repeating: "b", count: 61))") == nil)
    #expect(error("\(label).\(label).\(label).\(String(repeating: "b", count: 62))") == .nameTooLong)
  }

  @Test func subdomains() throws {
    let zone = try DNSName("pop.example")
    #expect(try DNSName("POP.example").isEqualOrUnder(zone))
    #expect(try DNSName("a.b.pop.EXAMPLE").isEqualOrUnder(zone))
    #expect(try !DNSName("xpop.example").isEqualOrUnder(zone))
    #expect(try !DNSName("example").isEqualOrUnder(zone))
    #expect(zone.isEqualOrUnder(.root))
    #expect(zone.parent?.parent == .root)
    #expect(DNSName.root.parent == nil)
    #expect(try DNSName("a").appending(zone) == DNSName("a.pop.example"))
  }

  @Test func randomizedCaseIsTheSameName() throws {
    let name = try DNSName("a-long-name-with-many-letters.pop.example")
    let mixed = name.withRandomizedCase(SeededEntropy(seed: 7))
    #expect(mixed == name)
    #expect(mixed.wire != name.wire)
  }

  private func parse(_ bytes: [UInt8], at start: Int) -> (name: DNSName, offset: Int)? {
    bytes.withUnsafeBytes { bytes in
      var offset = start
      return DNSName(in: bytes, at: &offset, end: bytes.count).map { ($0, offset) }
    }
  }

  @Test func followsPointersToPriorNames() throws {
    // RFC 1035 §4.1.4's own example: F.ISI.ARPA at 20, FOO.F.ISI.ARPA at 40, ARPA at 64, root at 92.
    var bytes = [UInt8](repeating: 0xff, count: 93)
    bytes.replaceSubrange(20..<32, with: try DNSName("F.ISI.ARPA").wire)
    bytes.replaceSubrange(40..<46, with: [3] + Array("FOO".utf8) + [0xc0, 20])
    bytes.replaceSubrange(64..<66, with: [0xc0, 26])
    bytes[92] = 0
    #expect(try parse(bytes, at: 20)! == (DNSName("F.ISI.ARPA"), 32))
    #expect(try parse(bytes, at: 40)! == (DNSName("FOO.F.ISI.ARPA"), 46))
    #expect(try parse(bytes, at: 64)! == (DNSName("ARPA"), 66))
    #expect(parse(bytes, at: 92)! == (.root, 93))
  }

  @Test func refusesPointerGames() {
    let header = [UInt8](repeating: 0, count: 12)
    #expect(parse(header + [0xc0, 12], at: 12) == nil, "to itself")
    #expect(parse(header + [1, 0x61, 0xc0, 12], at: 12) == nil, "into its own beginning")
    #expect(parse(header + [0xc0, 14, 0xc0, 12], at: 14) == nil, "to each other")
    #expect(parse(header + [0xc0, 16, 0, 0, 1, 0x61, 0], at: 12) == nil, "forward")
    #expect(parse(header + [0xc0, 4], at: 12) == nil, "into the header")
    #expect(parse(header + [0xc0], at: 12) == nil, "half a pointer")
    #expect(parse(header + [0x40, 0], at: 12) == nil, "reserved bits 01")
    #expect(parse(header + [0x80, 0], at: 12) == nil, "reserved bits 10")
    #expect(parse(header + [5, 0x61], at: 12) == nil, "beyond the end")
    #expect(parse(header, at: 12) == nil, "nothing")
  }

  @Test func refusesANameThatPointersMakeTooLong() {
    // Each name is one label of 63 and a pointer to the one before it: the fifth would be 321 octets.
    var bytes = [UInt8](repeating: 0, count: 13)
    var last = 12
    for _ in 0..<3 {
      let start = bytes.count
      bytes += [63] + [UInt8](repeating: 0x61, count: 63) + [0xc0 | UInt8(last >> 8), UInt8(last & 0xff)]
      last = start
    }
    #expect(parse(bytes, at: last)?.name.wire.count == 193)
    let start = bytes.count
    bytes += [63] + [UInt8](repeating: 0x61, count: 63) + [0xc0 | UInt8(last >> 8), UInt8(last & 0xff)]
    #expect(parse(bytes, at: start) == nil)
  }
}
