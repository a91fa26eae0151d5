import Testing
import Wire

@testable import BGP

private let restart: GracefulRestartConfiguration = {
  var restart = GracefulRestartConfiguration()
  restart.restartTime = 100
  restart.staleTime = .seconds(300)
  return restart
}()

private func kind(_ number: UInt32, longLived: UInt32? = nil) -> RIBNetwork.Kind {
  var own = restart
  own.longLivedTime = longLived
  return .init(autonomousSystem: number, restart: own)
}

private func at(_ seconds: Int64) -> Instant { .zero + .seconds(seconds) }
private let endOfIPv4 = updateBody()
private let endOfIPv6 = updateBody(attribute(0x80, 15, [0, 2, 1]))

extension RIBNetwork {
  fileprivate var isDeferring: Bool { rib.isDeferringSelection }
  fileprivate var deadline: Instant { rib.deadline }

  /// The session of a peer ends as its parameters have it for a lost connection.
  fileprivate func lose(_ index: Int, at now: Instant) {
    views[index] = View()
    guard let retention = parameters[index].retention else { return down(index) }
    rib.sessionLost(peers[index], retaining: retention, now: now)
  }

  /// A peer is back.
  fileprivate func back(_ index: Int, _ kind: Kind, preserved: AddressFamilies? = .all) throws {
    parameters[index] = try negotiate(index, kind, preserved: preserved)
    up(index)
  }
}

@Suite("Graceful restart: a peer that restarts")
struct ReceivingSpeakerTests {
  private let one = IPPrefix(UInt32(0x0a01_0000), 16)
  private let two = IPPrefix(UInt32(0x0a02_0000), 16)

  private func network(longLived: UInt32? = nil) throws -> RIBNetwork {
    let network = try RIBNetwork([kind(65_001, longLived: longLived), .init(autonomousSystem: 65_002)])
    network.announce([one, two], attributes([65_001]), from: 0)
    network.deliver()
    #expect(network.views[1].routes.count == 2)
    return network
  }

  @Test func routesOutliveTheSessionUntilTheEndOfRIB() throws {
    let network = try network()
    network.lose(0, at: at(10))
    network.deliver()
    #expect(network.views[1].routes.count == 2 && network.destination(one)?.routes.first?.isStale == true)
    #expect(network.deadline == at(110))
    try network.back(0, kind(65_001))
    network.announce([one], attributes([65_001]), from: 0)
    network.deliver()
    #expect(network.views[1].routes.count == 2 && network.destination(one)?.routes.first?.isStale == false)
    _ = network.receive(endOfIPv4, from: 0)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [one], "what it has not named again is gone")
    _ = network.receive(endOfIPv6, from: 0)
    #expect(network.deadline == .distantFuture)
    #expect(network.rib.counts(of: network.peers[0]).received == 1)
  }

  @Test func aPeerThatStaysAwayIsForgotten() throws {
    let network = try network()
    network.lose(0, at: at(10))
    network.rib.handleTimeout(now: at(109))
    network.deliver()
    #expect(network.views[1].routes.count == 2)
    network.rib.handleTimeout(now: at(110))
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.deadline == .distantFuture)
  }

  @Test func aPeerThatNeverEndsItsRIBIsNotWaitedForForever() throws {
    let network = try network()
    network.lose(0, at: at(10))
    try network.back(0, kind(65_001))
    network.rib.handleTimeout(now: at(409))
    #expect(network.rib.counts.routes == 2)
    network.rib.handleTimeout(now: at(410))
    #expect(network.rib.counts.routes == 0)
  }

  /// RFC 4724 §4.2: without forwarding state, without the family, without the capability.
  @Test func whatWasNotPreservedGoesAtOnce() throws {
    for case let (families, preserved, hasCapability) in [
      (.all, [], true), (.ipv6Unicast, .all, true), (.all, .all, false),
    ] as [(AddressFamilies, AddressFamilies, Bool)] {
      let network = try network()
      network.lose(0, at: at(10))
      var again = kind(65_001)
      again.families = families
      if !hasCapability { again.restart = nil }
      try network.back(0, again, preserved: preserved)
      network.deliver()
      #expect(network.views[1].routes.isEmpty)
      #expect((network.deadline == .distantFuture) == (families == .all), "IPv6 has an End-of-RIB to come")
    }
  }

  @Test func aSecondRestartForgetsWhatTheFirstHadLeftStale() throws {
    let network = try network()
    network.lose(0, at: at(10))
    try network.back(0, kind(65_001))
    network.announce([one], attributes([65_001]), from: 0)
    network.lose(0, at: at(20))
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [one])
  }

  @Test func familiesFareEachForItself() throws {
    let network = try network()
    let six = try prefix("2001:db8::/32")
    let hop = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))
    network.announce([six], attributes([65_001], nextHop: hop), from: 0)
    network.lose(0, at: at(10))
    try network.back(0, kind(65_001), preserved: .ipv6Unicast)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [six])
    _ = network.receive(endOfIPv4, from: 0)
    #expect(network.destination(six) != nil, "the End-of-RIB of the other family")
    _ = network.receive(endOfIPv6, from: 0)
    #expect(network.destination(six) == nil)
  }

  @Test func anEndWithoutGraceForgetsWhatIsStaleToo() throws {
    let network = try network()
    network.lose(0, at: at(10))
    network.down(0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.deadline == .distantFuture)
    #expect(network.rib.counts.attributeSets == 0)
  }

  // MARK: Long-lived (RFC 9494)

  @Test func afterTheRestartTimeRoutesAreTheLastResort() throws {
    let network = try RIBNetwork([
      kind(65_001, longLived: 1_000), kind(65_002, longLived: 1_000), .init(autonomousSystem: 65_003),
    ])
    let never = try prefix("10.3.0.0/16")
    network.announce([one, two], attributes([65_001]), from: 0)
    network.announce([never], attributes([65_001]) { $0.communities = [.noLongLived] }, from: 0)
    network.announce([two], attributes([65_002, 1, 2, 3]), from: 1)
    network.lose(0, at: at(10))
    network.deliver()
    #expect(network.views[1].routes.count == 3)
    network.rib.handleTimeout(now: at(110))
    network.deliver()
    #expect(network.destination(never) == nil)
    #expect(network.destination(two)?.step == .longLivedStale, "the longer path is the better one now")
    #expect(network.views[1].routes[one]?.communities == [.longLivedStale])
    #expect(network.views[1].routes.count == 1)
    #expect(Array(network.views[2].routes.keys) == [two], "who knows nothing of it is not told")
    #expect(network.deadline == at(1_110))
    network.rib.handleTimeout(now: at(1_110))
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
    network.down(1)
    network.deliver()
    #expect(network.rib.counts.routes == 0 && network.rib.counts.attributeSets == 0)
  }

  @Test func aLongLivedRouteIsItselfAgainWhenItsPeerNamesIt() throws {
    let network = try network(longLived: 1_000)
    network.lose(0, at: at(10))
    network.rib.handleTimeout(now: at(110))
    try network.back(0, kind(65_001, longLived: 1_000))
    #expect(network.rib.counts.routes == 2)
    network.announce([one], attributes([65_001]), from: 0)
    _ = network.receive(endOfIPv4, from: 0)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [one] && network.views[1].routes[one]?.communities == [])
    // Without F of its own capability, it is no use.
    network.lose(0, at: at(200))
    network.rib.handleTimeout(now: at(300))
    try network.back(0, kind(65_001, longLived: 1_000), preserved: [])
    #expect(network.rib.counts.routes == 0)
  }
}

