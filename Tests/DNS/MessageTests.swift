import Testing
import Wire

@testable import DNS

/// Bytes from hexadecimal text; blanks are skipped.
func hex(_ text: String) -> [UInt8] {
  let digits = text.filter { !$0.isWhitespace }
  return stride(from: 0, to: digits.count, by: 2).map { index in
    let start = digits.index(digits.startIndex, offsetBy: index)
    return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)!
  }
}

@Suite struct MessageTests {
  static let origin = try! DNSName("pop.example")  // A literal that parses.

  static func everyType() throws -> Message {
    var message = Message(header: Header(id: 0xbeef))
    message.header.isResponse = true
    message.header.isAuthoritative = true
    message.header.recursionDesired = true
    message.questions = [Question(origin, .https)]
    var parameters = ServiceParameters()
    parameters.mandatory = [1, 3]
    parameters.alpn = [Array("h3".utf8), Array("h2".utf8)]
    parameters.noDefaultALPN = true
    parameters.port = 8443
    parameters.ipv4Hints = [IPv4Address(192, 0, 2, 1), IPv4Address(192, 0, 2, 2)]
    parameters.ipv6Hints = [IPv6Address(high: 0x2001_0db8_0000_0000, low: 1)]
    parameters.ech = [1, 2, 3]
    parameters.other = [.init(key: 667, value: Array("hello".utf8))]
    message.answers = [
      Record(origin, ttl: 300, .https(ServiceBinding(priority: 1, target: .root, parameters: parameters))),
      Record(origin, ttl: 300, .svcb(ServiceBinding(priority: 0, target: try DNSName("other.example")))),
      Record(origin, ttl: 60, .a(IPv4Address(192, 0, 2, 7))),
      Record(origin, ttl: 60, .aaaa(IPv6Address(high: 0x2001_0db8_0000_0000, low: 7))),
      Record(try DNSName("www.pop.example"), ttl: 60, .cname(origin)),
      Record(
        try DNSName("_cloudbridge._udp.pop.example"), ttl: 60,
        .srv(ServiceLocation(priority: 10, weight: 20, port: 443, target: try DNSName("a.pop.example")))),
      Record(origin, ttl: 60, .txt([Array("v=1".utf8), []])),
      Record(origin, ttl: 60, .opaque(RecordType(rawValue: 731), [0xab, 0xcd])),
    ]
    message.authorities = [
      Record(origin, ttl: 60, .ns(try DNSName("ns.pop.example"))),
      Record(
        origin, ttl: 900,
        .soa(
          StartOfAuthority(
            primary: try DNSName("ns.pop.example"), mailbox: try DNSName("hostmaster.pop.example"), serial: 1,
            refresh: 2, retry: 3, expire: 4, minimum: 5))),
    ]
    message.edns = EDNS()
    message.edns?.dnssecOK = true
    message.edns?.options = [.init(code: 10, value: [1, 2, 3, 4, 5, 6, 7, 8])]
    return message
  }

  @Test func everyTypeRoundTrips() throws {
    let message = try Self.everyType()
    let bytes = try #require(message.serialized())
    #expect(try Message(bytes) == message)
    #expect(message.serialized(limit: bytes.count) != nil)
    #expect(message.serialized(limit: bytes.count - 1) == nil)
  }

