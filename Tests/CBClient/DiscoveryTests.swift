import DNS
import Testing
import Wire

@testable import CBClient

@Suite struct DiscoveryTests {
  let domain = try! DNSName("pop.example")  // A literal that parses.

  func binding(
    _ priority: UInt16, _ target: String = ".", alpn: [String] = ["h3"], port: UInt16? = nil, four: [IPv4Address] = [],
    mandatory: [UInt16] = []
  ) throws -> RecordData {
    var parameters = ServiceParameters()
    parameters.alpn = alpn.map { Array($0.utf8) }
    parameters.port = port
    parameters.ipv4Hints = four
    parameters.mandatory = mandatory
    return .https(ServiceBinding(priority: priority, target: try DNSName(target), parameters: parameters))
  }

  func srv(_ priority: UInt16, _ weight: UInt16, _ port: UInt16, _ target: String) throws -> RecordData {
    .srv(ServiceLocation(priority: priority, weight: weight, port: port, target: try DNSName(target)))
  }

  func four(_ last: UInt8) -> RecordData { .a(IPv4Address(192, 0, 2, last)) }
  func six(_ last: UInt64) -> RecordData { .aaaa(IPv6Address(high: 0x2001_0db8_0000_0000, low: last)) }

  /// Resolves every lookup from `records`, whose keys are `name TYPE`; what is missing does not exist.
  func run(_ records: [String: [RecordData]], port: UInt16? = nil, seed: UInt64 = 1) throws -> Discovery {
    var discovery = Discovery(domain: domain, port: port, entropy: SeededEntropy(seed: seed))
    var lookups = 0
    while let lookup = discovery.nextLookup() {
      lookups += 1
      try #require(lookups < 200)
      #expect(discovery.result == nil)
      if let data = records["\(lookup.name) \(lookup.type)"] {
        let answer = StubResolver.Answer(
          question: Question(lookup.name, lookup.type), canonicalName: lookup.name, aliases: [],
          records: data.map { Record(lookup.name, ttl: 60, $0) }, expires: .distantFuture)
        discovery.resolved(lookup, .success(answer))
      } else {
        discovery.resolved(lookup, .failure(.nameError))
      }
    }
    return discovery
  }

  func found(_ records: [String: [RecordData]], port: UInt16? = nil, seed: UInt64 = 1) throws -> [String] {
    let result = try run(records, port: port, seed: seed).result
    return try #require(result).get().map { "\($0.source) \($0.name) \($0.address)" }
  }

  func failure(_ records: [String: [RecordData]]) throws -> Discovery.Failure? {
    let result = try run(records).result
    guard case .failure(let failure) = result else { return nil }
    return failure
  }