@Suite("Graceful restart: our own")
struct RestartingSpeakerTests {
  private let own = IPPrefix(UInt32(0xc000_0200), 24)
  private let route = IPPrefix(UInt32(0x0a01_0000), 16)

  /// A speaker that has just started again, with sessions but no routes.
  private func network(_ kinds: [RIBNetwork.Kind], ownRoutes: Bool = false) throws -> RIBNetwork {
    let network = try RIBNetwork(kinds)
    network.rib.deferSelection(awaiting: network.peers, ownRoutes: ownRoutes, until: at(60))
    for index in kinds.indices { network.up(index) }
    return network
  }

  /// exabgp #328: what is stale at the peer must not be ended before it is named again.
  @Test func nobodyIsToldAnythingUntilAllIsKnown() throws {
    let network = try network([kind(65_001), kind(65_002)], ownRoutes: true)
    network.deliver()
    #expect(network.views.allSatisfy { $0.ends.isEmpty })
    network.announce([route], attributes([65_001]), from: 0)
    for index in 0...1 {
      _ = network.receive(endOfIPv4, from: index)
      _ = network.receive(endOfIPv6, from: index)
    }
    network.deliver()
    #expect(network.isDeferring && network.views.allSatisfy { $0.updates == 0 })
    network.rib.originate(own)
    network.rib.ownRoutesAreComplete()
    network.deliver()
    #expect(!network.isDeferring)
    #expect(Set(network.views[1].routes.keys) == [own, route] && network.views[1].ends.count == 2)
    #expect(Array(network.views[0].routes.keys) == [own] && network.views[0].ends.count == 2)
  }

  /// gobgp #1632, calico #7144: each would wait for the other's End-of-RIB until a timer ends it.
  @Test func peersThatRestartTogetherDoNotWaitForEachOther() throws {
    let network = try network([kind(65_001), kind(65_002)])
    try network.back(0, kind(65_001))
    #expect(network.isDeferring, "the other has not restarted")
    try network.back(1, kind(65_002))
    #expect(!network.isDeferring)
  }

  /// cilium #30367: no End-of-RIB comes of a family that the session has not.
  @Test func aFamilyThatThePeerLacksIsNotWaitedFor() throws {
    var four = kind(65_001)
    four.families = .ipv4Unicast
    let network = try network([four])
    _ = network.receive(endOfIPv4, from: 0)
    #expect(!network.isDeferring)
  }

  @Test func aPeerWithoutTheCapabilityIsNotWaitedFor() throws {
    let network = try network([.init(autonomousSystem: 65_001), kind(65_002)])
    _ = network.receive(endOfIPv4, from: 1)
    #expect(network.isDeferring)
    _ = network.receive(endOfIPv6, from: 1)
    #expect(!network.isDeferring)
  }

  @Test func aPeerThatStaysAwayIsWaitedForUntilTheDeadline() throws {
    let network = try network([kind(65_001)])
    network.down(0)
    #expect(network.deadline == at(60))
    network.rib.handleTimeout(now: at(59))
    #expect(network.isDeferring)
    network.rib.handleTimeout(now: at(60))
    #expect(!network.isDeferring && network.deadline == .distantFuture)
  }

  @Test func aSessionThatEndsInBetweenStartsOver() throws {
    let network = try network([kind(65_001)])
    _ = network.receive(endOfIPv4, from: 0)
    network.down(0)
    try network.back(0, kind(65_001), preserved: nil)
    _ = network.receive(endOfIPv6, from: 0)
    #expect(network.isDeferring)
    _ = network.receive(endOfIPv4, from: 0)
    #expect(!network.isDeferring)
  }
}
