import Testing
import Wire

@testable import BGP

@Suite("Routes judged anew")
struct PolicyReviewTests {
  private let (one, two, six): (IPPrefix, IPPrefix, IPPrefix)

  init() throws {
    (one, two, six) = (try prefix("203.0.113.0/24"), try prefix("198.51.100.0/24"), try prefix("2001:db8::/32"))
  }

  private func denying(_ texts: String..., preference: UInt32? = nil) throws -> Policy {
    let list = PrefixList(try texts.map { text throws in try PrefixRange(parsing: text) })
    return Policy(
      "in",
      [
        .init("no", if: [.prefix(list)], .deny),
        .init("yes", set: preference.map { [.localPreference($0)] } ?? [], .permit),
      ])
  }

  private func network() throws -> RIBNetwork {
    try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
  }

  @Test func whatWasDeniedIsKeptAsItCame() throws {
    let network = try network()
    let peer = network.peers[0]
    network.setPolicy(PeerPolicy(incoming: try denying("203.0.113.0/24", "2001:db8::/32")), for: peer)
    network.announce([one, two], attributes([65_001, 7]), from: 0)
    network.announce([six], attributes([65_001], nextHop: .v6(.loopback)), from: 0)
    let counts = network.rib.counts(of: peer)
    #expect(counts.received == 3 && counts.denied == 2 && network.rib.counts.routes == 1)
    let denied = try #require(network.destination(one))
    #expect(denied.routes.isEmpty && denied.denied.map(\.attributes.asPath) == [ASPath([65_001, 7])])
    #expect(denied.denied.first?.judgement?.reason == "in: rule \"no\" denies it")
    #expect(network.rib.destination(of: one.address)?.prefix == one && network.rib.destination(of: .v4(.any)) == nil)
    #expect(network.rib.destinations(within: try prefix("0.0.0.0/0"), limit: 9).map(\.prefix) == [two])
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [two])

    network.setPolicy(PeerPolicy(incoming: try denying("198.51.100.0/24", preference: 7)), for: peer)
    network.deliver()
    #expect(Set(network.views[1].routes.keys) == [one, six])
    #expect(network.destination(one)?.routes.first?.attributes.localPreference == 7)
    #expect(network.rib.counts(of: peer).denied == 1)
    // What one policy has changed, the next one sees as it was.
    network.setPolicy(PeerPolicy(incoming: try denying("10.0.0.0/8")), for: peer)
    #expect(network.destination(one)?.routes.first?.attributes.localPreference == nil)
    #expect(network.rib.counts(of: peer) == (3, 0, 0))
    network.setPolicy(PeerPolicy(), for: peer)
    network.deliver()
    #expect(network.views[1].routes.count == 3)

