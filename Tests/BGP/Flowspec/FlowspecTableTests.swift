import Testing
import Wire

@testable import BGP

@Suite("Flow specifications: the tables")
struct FlowspecTableTests {
  private let discard = [ExtendedCommunity(rawValue: 0x8006_0000_0000_0000)]

  private func rule(_ text: String, port: UInt64 = 53) throws -> FlowspecRule {
    try #require(
      FlowspecRule(
        .ipv4Flowspec,
        [.prefix(.destination, .init(try prefix(text))), .numbers(.port, [.init(isEqual: true, port)])]))
  }

  private func network(_ numbers: UInt32...) throws -> RIBNetwork {
    try RIBNetwork(numbers.map { .init(autonomousSystem: $0, families: .all) })
  }

  /// Peer `index` advertises a rule, its path as given.
  private func announce(
    _ rule: FlowspecRule, _ path: [UInt32], from index: Int, to network: RIBNetwork,
    _ change: (inout PathAttributes) -> Void = { _ in }
  ) {
    var set = PathAttributes()
    set.asPath = ASPath(path)
    set.extendedCommunities = discard
    change(&set)
    var writer = AttributeWriter()
    set.write(to: &writer, for: rule.family)
    let reach = attribute(0x80, 14, [0, UInt8(rule.family.afi), 133, 0, 0] + rule.serialized)
    #expect(network.receive(updateBody(reach + Array(writer.bytes)), from: index) == .applied)
  }

  private func withdraw(_ rule: FlowspecRule, from index: Int, to network: RIBNetwork) {
    let gone = attribute(0x80, 15, [0, UInt8(rule.family.afi), 133] + rule.serialized)
    #expect(network.receive(updateBody(gone), from: index) == .applied)
  }

  @Test func aRuleIsEnforcedAndPassedOn() throws {
    let network = try network(65_001, 65_002)
    let flow = try rule("203.0.113.0/25")
    network.announce([try prefix("203.0.113.0/24")], attributes([65_001]), from: 0)
    announce(flow, [65_001], from: 0, to: network)
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
    #expect(network.rib.flowspecEvents().isEmpty)
    network.deliver()
    #expect(network.views[1].flows[flow]?.asPath == ASPath([64_512, 65_001]))
    #expect(network.views[1].flows[flow]?.extendedCommunities == discard && network.views[0].flows.isEmpty)
    #expect(network.views[1].ends == [.ipv4Unicast, .ipv6Unicast, .ipv4Flowspec, .ipv6Flowspec])
    // Other actions.
    announce(flow, [65_001], from: 0, to: network) {
      $0.extendedCommunities = [ExtendedCommunity(rawValue: 0x8009_0000_0000_000a)]
    }
    var marking = FlowspecActions()
    marking.dscp = 10
    #expect(network.rib.flowspecEvents() == [.install(flow, marking)])
    withdraw(flow, from: 0, to: network)
    #expect(network.rib.flowspecEvents() == [.remove(flow)])
    network.deliver()
    #expect(network.views[1].flows.isEmpty)
    network.down(0)
    network.down(1)
    #expect(network.rib.counts.attributeSets == 0)
  }

  @Test func ourOwnRules() throws {
    let network = try network(65_001, 64_512)
    let flow = try rule("203.0.113.0/25")
    var limit = FlowspecActions()
    limit.rateBytes = 1_000
    network.rib.originate(flow, limit)
    let six = try #require(
      FlowspecRule(.ipv6Flowspec, [.prefix(.destination, .init(try prefix("2001:db8::/32")))]))
    network.rib.originate(six, .discard)
    #expect(network.rib.flowspecEvents() == [.install(flow, limit), .install(six, .discard)])
    let rules = network.rib.flowspecRules
    #expect(rules.map(\.0) == [flow, six])
    network.deliver()
    #expect(Set(network.views[0].flows.keys) == [flow, six] && network.views[1].flows.count == 2)
    #expect(network.views[1].flows[flow]?.localPreference == 100)
    network.rib.withdraw(flow)
    network.rib.withdraw(six)
    #expect(network.rib.flowspecEvents() == [.remove(flow), .remove(six)])
    network.deliver()
    #expect(network.views[0].flows.isEmpty && network.rib.counts.attributeSets == 0)
  }

  /// RFC 8955 §6.
  @Test func whoMaySayWhatBecomesOfTraffic() throws {
    let network = try network(65_001, 65_002)
    let flow = try rule("203.0.113.0/24")
    announce(flow, [65_001], from: 0, to: network)
    #expect(network.rib.flowspecEvents().isEmpty, "there is no unicast route")
    network.announce([try prefix("203.0.112.0/23")], attributes([65_002]), from: 1)
    #expect(network.rib.flowspecEvents().isEmpty, "the unicast route is another's")
    network.announce([try prefix("203.0.113.0/24")], attributes([65_001]), from: 0)
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
    network.announce([try prefix("203.0.113.128/25")], attributes([65_001]), from: 0)
    #expect(network.rib.flowspecEvents().isEmpty, "a more specific one of the same neighbor")
    network.announce([try prefix("203.0.113.0/26")], attributes([65_002]), from: 1)
    #expect(network.rib.flowspecEvents() == [.remove(flow)], "a more specific one of another neighbor")
    network.withdraw([try prefix("203.0.113.0/26")], from: 1)
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
    network.withdraw([try prefix("203.0.113.0/24")], from: 0)
    #expect(network.rib.flowspecEvents() == [.remove(flow)])
    // Without a destination, anybody's traffic would be meant.
    let all = try #require(FlowspecRule(.ipv4Flowspec, [.numbers(.port, [.init(isEqual: true, 53)])]))
    announce(all, [65_001], from: 0, to: network)
    #expect(network.rib.flowspecEvents().isEmpty)
  }

  /// RFC 8955 §6 b 1: whoever says what becomes of traffic must be who originates the best route to where it goes.
  @Test func oneRouterDoesNotSpeakForAnotherOfItsAS() throws {
    let network = try network(65_001, 65_001)
    let flow = try rule("203.0.113.0/24")
    network.announce([try prefix("203.0.113.0/24")], attributes([65_001]), from: 0)
    announce(flow, [65_001], from: 1, to: network)
    #expect(network.rib.flowspecEvents().isEmpty)
    announce(flow, [65_001], from: 0, to: network)
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
  }

  /// RFC 9117 §4.2.
  @Test func theLeftmostASIsTheSame() throws {
    let network = try network(65_001)
    let flow = try rule("203.0.113.0/24")
    network.announce([try prefix("203.0.113.0/24")], attributes([65_001, 65_009]), from: 0)
    announce(flow, [65_009], from: 0, to: network)
    #expect(network.rib.flowspecEvents().isEmpty)
    announce(flow, [65_001, 65_008], from: 0, to: network)
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
  }

  @Test func validationCanBeSwitchedOff() throws {
    let network = try network(65_001, 65_002)
    let (flow, own) = (try rule("203.0.113.0/24"), try rule("203.0.113.0/25"))
    announce(flow, [65_001], from: 0, to: network)
    announce(flow, [65_002, 65_003], from: 1, to: network)
    network.rib.originate(own, .discard)
    #expect(network.rib.flowspecEvents() == [.install(own, .discard)])
    network.rib.setFlowspecValidation(false, for: network.peers[0])
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
    let routes = network.rib.flowspecRoutes()
    #expect(routes.map(\.rule) == [own, flow, flow] && routes.map(\.isFeasible) == [true, true, false])
    #expect(routes.map(\.isBest) == [true, true, false] && routes[0].peer == nil && routes[1].peer != nil)
    network.rib.setFlowspecValidation(true, for: network.peers[0])
    #expect(network.rib.flowspecEvents() == [.remove(flow)])
  }

  /// RFC 1997, RFC 7999 §3.2: what is not to go beyond the peer goes to the peer.
  @Test func ourOwnBlackholeGoesToPeers() throws {
    let network = try network(65_001)
    var set = PathAttributes()
    set.communities = [.blackhole, .noExport]
    set.nextHop = .v4(IPv4Address(192, 0, 2, 66))
    let victim = try prefix("203.0.113.7/32")
    network.rib.originate(victim, set)
    network.deliver()
    let told = try #require(network.views[0].routes[victim])
    #expect(told.communities == [.blackhole, .noExport] && told.nextHop == set.nextHop)
  }

  /// RFC 9117 §4.1: a controller within the AS.
  @Test func anInternalPeersOwnRuleNeedsNoRoute() throws {
    let network = try network(64_512)
    let flow = try rule("203.0.113.0/24")
    announce(flow, [], from: 0, to: network) { $0.localPreference = 100 }
    #expect(network.rib.flowspecEvents() == [.install(flow, .discard)])
    announce(flow, [7], from: 0, to: network) { $0.localPreference = 100 }
    #expect(network.rib.flowspecEvents() == [.remove(flow)], "it came from elsewhere")
  }

  @Test func aMalformedRuleEndsTheSession() throws {
    let network = try network(65_001)
    let wrong = attribute(0x80, 14, [0, 1, 133, 0, 0, 3, 99, 0x81, 6])
    let body = updateBody(wrong + attribute(0x40, 1, [0]) + attribute(0x40, 2, [2, 1, 0, 0, 0xfd, 0xe9]))
    let error = notification { () throws(NotificationMessage) in
      try reading(body) { bytes throws(NotificationMessage) in _ = try network.readers[0].read(bytes) }
    }
    #expect(error == .optionalAttributeError(wrong))
  }

  @Test func sessionsAndRefreshes() throws {
    let network = try network(65_001, 65_002)
    let (one, two) = (try rule("203.0.113.0/25"), try rule("203.0.113.0/25", port: 80))
    network.announce([try prefix("203.0.113.0/24")], attributes([65_001]), from: 0)
    announce(one, [65_001], from: 0, to: network)
    announce(two, [65_001], from: 0, to: network)
    network.deliver()
    #expect(network.views[1].flows.count == 2)
    network.views[1].flows = [:]
    network.rib.refresh(.init(.ipv4Flowspec), of: network.peers[1], marked: true)
    network.deliver()
    #expect(network.views[1].flows.count == 2)
    #expect(network.views[1].refreshes == [.init(.ipv4Flowspec, .beginning), .init(.ipv4Flowspec, .end)])
    network.rib.refresh(.init(.ipv4Flowspec, .beginning), of: network.peers[0], marked: true)
    announce(one, [65_001], from: 0, to: network)
    network.rib.refresh(.init(.ipv4Flowspec, .end), of: network.peers[0], marked: true)
    network.deliver()
    #expect(Array(network.views[1].flows.keys) == [one])
    network.down(0)
    network.deliver()
    #expect(network.views[1].flows.isEmpty && network.rib.counts(of: network.peers[0]).received == 0)
  }
}
