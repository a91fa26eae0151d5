import Testing
import Wire

@testable import BGP

private let origin = attribute(0x40, 1, [0])
private let path = attribute(0x40, 2, [2, 2, 0, 0, 0xfd, 0xe9, 0, 3, 0, 1])
private let nextHop = attribute(0x40, 3, [192, 0, 2, 7])
private let mandatory = origin + path + nextHop
private let nlri: [UInt8] = [24, 203, 0, 113]

/// A session with AS 65001, ours being 64512.
private func context(internal isInternal: Bool = false, fourOctet: Bool = true) -> UpdateReader.Context {
  var context = UpdateReader.Context(
    families: [.ipv4Unicast, .ipv6Unicast], localAS: 64_512, peerAS: isInternal ? 64_512 : 65_001)
  context.usesFourOctetAS = fourOctet
  context.localAddress = .v4(IPv4Address(192, 0, 2, 1))
  return context
}

/// What of an UPDATE outlives its memory.
private struct Outcome {
  var reset: NotificationMessage?
  var fault: NotificationMessage?
  var withdrawn: [IPPrefix] = []
  var reachable: [IPPrefix] = []
  var mpUnreachable: [IPPrefix]?
  var mpReachable: [IPPrefix]?
  var summary = AttributeSummary()
  var nextHop: IPAddress?
  var mpNextHop: IPAddress?
  var isLoop = false
  var discarded = 0
  var endOfRIB: AddressFamily?
  var attributes = PathAttributes()
  var canonical: [UInt8] = []

  init(_ body: [UInt8], _ context: UpdateReader.Context = context()) {
    var reader = UpdateReader(context)
    body.withUnsafeBytes { bytes in
      do throws(NotificationMessage) {
        let update = try reader.read(bytes)
        fault = update.fault
        withdrawn = update.withdrawn.prefixes
        reachable = update.reachable.prefixes
        mpUnreachable = update.mpUnreachable?.prefixes
        mpReachable = update.mpReachable?.prefixes
        summary = update.summary
        nextHop = update.nextHop
        mpNextHop = update.mpNextHop
        isLoop = update.isLoop
        discarded = update.discardedAttributes
        endOfRIB = update.endOfRIB
        canonical = reader.withCanonicalAttributes(of: update, isMultiprotocol: update.mpReachable != nil) { Array($0) }
        attributes = canonical.withUnsafeBytes { PathAttributes(canonical: $0) }
      } catch { reset = error }
    }
  }
}

@Suite("UPDATE messages")
struct UpdateTests {
  @Test func aPlainUpdate() throws {
    let outcome = Outcome(updateBody(withdrawn: [16, 10, 1], mandatory, nlri: nlri + [0] + [32, 10, 0, 0, 1]))
    #expect(outcome.reset == nil && outcome.fault == nil)
    #expect(outcome.withdrawn == [try prefix("10.1.0.0/16")])
    #expect(outcome.reachable == [try prefix("203.0.113.0/24"), try prefix("0.0.0.0/0"), try prefix("10.0.0.1/32")])
    #expect(outcome.nextHop == .v4(IPv4Address(192, 0, 2, 7)))
    #expect(outcome.summary.asPathLength == 2 && outcome.summary.neighborAS == 65_001)
    #expect(outcome.attributes.asPath == ASPath([65_001, 196_609]))
    #expect(outcome.canonical == mandatory)
  }

  @Test func bitsBehindAPrefixDoNotCount() throws {
    #expect(Outcome(updateBody(mandatory, nlri: [20, 10, 1, 0xff])).reachable == [try prefix("10.1.240.0/20")])
  }

