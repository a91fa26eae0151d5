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
      changes[forwarding.prefix] = Set(forwarding.nextHops)
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
      #expect(forwarding == RIB.Forwarding(prefix: route, nextHops: [six]))
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
