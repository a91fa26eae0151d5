import Testing
import Wire

@testable import BGP

@Suite("What the tables have forwarded")
struct RIBForwardingTests {
  private func network(_ count: Int = 3) throws -> RIBNetwork {
    try RIBNetwork((0..<count).map { .init(autonomousSystem: 65_001 + UInt32($0)) })
  }

  private func hop(_ last: UInt8) -> IPAddress { .v4(IPv4Address(10, 0, 0, last)) }

  /// All that has changed.
  private func changes(_ network: RIBNetwork, paths: Int = 8) -> [IPPrefix: Set<IPAddress>] {
    var changes: [IPPrefix: Set<IPAddress>] = [:]
    while let forwarding = network.rib.nextForwarding(paths: paths) {
      changes[forwarding.prefix] = Set(forwarding.nextHops.map(\.address))
      #expect(forwarding.nextHops.count == Set(forwarding.nextHops).count)
    }
    let hasMore = network.rib.hasForwarding
    #expect(!hasMore)
    return changes
  }

  @Test func routesAsGoodAsTheBestShareTheLoad() throws {
    let network = try network()
    let route = try prefix("203.0.113.0/24")
    network.announce([route], attributes([65_001, 9], nextHop: hop(11)), from: 0)
    network.rib.openForwarding()
    // What there was before is told as well.
    #expect(changes(network) == [route: [hop(11)]])
    network.announce([route], attributes([65_002, 9], nextHop: hop(12)), from: 1)
    #expect(changes(network) == [route: [hop(11), hop(12)]])
    network.announce([route], attributes([65_003, 7, 9], nextHop: hop(13)), from: 2)
    #expect(changes(network) == [route: [hop(11), hop(12)]], "a longer path is not as good")
    network.announce([route], attributes([65_003, 9], nextHop: hop(13)), from: 2)
    #expect(changes(network, paths: 2)[route]?.count == 2)
    network.down(0)
    #expect(changes(network) == [route: [hop(12), hop(13)]])
    network.withdraw([route], from: 1)
    network.withdraw([route], from: 2)
    #expect(changes(network) == [route: []])
    network.deliver()
    #expect(network.rib.counts.destinations == 0, "nothing is left behind")
  }

  @Test func ourOwnRoutesAreNotForwarded() throws {
    let network = try network(1)
    network.rib.openForwarding()
    let own = try prefix("192.0.2.0/24")
    network.rib.originate(own)
    #expect(changes(network) == [own: []])
  }

  @Test func aRouteThatChangesOftenIsToldOnce() throws {
    let network = try network(1)
    network.rib.openForwarding()
    let route = try prefix("2001:db8:1::/48")
    let six = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))
    for number in 0..<10 {
      network.announce([route], attributes([65_001, UInt32(100 + number)], nextHop: six), from: 0)
    }
    var count = 0
    while let forwarding = network.rib.nextForwarding(paths: 8) {
      let hop = RIB.Forwarding.Hop(address: six, linkLocal: nil, peer: network.peers[0])
      #expect(forwarding == RIB.Forwarding(prefix: route, nextHops: [hop]))
      count += 1
    }
    #expect(count == 1)
  }

  /// RFC 4724 §4.1 has a restarting speaker wait; here for what an earlier run has left in the kernel.
  @Test func theFirstRoutesAreThereWhenAllPeersHaveSaidSo() throws {
    let network = try network(2)
    let ends = [updateBody(), updateBody(attribute(0x80, 15, [0, 2, 1]))]
    func isComplete() -> Bool { network.rib.hasFirstRoutes }
    network.down(0)
    network.down(1)
    network.rib.openForwarding()
    network.rib.awaitFirstRoutes(of: network.peers, until: .zero + .seconds(60))
    let deadline = network.rib.deadline
    #expect(deadline == .zero + .seconds(60))
    network.up(0)
    network.announce([try prefix("203.0.113.0/24")], attributes([65_001], nextHop: hop(11)), from: 0)
    for end in ends { _ = network.receive(end, from: 0) }
    #expect(changes(network).count == 1 && !isComplete(), "the other peer is not there yet")
    network.up(1)
    _ = network.receive(ends[0], from: 1)
    // A session that breaks off starts from its beginning.
    network.down(1)
    network.up(1)
    network.announce([try prefix("192.0.2.0/24")], attributes([65_002], nextHop: hop(12)), from: 1)
    _ = network.receive(ends[1], from: 1)
    #expect(!isComplete())
    _ = network.receive(ends[0], from: 1)
    #expect(!isComplete(), "the kernel has not been told all")
    #expect(changes(network).count == 1 && isComplete())
    let after = network.rib.deadline
    #expect(after == .distantFuture)
  }

  @Test func aPeerThatNeverSaysSoIsNotWaitedForForever() throws {
    let network = try network(1)
    network.rib.openForwarding()
    network.rib.awaitFirstRoutes(of: network.peers, until: .zero + .seconds(60))
    network.rib.handleTimeout(now: .zero + .seconds(59))
    let isEarly = network.rib.hasFirstRoutes
    network.rib.handleTimeout(now: .zero + .seconds(60))
    let isThere = network.rib.hasFirstRoutes
    #expect(!isEarly && isThere)
  }
}

