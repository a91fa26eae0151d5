import Testing
import Wire

@testable import Netlink

@Suite("Routes in the kernel") struct RouteSynchronizerTests {
  static func key(_ number: Int) -> Route.Key {
    Route.Key(IPPrefix(.v4(IPv4Address(rawValue: 0x0b00_0000 + UInt32(number) << 8)), length: 24)!, metric: 32)
  }

  static func key6(_ number: Int) -> Route.Key {
    Route.Key(IPPrefix(.v6(IPv6Address(high: 0x2001_0db8_0000_0000 + UInt64(number) << 16, low: 0)), length: 48)!)
  }

  @Test func routesAreAddedReplacedAndRemoved() {
    var bench = Bench()
    for number in 0..<200 { bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.1")])) }
    bench.settle()
    #expect(bench.kernel.routes.count == 200)
    // Stated again, nothing is sent.
    let requests = bench.kernel.requests
    for number in 0..<200 { bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.1")])) }
    bench.settle()
    #expect(bench.kernel.requests == requests)
    for number in 0..<100 { bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.2")])) }
    for number in 100..<150 { bench.routes.remove(Self.key(number)) }
    bench.settle()
    #expect(bench.kernel.requests == requests + 150)
    #expect(bench.kernel.routes.count == 150)
    #expect(bench.kernel.routes[Self.key(5)]?.path == .hops([hop("10.0.0.2")]))
    #expect(bench.routes.isSettled && bench.routes.counts.wanted == 150)
  }

  /// Changed again before it is sent, a route costs one change.
  @Test func aRouteThatComesAndGoesCostsNothing() {
    var bench = Bench()
    for gateway in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
      bench.routes.set(Self.key(1), path: .hops([hop(gateway)]))
    }
    bench.routes.set(Self.key(2), path: .hops([hop("10.0.0.1")]))
    bench.routes.remove(Self.key(2))
    bench.settle()
    #expect(bench.kernel.requests == 1 && bench.kernel.routes[Self.key(1)]?.path == .hops([hop("10.0.0.3")]))
  }

  @Test func anothersRouteIsLeftAlone() {
    var bench = Bench()
    let theirs = Route(Self.key(1), path: .hops([hop("10.9.9.9", 99)]), origin: .administrator)
    let elsewhere = Route(.init(prefix("11.0.0.0/8"), table: 77), path: .hops([hop("10.9.9.9", 99)]))
    bench.kernel.routes = [theirs.key: theirs, elsewhere.key: elsewhere]
    bench.resync()
    bench.settle()
    bench.routes.sweep()
    bench.routes.set(Self.key(1), path: .hops([hop("10.0.0.1")]))
    bench.settle()
    #expect(bench.routes.counts.conflicts == 1 && bench.routes.counts.refused == 1)
    bench.routes.remove(Self.key(1))
    bench.settle()
    #expect(bench.kernel.routes == [theirs.key: theirs, elsewhere.key: elsewhere])
    #expect(bench.routes.counts.refused == 0)
  }

  @Test func aRestartKeepsForwardingUntilTheSweep() {
    var before = Bench()
    for number in 0..<20 { before.routes.set(Self.key(number), path: .hops([hop("10.0.0.1"), hop("10.0.0.2")])) }
    before.settle()
    #expect(before.kernel.nextHops.count == 3)
    var after = Bench()
    after.kernel = before.kernel
    after.kernel.requests = 0
    after.resync()
    after.settle()
    #expect(after.kernel.routes.count == 20 && after.routes.counts.stale == 20)
    // The first ten come again: by the same objects, so that nothing at all is sent for them.
    for number in 0..<10 { after.routes.set(Self.key(number), path: .hops([hop("10.0.0.1"), hop("10.0.0.2")])) }
    after.settle()
    #expect(after.kernel.routes == before.kernel.routes)
    after.routes.sweep()
    after.settle()
    #expect(Set(after.kernel.routes.keys) == Set((0..<10).map(Self.key)))
    #expect(after.kernel.nextHops.count == 3 && after.routes.counts.stale == 0)
    for number in 0..<10 { after.routes.remove(Self.key(number)) }
    after.settle()
    #expect(after.kernel.routes.isEmpty && after.kernel.nextHops.isEmpty)
  }

  @Test func aDeadNextHopTurnsAllItsRoutesByOneChange() {
    var bench = Bench()
    for number in 0..<500 {
      bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.1"), hop("10.0.0.2"), hop("10.0.0.3")]))
    }
    bench.settle()
    let requests = bench.kernel.requests
    bench.routes.setUsable(false, gateway: address("10.0.0.2"))
    bench.settle()
    #expect(bench.kernel.requests == requests + 1)
    func hops() -> Set<NextHop> {
      guard case .object(let id)? = bench.kernel.routes[Self.key(7)]?.path,
        case .group(let members)? = bench.kernel.nextHops[id]?.content
      else { return [] }
      return Set(
        members.compactMap { member in
          if case .hop(let hop)? = bench.kernel.nextHops[member.id]?.content { hop } else { nil }
        })
    }
    #expect(hops() == [hop("10.0.0.1"), hop("10.0.0.3")])
    bench.routes.setUsable(true, gateway: address("10.0.0.2"))
    bench.settle()
    #expect(hops().count == 3)
    // With none left it is better to try than to drop.
    for last in 1...3 { bench.routes.setUsable(false, gateway: address("10.0.0.\(last)")) }
    bench.settle()
    #expect(!hops().isEmpty)
  }

  @Test func anInterfaceGoesAndComesBack() {
    var bench = Bench()
    for number in 0..<10 {
      bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.1", 2), hop("10.0.1.1", 3)]))
      bench.routes.set(Self.key6(number), path: .hops([hop("fe80::1", 3)]))
    }
    bench.settle()
    #expect(bench.kernel.routes.count == 20)
    bench.kernel.takeDown(3)
    bench.resync()
    bench.settle()
    #expect(bench.kernel.routes.count == 10 && bench.routes.counts.refused == 10)
    bench.kernel.downInterfaces = []
    bench.resync()
    bench.settle()
    bench.routes.retryRefused()
    bench.settle()
    #expect(bench.kernel.routes.count == 20 && bench.routes.counts.refused == 0)
    guard case .object(let id)? = bench.kernel.routes[Self.key(0)]?.path,
      case .group(let members)? = bench.kernel.nextHops[id]?.content
    else {
      Issue.record("no group")
      return
    }
    #expect(members.count == 2)
  }

  /// What is wanted instead cannot be had: what was before must not stay.
  @Test func aRouteIsNotLeftOnAWayThatIsNoLongerTold() {
    var bench = Bench()
    bench.routes.set(Self.key(1), path: .hops([hop("10.0.0.1", 2)]))
    bench.settle()
    bench.kernel.downInterfaces = [3]
    bench.routes.set(Self.key(1), path: .hops([hop("10.0.1.1", 3)]))
    bench.settle()
    #expect(bench.kernel.routes.isEmpty && bench.routes.counts.refused == 1)
  }

  @Test func someoneElsesChangesAreMended() {
    var bench = Bench()
    for number in 0..<10 { bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.1")])) }
    bench.settle()
    bench.kernel.routes[Self.key(3)] = nil
    bench.kernel.routes[Self.key(4)]?.path = .hops([hop("10.0.0.66")])
    bench.kernel.routes[Self.key(11)] = Route(Self.key(11), path: .hops([hop("10.0.0.1")]))
    bench.routes.sweep()
    let requests = bench.kernel.requests
    bench.resync()
    bench.settle()
    #expect(bench.kernel.routes.count == 10 && bench.kernel.routes[Self.key(4)]?.path == .hops([hop("10.0.0.1")]))
    #expect(bench.kernel.requests == requests + 3 + 3)
  }

  /// Any sequence of wishes, foreign hands, failing interfaces and lost answers ends with just what is wanted.
  @Test(arguments: 0..<40) func anySequenceEndsWithWhatIsWanted(seed: Int) {
    let entropy = SeededEntropy(seed: UInt64(seed))
    func draw(_ below: Int) -> Int { Int(entropy.nextUInt64() % UInt64(below)) }
    var configuration = RouteSynchronizer.Configuration()
    configuration.usesNextHopObjects = seed % 2 == 0
    var bench = Bench(configuration)
    bench.routes.sweep()
    let theirs = Route(Self.key(1_000), path: .hops([hop("10.9.9.9", 99)]), origin: .administrator)
    bench.kernel.routes[theirs.key] = theirs
    var wanted: [Route.Key: Set<NextHop>] = [:]
    let pool = (1...6).map { hop("10.0.0.\($0)", UInt32(2 + $0 % 3)) }
    for _ in 0..<300 {
      let key = Self.key(draw(30))
      switch draw(12) {
      case 0..<6:
        let hops = Set((0...draw(3)).map { _ in pool[draw(pool.count)] })
        wanted[key] = hops
        bench.routes.set(key, path: .hops(hops.sorted { "\($0)" < "\($1)" }))
      case 6, 7:
        wanted[key] = nil
        bench.routes.remove(key)
      case 8: bench.kernel.takeDown(UInt32(2 + draw(3)))
      case 9: bench.kernel.downInterfaces = []
      case 10: if key != theirs.key { bench.kernel.routes[key] = nil }
      default: bench.settle { _ in draw(5) == 0 }
      }
    }
    bench.kernel.downInterfaces = []
    bench.settle()
    bench.resync()
    bench.settle()
    bench.routes.retryRefused()
    bench.settle()
    bench.resync()
    bench.settle()
    var found: [Route.Key: Set<NextHop>] = [:]
    for (key, route) in bench.kernel.routes where key != theirs.key {
      switch route.path {
      case .hops(let hops): found[key] = Set(hops)
      case .object(let id):
        guard case .group(let members)? = bench.kernel.nextHops[id]?.content else { continue }
        found[key] = Set(
          members.compactMap { if case .hop(let hop)? = bench.kernel.nextHops[$0.id]?.content { hop } else { nil } })
      case .none: break
      }
    }
    #expect(found == wanted)
    #expect(bench.kernel.routes[theirs.key] == theirs)
    for key in wanted.keys { bench.routes.remove(key) }
    bench.settle()
    #expect(bench.kernel.routes == [theirs.key: theirs] && bench.kernel.nextHops.isEmpty)
  }
}
