import Testing
import Wire

@testable import BGP

@Suite("The tables")
struct RIBTests {
  private let v6Hop = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))

  @Test func aRouteGoesFromOnePeerToAnother() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let routes = [try prefix("203.0.113.0/24"), try prefix("198.51.100.0/24")]
    network.announce(
      routes,
      attributes([65_001, 9]) {
        $0.multiExitDisc = 5
        $0.communities = [Community(65_001, 7)]
      }, from: 0)
    network.deliver()
    #expect(network.views[0].routes.isEmpty, "not back to where it came from")
    let got = try #require(network.views[1].routes[routes[0]])
    #expect(got.asPath == ASPath([64_512, 65_001, 9]) && got.nextHop == .v4(IPv4Address(10, 0, 0, 1)))
    #expect(got.multiExitDisc == nil && got.localPreference == nil && got.communities == [Community(65_001, 7)])
    #expect(network.views[1].routes.count == 2)
    // Both routes in one message, and an End-of-RIB for each family.
    #expect(network.views[1].updates == 3 && network.views[1].ends == [.ipv4Unicast, .ipv6Unicast])

    network.withdraw([routes[0]], from: 0)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [routes[1]])
    network.down(0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
    let counts = network.rib.counts
    #expect(counts.destinations == 0 && counts.routes == 0 && counts.attributeSets == 0, "nothing is left behind")
  }

  @Test func ipv6RoutesToo() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let routes = [try prefix("2001:db8:1::/48"), try prefix("2001:db8:2::/47"), try prefix("::/0")]
    network.announce(routes, attributes([65_001], nextHop: v6Hop), from: 0)
    network.deliver()
    #expect(Set(network.views[1].routes.keys) == Set(routes))
    #expect(network.views[1].routes[routes[2]]?.nextHop == .v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 1)))
    network.withdraw(routes, from: 0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.rib.counts.attributeSets == 0)
  }

  @Test func ourOwnRoutesGoToAll() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 64_512)])
    let own = try prefix("192.0.2.0/24")
    network.rib.originate(own)
    network.deliver()
    #expect(network.views[0].routes[own]?.asPath == ASPath([64_512]))
    #expect(network.views[0].routes[own]?.localPreference == nil)
    #expect(network.views[1].routes[own]?.asPath == ASPath())
    #expect(network.views[1].routes[own]?.localPreference == 100)
    #expect(network.views[1].routes[own]?.nextHop == .v4(IPv4Address(10, 0, 0, 1)))
    // Whatever others say of it.
    network.announce([own], attributes([65_001]), from: 0)
    network.deliver()
    #expect(network.destination(own)?.step == .local)
    #expect(network.views[1].routes[own]?.asPath == ASPath())
    var marked = PathAttributes()
    marked.communities = [.gracefulShutdown]
    network.rib.originate(own, marked)
    network.deliver()
    #expect(network.views[0].routes[own]?.communities == [.gracefulShutdown])
    network.rib.withdraw(own)
    network.deliver()
    #expect(network.views[0].routes.isEmpty, "it is its own route that is left")
    #expect(network.views[1].routes[own]?.asPath == ASPath([65_001]))
  }

  @Test func internalPeersAreNotTheNextForInternalRoutes() throws {
    let internalKind = RIBNetwork.Kind(autonomousSystem: 64_512)
    let network = try RIBNetwork([internalKind, internalKind, .init(autonomousSystem: 65_001)])
    let route = try prefix("203.0.113.0/24")
    network.announce(
      [route],
      attributes([7]) {
        $0.localPreference = 200
        $0.multiExitDisc = 3
      }, from: 0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.views[2].routes[route]?.asPath == ASPath([64_512, 7]))
    #expect(network.views[2].routes[route]?.multiExitDisc == nil)
    // An external route goes to internal peers as it came, with a degree of preference.
    let other = try prefix("198.51.100.0/24")
    network.announce([other], attributes([65_001]) { $0.multiExitDisc = 4 }, from: 2)
    network.deliver()
    let got = try #require(network.views[1].routes[other])
    #expect(got.asPath == ASPath([65_001]) && got.localPreference == 100 && got.multiExitDisc == 4)
    #expect(got.nextHop == .v4(IPv4Address(10, 0, 1, 9)))
  }

  @Test func communitiesHoldRoutesBack() throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002), .init(autonomousSystem: 64_512),
    ])
    let (stays, secret) = (try prefix("203.0.113.0/24"), try prefix("198.51.100.0/24"))
    network.announce([stays], attributes([65_001]) { $0.communities = [.noExport] }, from: 0)
    network.announce([secret], attributes([65_001]) { $0.communities = [.noAdvertise] }, from: 0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
    #expect(Array(network.views[2].routes.keys) == [stays])
    // A route that may go no more is withdrawn.
    network.announce([stays], attributes([65_001]) { $0.communities = [.noAdvertise] }, from: 0)
    network.deliver()
    #expect(network.views[2].routes.isEmpty)
  }

  /// RFC 9234 §5.
  @Test func onlyToCustomer() throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 65_001, role: .provider), .init(autonomousSystem: 65_002, role: .customer),
      .init(autonomousSystem: 65_003, role: .peer),
    ])
    let (up, down, leak) = (try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"), try prefix("10.3.0.0/16"))
    network.announce([up], attributes([65_001]), from: 0)
    network.announce([down], attributes([65_002]), from: 1)
    network.announce([leak], attributes([65_002]) { $0.onlyToCustomer = 1 }, from: 1)
    network.deliver()
    #expect(network.views[1].routes[up]?.onlyToCustomer == 65_001, "a provider's route is for customers only")
    #expect(network.views[2].routes[up] == nil)
    #expect(network.views[0].routes[down]?.onlyToCustomer == nil)
    #expect(network.views[2].routes[down]?.onlyToCustomer == 64_512)
    #expect(network.destination(leak) == nil, "a customer does not send what is for customers only")
    network.announce([leak], attributes([65_003]) { $0.onlyToCustomer = 1 }, from: 2)
    #expect(network.destination(leak) == nil, "nor does a peer, but what it has marked itself")
    network.announce([leak], attributes([65_003]) { $0.onlyToCustomer = 65_003 }, from: 2)
    #expect(network.destination(leak) != nil)
  }

  /// What becomes of attributes on their way to a neighbor depends on whose they are, were they the same.
  @Test func theSameAttributesOfTwoPeers() throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 65_001, role: .provider), .init(autonomousSystem: 65_001),
      .init(autonomousSystem: 65_002, role: .customer),
    ])
    let (first, second) = (try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"))
    network.announce([first], attributes([65_001]), from: 0)
    network.announce([second], attributes([65_001]), from: 1)
    network.deliver()
    #expect(network.views[2].routes[first]?.onlyToCustomer == 65_001)
    #expect(network.views[2].routes[second]?.onlyToCustomer == 64_512)
  }

  @Test func aFaultyOrLoopingUpdateIsAWithdrawal() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let route = try prefix("203.0.113.0/24")
    for wrong in [attributes([65_001, 64_512]), attributes([65_009])] {
      network.announce([route], attributes([65_001]), from: 0)
      network.deliver()
      #expect(network.views[1].routes[route] != nil)
      network.announce([route], wrong, from: 0)
      network.deliver()
      #expect(network.views[1].routes.isEmpty)
    }
  }

  @Test func aPeerOfTwoOctetsGetsBothPaths() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002, fourOctet: false)])
    let route = try prefix("203.0.113.0/24")
    network.announce(
      [route],
      attributes([65_001, 400_000]) {
        $0.aggregator = .init(autonomousSystem: 400_000, address: .loopback)
        $0.largeCommunities = [LargeCommunity(1, 2, 3)]
      }, from: 0)
    network.deliver()
    let got = try #require(network.views[1].routes[route])
    #expect(got.asPath == ASPath([64_512, 65_001, 400_000]))
    #expect(got.aggregator?.autonomousSystem == 400_000 && got.largeCommunities == [LargeCommunity(1, 2, 3)])
  }

  @Test func tooManyPrefixes() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001, maximumPrefixes: 2)])
    let three = [try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"), try prefix("10.3.0.0/16")]
    #expect(network.announce(Array(three.prefix(2)), attributes([65_001]), from: 0) == .applied)
    #expect(network.announce(Array(three.prefix(2)), attributes([65_001, 1]), from: 0) == .applied)
    #expect(network.announce(three, attributes([65_001]), from: 0) == .tooManyPrefixes)
  }

  /// RFC 2918 and RFC 7313.
  @Test func refreshes() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let (one, two) = (try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"))
    network.announce([one, two], attributes([65_001]), from: 0)
    // What is asked for again before it has all been told is told once, and bears no marks.
    network.rib.refresh(.init(.ipv4Unicast), of: network.peers[1], marked: true)
    network.deliver()
    #expect(network.views[1].routes.count == 2 && network.views[1].refreshes.isEmpty)
    let updates = network.views[1].updates
    network.views[1].routes = [:]
    network.rib.refresh(.init(.ipv4Unicast), of: network.peers[1], marked: true)
    network.deliver()
    #expect(network.views[1].routes.count == 2 && network.views[1].updates == updates + 1)
    #expect(network.views[1].refreshes == [.init(.ipv4Unicast, .beginning), .init(.ipv4Unicast, .end)])
    // The other way: what the peer does not name again is gone.
    network.rib.refresh(.init(.ipv4Unicast, .beginning), of: network.peers[0], marked: true)
    network.announce([two], attributes([65_001]), from: 0)
    network.rib.refresh(.init(.ipv4Unicast, .end), of: network.peers[0], marked: true)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [two])
  }

  /// Routes of one set of attributes share messages, each filled as far as it goes.
  @Test(arguments: [false, true]) func updatesArePacked(extended: Bool) throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002, extended: extended),
    ])
    let many = (0..<6_000).compactMap { IPPrefix(.v4(IPv4Address(10, UInt8($0 >> 8), UInt8($0 & 255), 0)), length: 24) }
    let even = many.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
    let odd = many.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
    for start in stride(from: 0, to: 3_000, by: 500) {
      network.announce(Array(even[start..<start + 500]), attributes([65_001, 1]), from: 0)
      network.announce(Array(odd[start..<start + 500]), attributes([65_001, 2]), from: 0)
    }
    network.deliver()
    #expect(network.views[1].routes.count == 6_000)
    // 3,000 prefixes of 4 octets: 12,000 octets a set.
    #expect(network.views[1].updates == (extended ? 2 : 6) + 2)
    network.withdraw(Array(many.prefix(1_000)), from: 0)
    network.deliver()
    #expect(network.views[1].updates == (extended ? 2 : 6) + 3)
    #expect(network.views[1].routes.count == 5_000)
  }

  @Test func aFlappingRouteIsSentAsItIsInTheEnd() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let route = try prefix("10.1.0.0/16")
    network.announce([route], attributes([65_001]), from: 0)
    network.deliver()
    let updates = network.views[1].updates
    for _ in 0..<50 {
      network.withdraw([route], from: 0)
      network.announce([route], attributes([65_001, 1]), from: 0)
      network.announce([route], attributes([65_001]), from: 0)
    }
    network.deliver()
    #expect(network.views[1].updates == updates, "the peer has it already")
  }

  /// A walk over the table, as at the beginning of a session, goes on while routes change.
  @Test func whatChangesBehindAWalkIsToldAgain() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let many = (0..<9_000 as Range<UInt32>).map { IPPrefix(0x0a00_0000 + $0 << 8, 24) }
    network.announce(many, attributes([65_001]), from: 0)
    network.deliver(limit: 1)
    network.announce([many[0]], attributes([65_001, 7]), from: 0)
    network.withdraw([many[1]], from: 0)
    network.deliver()
    #expect(network.views[1].routes[many[0]]?.asPath == ASPath([64_512, 65_001, 7]))
    #expect(network.views[1].routes.count == 8_999 && network.views[1].routes[many[1]] == nil)
  }
}