/// RFC 2545 §3.
@Suite("Next hops on a link")
struct LinkLocalNextHopTests {
  private static let global: [UInt8] = [0x20, 0x01, 0x0d, 0xb8] + Array(repeating: 0, count: 11) + [9]
  private static let linkLocal: [UInt8] = [0xfe, 0x80] + Array(repeating: 0, count: 13) + [7]
  private static let nowhere = [UInt8](repeating: 0, count: 16)
  private let seven = IPv6Address(high: 0xfe80 << 48, low: 7)

  /// The way to 2001:db8:200::/48 after it has come with this next hop.
  private func way(_ nextHop: [UInt8], in network: RIBNetwork) -> RIB.Forwarding.Hop? {
    network.rib.openForwarding()
    let reach = attribute(0x80, 14, [0, 2, 1, UInt8(nextHop.count)] + nextHop + [0, 48, 0x20, 0x01, 0x0d, 0xb8, 2, 0])
    let rest = attribute(0x40, 1, [0]) + attribute(0x40, 2, [2, 1, 0, 0, 0xfd, 0xe9])
    guard network.receive(updateBody(reach + rest), from: 0) == .applied else { return nil }
    return network.rib.nextForwarding(paths: 8)?.nextHops.first
  }

  @Test func bothAddressesAreKept() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: RIBNetwork.localAS)])
    let global = Self.global.withUnsafeBytes { IPAddress(networkBytes: $0) }
    #expect(
      way(Self.global + Self.linkLocal, in: network)
        == .init(address: global!, linkLocal: seven, peer: network.peers[0]))
    // Beyond the link nobody is told of it.
    network.deliver()
    #expect(network.views[1].routes.values.allSatisfy { $0.linkLocalNextHop == nil && $0.nextHop == global })
    // Without it, it is another set.
    #expect(way(Self.global, in: network)?.linkLocal == nil)
    #expect(way(Self.global + Self.linkLocal, in: network)?.linkLocal == seven)
  }

  @Test(arguments: [linkLocal, linkLocal + linkLocal, nowhere + linkLocal])
  func aRouterWithoutAGlobalAddress(_ nextHop: [UInt8]) throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: RIBNetwork.localAS)])
    #expect(way(nextHop, in: network) == .init(address: .v6(seven), linkLocal: nil, peer: network.peers[0]))
    network.deliver()
    #expect(
      network.views[1].routes.values.map(\.nextHop) == [.v6(network.rules[1].nextHopIPv6!)], "our own in its place")
  }

  @Test func whatIsNoLinkLocalAddressIsNotTakenForOne() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001)])
    #expect(way(Self.global + Self.global, in: network)?.linkLocal == nil)
    #expect(way(Self.nowhere + Self.global, in: network) == nil)
  }
}