  @Test func allKindsOfAttributesAreTakenApartAndPutTogether() throws {
    var attributes = PathAttributes()
    attributes.origin = .egp
    attributes.asPath = ASPath([.init([65_001, 70_000]), .init(isSet: true, [3, 4])])
    attributes.nextHop = .v4(IPv4Address(192, 0, 2, 7))
    attributes.multiExitDisc = 5
    attributes.isAtomicAggregate = true
    attributes.aggregator = .init(autonomousSystem: 70_000, address: .loopback)
    attributes.communities = [Community(64_512, 1), .noExport, .gracefulShutdown]
    attributes.extendedCommunities = [ExtendedCommunity(rawValue: 0x0002_fc00_0000_0064)]
    attributes.largeCommunities = [LargeCommunity(64_512, 1, 2)]
    attributes.onlyToCustomer = 65_001
    attributes.others = [
      .init(type: .init(rawValue: 31), flags: [.optional, .transitive, .partial], value: [1]),
      .init(
        type: .init(rawValue: 200), flags: [.optional, .transitive, .partial], value: Array(repeating: 1, count: 300)),
    ]
    var writer = AttributeWriter()
    attributes.write(to: &writer, for: .ipv4Unicast)
    let outcome = Outcome(updateBody(Array(writer.bytes), nlri: nlri))
    #expect(outcome.fault == nil && outcome.discarded == 0)
    #expect(outcome.attributes == attributes)
    #expect(outcome.canonical == Array(writer.bytes))
    var summary = attributes.summary
    summary.nextHop = nil
    #expect(outcome.summary == summary)
    #expect(outcome.summary.asPathLength == 3)
    #expect(outcome.summary.wellKnownCommunities == [.noExport, .gracefulShutdown])
    #expect("\(attributes.asPath)" == "65001 70000 {3,4}")
    #expect("\(attributes.extendedCommunities[0])" == "rt:64512:100")
  }

  @Test func anOrderOfTheirOwnMakesNoOtherSet() {
    let plain = Outcome(updateBody(origin + path + nextHop + attribute(0x80, 4, [0, 0, 0, 9]), nlri: nlri))
    let mixed = Outcome(updateBody(attribute(0x80, 4, [0, 0, 0, 9]) + nextHop + path + origin, nlri: nlri))
    let longer = Outcome(
      updateBody([0x50, 1, 0, 1, 0] + path + nextHop + attribute(0x8f, 4, [0, 0, 0, 9]), nlri: nlri))
    #expect(plain.canonical == mixed.canonical)
    #expect(plain.canonical == longer.canonical)
  }

  @Test func theEndOfRIB() {
    #expect(Outcome(updateBody()).endOfRIB == .ipv4Unicast)
    #expect(Outcome(updateBody(attribute(0x80, 15, [0, 2, 1]))).endOfRIB == .ipv6Unicast)
    #expect(Outcome(updateBody(withdrawn: [8, 10])).endOfRIB == nil)
    #expect(Outcome(updateBody(attribute(0x80, 15, [0, 2, 1, 16, 0x20, 1]))).endOfRIB == nil)
    #expect(Outcome(updateBody(mandatory)).endOfRIB == nil)
  }

  @Test func ipv6RoutesAreInTheMultiprotocolAttributes() throws {
    let address: [UInt8] = [0x20, 1, 0x0d, 0xb8] + Array(repeating: 0, count: 11) + [7]
    let reach = attribute(0x80, 14, [0, 2, 1, 16] + address + [0] + [32, 0x20, 1, 0x0d, 0xb8])
    let unreach = attribute(0x80, 15, [0, 2, 1, 16, 0x20, 2])
    let outcome = Outcome(updateBody(reach + origin + path + unreach))
    #expect(outcome.reset == nil && outcome.fault == nil)
    #expect(outcome.mpReachable == [try prefix("2001:db8::/32")])
    #expect(outcome.mpUnreachable == [try prefix("2002::/16")])
    #expect(outcome.mpNextHop == IPAddress("2001:db8::7"))
    #expect(outcome.attributes.nextHop == IPAddress("2001:db8::7"))
    #expect(outcome.canonical.prefix(3) == [0x80, 14, 21])
    // Global and link-local (RFC 2545 §3): the first counts.
    let both = attribute(0x80, 14, [0, 2, 1, 32] + address + [0xfe, 0x80] + Array(repeating: 0, count: 14) + [0, 0])
    #expect(Outcome(updateBody(both + origin + path)).mpNextHop == IPAddress("2001:db8::7"))
  }

