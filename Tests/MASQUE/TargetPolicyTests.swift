import Testing
import Wire

@testable import MASQUE

@Suite struct TargetPolicyTests {
  static let special: [(String, SpecialPurpose?)] = [
    ("0.0.0.0", .unspecified), ("0.1.2.3", .unspecified), ("10.0.0.1", .privateUse), ("9.255.255.255", nil),
    ("11.0.0.0", nil), ("100.64.0.0", .shared), ("100.127.255.255", .shared), ("100.63.255.255", nil),
    ("100.128.0.0", nil), ("127.0.0.1", .loopback), ("127.255.255.255", .loopback), ("169.254.169.254", .linkLocal),
    ("172.16.0.0", .privateUse), ("172.31.255.255", .privateUse), ("172.32.0.0", nil),
    ("192.0.0.8", .protocolAssignment),
    ("192.0.1.0", nil), ("192.0.2.1", .documentation), ("192.88.99.1", .reserved), ("192.168.255.255", .privateUse),
    ("198.18.0.1", .benchmarking), ("198.19.255.255", .benchmarking), ("198.20.0.0", nil),
    ("198.51.100.7", .documentation), ("203.0.113.7", .documentation), ("224.0.0.1", .multicast),
    ("239.255.255.255", .multicast), ("240.0.0.1", .reserved), ("255.255.255.254", .reserved),
    ("255.255.255.255", .broadcast), ("8.8.8.8", nil),
    ("::", .unspecified), ("::1", .loopback), ("::2", .unspecified), ("::127.0.0.1", .loopback), ("::8.8.8.8", nil),
    ("::ffff:127.0.0.1", .loopback), ("::ffff:10.1.2.3", .privateUse), ("::ffff:8.8.8.8", nil),
    ("64:ff9b::10.0.0.1", .privateUse), ("64:ff9b::8.8.8.8", nil), ("64:ff9b:1::8.8.8.8", .translation),
    ("2002:a00:1::1", .privateUse), ("2002:7f00:1::", .loopback), ("2002:808:808::1", nil), ("100::1", .discard),
    ("2001::1", .protocolAssignment), ("2001:2::1", .benchmarking), ("2001:db8::1", .documentation),
    ("3fff:fff::1", .documentation), ("5f00::1", .segmentRouting), ("fc00::1", .privateUse), ("fdff::1", .privateUse),
    ("fe80::1", .linkLocal), ("fec0::1", .privateUse), ("ff02::1", .multicast), ("ff0e::1", .multicast),
    ("2001:4860:4860::8888", nil), ("2a00::1", nil),
  ]

  @Test(arguments: special)
  func theRegistries(text: String, purpose: SpecialPurpose?) throws {
    let address = try #require(IPAddress(text))
    #expect(SpecialPurpose(address) == purpose)
    let expected: TargetPolicy.Decision = purpose.map { .deny(.special($0)) } ?? .allow
    #expect(TargetPolicy().decide(address: address, port: 443) == expected)
  }

  private func decide(_ policy: TargetPolicy, _ address: String, _ port: UInt16) -> TargetPolicy.Decision {
    policy.decide(address: IPAddress(address)!, port: port)
  }

  @Test func openingsOverridePrivateRanges() {
    let policy = TargetPolicy(openings: [
      .init(IPPrefix("10.1.0.0/16")!, ports: [443...443, 8000...8999]), .init(IPPrefix("127.0.0.0/8")!),
    ])
    #expect(decide(policy, "10.1.2.3", 443) == .allow)
    #expect(decide(policy, "10.1.2.3", 8500) == .allow)
    #expect(decide(policy, "10.1.2.3", 22) == .deny(.port(22)))
    #expect(decide(policy, "10.2.0.1", 443) == .deny(.special(.privateUse)))
    #expect(decide(policy, "::ffff:10.1.2.3", 443) == .allow)
    #expect(decide(policy, "127.0.0.1", 9999) == .allow)
    #expect(decide(policy, "8.8.8.8", 53) == .allow)
  }

  @Test func nothingOpensWhatIsOursOrLeadsNowhere() {
    let everything = TargetPolicy.Opening(IPPrefix("0.0.0.0/0")!)
    let policy = TargetPolicy(
      ownAddresses: [IPPrefix("10.0.0.5/32")!, IPPrefix("2a00::5/128")!], deniedPrefixes: [IPPrefix("9.0.0.0/8")!],
      openings: [everything, .init(IPPrefix("::/0")!)])
    #expect(decide(policy, "10.0.0.5", 443) == .deny(.ownAddress))
    #expect(decide(policy, "::ffff:10.0.0.5", 443) == .deny(.ownAddress))
    #expect(decide(policy, "64:ff9b::10.0.0.5", 443) == .deny(.ownAddress))
    #expect(decide(policy, "2002:a00:5::", 443) == .deny(.ownAddress))
    #expect(decide(policy, "2a00::5", 443) == .deny(.ownAddress))
    #expect(decide(policy, "9.1.1.1", 443) == .deny(.deniedPrefix(IPPrefix("9.0.0.0/8")!)))
    #expect(decide(policy, "10.0.0.6", 443) == .allow)
    #expect(decide(policy, "0.0.0.0", 443) == .deny(.special(.unspecified)))
    #expect(decide(policy, "224.0.0.1", 443) == .deny(.special(.multicast)))
    #expect(decide(policy, "::ffff:255.255.255.255", 443) == .deny(.special(.broadcast)))
    #expect(decide(policy, "ff02::1", 443) == .deny(.special(.multicast)))
    #expect(decide(policy, "10.0.0.6", 0) == .deny(.port(0)))
  }

  @Test func portsAndNames() {
    let policy = TargetPolicy(ports: [443...443, 853...853])
    #expect(decide(policy, "8.8.8.8", 443) == .allow)
    #expect(decide(policy, "8.8.8.8", 25) == .deny(.port(25)))
    for name in ["localhost", "x.localhost", "printer.local", "local"] {
      #expect(policy.decide(host: .name(name), address: IPAddress("8.8.8.8")!, port: 443) == .deny(.localName))
    }
    #expect(policy.decide(host: .name("notlocal"), address: IPAddress("8.8.8.8")!, port: 443) == .allow)
  }

  @Test func reasonsBecomeAnswers() {
    #expect(TargetPolicy.Reason.special(.loopback).rejection == Rejection(.destinationIPProhibited, "loopback address"))
    #expect(TargetPolicy.Reason.ownAddress.rejection.error == .destinationIPProhibited)
    #expect(TargetPolicy.Reason.port(25).rejection.status == 403)
    #expect(TargetPolicy.Reason.localName.rejection.error == .httpRequestDenied)
  }
}