    network.setPolicy(PeerPolicy(incoming: try denying("203.0.113.0/24")), for: peer)
    network.withdraw([one, two], from: 0)
    network.withdraw([six], from: 0)
    #expect(network.rib.counts(of: peer).received == 0 && network.rib.counts.destinations == 3, "all are still told")
    network.deliver()
    #expect(network.rib.counts.destinations == 0 && network.rib.counts.attributeSets == 0)
  }

  @Test func aPolicyThatDeniesAllKeepsNothing() throws {
    let network = try network()
    let peer = network.peers[0]
    network.announce([one], attributes([65_001]), from: 0)
    let mustAsk = network.setPolicy(PeerPolicy(incoming: Policy("nothing", [])), for: peer)
    #expect(!mustAsk && network.rib.counts(of: peer).received == 0)
    network.announce([one], attributes([65_001]), from: 0)
    #expect(network.rib.counts(of: peer).received == 0)
    #expect(network.setPolicy(PeerPolicy(incoming: try denying("10.0.0.0/8")), for: peer))
    network.down(0)
    network.deliver()
    #expect(network.rib.counts.destinations == 0 && network.rib.counts.attributeSets == 0)
  }

  @Test func deniedRoutesCountTowardsTheBound() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001, maximumPrefixes: 1)])
    network.setPolicy(PeerPolicy(incoming: try denying("0.0.0.0/0 le 32")), for: network.peers[0])
    #expect(network.announce([one], attributes([65_001]), from: 0) == .applied)
    #expect(network.announce([two], attributes([65_001]), from: 0) == .tooManyPrefixes)
  }

  /// RFC 7313 §4.
  @Test func deniedRoutesThatAreNotNamedAgainGo() throws {
    let network = try network()
    let peer = network.peers[0]
    network.setPolicy(PeerPolicy(incoming: try denying("203.0.113.0/24")), for: peer)
    network.announce([one, two], attributes([65_001]), from: 0)
    network.rib.refresh(.init(.ipv4Unicast, .beginning), of: peer, marked: true)
    // Judged anew in between, they are as stale as before.
    network.setPolicy(PeerPolicy(incoming: try denying("198.51.100.0/24")), for: peer)
    network.announce([one], attributes([65_001]), from: 0)
    network.rib.refresh(.init(.ipv4Unicast, .end), of: peer, marked: true)
    #expect(network.destination(one)?.routes.first?.isStale == false && network.destination(two) == nil)
    #expect(network.rib.counts(of: peer).received == 1)
  }

  @Test func onlyWhatCouldFareDifferentlyIsLookedAt() throws {
    let network = try network()
    let peer = network.peers[0]
    let strict = Policy("rpki", [.init("no hijacks", if: [.originValidity(.invalid)], .deny)], otherwise: .permit)
    network.setPolicy(PeerPolicy(incoming: strict, outgoing: nil), for: peer)
    network.announce([one, two], attributes([65_001]), from: 0)
    network.deliver()
    var table = OriginTable()
    table.insert(try payload("203.0.113.0/24", 65_009))
    network.setOrigins(table, changed: [one])
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [two])
    #expect(network.destination(one)?.denied.first?.validity == .invalid)
    table.insert(try payload("203.0.113.0/24", 65_001))
    network.setOrigins(table, changed: [try prefix("0.0.0.0/0")])
    network.deliver()
    #expect(network.views[1].routes.count == 2)
    #expect(network.destination(one)?.routes.first?.validity == .valid)
    // Nobody asks: nothing waits.
    network.setPolicy(PeerPolicy(), for: peer)
    network.rib.setOrigins(OriginTable())
    let isWaiting = network.rib.hasReviews
    #expect(!isWaiting)
  }

  /// Whatever comes in whatever order, what is there in the end is what the last policy makes of what was sent last.
  @Test(arguments: 0..<40) func theEndDoesNotDependOnTheWay(seed: UInt64) throws {
    let entropy = SeededEntropy(seed: seed)
    func pick(_ count: Int) -> Int { Int(entropy.nextUInt64() % UInt64(count)) }
    let network = try network()
    let prefixes = try (0..<12).map { try prefix("10.\($0).0.0/16") }
    let policies: [Policy?] = [
      nil, Policy("nothing", []), try denying("10.0.0.0/13 le 16"), try denying("10.4.0.0/14 le 16", preference: 9),
      try denying("10.0.0.0/8 le 16"),
    ]
    var sent: [IPPrefix: [UInt32]] = [:]
    var policy: Policy?
    for _ in 0..<200 {
      let prefix = prefixes[pick(prefixes.count)]
      switch pick(8) {
      case 0:
        policy = policies[pick(policies.count)]
        if network.setPolicy(PeerPolicy(incoming: policy), for: network.peers[0]) {
          for (prefix, path) in sent { network.announce([prefix], attributes(path), from: 0) }
        }
      case 1, 2:
        if sent.removeValue(forKey: prefix) != nil { network.withdraw([prefix], from: 0) }
      case 3: network.deliver()
      default:
        sent[prefix] = [65_001, UInt32(pick(3) + 1)]
        network.announce([prefix], attributes([65_001, sent[prefix]?.last ?? 0]), from: 0)
      }
    }
    network.deliver()
    let wanted = sent.filter { prefix, path in
      policy?.evaluate(PolicyRoute(prefix, attributes(path), peerAS: 65_001)).verdict != .deny
    }
    #expect(Set(network.views[1].routes.keys) == Set(wanted.keys))
    for prefix in wanted.keys {
      #expect(network.destination(prefix)?.routes.first?.attributes.asPath == ASPath(wanted[prefix] ?? []))
    }
    let counts = network.rib.counts(of: network.peers[0])
    #expect(counts.received - counts.denied == wanted.count)
    #expect(counts.received == sent.count || policy?.deniesAll == true)
    for index in 0...1 { network.down(index) }
    #expect(network.rib.counts.destinations == 0 && network.rib.counts.attributeSets == 0)
  }
}
