import BGP
import Testing
import Wire

@testable import Nftables

@Suite("Flow specifications as rules of nftables")
struct FlowspecRulesetTests {
  private func match(_ text: String) throws -> [String] { try FlowspecMatch(FlowspecRule(parsing: text)).alternatives }

  @Test(
    arguments: [
      ("dst 198.51.100.7/32", ["ip daddr 198.51.100.7/32"]),
      ("dst 0.0.0.0/0 src 192.0.2.0/24", ["ip saddr 192.0.2.0/24"]),
      ("dst 0.0.0.0/0", [""]),
      ("ipv4 proto tcp,udp,2-4", ["meta l4proto { 2-4, 6, 17 }"]),
      ("ipv4 proto !=17&!=6", ["meta l4proto { 0-5, 7-16, 18-255 }"]),
      ("ipv4 proto true", [""]),
      ("ipv4 proto udp dport 53,1000-2000,1500-3000", ["meta l4proto { 17 } th dport { 53, 1000-3000 }"]),
      ("ipv4 sport <1024", ["meta l4proto { 6, 17 } th sport { 0-1023 }"]),
      (
        "ipv4 proto udp port 53",
        ["meta l4proto { 17 } th sport { 53 }", "meta l4proto { 17 } th sport != { 53 } th dport { 53 }"]
      ),
      ("ipv4 port true", ["meta l4proto { 6, 17 } th sport { 0-65535 }"]),
      ("ipv4 icmp-type 3-5 icmp-code 0,4", ["meta l4proto { 1 } icmp type { 3-5 } icmp code { 0, 4 }"]),
      ("ipv6 icmp-type 128", ["meta l4proto { 58 } icmpv6 type { 128 }"]),
      // 2 alone, or with any others but ACK.
      ("ipv4 tcp-flags =syn&!ack&!0xec", ["meta l4proto { 6 } @th,104,8 { 2-3 }"]),
      ("ipv4 tcp-flags =syn+ack&!=fin&!0xec", ["meta l4proto { 6 } @th,104,8 { 18 }"]),
      ("ipv4 length >=1400", ["ip length { 1400-65535 }"]), ("ipv6 length <=60", ["ip6 length { 0-20 }"]),
      ("ipv4 dscp 10,46-48", ["ip dscp { 10, 46, 47, 48 }"]), ("ipv6 flow-label 1,5-9", ["ip6 flowlabel { 1, 5-9 }"]),
      ("ipv4 fragment is-fragment&!last-fragment&!dont-fragment", ["ip frag-off { 8193-16383, 40961-49151 }"]),
      ("ipv4 fragment =dont-fragment", ["ip frag-off { 16384-32767, 49152-65535 }"]),
      (
        "ipv4 fragment !is-fragment&!first-fragment", ["ip frag-off { 0, 16384, 32768, 49152 }"]
      ),
      (
        "ipv6 fragment is-fragment",
        ["frag frag-off != 0 frag more-fragments 1", "frag frag-off != 0 frag more-fragments 0"]
      ),
      ("ipv6 fragment !is-fragment&!first-fragment", ["exthdr frag missing", "frag frag-off 0 frag more-fragments 0"]),
      (
        "dst 2001:db8::/32 src ::1234:5678:9a00:0/64-104",
        ["ip6 daddr 2001:db8::/32 ip6 saddr & ::ffff:ffff:ff00:0 == ::1234:5678:9a00:0"]
      ),
      (
        "dst 2001:db8::1 fragment first-fragment port 53 proto udp",
        [
          "ip6 daddr 2001:db8::1/128 meta l4proto { 17 } frag frag-off 0 frag more-fragments 1 th sport { 53 }",
          "ip6 daddr 2001:db8::1/128 meta l4proto { 17 } frag frag-off 0 frag more-fragments 1 th sport != { 53 } "
            + "th dport { 53 }",
        ]
      ),
    ])
  func whatARuleMeans(text: String, alternatives: [String]) throws {
    #expect(try match(text) == alternatives)
  }

