import Testing
import Wire

@testable import BGP

@Suite("Flow specifications: the octets")
struct FlowspecTests {
  private func read(_ family: AddressFamily, _ octets: [UInt8]) -> FlowspecRule? {
    octets.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      let rule = FlowspecRule(family, from: &reader)
      return reader.isAtEnd ? rule : nil
    }
  }

  /// RFC 8955 §4.3 and RFC 8956 §3.8, with the rules that they spell.
  @Test func theExamplesOfTheRFCs() throws {
    let net = FlowspecComponent.prefix(.destination, .init(try prefix("192.0.2.0/24")))
    let tcp = FlowspecComponent.numbers(.ipProtocol, [.init(isEqual: true, 6)])
    let address = try #require(IPAddress("::1234:5678:9a00:0"))
    let middle = try #require(FlowspecPrefix(address, length: 104, offset: 64))
    let examples: [(AddressFamily, [UInt8], [FlowspecComponent], String)] = [
      (
        .ipv4Flowspec, [0x0b, 1, 0x18, 0xc0, 0, 2, 3, 0x81, 6, 4, 0x81, 0x19],
        [net, tcp, .numbers(.port, [.init(isEqual: true, 25)])], "dst 192.0.2.0/24 proto tcp port 25"
      ),
      (
        .ipv4Flowspec,
        [0x12, 1, 0x18, 0xc0, 0, 2, 2, 0x18, 0xcb, 0, 0x71, 4, 3, 0x89, 0x45, 0x8b, 0x91, 0x1f, 0x90],
        [
          net, .prefix(.source, .init(try prefix("203.0.113.0/24"))),
          .numbers(
            .port,
            [
              .init(isGreater: true, isEqual: true, 137), .init(isAnd: true, isLess: true, isEqual: true, 139),
              .init(isEqual: true, 8_080),
            ]),
        ], "dst 192.0.2.0/24 src 203.0.113.0/24 port 137-139,8080"
      ),
      (
        .ipv4Flowspec, [9, 1, 0x20, 0xc0, 0, 2, 1, 0x0c, 0x80, 5],
        [.prefix(.destination, .init(try prefix("192.0.2.1/32"))), .bits(.fragment, [.init(5)])],
        "dst 192.0.2.1/32 fragment dont-fragment+first-fragment"
      ),
      (
        .ipv6Flowspec,
        [0x12, 1, 0x20, 0, 0x20, 1, 0x0d, 0xb8, 2, 0x68, 0x40, 0x12, 0x34, 0x56, 0x78, 0x9a, 3, 0x81, 6],
        [.prefix(.destination, .init(try prefix("2001:db8::/32"))), .prefix(.source, middle), tcp],
        "dst 2001:db8::/32 src ::1234:5678:9a00:0/64-104 proto tcp"
      ),
    ]
    for (family, octets, components, text) in examples {
      let rule = try #require(read(family, octets))
      #expect(rule.components == components && "\(rule)" == text)
      #expect(rule.serialized == octets)
      #expect(try FlowspecRule(parsing: text) == rule)
      #expect(FlowspecRule(family, components.reversed()) == rule)
    }
  }

  @Test(
    arguments: [
      [], [0], [3, 1, 24, 10], [5, 1, 33, 10, 0, 0], [4, 3, 0x81, 6, 3], [6, 3, 0x81, 6, 3, 0x81, 17],
      [6, 4, 0x81, 80, 3, 0x81, 6], [3, 99, 0x81, 6], [3, 13, 0x81, 6], [3, 3, 1, 6], [4, 3, 0x91, 6], [2, 3, 0x81],
      [4, 12, 0x90, 0, 1], [4, 11, 0x90, 0, 1], [6, 9, 0xa0, 0, 0, 0, 1], [0xf0], [0xf1, 0], [9, 3, 0x81, 6],
    ] as [[UInt8]]) func malformed(octets: [UInt8])
  {
    #expect(read(.ipv4Flowspec, octets) == nil)
  }

  @Test func aLongRuleHasALengthOfTwoOctets() throws {
    let ports = (0..<100).map { NumericTerm(isEqual: true, UInt64(1_000 + $0)) }
    let rule = try #require(FlowspecRule(.ipv4Flowspec, [.numbers(.port, ports)]))
    #expect(rule.serialized.prefix(3) == [0xf1, 0x2d, 4])
    #expect(read(.ipv4Flowspec, rule.serialized) == rule)
    let tooMany = (0..<2_000).map { NumericTerm(isEqual: true, UInt64(1_000 + $0)) }
    #expect(FlowspecRule(.ipv4Flowspec, [.numbers(.port, tooMany)]) == nil)
    #expect(FlowspecRule(.ipv4Flowspec, []) == nil)
    #expect(FlowspecRule(.ipv4Flowspec, [.numbers(.flowLabel, [.init(1)])]) == nil)
  }

  @Test func whatARuleMatches() throws {
    let inside = try #require(IPAddress("192.0.2.9"))
    let outside = try #require(IPAddress("198.51.100.1"))
    var packet = FlowspecPacket(source: outside, destination: inside, ipProtocol: 6)
    packet.sourcePort = 40_000
    packet.destinationPort = 138
    packet.tcpFlags = 0x12
    packet.length = 60
    packet.fragment = 1
    func matches(_ components: FlowspecComponent...) -> Bool {
      FlowspecRule(.ipv4Flowspec, components)?.matches(packet) ?? false
    }
    let range: [NumericTerm] = [
      .init(isGreater: true, isEqual: true, 137), .init(isAnd: true, isLess: true, isEqual: true, 139),
      .init(isEqual: true, 8_080),
    ]
    #expect(matches(.prefix(.destination, .init(try prefix("192.0.2.0/24"))), .numbers(.port, range)))
    #expect(!matches(.prefix(.source, .init(try prefix("192.0.2.0/24")))))
    #expect(matches(.numbers(.destinationPort, range)) && !matches(.numbers(.sourcePort, range)))
    #expect(!matches(.numbers(.icmpType, [.init(isEqual: true, 0)])), "it has none")
    #expect(!matches(.numbers(.ipProtocol, [.init(6)])), "none of the three is never")
    #expect(matches(.numbers(.ipProtocol, [.init(isLess: true, isGreater: true, isEqual: true, 0)])))
    #expect(matches(.bits(.tcpFlags, [.init(0x02)])) && matches(.bits(.tcpFlags, [.init(isMatch: true, 0x12)])))
    #expect(!matches(.bits(.tcpFlags, [.init(isMatch: true, 0x03)])) && matches(.bits(.tcpFlags, [.init(0x03)])))
    #expect(!matches(.bits(.tcpFlags, [.init(isNot: true, 0x02)])))
    #expect(matches(.bits(.fragment, [.init(isNot: true, 0x0e)])))
    let six = FlowspecRule(.ipv6Flowspec, [.numbers(.ipProtocol, [.init(isEqual: true, 6)])])
    #expect(six?.matches(packet) == false, "of the other family")
    let addresses = try ["::1234:0:0:0", "2001:db8::1234:0:0:1", "2001:db8::1235:0:0:1"].map { text in
      try #require(IPAddress(text))
    }
    let middle = try #require(FlowspecPrefix(addresses[0], length: 80, offset: 64))
    #expect(middle.contains(addresses[1]) && !middle.contains(addresses[2]))
  }

  /// RFC 8955 §5.1.
  @Test func theOrderOfRules() throws {
    func to(_ text: String) throws -> FlowspecComponent { .prefix(.destination, .init(try prefix(text))) }
    func port(_ values: UInt64...) -> FlowspecComponent { .numbers(.port, values.map { .init(isEqual: true, $0) }) }
    let udp = FlowspecComponent.numbers(.ipProtocol, [.init(isEqual: true, 17)])
    let inOrder: [[FlowspecComponent]] = [
      [try to("10.0.0.0/16"), udp], [try to("10.0.0.0/16")], [try to("10.0.0.0/8"), udp],
      [try to("10.0.0.0/8"), port(1)],
      [try to("10.0.0.0/8")], [try to("11.0.0.0/24")], [try to("11.0.0.0/8")],
      [.prefix(.source, .init(try prefix("10.0.0.0/8")))], [udp, port(1, 3)], [udp, port(1)], [udp, port(2)], [udp],
      [port(1)],
    ]
    let rules = try inOrder.map { try #require(FlowspecRule(.ipv4Flowspec, $0)) }
    for (one, rule) in rules.enumerated() {
      for (two, other) in rules.enumerated() { #expect((rule < other) == (one < two), "\(rule) and \(other)") }
    }
    let shifted = try #require(FlowspecPrefix(.v6(.loopback), length: 128, offset: 64))
    let whole = FlowspecPrefix(try prefix("2001:db8::/32"))
    let one = try #require(FlowspecRule(.ipv6Flowspec, [.prefix(.destination, whole)]))
    let two = try #require(FlowspecRule(.ipv6Flowspec, [.prefix(.destination, shifted)]))
    #expect(one < two, "the lower offset first")
  }

  @Test func actions() throws {
    var actions = FlowspecActions()
    actions.rateBytes = 125_000
    actions.goesOn = true
    actions.samples = true
    actions.dscp = 46
    actions.redirect = ExtendedCommunity(rawValue: 0x8008_fc00_0000_0064)
    let communities = actions.communities(autonomousSystem: 64_512)
    #expect(communities.map(\.rawValue).contains(0x8006_fc00_47f4_2400))
    #expect(FlowspecActions(communities) == actions)
    #expect("\(FlowspecActions.discard)" == "drop" && "\(FlowspecActions())" == "accept")
    func rate(_ bits: UInt32) -> Float? {
      FlowspecActions([ExtendedCommunity(rawValue: 0x8006_0000_0000_0000 | UInt64(bits))]).rateBytes
    }
    #expect(rate(Float(-5).bitPattern) == 0 && rate(Float.nan.bitPattern) == nil && rate(0) == 0)
    let two = [0x8006_0000_4480_0000, 0x8006_0000_4400_0000] as [UInt64]
    #expect(FlowspecActions(two.map { ExtendedCommunity(rawValue: $0) }).rateBytes == 512, "the lower")
  }
}
