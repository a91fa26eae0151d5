import Netlink
import Ring
import Testing
import Wire

@testable import CBActors

/// Against the running kernel, in a network namespace that goes with the test.
@Suite("Routes in the running kernel", .needsNamespace, .serialized) struct KernelRoutesTests {
  static let links = """
    ip link add a0 type veth peer name a1; ip link add b0 type veth peer name b1
    for l in a0 a1 b0 b1; do ip link set $l up; done
    ip addr add 10.0.0.1/24 dev a0; ip addr add 10.0.1.1/24 dev b0
    ip addr add 2001:db8:a::1/64 dev a0 nodad; ip addr add 2001:db8:b::1/64 dev b0 nodad
    """

  static func key(_ number: Int) -> Route.Key {
    Route.Key(IPPrefix(.v4(IPv4Address(rawValue: 0x1400_0000 + UInt32(number) << 8)), length: 24)!, metric: 32)
  }

  static func key6(_ number: Int) -> Route.Key {
    Route.Key(
      IPPrefix(.v6(IPv6Address(high: 0x2001_0db8_8000_0000 + UInt64(number) << 16, low: 0)), length: 48)!, metric: 32)
  }

  static func hops(_ gateways: String...) -> [NextHop] { gateways.map { NextHop(gateway: IPAddress($0)!) } }

  struct Started {
    let routes: KernelRoutes
    let watch: NetworkWatch
  }

  static func start(_ namespace: Namespace, usesObjects: Bool = true) async throws -> Started {
    let watch = NetworkWatch(ring: namespace.ring, logger: namespace.logger)
    try await watch.start()
    var configuration = KernelRoutes.Configuration()
    configuration.routes.usesNextHopObjects = usesObjects
    let routes = KernelRoutes(ring: namespace.ring, configuration, watch: watch, logger: namespace.logger)
    try await routes.start()
    return Started(routes: routes, watch: watch)
  }

  static func count(_ namespace: Namespace, _ what: String) async -> Int {
    Int(await namespace.run("ip \(what) | wc -l").trimmingPrefix { $0 == " " }.prefix { $0.isNumber }) ?? -1
  }

  @Test(.timeLimit(.minutes(2))) func tenThousandRoutesOfBothFamiliesComeChangeAndGo() async throws {
    try await withNamespace { namespace in
      await namespace.run(Self.links)
      let routes = try await Self.start(namespace).routes
      for number in 0..<5_000 {
        await routes.set(Self.key(number), by: Self.hops("10.0.0.2"))
        await routes.set(Self.key6(number), by: Self.hops("2001:db8:a::2"))
      }
      await routes.settle()
      #expect(await Self.count(namespace, "route show proto 203 via 10.0.0.2 dev a0") == 5_000)
      #expect(await Self.count(namespace, "-6 route show proto 203 via 2001:db8:a::2 dev a0") == 5_000)
      for number in 0..<5_000 {
        await routes.set(Self.key(number), by: Self.hops("10.0.1.2"))
        await routes.set(Self.key6(number), by: Self.hops("2001:db8:b::2"))
      }
      await routes.settle()
      #expect(await Self.count(namespace, "route show proto 203 via 10.0.1.2 dev b0") == 5_000)
      #expect(await Self.count(namespace, "-6 route show proto 203 via 2001:db8:b::2 dev b0") == 5_000)
      for number in 0..<5_000 {
        await routes.remove(Self.key(number))
        await routes.remove(Self.key6(number))
      }
      await routes.settle()
      #expect(await Self.count(namespace, "route show proto 203") == 0)
      #expect(await Self.count(namespace, "-6 route show proto 203") == 0)
      let status = await routes.status()
      #expect(status.refusals == 0 && status.counts.refused == 0, "\(status)")
    }
  }

  @Test(.timeLimit(.minutes(1)), arguments: [true, false]) func severalNextHopsShareTheTraffic(usesObjects: Bool)
    async throws
  {
    try await withNamespace { namespace in
      await namespace.run(Self.links)
      let routes = try await Self.start(namespace, usesObjects: usesObjects).routes
      for number in 0..<100 {
        await routes.set(Self.key(number), by: Self.hops("10.0.0.2", "10.0.1.2"))
        await routes.set(Self.key6(number), by: Self.hops("2001:db8:a::2", "2001:db8:b::2"))
      }
      await routes.set(Route.Key(IPPrefix("20.9.0.0/16")!), kind: .blackhole)
      await routes.set(Route.Key(IPPrefix("2001:db8:9::/48")!), kind: .unreachable)
      await routes.settle()
      let text = await namespace.run("ip route show 20.0.7.0/24; ip -6 route show 2001:db8:8007::/48")
      for gateway in ["10.0.0.2 dev a0", "10.0.1.2 dev b0", "2001:db8:a::2 dev a0", "2001:db8:b::2 dev b0"] {
        #expect(text.contains("nexthop via \(gateway)"), "\(text)")
      }
      #expect(text.contains("nhid") == usesObjects, "\(text)")
      let null = await namespace.run("ip route show type blackhole; ip -6 route show type unreachable")
      #expect(null.contains("20.9.0.0/16") && null.contains("2001:db8:9::/48"), "\(null)")
      if usesObjects {
        #expect(await routes.status().nextHopObjects == 6)
        // One dead gateway turns them all.
        await routes.setUsable(false, gateway: IPAddress("10.0.1.2")!)
        await routes.settle()
        let one = await namespace.run("ip route show 20.0.7.0/24")
        #expect(one.contains("via 10.0.0.2") && !one.contains("10.0.1.2"), "\(one)")
        await routes.setUsable(true, gateway: IPAddress("10.0.1.2")!)
        await routes.settle()
        #expect(await namespace.run("ip route show 20.0.7.0/24").contains("10.0.1.2"))
      }
      for number in 0..<100 {
        await routes.remove(Self.key(number))
        await routes.remove(Self.key6(number))
      }
      await routes.settle()
      #expect(await namespace.run("ip nexthop show proto 203") == "")
      let status = await routes.status()
      #expect(status.refusals == 0, "\(status)")
    }
  }

