import Testing
import Wire

@testable import Netlink

func prefix(_ text: String) -> IPPrefix { IPPrefix(text)! }
func address(_ text: String) -> IPAddress { IPAddress(text)! }
func hop(_ gateway: String, _ interface: UInt32 = 2, weight: Int = 1) -> NextHop {
  NextHop(gateway: address(gateway), interface: interface, weight: weight)
}

@Suite("Netlink messages") struct MessageTests {
  static let routes: [Route] = [
    Route(.init(prefix("192.0.2.0/24"), metric: 32), path: .hops([hop("10.0.0.1")])),
    Route(
      .init(prefix("0.0.0.0/0"), table: 1_000),
      path: .hops([hop("10.0.0.1", 2, weight: 1), hop("10.0.1.1", 3, weight: 256)])),
    Route(.init(prefix("2001:db8::/32")), path: .hops([hop("fe80::1"), hop("fe80::2", 7)])),
    Route(.init(prefix("198.51.100.0/24"), metric: 1), path: .hops([hop("fe80::1")])),
    Route(.init(prefix("198.51.100.0/25"), metric: 1), path: .hops([hop("fe80::1"), hop("10.0.0.1", 3)])),
    Route(.init(prefix("203.0.113.7/32")), kind: .blackhole, path: .none),
    Route(.init(prefix("2001:db8:1::/48")), kind: .unreachable, path: .none),
    Route(.init(prefix("10.9.0.0/16")), path: .hops([NextHop(gateway: nil, interface: 4)])),
    Route(
      .init(prefix("10.10.0.0/16")), path: .hops([NextHop(gateway: address("10.0.0.9"), interface: 4, isOnLink: true)])),
    Route(.init(prefix("10.11.0.0/16")), path: .object(0x0cb0_0001), preferredSource: address("192.0.2.1")),
  ]

  @Test(arguments: routes) func aRouteIsReadAsItWasWritten(_ route: Route) {
    let bytes = KernelModel.message(.newRoute, [], 1) { route.write(to: &$0) }
    #expect(bytes.count % 4 == 0)
    bytes.withUnsafeBytes { bytes in
      var reader = MessageReader(bytes)
      let message = reader.next()
      #expect(message.flatMap { Route($0.body) } == route)
      #expect(reader.next() == nil && !reader.isMalformed)
    }
  }