  @Test(
    arguments: [
      ("ipv4 dport false", .neverMatches), ("ipv4 proto icmp dport 53", .neverMatches),
      ("ipv4 dport >5&<5", .neverMatches), ("ipv6 length <40", .neverMatches), ("ipv4 tcp-flags 0x100", .wideFlags),
      ("ipv4 tcp-flags syn&!syn", .neverMatches), ("ipv6 fragment dont-fragment", .neverMatches),
    ] as [(String, FlowspecObstacle)])
  func whatCannotBeEnforced(text: String, obstacle: FlowspecObstacle) {
    #expect(throws: obstacle) { try match(text) }
  }

  /// The ranges hold what the terms hold, whatever these are.
  @Test func rangesAreWhatTheTermsSay() {
    let entropy = SeededEntropy(seed: 11)
    func next(_ bound: UInt64) -> UInt64 { entropy.nextUInt64() % bound }
    for _ in 0..<2_000 {
      let numbers = (0..<1 + next(5)).map { _ in
        NumericTerm(
          isAnd: next(2) == 0, isLess: next(2) == 0, isGreater: next(2) == 0, isEqual: next(2) == 0, next(70))
      }
      let ranges = ValueRanges(numbers, maximum: 63)
      let bits = (0..<1 + next(4)).map { _ in
        BitmaskTerm(isAnd: next(2) == 0, isNot: next(2) == 0, isMatch: next(2) == 0, next(64))
      }
      let flags = ValueRanges(bits, maximum: 63)
      var packet = FlowspecPacket(source: .v4(.any), destination: .v4(.any), ipProtocol: 6)
      for value in 0...UInt8(63) {
        packet.dscp = value
        packet.tcpFlags = UInt16(value)
        #expect(ranges.contains(UInt64(value)) == FlowspecComponent.numbers(.dscp, numbers).matches(packet))
        #expect(flags.contains(UInt64(value)) == FlowspecComponent.bits(.tcpFlags, bits).matches(packet))
      }
      #expect(zip(ranges.ranges, ranges.ranges.dropFirst()).allSatisfy { $0.upperBound + 1 < $1.lowerBound })
    }
  }

  // MARK: Transactions

  private func install(_ rule: String, _ actions: String) throws -> FlowspecEvent {
    .install(try FlowspecRule(parsing: rule), try FlowspecActions(parsing: actions))
  }

  private func lines(_ text: String) -> [String] {
    text.split(separator: "\n").map { String($0).replacing(" inet cloudbridge_flowspec ", with: " ") }
  }

  @Test func theTableIsItsOwn() {
    var configuration = FlowspecRuleset.Configuration()
    configuration.table = "other"
    configuration.interfaces = ["eth0", "eth1"]
    var ruleset = FlowspecRuleset(configuration)
    let text = ruleset.transaction(anew: true)
    #expect(text.split(separator: "\n").allSatisfy { $0.contains(" inet other") })
    #expect(text.contains("add rule inet other prerouting iifname != { \"eth0\", \"eth1\" } accept\n"))
    #expect(ruleset.end == "add table inet other\ndelete table inet other\n")
    #expect(FlowspecRuleset().end.contains("cloudbridge_flowspec"))
  }