  @Test(.timeLimit(.minutes(1))) func anothersRoutesOutliveOurRestart() async throws {
    try await withNamespace { namespace in
      await namespace.run(
        Self.links + """

          ip route add 20.0.1.0/24 via 10.0.0.9 metric 32; ip route add 20.0.250.0/24 via 10.0.0.9 proto bird
          ip route add 20.0.251.0/24 via 10.0.0.9 table 77 proto 203; ip route add default via 10.0.0.254
          ip -6 route add 2001:db8:8001::/48 via 2001:db8:a::9 metric 32 proto static; ip nexthop add id 7 via 10.0.0.9 dev a0
          """)
      let before = try await Self.start(namespace)
      for number in 0..<20 {
        await before.routes.set(Self.key(number), by: Self.hops("10.0.0.2", "10.0.1.2"))
        await before.routes.set(Self.key6(number), by: Self.hops("2001:db8:a::2"))
      }
      await before.routes.settle()
      // Of the keys that others have, nothing: 19 of 20 of each family.
      #expect(await before.routes.status().counts.conflicts == 2)
      await before.routes.stop()
      await before.watch.stop()

      let after = try await Self.start(namespace)
      #expect(await after.routes.status().counts.stale == 38)
      for number in 0..<10 { await after.routes.set(Self.key(number), by: Self.hops("10.0.0.2", "10.0.1.2")) }
      await after.routes.settle()
      #expect(await namespace.run("ip route show 20.0.15.0/24").contains("10.0.1.2"))
      await after.routes.sweep()
      await after.routes.settle()
      #expect(await namespace.run("ip route show 20.0.15.0/24") == "")
      #expect(await namespace.run("ip -6 route show proto 203") == "")
      #expect(await namespace.run("ip route show 20.0.9.0/24").contains("10.0.1.2"))
      for number in 0..<10 { await after.routes.remove(Self.key(number)) }
      await after.routes.settle()
      let left = await namespace.run(
        "ip route show; ip -6 route show 2001:db8:8001::/48; ip route show table 77; ip nexthop")
      for theirs in [
        "20.0.1.0/24 via 10.0.0.9", "20.0.250.0/24", "20.0.251.0/24", "default", "2001:db8:8001::/48", "id 7 ",
      ] {
        #expect(left.contains(theirs), "\(theirs) is missing of: \(left)")
      }
      #expect(!left.contains("proto 203 metric 32"), "\(left)")
    }
  }

  @Test(.timeLimit(.minutes(1))) func aLinkThatGoesDownIsToldAtOnceAndItsRoutesComeBackWithIt() async throws {
    try await withNamespace { namespace in
      await namespace.run(Self.links)
      let started = try await Self.start(namespace)
      let notes = Notes<ConnectedNetworks.Change>()
      await started.watch.observe { notes.add($0) }
      for number in 0..<10 {
        await started.routes.set(Self.key(number), by: Self.hops("10.0.0.2"))
        await started.routes.set(Self.key6(number), by: Self.hops("2001:db8:a::2"))
        await started.routes.set(Self.key(100 + number), by: Self.hops("10.0.0.2", "10.0.1.2"))
      }
      await started.routes.settle()
      // The other end goes, so that the carrier does. The command itself takes its time: it is measured from within.
      let asked = RingExecutor.monotonicNow()
      await namespace.run("ip link set a1 down")
      let done = RingExecutor.monotonicNow()
      let down = try #require(try await notes.first { $0.isDown("a0") })
      // The ring was held up by the command; from its end on it is a matter of one turn.
      #expect(down.at - done < .milliseconds(20) && down.at > asked, "\(down.at - done)")
      try await Task.sleep(for: .milliseconds(150))
      await started.routes.settle()
      #expect(await namespace.run("ip route show 20.0.103.0/24").contains("10.0.1.2"))
      await namespace.run("ip link set a0 down; sleep 0.1; ip link set a1 up; ip link set a0 up")
      await namespace.run("ip addr add 2001:db8:a::1/64 dev a0 nodad")
      try await Task.sleep(for: .milliseconds(500))
      await started.routes.settle()
      for route in ["20.0.3.0/24", "20.0.103.0/24"] {
        #expect(await namespace.run("ip route show \(route)").contains("10.0.0.2"), "\(route)")
      }
      #expect(await namespace.run("ip -6 route show 2001:db8:8003::/48").contains("2001:db8:a::2"))
    }
  }

