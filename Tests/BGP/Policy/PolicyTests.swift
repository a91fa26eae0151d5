import Testing
import Wire

@testable import BGP

@Suite("Policy")
struct PolicyTests {
  private func list(_ texts: String...) throws -> PrefixList {
    PrefixList(try texts.map { text throws in try PrefixRange(parsing: text) })
  }

  private func route(_ text: String, _ path: [UInt32] = [65_001]) throws -> PolicyRoute {
    PolicyRoute(try prefix(text), attributes(path), peerAS: 65_001)
  }

  @Test func theFirstRuleThatPermitsOrDeniesEndsIt() throws {
    let policy = Policy(
      "customers",
      [
        .init("tag all", set: [.addCommunities([.standard(Community(64_512, 1))])], nil),
        .init("no bogons", if: [.prefix(try list("10.0.0.0/8 le 32", "0.0.0.0/0"))], .deny),
        .init(
          "our blocks",
          if: [.prefix(try list("203.0.113.0/24 le 28")), .not(.asPath([try .init(parsing: "* 666 *")]))],
          set: [.localPreference(200), .multiExitDisc(5), .removeCommunities([try .init(parsing: "*:7")])], .permit),
        .init("tagged", if: [.community([try .init(parsing: "64512:1")]), .asPathLength(4...9)], .permit),
      ])
    var good = try route("203.0.113.0/25")
    good.attributes.communities = [Community(65_001, 7), Community(65_001, 8)]
    let taken = policy.evaluate(good)
    #expect(taken.verdict == .permit && taken.matched == [0, 2] && taken.rule == "our blocks")
    #expect(taken.reason == "customers: rule \"our blocks\" permits it")
    #expect(taken.attributes.localPreference == 200 && taken.attributes.multiExitDisc == 5)
    #expect(taken.attributes.communities == [Community(65_001, 8), Community(64_512, 1)])
    #expect(policy.evaluate(try route("10.1.0.0/16")).reason == "customers: rule \"no bogons\" denies it")
    #expect(policy.evaluate(try route("203.0.113.0/24", [65_001, 666])).rule == nil)
    #expect(
      policy.evaluate(try route("198.51.100.0/24")).reason == "customers: no rule settles it, and that denies it")
    #expect(policy.evaluate(try route("198.51.100.0/24", [1, 2, 3, 4])).rule == "tagged", "a later rule sees the tag")
    #expect(policy.dependsOnPrefix && !Policy("none", []).dependsOnPrefix)
  }

  @Test func eachConditionAndChange() throws {
    var one = try route("203.0.113.0/24", [65_001, 2])
    one.attributes.origin = .egp
    func holds(_ condition: Policy.Condition) -> Bool { condition.holds(for: one) }
    #expect(holds(.origin(.egp)) && !holds(.origin(.igp)))
    #expect(holds(.peerAS(65_000...65_001)) && !holds(.peerAS(1...2)))
    #expect(!holds(.local) && holds(.not(.local)))
    let (around, elsewhere) = (try list("10.0.1.0/24 le 32"), try list("10.0.2.0/24 le 32"))
    #expect(holds(.nextHop(around)) && !holds(.nextHop(elsewhere)))
    #expect(holds(.asPathLength(2...2)) && !holds(.asPathLength(3...3)))

    let policy = Policy(
      "changes",
      [
        .init(
          "all",
          set: [
            .origin(.incomplete), .prepend(64_512, count: 3), .nextHop(.v4(IPv4Address(192, 0, 2, 1))),
            .nextHop(.v6(.loopback)), .multiExitDisc(nil),
            .addCommunities([.large(LargeCommunity(1, 2, 3)), .extended(ExtendedCommunity(rawValue: 7))]),
          ], .permit)
      ])
    let decision = policy.evaluate(one)
    #expect(decision.attributes.origin == .incomplete && decision.attributes.multiExitDisc == nil)
    #expect(decision.attributes.asPath == ASPath([64_512, 64_512, 64_512, 65_001, 2]))
    #expect(decision.attributes.nextHop == .v4(IPv4Address(192, 0, 2, 1)), "not one of the other family")
    #expect(decision.setsNextHop && decision.setsMultiExitDisc)
    #expect(decision.attributes.largeCommunities == [LargeCommunity(1, 2, 3)])
  }

  @Test func aPolicyOnTheWayIn() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    network.setPolicy(
      PeerPolicy(
        incoming: Policy(
          "in",
          [
            .init(
              "ours", if: [.prefix(try list("203.0.113.0/24 le 25"))],
              set: [.localPreference(300), .nextHopSelf], .permit)
          ])), for: network.peers[0])
    let (taken, refused) = (try prefix("203.0.113.0/25"), try prefix("198.51.100.0/24"))
    network.announce([taken, refused], attributes([65_001]), from: 0)
    network.deliver()
    #expect(Set(network.views[1].routes.keys) == [taken])
    let best = try #require(network.destination(taken)?.routes.first)
    #expect(best.attributes.localPreference == 300)
    #expect(best.attributes.nextHop == .v4(IPv4Address(10, 0, 1, 9)), "our own address leads nowhere")
    let denied = try #require(network.destination(refused))
    #expect(denied.routes.isEmpty && denied.denied.map(\.judgement?.rule) == [nil])
    // What was taken and is refused now is withdrawn.
    network.setPolicy(PeerPolicy(incoming: Policy("nothing", [])), for: network.peers[0])
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
    #expect(network.rib.counts.routes == 0 && network.rib.counts.attributeSets == 0)
  }

  @Test(arguments: [false, true]) func aPolicyOnTheWayOut(byPrefix: Bool) throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002), .init(autonomousSystem: 64_512),
    ])
    let (own, other, v6) = (try prefix("192.0.2.0/24"), try prefix("203.0.113.0/24"), try prefix("2001:db8::/32"))
    network.rib.originate(own)
    network.rib.originate(v6)
    network.announce([other], attributes([65_001]) { $0.multiExitDisc = 1 }, from: 0)
    network.deliver()
    #expect(network.views[1].routes.count == 3)
    let rules: [Policy.Rule] = [
      .init(
        "ours", if: byPrefix ? [.prefix(try list("192.0.2.0/24", "2001:db8::/32"))] : [.local],
        set: [.prepend(64_512, count: 2), .addCommunities([.standard(.gracefulShutdown)])], .permit),
      .init(
        "others", if: [.peerAS(65_001...65_001)],
        set: [.multiExitDisc(9), .nextHop(.v4(IPv4Address(192, 0, 2, 99))), .localPreference(7)], .permit),
    ]
    for index in 1...2 {
      network.setPolicy(PeerPolicy(outgoing: Policy("out", rules)), for: network.peers[index])
    }
    network.deliver()
    for prefix in [own, v6] {
      let got = try #require(network.views[1].routes[prefix])
      #expect(got.asPath == ASPath([64_512, 64_512, 64_512]) && got.communities == [.gracefulShutdown])
    }
    let got = try #require(network.views[1].routes[other])
    #expect(got.multiExitDisc == 9 && got.nextHop == .v4(IPv4Address(192, 0, 2, 99)) && got.localPreference == nil)
    #expect(network.views[2].routes[other]?.localPreference == 7)
    network.setPolicy(PeerPolicy(outgoing: Policy("nothing", [])), for: network.peers[1])
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.views[2].routes.count == 3)
    let why = network.rib.advertisement(of: own, to: network.peers[1])
    #expect("\(why)" == "nothing: no rule settles it, and that denies it")
    for index in 0...2 { network.down(index) }
    network.rib.withdraw(own)
    network.rib.withdraw(v6)
    #expect(network.rib.counts.destinations == 0 && network.rib.counts.attributeSets == 0)
  }

  /// RFC 8212 §3.
  @Test func anExternalPeerWithoutPolicyIsDenied() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    for peer in network.peers { network.setPolicy(PeerPolicy().denyingByDefault, for: peer) }
    let route = try prefix("203.0.113.0/24")
    network.announce([route], attributes([65_001]), from: 0)
    network.rib.originate(try prefix("192.0.2.0/24"))
    network.deliver()
    #expect(network.views.allSatisfy { $0.routes.isEmpty } && network.destination(route) == nil)
    // One policy alone is applied.
    let all = Policy("all", [], otherwise: .permit)
    network.setPolicy(PeerPolicy(outgoing: all).denyingByDefault, for: network.peers[1])
    network.deliver()
    #expect(network.views[1].routes.count == 1)
  }

  @Test func whyAPeerIsNotTold() throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 64_512), .init(autonomousSystem: 64_512), .init(autonomousSystem: 65_001),
    ])
    let route = try prefix("203.0.113.0/24")
    func why(_ index: Int) -> RIB.Advertisement { network.rib.advertisement(of: route, to: network.peers[index]) }
    #expect(why(0) == .noRoute)
    network.announce([route], attributes([7]) { $0.communities = [.noExport] }, from: 0)
    #expect(why(0) == .fromThePeer && why(1) == .refused(.learnedInside) && why(2) == .refused(.noExport))
    network.announce([route], attributes([7]) { $0.communities = [.noAdvertise] }, from: 0)
    #expect(why(2) == .refused(.noAdvertise))
    network.announce([route], attributes([7]), from: 0)
    #expect(why(2) == .advertised(nil))
    network.down(2)
    #expect(why(2) == .noSession)
  }

  /// RFC 8326 §4.1: an internal peer that does not know the community sees the preference.
  @Test func aRouteAboutToGoAwayIsTheLeastPreferredInsideToo() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 64_512)])
    let route = try prefix("203.0.113.0/24")
    network.announce([route], attributes([65_001]) { $0.communities = [.gracefulShutdown] }, from: 0)
    network.deliver()
    #expect(network.views[1].routes[route]?.localPreference == 0)
  }

  /// RFC 4456 §8.
  @Test func whatAReflectorSendsBackIsNotTaken() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 64_512)])
    let route = try prefix("203.0.113.0/24")
    network.announce([route], attributes([7]) { $0.originatorID = IPv4Address(10, 0, 0, 1) }, from: 0)
    #expect(network.destination(route) == nil)
    network.announce([route], attributes([7]) { $0.originatorID = IPv4Address(10, 0, 0, 9) }, from: 0)
    #expect(network.destination(route) != nil)
  }
}