  @Test func whatWasNotNegotiatedIsNotTaken() {
    var context = context()
    context.families = .ipv6Unicast
    let outcome = Outcome(updateBody(withdrawn: [8, 10], mandatory, nlri: nlri), context)
    #expect(outcome.withdrawn.isEmpty && outcome.reachable.isEmpty && outcome.reset == nil)
    let flowspec = attribute(0x80, 14, [0, 1, 133, 0, 0, 1, 2, 3])
    #expect(Outcome(updateBody(flowspec + origin + path)).mpReachable == nil)
    #expect(Outcome(updateBody(flowspec + origin + path)).reset == nil)
  }

  @Test func pathIdentifiersAreReadWhereNegotiated() throws {
    var context = context()
    context.addPathFamilies = .ipv4Unicast
    let body = updateBody(withdrawn: [0, 0, 0, 1, 8, 10], mandatory, nlri: [0, 0, 0, 2] + nlri)
    let outcome = Outcome(body, context)
    #expect(outcome.withdrawn == [try prefix("10.0.0.0/8")])
    #expect(outcome.reachable == [try prefix("203.0.113.0/24")])
    #expect(Outcome(updateBody(mandatory, nlri: [0, 0, 0, 2]), context).reset == .invalidNetworkField)
  }

  @Test func ourOwnASInThePathIsALoop() {
    let looping = attribute(0x40, 2, [2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfc, 0])
    #expect(Outcome(updateBody(origin + looping + nextHop, nlri: nlri)).isLoop)
    #expect(!Outcome(updateBody(mandatory, nlri: nlri)).isLoop)
  }

  // MARK: AS numbers of two octets (RFC 6793 §4.2.3)

  @Test func aPathOfTwoOctetsIsWidened() {
    let short = attribute(0x40, 2, [2, 3, 0xfd, 0xe9, 0x5b, 0xa0, 0x5b, 0xa0])
    let four = attribute(0xc0, 17, [2, 2, 0, 1, 0, 0, 0, 2, 0, 0])
    let outcome = Outcome(updateBody(origin + short + nextHop + four, nlri: nlri), context(fourOctet: false))
    #expect(outcome.fault == nil)
    #expect(outcome.attributes.asPath == ASPath([65_001, 65_536, 131_072]))
    #expect(!outcome.canonical.contains(17))
    // An AS4_PATH longer than the path counts for nothing.
    let longer = attribute(0xc0, 17, [2, 4] + Array(repeating: 1, count: 16))
    let ignored = Outcome(updateBody(origin + short + nextHop + longer, nlri: nlri), context(fourOctet: false))
    #expect(ignored.attributes.asPath == ASPath([65_001, 23_456, 23_456]))
  }

  @Test func anAggregatorThatIsNotASTransMakesAS4PathCountForNothing() {
    let short = attribute(0x40, 2, [2, 2, 0xfd, 0xe9, 0x5b, 0xa0])
    let four = attribute(0xc0, 17, [2, 1, 0, 1, 0, 0])
    let ours = attribute(0xc0, 7, [0, 9, 1, 2, 3, 4])
    let outcome = Outcome(updateBody(origin + short + nextHop + ours + four, nlri: nlri), context(fourOctet: false))
    #expect(outcome.attributes.asPath == ASPath([65_001, 23_456]))
    #expect(outcome.attributes.aggregator?.autonomousSystem == 9)
    let trans = attribute(0xc0, 7, [0x5b, 0xa0, 1, 2, 3, 4])
    let four2 = attribute(0xc0, 18, [0, 1, 0, 5, 1, 2, 3, 4])
    let both = Outcome(
      updateBody(origin + short + nextHop + trans + four + four2, nlri: nlri), context(fourOctet: false))
    #expect(both.attributes.asPath == ASPath([65_001, 65_536]))
    #expect(both.attributes.aggregator?.autonomousSystem == 65_541)
  }