  /// What another does is heard from the kernel, long before the lists are read again.
  @Test(.timeLimit(.minutes(1))) func whatAnotherProgramDoesToOurRoutesIsPutRight() async throws {
    try await withNamespace { namespace in
      await namespace.run(Self.links)
      let routes = try await Self.start(namespace).routes
      for number in 0..<50 {
        await routes.set(Self.key(number), by: Self.hops("10.0.0.2", "10.0.1.2"))
        await routes.set(Self.key6(number), by: Self.hops("2001:db8:a::2"))
      }
      await routes.settle()
      await routes.sweep()
      await routes.settle()
      try await Task.sleep(for: .milliseconds(100))
      #expect(await routes.status().disturbances == 0, "our own changes are not told")
      for harm in [
        "ip route del 20.0.7.0/24 metric 32", "ip -6 route del 2001:db8:8007::/48",
        "ip route change 20.0.7.0/24 via 10.0.0.77 proto 203 metric 32",
        "ip -6 route replace 2001:db8:8007::/48 via 2001:db8:b::77 proto 203 metric 32",
        // Of these the kernel tells under their own names alone.
        "ip route replace 20.0.7.0/24 via 10.0.0.77 proto static metric 32",
        "ip route change 20.0.7.0/24 via 10.0.0.77 metric 32",
        "ip -6 route replace 2001:db8:8007::/48 via 2001:db8:b::77 proto static metric 32",
        "ip route add 20.0.99.0/24 via 10.0.0.77 proto 203 metric 32",
        // `ip route flush` cannot remove a route that goes by a next-hop object.
        "for r in $(ip route show proto 203 | grep -o '^20[^ ]*'); do ip route del $r metric 32; done",
      ] {
        #expect(await namespace.run(harm) == "", "the harm is done: \(harm)")
        try await Task.sleep(for: .milliseconds(400))
        await routes.settle()
        let four = await namespace.run("ip route show")
        #expect(four.contains("20.0.7.0/24 nhid") && !four.contains("10.0.0.77"), "\(harm): \(four)")
        let six = await namespace.run("ip -6 route show 2001:db8:8007::/48")
        #expect(six.contains("2001:db8:a::2") && !six.contains("::77"), "\(harm): \(six)")
      }
      #expect(await Self.count(namespace, "route show proto 203 | grep metric") == 50)
      let status = await routes.status()
      #expect(status.disturbances >= 58 && status.counts.refused == 0, "\(status)")
    }
  }

  /// Neither side would ever stop: ours comes back ever more seldom.
  @Test(.timeLimit(.minutes(1))) func whoFightsUsIsAnsweredEverLater() async throws {
    try await withNamespace { namespace in
      await namespace.run(Self.links)
      let routes = try await Self.start(namespace).routes
      await routes.set(Self.key(1), by: Self.hops("10.0.0.2"))
      await routes.settle()
      var removals = 0
      for _ in 0..<100 {
        if await namespace.run("ip route del 20.0.1.0/24 metric 32") == "" { removals += 1 }
        try await Task.sleep(for: .milliseconds(20))
      }
      #expect(removals >= 3 && removals <= 12, "\(removals)")
      await routes.resync()
      await routes.settle()
      #expect(await namespace.run("ip route show 20.0.1.0/24").contains("10.0.0.2"))
    }
  }

  @Test(.timeLimit(.minutes(1))) func rulesOfPolicyRoutingAreKept() async throws {
    try await withNamespace { namespace in
      await namespace.run(Self.links + "\nip rule add from 10.9.9.9 table 9 priority 900")
      let routes = try await Self.start(namespace).routes
      var rule = Rule(isIPv4: true, priority: 1_000, .lookUp(table: 1_234))
      rule.source = IPPrefix("10.7.0.0/16")
      rule.mark = .init(3, mask: 0xf)
      await routes.set(rule)
      await routes.set(Rule(isIPv4: false, priority: 1_001, .unreachable))
      await routes.settle()
      let text = await namespace.run("ip rule; ip -6 rule")
      #expect(text.contains("from 10.7.0.0/16 fwmark 0x3/0xf lookup 1234"), "\(text)")
      #expect(text.contains("1001:"), "\(text)")
      await routes.set(rule, isWanted: false)
      await routes.settle()
      let left = await namespace.run("ip rule")
      #expect(!left.contains("1000:") && left.contains("10.9.9.9"), "\(left)")
    }
  }
}

extension ConnectedNetworks.Change {
  func isDown(_ name: String) -> Bool {
    if case .link(let link, isUsable: false) = self { link.name == name } else { false }
  }
}