  @Test func readsACompressedResponse() throws {
    // example.com A through a CNAME, names compressed the way resolvers do, with an OPT at the end.
    let bytes = hex(
      """
      1a2b 8180 0001 0002 0000 0001
      03777777 07 6578616d706c65 03 636f6d 00 0001 0001
      c00c 0005 0001 0000012c 0007 0465646765 c010
      c02d 0001 0001 0000003c 0004 5db8d822
      00 0029 04d0 00000000 0000
      """)
    let message = try Message(bytes)
    #expect(message.header.id == 0x1a2b)
    #expect(message.header.recursionAvailable)
    #expect(message.questions == [Question(try DNSName("www.example.com"), .a)])
    #expect(
      message.answers == [
        Record(try DNSName("www.example.com"), ttl: 300, .cname(try DNSName("edge.example.com"))),
        Record(try DNSName("edge.example.com"), ttl: 60, .a(IPv4Address(93, 184, 216, 34))),
      ])
    #expect(message.edns == EDNS(udpPayloadSize: 1232))
  }

  @Test func extendedResponseCode() throws {
    var message = Message(header: Header(id: 1))
    message.header.isResponse = true
    message.header.responseCode = .badVersion
    message.edns = EDNS()
    #expect(try Message(#require(message.serialized())).header.responseCode == .badVersion)
  }

  @Test func ttlWithItsTopBitSetIsZero() throws {
    var message = Message(header: Header(id: 1))
    message.answers = [Record(Self.origin, ttl: 0x8000_0000, .a(.loopback))]
    #expect(try Message(#require(message.serialized())).answers[0].ttl == 0)
  }

  static func error(_ bytes: [UInt8]) -> MessageError? {
    do {
      _ = try Message(bytes)
      return nil
    } catch { return error }
  }

  @Test func refusesHostileInputs() throws {
    #expect(Self.error([]) == .shorterThanHeader)
    #expect(Self.error(hex("0000 0000 0000 0000 0000 00")) == .shorterThanHeader)
    #expect(Self.error([UInt8](repeating: 0, count: 65_536)) == .tooLong)
    #expect(Self.error(hex("0000 0000 0000 ffff ffff ffff")) == .tooManyRecords)
    #expect(Self.error(hex("0000 0000 0002 0000 0000 0000 00 0001 0001 00 0001 0001")) == .badQuestion)
    #expect(Self.error(hex("0000 0000 0001 0000 0000 0000")) == .badName)
    #expect(Self.error(hex("0000 0000 0001 0000 0000 0000 00 0001 00")) == .badQuestion)
    #expect(Self.error(hex("0000 0000 0000 0001 0000 0000")) == .badName)
    #expect(Self.error(hex("0000 0000 0000 0001 0000 0000 00 0001 0001 00000000 0004 010203")) == .badRecord)
    #expect(Self.error(hex("0000 0000 0000 0001 0000 0000 00 0001 0001 00000000 0003 010203")) == .badRecord)
    #expect(Self.error(hex("0000 0000 0000 0000 0000 0000 00")) == .trailingBytes)
    #expect(Self.error(hex("0000 0000 0000 0001 0000 0000 00 0029 04d0 00000000 0000")) == .badOPT)
    #expect(
      Self.error(hex("0000 0000 0000 0000 0000 0002 00 0029 04d0 00000000 0000 00 0029 04d0 00000000 0000"))
        == .badOPT)
    #expect(Self.error(hex("0000 0000 0000 0000 0000 0001 00 0029 04d0 00000000 0004 000a 0008")) == .badOPT)
    // A CNAME whose name ends before its data does, and a TXT string longer than its data.
    #expect(Self.error(hex("0000 0000 0000 0001 0000 0000 00 0005 0001 00000000 0002 0000")) == .badRecord)
    #expect(Self.error(hex("0000 0000 0000 0001 0000 0000 00 0010 0001 00000000 0002 0561")) == .badRecord)
  }

  @Test func truncatedMessageMayBreakOff() throws {
    let whole = try #require(Self.everyType().serialized())
    var bytes = Array(whole.prefix(120))
    #expect(Self.error(bytes) != nil)
    bytes[2] |= 0x02
    let message = try Message(bytes)
    #expect(message.header.isTruncated)
    #expect(message.questions.count == 1)
  }

  @Test func thousandsOfMutationsDoNotCrash() throws {
    let whole = try #require(Self.everyType().serialized())
    let random = SeededEntropy(seed: 1035)
    var parsed = 0
    for _ in 0..<20_000 {
      var bytes = whole
      for _ in 0...(random.nextUInt64() % 4) {
        let at = Int(random.nextUInt64() % UInt64(bytes.count))
        switch random.nextUInt64() % 4 {
        case 0: bytes[at] ^= 1 << UInt8(random.nextUInt64() % 8)
        case 1: bytes[at] = [0, 0xff, 0xc0, 0x3f][Int(random.nextUInt64() % 4)]
        case 2: bytes.removeSubrange(at..<min(bytes.count, at + 1 + Int(random.nextUInt64() % 8)))
        default: bytes.insert(UInt8(truncatingIfNeeded: random.nextUInt64()), at: at)
        }
        if bytes.isEmpty { bytes = [0] }
      }
      guard let message = try? Message(bytes) else { continue }
      parsed += 1
      // What was read can be written, and reads back as the same.
      if let again = message.serialized(), !message.header.isTruncated { #expect(try Message(again) == message) }
    }
    #expect(parsed > 1_000)
  }

  @Test func everyPrefixIsRefusedOrRead() throws {
    let whole = try #require(Self.everyType().serialized())
    for length in whole.indices { #expect(Self.error(Array(whole.prefix(length))) != nil) }
  }
}

@Suite struct ServiceBindingTests {
  private func parse(_ text: String) -> ServiceBinding? { hex(text).withUnsafeBytes { ServiceBinding($0) } }

  @Test func vectorsOfRFC9460AppendixD() throws {
    // D.1, AliasMode.
    let alias = try #require(parse("0000 03666f6f 076578616d706c65 03636f6d 00"))
    #expect(alias == ServiceBinding(priority: 0, target: try DNSName("foo.example.com")))
    // D.2, figure 3: `1 .`; figure 4: port=53; figure 5: key667=hello; figure 6: an octet beyond ASCII.
    #expect(parse("0001 00") == ServiceBinding(priority: 1, target: .root))
    let port = try #require(parse("0010 03666f6f 076578616d706c65 03636f6d 00 0003 0002 0035"))
    #expect(port.priority == 16)
    #expect(port.parameters.port == 53)
    let opaque = try #require(parse("0001 03666f6f 076578616d706c65 03636f6d 00 029b 0005 68656c6c6f"))
    #expect(opaque.parameters.other == [.init(key: 667, value: Array("hello".utf8))])
    let binary = try #require(parse("0001 03666f6f 076578616d706c65 03636f6d 00 029b 0009 68656c6c6fd2716f6f"))
    #expect(binary.parameters.other[0].value[5] == 0xd2)
    // Figure 7: two quoted IPv6 hints.
    let six = try #require(
      parse(
        """
        0001 03666f6f 076578616d706c65 03636f6d 00 0006 0020
        20010db8000000000000000000000001 20010db8000000000000000000530001
        """))
    #expect(
      six.parameters.ipv6Hints.map { IPAddress.v6($0) } == [IPAddress("2001:db8::1")!, IPAddress("2001:db8::53:1")!])
    // Figure 9: mandatory=alpn,ipv4hint with alpn and ipv4hint.
    let mandatory = try #require(
      parse(
        """
        0010 03666f6f 076578616d706c65 036f7267 00 0000 0004 0001 0004
        0001 0009 02 6832 05 68332d3139 0004 0004 c0000201
        """))
    #expect(mandatory.parameters.mandatory == [1, 4])
    #expect(mandatory.parameters.offers(alpn: "h3-19"))
    #expect(mandatory.parameters.isCompatible)
    for binding in [alias, port, opaque, binary, six, mandatory] {
      #expect(binding.rdata.withUnsafeBytes { ServiceBinding($0) } == binding)
    }
  }

  @Test func malformed() {
    #expect(parse("") == nil)
    #expect(parse("0001") == nil)
    #expect(parse("0001 c00c") == nil, "compressed target")
    #expect(parse("0001 00 0003 0002 00") == nil, "value cut off")
    #expect(parse("0001 00 0003 0002 0035 0001 0003 02 6833") == nil, "keys descend")
    #expect(parse("0001 00 0003 0002 0035 0003 0002 0035") == nil, "a key twice")
    #expect(parse("0001 00 0003 0001 35") == nil, "port of one octet")
    #expect(parse("0001 00 0003 0003 003500") == nil, "port of three octets")
    #expect(parse("0001 00 0001 0000") == nil, "empty alpn")
    #expect(parse("0001 00 0001 0001 00") == nil, "empty protocol identifier")
    #expect(parse("0001 00 0001 0002 0268") == nil, "protocol identifier cut off")
    #expect(parse("0001 00 0002 0001 00") == nil, "no-default-alpn with a value")
    #expect(parse("0001 00 0004 0003 c00002") == nil, "IPv4 hint cut off")
    #expect(parse("0001 00 0006 0000") == nil, "no IPv6 hint")
    #expect(parse("0001 00 0000 0002 0003") == nil, "mandatory key absent")
    #expect(parse("0001 00 0000 0002 0000") == nil, "mandatory lists itself")
    #expect(parse("0001 00 0000 0004 0003 0001 0001 0003 026833 0003 0002 0035") == nil, "mandatory descends")
  }

  @Test func anUnknownMandatoryKeyForbidsUse() throws {
    let binding = try #require(parse("0001 00 0000 0002 029b 029b 0001 00"))
    #expect(!binding.parameters.isCompatible)
  }

  @Test func malformedRecordLeavesTheMessageStanding() throws {
    let bytes = hex("0000 8000 0000 0001 0000 0000 00 0041 0001 00000000 0002 0001")
    #expect(try Message(bytes).answers[0].data == .malformed(.https, [0, 1]))
  }
}

@Suite struct TCPMessageReaderTests {
  @Test func cutsAnyChunking() {
    let messages: [[UInt8]] = [[1, 2, 3], [], [UInt8](repeating: 9, count: 300)]
    let stream = messages.flatMap { TCPMessageReader.frame($0)! }
    for size in [1, 2, 3, 7, 100, stream.count] {
      var reader = TCPMessageReader()
      var seen: [[UInt8]] = []
      for start in stride(from: 0, to: stream.count, by: size) {
        stream[start..<min(stream.count, start + size)].withUnsafeBytes { reader.append($0) }
        while let message = reader.next() { seen.append(message) }
      }
      #expect(seen == messages)
    }
    #expect(TCPMessageReader.frame([UInt8](repeating: 0, count: 65_536)) == nil)
  }
}