  @Test func aChangeIsOneTransaction() throws {
    var ruleset = FlowspecRuleset()
    #expect(lines(ruleset.transaction(anew: true)).last == "flush chain ipv6")
    ruleset.apply(try install("dst 192.0.2.0/24", "rate-limit 1000, mark 10"))
    ruleset.apply(try install("dst 192.0.2.1/32 proto udp", "drop"))
    #expect(
      lines(ruleset.transaction(anew: false)) == [
        "flush chain ipv4", "flush chain ipv6", "add counter m2",
        "add rule ipv4 ip daddr 192.0.2.1/32 "
          + "meta l4proto { 17 } counter name \"m2\" drop",
        "add counter m1", "add limit b1 { rate over 1000 bytes/second burst 1500 bytes; }", "add counter d1",
        "add rule ipv4 ip daddr 192.0.2.0/24 counter name \"m1\" limit name \"b1\" counter name \"d1\" drop",
        "add rule ipv4 ip daddr 192.0.2.0/24 ip dscp set 10 accept",
      ])
    // What is there keeps its counters; what is gone takes them along.
    ruleset.apply(.remove(try FlowspecRule(parsing: "dst 192.0.2.1/32 proto udp")))
    ruleset.apply(try install("dst 2001:db8::/32", "accept"))
    #expect(
      lines(ruleset.transaction(anew: false)) == [
        "flush chain ipv4", "flush chain ipv6", "delete counter m2",
        "add rule ipv4 ip daddr 192.0.2.0/24 counter name \"m1\" limit name \"b1\" counter name \"d1\" drop",
        "add rule ipv4 ip daddr 192.0.2.0/24 ip dscp set 10 accept",
        "add counter m3", "add rule ipv6 ip6 daddr 2001:db8::/32 counter name \"m3\" accept",
      ])
    // Other actions are another rule to the kernel.
    ruleset.apply(try install("dst 192.0.2.0/24", "drop"))
    let changed = lines(ruleset.transaction(anew: false))
    #expect(changed[2...4] == ["delete counter m1", "delete limit b1", "delete counter d1"])
    #expect(changed.contains("add rule ipv4 ip daddr 192.0.2.0/24 counter name \"m4\" drop"))
  }

  @Test(
    arguments: [
      ("drop", ["counter name \"m1\" drop"]), ("rate-limit 0pps", ["counter name \"m1\" drop"]),
      ("accept", ["counter name \"m1\" accept"]), ("continue", ["counter name \"m1\""]),
      ("mark 0, continue", ["counter name \"m1\" ip6 dscp set 0"]),
      (
        "rate-limit 5, rate-limit 7pps",
        [
          "counter name \"m1\" limit name \"b1\" counter name \"d1\" drop",
          "limit name \"p1\" counter name \"d1\" drop", "accept",
        ]
      ),
      ("rate-limit 5, continue", ["counter name \"m1\" limit name \"b1\" counter name \"d1\" drop"]),
    ])
  func actions(text: String, statements: [String]) throws {
    var ruleset = FlowspecRuleset()
    ruleset.apply(try install("dst ::/0", text))
    let rules = lines(ruleset.transaction(anew: false)).filter { $0.hasPrefix("add rule") }
    #expect(rules == statements.map { "add rule ipv6 \($0)" })
  }

  @Test func whatIsRefusedIsLeftOut() throws {
    var ruleset = FlowspecRuleset()
    let (good, bad) = (try FlowspecRule(parsing: "dst 192.0.2.1/32"), try FlowspecRule(parsing: "dst 192.0.2.2/32"))
    ruleset.apply(.install(good, .discard))
    ruleset.apply(.install(bad, .discard))
    ruleset.apply(try install("dst 192.0.2.3/32", "redirect 64512:1"))
    let text = lines(ruleset.transaction(anew: true))
    let at = try #require(text.firstIndex { $0.contains("192.0.2.2") })
    let others = ["/dev/stdin:1:1-3: Error: no", "nft: not found", ""].map { ruleset.refuse($0) }
    #expect(others == [false, false, false])
    let error = "/dev/stdin:\(at + 1):32-35: Error: Could not process rule: No such file or directory\nadd"
    let isIts = ruleset.refuse(error)
    #expect(isIts)
    #expect(ruleset.obstacle(bad)?.description == "Error: Could not process rule: No such file or directory")
    #expect(ruleset.obstacle(good) == nil)
    #expect(ruleset.obstacle(try FlowspecRule(parsing: "dst 192.0.2.3/32")) == .redirects)
    let next = ruleset.transaction(anew: true)
    #expect(next.contains("192.0.2.1") && !next.contains("192.0.2.2") && !next.contains("192.0.2.3"))
    let counts = ruleset.counts(good) { $0 == "m1" ? (3, 300) : nil }
    #expect(counts?.packets == 3 && counts?.octets == 300 && counts?.droppedPackets == 3)
  }
}