  @Test func addressesAlone() throws {
    let records = ["pop.example A": [four(1), four(2)], "pop.example AAAA": [six(1)]]
    #expect(
      try found(records) == [
        "address pop.example [2001:db8::1]:443", "address pop.example 192.0.2.1:443",
        "address pop.example 192.0.2.2:443",
      ])
    #expect(try found(records, port: 8443).allSatisfy { $0.hasSuffix(":8443") })
  }

  @Test func anExplicitPortAsksForAddressesAlone() {
    var discovery = Discovery(domain: domain, port: 1, entropy: SeededEntropy(seed: 1))
    #expect(discovery.nextLookup()?.type == .aaaa)
    #expect(discovery.nextLookup()?.type == .a)
    #expect(discovery.nextLookup() == nil)
  }

  @Test func httpsRanksBeforeSRVBeforeAddresses() throws {
    let records = [
      "pop.example HTTPS": [try binding(2, "b.example", port: 4444), try binding(1)],
      "_cloudbridge._udp.pop.example SRV": [try srv(1, 1, 4433, "c.example")],
      "pop.example A": [four(1)], "b.example A": [four(2)], "c.example A": [four(3)],
    ]
    // The domain's own address comes once, from its best source.
    #expect(
      try found(records) == [
        "https pop.example 192.0.2.1:443", "https b.example 192.0.2.2:4444", "srv c.example 192.0.2.3:4433",
      ])
  }

  @Test func hintsServeWhereAddressesAreMissing() throws {
    let hint = IPv4Address(192, 0, 2, 77)
    #expect(
      try found(["pop.example HTTPS": [try binding(1, "b.example", port: 1, four: [hint])]]) == [
        "https b.example 192.0.2.77:1"
      ])
    #expect(
      try found([
        "pop.example HTTPS": [try binding(1, "b.example", port: 1, four: [hint])], "b.example A": [four(9)],
      ]) == ["https b.example 192.0.2.9:1"])
  }

  @Test func unusableHTTPSRecordsFallBack() throws {
    let address = ["pop.example A": [four(1)]]
    for https in [
      [try binding(1, alpn: ["h2"], port: 5)], [try binding(1, port: 5, mandatory: [667])],
      [.malformed(.https, []), try binding(1, port: 5)],
    ] as [[RecordData]] {
      #expect(
        try found(address.merging(["pop.example HTTPS": https]) { $1 }) == ["address pop.example 192.0.2.1:443"])
    }
  }

  @Test func aliasesAreFollowed() throws {
    let records = [
      "pop.example HTTPS": [try binding(0, "a.example"), try binding(1, "ignored.example")],
      "a.example HTTPS": [try binding(0, "b.example")],
      "b.example HTTPS": [try binding(1, port: 6)], "b.example AAAA": [six(6)], "ignored.example A": [four(9)],
    ]
    #expect(try found(records) == ["https b.example [2001:db8::6]:6"])
    // Without HTTPS records at its end, an alias stands for the addresses there.
    #expect(
      try found(["pop.example HTTPS": [try binding(0, "a.example")], "a.example A": [four(8)]]) == [
        "https a.example 192.0.2.8:443"
      ])
  }

  @Test func aliasLoopsAndChainsEnd() throws {
    let loop = ["pop.example HTTPS": [try binding(0, "pop.example")], "pop.example A": [four(1)]]
    #expect(try found(loop) == ["address pop.example 192.0.2.1:443"])
    var chain: [String: [RecordData]] = ["pop.example HTTPS": [try binding(0, "n0.example")]]
    for index in 0..<40 { chain["n\(index).example HTTPS"] = [try binding(0, "n\(index + 1).example")] }
    guard case .nothingFound(let findings) = try failure(chain) else {
      Issue.record("the chain was followed")
      return
    }
    #expect(findings.contains { $0.reason == .tooManyAliases })
  }

  @Test func aServiceThatIsNotOfferedIsNotTried() throws {
    let address = ["pop.example A": [four(1)]]
    #expect(
      try failure(address.merging(["_cloudbridge._udp.pop.example SRV": [try srv(0, 0, 0, ".")]]) { $1 })
        == .notOffered)
    #expect(try failure(address.merging(["pop.example HTTPS": [try binding(0, ".")]]) { $1 }) == .notOffered)
  }

  @Test func nothingFoundSaysWhy() throws {
    guard case .nothingFound(let findings) = try failure([:]) else {
      Issue.record("something was found")
      return
    }
    #expect(findings.count == 4)
    #expect(try failure([:])!.description.contains("_cloudbridge._udp.pop.example SRV: no such name"))
  }

  @Test func implausibleAddressesAreLeftOut() throws {
    let records: [String: [RecordData]] = [
      "pop.example A": [.a(.any), .a(IPv4Address(224, 0, 0, 1)), .a(IPv4Address(255, 255, 255, 255)), four(1)],
      "pop.example AAAA": [.aaaa(.any), .aaaa(IPv6Address(high: 0xff02_0000_0000_0000, low: 1))],
      "_cloudbridge._udp.pop.example SRV": [try srv(0, 0, 0, "pop.example")],
    ]
    #expect(try found(records) == ["address pop.example 192.0.2.1:443"])
  }

  @Test func everySetIsBounded() throws {
    var records: [String: [RecordData]] = [:]
    records["_cloudbridge._udp.pop.example SRV"] = try (0..<100).map { try srv(UInt16($0), 0, 1, "n\($0).example") }
    for index in 0..<100 { records["n\(index).example A"] = (0..<200).map { .a(IPv4Address(10, 0, UInt8(index), $0)) } }
    #expect(try found(records).count == Discovery.maximumCandidates)
  }

  @Test func srvOrderFollowsPriorityAndWeight() {
    let records = [(1, 0), (1, 90), (1, 10), (0, 1)].map {
      ServiceLocation(priority: UInt16($0.0), weight: UInt16($0.1), port: 1, target: .root)
    }
    let entropy = SeededEntropy(seed: 2782)
    var heavyFirst = 0
    for _ in 0..<1_000 {
      let order = ServiceLocation.selectionOrder(records, entropy: entropy)
      #expect(order.count == 4)
      #expect(order[0].priority == 0)
      if order[1].weight == 90 { heavyFirst += 1 }
    }
    // 90 of 101 draws, within ten standard deviations; the seed makes it the same each time.
    #expect((800...980).contains(heavyFirst))
  }

  @Test func resultsThatWereNotAskedForAreIgnored() throws {
    var discovery = Discovery(domain: domain, entropy: SeededEntropy(seed: 1))
    discovery.resolved(.init(name: try DNSName("x.example"), type: .a), .failure(.noData))
    #expect(discovery.result == nil)
  }
}