  /// What `ip route add 192.0.2.0/24 via 10.0.0.1 dev 2 proto 203 metric 32` sends, but for its time and flags.
  @Test func aRouteHasTheOctetsOfTheHeaderFile() {
    let route = Self.routes[0]
    let bytes = KernelModel.message(.newRoute, [.create, .exclusive], 7) { route.write(to: &$0) }
    #expect(
      bytes == [
        60, 0, 0, 0, 24, 0, 0x01, 0x06, 7, 0, 0, 0, 0, 0, 0, 0,  // nlmsghdr
        2, 24, 0, 0, 254, 203, 0, 1, 0, 0, 0, 0,  // rtmsg
        8, 0, 1, 0, 192, 0, 2, 0,  // RTA_DST
        8, 0, 6, 0, 32, 0, 0, 0,  // RTA_PRIORITY
        8, 0, 4, 0, 2, 0, 0, 0,  // RTA_OIF
        8, 0, 5, 0, 10, 0, 0, 1,  // RTA_GATEWAY
      ])
  }

  @Test func aMetricOfZeroIsWhatIPv6MakesOfIt() {
    #expect(Route.Key(prefix("2001:db8::/32")).metric == 1_024)
    #expect(Route.Key(prefix("10.0.0.0/8")).metric == 0)
  }

  @Test(arguments: [
    NextHopObject(id: 9, .hop(hop("10.0.0.1", 3))), NextHopObject(id: 10, .hop(hop("2001:db8::1", 3))),
    NextHopObject(id: 11, .group([.init(id: 9), .init(id: 10, weight: 256)])),
    NextHopObject(id: 12, .blackhole(isIPv4: false)),
  ]) func aNextHopIsReadAsItWasWritten(_ object: NextHopObject) {
    let bytes = KernelModel.message(.newNextHop, [], 1) { object.write(to: &$0) }
    bytes.withUnsafeBytes { bytes in
      var reader = MessageReader(bytes)
      #expect(reader.next().flatMap { NextHopObject($0.body) } == object)
    }
  }

  @Test func aRuleIsReadAsItWasWritten() {
    var rule = Rule(isIPv4: true, priority: 100, .lookUp(table: 1_000))
    rule.source = prefix("10.1.0.0/16")
    rule.destination = prefix("192.0.2.0/24")
    rule.mark = .init(5, mask: 0xff)
    rule.inputInterface = "veth0"
    rule.outputInterface = "eth1"
    var drop = Rule(isIPv4: false, priority: 7, .unreachable)
    drop.mark = .init(1)
    for rule in [rule, drop] {
      let bytes = KernelModel.message(.newRule, [], 1) { rule.write(to: &$0) }
      bytes.withUnsafeBytes { bytes in
        var reader = MessageReader(bytes)
        #expect(reader.next().flatMap { Rule($0.body) } == rule)
      }
    }
  }

  @Test func aLinkSaysWhetherItCarriesPackets() {
    for (flags, isUp, hasCarrier) in [(0x1_0043, true, true), (0x1003, true, false), (0x1002, false, false)] {
      let bytes = KernelModel.message(.newLink, [], 0) {
        $0.host(UInt32(0))
        $0.host(UInt32(5))
        $0.host(UInt32(flags))
        $0.host(UInt32(0))
        $0.attribute(LinkAttribute.name, "eth5")
        $0.attribute(LinkAttribute.mtu, UInt32(9_000))
      }
      bytes.withUnsafeBytes { bytes in
        var reader = MessageReader(bytes)
        let link = reader.next().flatMap { Link($0.body) }
        #expect(link == Link(index: 5, name: "eth5", mtu: 9_000, isUp: isUp, hasCarrier: hasCarrier))
      }
    }
  }

  @Test func anAddressOfAPointToPointLinkIsOurs() {
    let bytes = KernelModel.message(.newAddress, [], 0) {
      $0.host(UInt32(2 | 32 << 8))
      $0.host(UInt32(5))
      $0.attribute(AddressAttribute.address, address("10.0.0.2"))
      $0.attribute(AddressAttribute.local, address("10.0.0.1"))
    }
    bytes.withUnsafeBytes { bytes in
      var reader = MessageReader(bytes)
      let read = reader.next().flatMap { InterfaceAddress($0.body) }
      #expect(read == InterfaceAddress(interface: 5, address: address("10.0.0.1"), prefixLength: 32))
    }
  }

  @Test func aRefusalIsToldInTheKernelsWords() {
    let bytes = KernelModel.answer(3, 22, text: "Nexthop has invalid gateway")
    bytes.withUnsafeBytes { bytes in
      var reader = MessageReader(bytes)
      let error = reader.next().flatMap { KernelError($0.body, $0.flags) }
      #expect(error == KernelError(number: 22, text: "Nexthop has invalid gateway"))
    }
    // The whole request of 24 octets comes back first where the socket has no NETLINK_CAP_ACK.
    let uncapped = KernelModel.message(.error, .ackAttributes, 3) { writer in
      writer.host(Int32(-22))
      writer.host(UInt32(24))
      for _ in 0..<5 { writer.host(UInt32(0)) }
      writer.attribute(1, "no")
    }
    uncapped.withUnsafeBytes { bytes in
      var reader = MessageReader(bytes)
      #expect(reader.next().flatMap { KernelError($0.body, $0.flags) } == KernelError(number: 22, text: "no"))
    }
  }

  /// Whatever comes, nothing traps, and nothing is read beyond its end.
  @Test func noOctetsTrap() {
    let entropy = SeededEntropy(seed: 1)
    var samples = Self.routes.map { route in KernelModel.message(.newRoute, .multi, 1) { route.write(to: &$0) } }
    samples.append(KernelModel.answer(1, 22, text: "text"))
    samples.append(
      KernelModel.message(.newNextHop, .multi, 1) {
        NextHopObject(id: 11, .group([.init(id: 9), .init(id: 10)])).write(to: &$0)
      })
    samples.append(
      KernelModel.message(.newRule, .multi, 1) {
        Rule(isIPv4: true, priority: 1, .lookUp(table: 1_000)).write(to: &$0)
      })
    for round in 0..<30_000 {
      var bytes = samples[round % samples.count]
      for _ in 0..<Int(entropy.nextUInt64() % 4) {
        bytes[Int(entropy.nextUInt64() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.nextUInt64())
      }
      if entropy.nextUInt64() % 2 == 0 { bytes.removeLast(Int(entropy.nextUInt64() % UInt64(bytes.count))) }
      bytes += samples[Int(entropy.nextUInt64() % UInt64(samples.count))]
      var transactions = Transactions()
      transactions.enqueue(.links)
      withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { _ = transactions.nextDatagram(into: $0) }
      bytes.withUnsafeBytes { transactions.receive($0) { _ in } }
    }
  }
}