  @Test func fourOctetSpeakersHaveNoUseForAS4Attributes() {
    let four = attribute(0xc0, 17, [2, 1, 0, 1, 0, 0])
    let outcome = Outcome(updateBody(mandatory + four, nlri: nlri))
    #expect(outcome.discarded == 1 && outcome.fault == nil && outcome.canonical == mandatory)
  }

  @Test func unknownAttributes() {
    let transitive = attribute(0xc0, 99, [1, 2])
    let outcome = Outcome(updateBody(mandatory + transitive, nlri: nlri))
    #expect(
      outcome.attributes.others == [
        .init(type: .init(rawValue: 99), flags: [.optional, .transitive, .partial], value: [1, 2])
      ])
    #expect(Outcome(updateBody(mandatory + attribute(0x80, 99, [1, 2]), nlri: nlri)).attributes.others.isEmpty)
    let wellKnown = attribute(0x40, 99, [1, 2])
    #expect(Outcome(updateBody(mandatory + wellKnown, nlri: nlri)).reset == .unrecognizedWellKnownAttribute(wellKnown))
  }
}

/// RFC 7606's approaches, attribute by attribute.
@Suite("UPDATE messages that are wrong")
struct UpdateErrorTests {
  enum Approach: Equatable, Sendable { case accept, discard, withdraw(UInt8), reset(UInt8) }

  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var body: [UInt8]
    var approach: Approach
    var isInternal = false
    var testDescription: String { name }
  }

  private static func with(_ extra: [UInt8]) -> [UInt8] { updateBody(mandatory + extra, nlri: nlri) }

  static let cases: [Case] = [
    // RFC 7606 §3 b, RFC 4271 §6.3.
    Case(name: "withdrawn beyond the end", body: [0, 9, 8, 10, 0, 0], approach: .reset(1)),
    Case(name: "attributes beyond the end", body: [0, 0, 0, 9, 1], approach: .reset(1)),
    // RFC 7606 §5.3.
    Case(name: "a prefix of 33 bits", body: updateBody(mandatory, nlri: [33, 1, 2, 3, 4, 5]), approach: .reset(10)),
    Case(name: "a prefix that runs out", body: updateBody(mandatory, nlri: [24, 1, 2]), approach: .reset(10)),
    Case(
      name: "a withdrawn prefix of 33 bits", body: updateBody(withdrawn: [33, 1, 2, 3, 4, 5]), approach: .reset(10)),
    Case(name: "a withdrawn prefix that runs out", body: updateBody(withdrawn: [16, 1]), approach: .reset(10)),
    // RFC 7606 §3 c.
    Case(
      name: "ORIGIN optional", body: updateBody(attribute(0xc0, 1, [0]) + path + nextHop, nlri: nlri),
      approach: .withdraw(4)),
    Case(
      name: "AS_PATH not transitive", body: updateBody(origin + attribute(0, 2, []) + nextHop, nlri: nlri),
      approach: .withdraw(4)),
    Case(name: "MULTI_EXIT_DISC transitive", body: with(attribute(0xc0, 4, [0, 0, 0, 1])), approach: .withdraw(4)),
    Case(name: "COMMUNITIES well-known", body: with(attribute(0x40, 8, [0, 0, 0, 1])), approach: .withdraw(4)),
    Case(
      name: "LARGE_COMMUNITY not transitive", body: with(attribute(0x80, 32, Array(repeating: 0, count: 12))),
      approach: .withdraw(4)),
    Case(name: "ATOMIC_AGGREGATE optional", body: with(attribute(0xc0, 6, [])), approach: .withdraw(4)),
    // RFC 7606 §3 d.
    Case(name: "no ORIGIN", body: updateBody(path + nextHop, nlri: nlri), approach: .withdraw(3)),
    Case(name: "no AS_PATH", body: updateBody(origin + nextHop, nlri: nlri), approach: .withdraw(3)),
    Case(name: "no NEXT_HOP", body: updateBody(origin + path, nlri: nlri), approach: .withdraw(3)),
    // RFC 7606 §3 g.
    Case(name: "ORIGIN twice", body: updateBody(origin + origin + path + nextHop, nlri: nlri), approach: .discard),
    Case(
      name: "MP_UNREACH_NLRI twice", body: with(attribute(0x80, 15, [0, 2, 1]) + attribute(0x80, 15, [0, 2, 1])),
      approach: .reset(1)),
    Case(
      name: "MP_REACH_NLRI twice",
      body: with(attribute(0x80, 14, [0, 9, 1, 0, 0]) + attribute(0x80, 14, [0, 9, 1, 0, 0])), approach: .reset(1)),
    // RFC 7606 §4.
    Case(name: "two octets of an attribute", body: with([0xc0, 8]), approach: .withdraw(1)),
    Case(name: "three octets of a long attribute", body: with([0xd0, 8, 0]), approach: .withdraw(1)),
    Case(name: "a value that runs out", body: with([0xc0, 8, 9, 1, 2]), approach: .withdraw(5)),
    // RFC 7606 §7, in its order.
    Case(
      name: "ORIGIN of two octets", body: updateBody(attribute(0x40, 1, [0, 0]) + path + nextHop, nlri: nlri),
      approach: .withdraw(5)),
    Case(
      name: "ORIGIN empty", body: updateBody(attribute(0x40, 1, []) + path + nextHop, nlri: nlri),
      approach: .withdraw(5)),
    Case(
      name: "ORIGIN of value 3", body: updateBody(attribute(0x40, 1, [3]) + path + nextHop, nlri: nlri),
      approach: .withdraw(6)),
    Case(
      name: "AS_PATH segment of type 5",
      body: updateBody(origin + attribute(0x40, 2, [5, 1, 0, 0, 0xfd, 0xe9]) + nextHop, nlri: nlri),
      approach: .withdraw(11)),
    Case(
      name: "AS_PATH segment that runs out",
      body: updateBody(origin + attribute(0x40, 2, [2, 2, 0, 0, 0xfd, 0xe9]) + nextHop, nlri: nlri),
      approach: .withdraw(11)),
    Case(
      name: "AS_PATH with an octet over",
      body: updateBody(origin + attribute(0x40, 2, [2, 1, 0, 0, 0xfd, 0xe9, 2]) + nextHop, nlri: nlri),
      approach: .withdraw(11)),
    Case(
      name: "AS_PATH with an empty segment",
      body: updateBody(origin + attribute(0x40, 2, [2, 0]) + nextHop, nlri: nlri), approach: .withdraw(11)),
    Case(
      name: "AS_PATH with AS 0 (RFC 7607)",
      body: updateBody(origin + attribute(0x40, 2, [2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0]) + nextHop, nlri: nlri),
      approach: .withdraw(11)),
    Case(
      name: "AS_PATH of a confederation (RFC 5065)",
      body: updateBody(origin + attribute(0x40, 2, [3, 1, 0, 0, 0xfd, 0xe9]) + nextHop, nlri: nlri),
      approach: .withdraw(11)),
    Case(
      name: "AS_PATH that begins with another AS",
      body: updateBody(origin + attribute(0x40, 2, [2, 1, 0, 0, 0, 9]) + nextHop, nlri: nlri), approach: .withdraw(11)),
    Case(
      name: "AS_PATH empty from an external peer",
      body: updateBody(origin + attribute(0x40, 2, []) + nextHop, nlri: nlri), approach: .withdraw(11)),
    Case(
      name: "AS_PATH empty from an internal peer",
      body: updateBody(origin + attribute(0x40, 2, []) + nextHop, nlri: nlri), approach: .accept, isInternal: true),
    Case(
      name: "NEXT_HOP of three octets", body: updateBody(origin + path + attribute(0x40, 3, [1, 2, 3]), nlri: nlri),
      approach: .withdraw(5)),
    Case(
      name: "NEXT_HOP of 0.0.0.0", body: updateBody(origin + path + attribute(0x40, 3, [0, 0, 0, 0]), nlri: nlri),
      approach: .withdraw(8)),
    Case(
      name: "NEXT_HOP that is multicast",
      body: updateBody(origin + path + attribute(0x40, 3, [224, 0, 0, 1]), nlri: nlri), approach: .withdraw(8)),
    Case(
      name: "NEXT_HOP that is our own address",
      body: updateBody(origin + path + attribute(0x40, 3, [192, 0, 2, 1]), nlri: nlri), approach: .withdraw(8)),
    Case(name: "MULTI_EXIT_DISC of three octets", body: with(attribute(0x80, 4, [0, 0, 1])), approach: .withdraw(5)),
    Case(name: "LOCAL_PREF from an external peer", body: with(attribute(0x40, 5, [0, 0, 0, 1])), approach: .discard),
    Case(name: "LOCAL_PREF malformed from an external peer", body: with(attribute(0xc0, 5, [0])), approach: .discard),
    Case(
      name: "LOCAL_PREF of three octets", body: with(attribute(0x40, 5, [0, 0, 1])), approach: .withdraw(5),
      isInternal: true),
    Case(name: "ATOMIC_AGGREGATE with a value", body: with(attribute(0x40, 6, [1])), approach: .discard),
    Case(
      name: "AGGREGATOR of seven octets", body: with(attribute(0xc0, 7, Array(repeating: 1, count: 7))),
      approach: .discard),
    Case(
      name: "AGGREGATOR of six octets between four-octet speakers",
      body: with(attribute(0xc0, 7, Array(repeating: 1, count: 6))), approach: .discard),
    Case(
      name: "AGGREGATOR of AS 0 (RFC 7607)", body: with(attribute(0xc0, 7, [0, 0, 0, 0, 1, 1, 1, 1])),
      approach: .discard),
    Case(
      name: "COMMUNITIES of five octets", body: with(attribute(0xc0, 8, Array(repeating: 1, count: 5))),
      approach: .withdraw(5)),
    Case(name: "COMMUNITIES empty", body: with(attribute(0xc0, 8, [])), approach: .withdraw(5)),
    Case(name: "ORIGINATOR_ID from an external peer", body: with(attribute(0x80, 9, [1])), approach: .discard),
    Case(
      name: "ORIGINATOR_ID of one octet", body: with(attribute(0x80, 9, [1])), approach: .withdraw(5), isInternal: true),
    Case(name: "CLUSTER_LIST from an external peer", body: with(attribute(0x80, 10, [1])), approach: .discard),
    Case(name: "CLUSTER_LIST empty", body: with(attribute(0x80, 10, [])), approach: .withdraw(5), isInternal: true),
    Case(name: "MP_REACH_NLRI too short", body: with(attribute(0x80, 14, [0, 2, 1])), approach: .reset(9)),
    Case(
      name: "MP_REACH_NLRI whose next hop runs out", body: with(attribute(0x80, 14, [0, 2, 1, 16, 0])),
      approach: .reset(9)),
    Case(
      name: "MP_REACH_NLRI with a next hop of 4 octets", body: with(attribute(0x80, 14, [0, 2, 1, 4, 1, 2, 3, 4, 0])),
      approach: .reset(9)),
    Case(
      name: "MP_REACH_NLRI with a prefix of 129 bits",
      body: with(
        attribute(
          0x80, 14, [0, 2, 1, 16] + Array(repeating: 1, count: 16) + [0, 129] + Array(repeating: 1, count: 17))),
      approach: .reset(9)),
    Case(
      name: "MP_REACH_NLRI with a next hop of ::",
      body: with(attribute(0x80, 14, [0, 2, 1, 16] + Array(repeating: 0, count: 17) + [8, 32])), approach: .withdraw(9)),
    Case(
      name: "MP_REACH_NLRI well-known",
      body: with(attribute(0x40, 14, [0, 2, 1, 16] + Array(repeating: 1, count: 16) + [0, 8, 32])),
      approach: .withdraw(4)),
    Case(name: "MP_UNREACH_NLRI too short", body: with(attribute(0x80, 15, [0, 2])), approach: .reset(9)),
    Case(
      name: "MP_UNREACH_NLRI with a prefix that runs out", body: with(attribute(0x80, 15, [0, 2, 1, 32, 1])),
      approach: .reset(9)),
    Case(
      name: "EXTENDED COMMUNITIES of nine octets", body: with(attribute(0xc0, 16, Array(repeating: 1, count: 9))),
      approach: .withdraw(5)),
    Case(
      name: "IPv6 extended communities of 19 octets", body: with(attribute(0xc0, 25, Array(repeating: 1, count: 19))),
      approach: .withdraw(5)),
    Case(
      name: "LARGE_COMMUNITY of 13 octets", body: with(attribute(0xc0, 32, Array(repeating: 1, count: 13))),
      approach: .withdraw(5)),
    Case(name: "LARGE_COMMUNITY empty", body: with(attribute(0xc0, 32, [])), approach: .withdraw(5)),
    Case(name: "ONLY_TO_CUSTOMER of three octets", body: with(attribute(0xc0, 35, [0, 0, 1])), approach: .withdraw(5)),
    // RFC 7606 §3 h: of several, the strongest.
    Case(
      name: "a discard and a withdraw", body: with(attribute(0x40, 6, [1]) + attribute(0xc0, 8, [1])),
      approach: .withdraw(5)),
    Case(
      name: "a withdraw and a reset", body: with(attribute(0xc0, 8, [1]) + attribute(0x80, 15, [0])),
      approach: .reset(9)),
    // RFC 7606 §5.2.
    Case(
      name: "a withdraw where there is nothing to withdraw", body: updateBody(attribute(0x40, 1, [3])),
      approach: .reset(6)),
    Case(
      name: "a discard where there is nothing to withdraw", body: updateBody(attribute(0x40, 6, [1])),
      approach: .discard),
    Case(name: "attributes without prefixes", body: updateBody(mandatory), approach: .accept),
  ]

  @Test(arguments: cases) func isHandledAsRFC7606Says(_ example: Case) {
    let outcome = Outcome(example.body, context(internal: example.isInternal))
    let approach: Approach =
      if let reset = outcome.reset { .reset(reset.subcode) } else if let fault = outcome.fault {
        .withdraw(fault.subcode)
      } else { outcome.discarded > 0 ? .discard : .accept }
    #expect(approach == example.approach)
    for error in [outcome.reset, outcome.fault].compactMap({ $0 }) { #expect(error.code == .updateMessage) }
  }

  /// RFC 4271 §6.3: "The Data field MUST contain the erroneous attribute (type, length, and value)."
  @Test func theDataIsTheErroneousAttribute() {
    let wrong = attribute(0xc0, 8, [1, 2, 3])
    #expect(Outcome(updateBody(mandatory + wrong, nlri: nlri)).fault == .attributeLengthError(wrong))
    #expect(Outcome(updateBody(path + nextHop, nlri: nlri)).fault?.data == [1])
  }

  /// Whatever octet is changed, or wherever it ends: an answer, never a trap.
  @Test func noMessageTraps() {
    let body = updateBody(
      withdrawn: [8, 10],
      mandatory + attribute(0xc0, 8, Array(repeating: 1, count: 300)) + attribute(0x80, 15, [0, 2, 1, 8, 1]),
      nlri: nlri)
    for count in 0..<body.count { _ = Outcome(Array(body.prefix(count))) }
    for index in body.indices {
      for value: UInt8 in [0, 1, 2, 0x7f, 0x80, 0xff] {
        var changed = body
        changed[index] = value
        _ = Outcome(changed)
        _ = Outcome(changed, context(internal: true, fourOctet: false))
      }
    }
  }
}
