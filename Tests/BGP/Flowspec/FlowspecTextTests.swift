import Testing
import Wire

@testable import BGP

@Suite("Flow specifications: the text")
struct FlowspecTextTests {
  @Test(
    arguments: [
      "dst 198.51.100.7/32 proto udp dport 53", "src 2001:db8::/32 proto icmp6,ospf icmp-type 128 icmp-code 0",
      "ipv4 proto !=tcp sport <1024,>=5000&<=4000", "ipv6 port 1000-2000&!=1500 flow-label 0-1048575",
      "dst 0.0.0.0/0 proto tcp tcp-flags syn&!ack,=rst+psh,!=fin+0x100 length >1400",
      "ipv4 dscp 10,46 fragment !is-fragment",
      "dst ::1234:5678:9a00:0/64-104 fragment first-fragment+last-fragment", "ipv4 length true", "ipv6 dscp false",
    ])
  func whatIsReadIsPrintedAsItWas(text: String) throws {
    let rule = try FlowspecRule(parsing: text)
    #expect("\(rule)" == text)
    #expect(try FlowspecRule(parsing: "  " + text.replacing(" ", with: "  ")) == rule)
  }

  @Test func theOrderOfWordsIsFree() throws {
    #expect(
      try FlowspecRule(parsing: "dport =53 proto 17 dst 198.51.100.7")
        == FlowspecRule(parsing: "dst 198.51.100.7/32 proto udp dport 53"))
  }

  @Test(
    arguments: [
      ("", "no condition"), ("dst", "nothing behind it"), ("to 1.2.3.4", "'to' is none of dst, src"),
      ("dst 1.2.3.4/24", "is no prefix"), ("dst 1.2.3.0/33", "is no prefix"), ("dst 1.2.3.0/8-24", "is no prefix"),
      ("dst 2001:db8::/64-32", "is no prefix"), ("dst 1.2.3.4 src ::1", "another family"),
      ("ipv6 dst 1.2.3.4", "another"),
      ("proto udp", "begins with ipv4 or ipv6"), ("ipv4 proto udp proto tcp", "named twice"),
      ("ipv4 proto 256", "no number from 0 to 255, nor one of icmp"), ("ipv4 dport 65536", "0 to 65535"),
      ("ipv4 dport 9-5", "ends before"), ("ipv4 dport 1,", "is no number"), ("ipv4 dport ,", "is no number"),
      ("ipv4 dscp 64", "0 to 63"), ("ipv4 tcp-flags syn+", "is no number"), ("ipv4 flow-label 1", "of IPv6 alone"),
      ("ipv4 tcp-flags !", "is no number"), ("ipv4 dport >", "is no number"), ("ipv4 dport --", "is no number"),
    ])
  func whatIsWrongIsSaid(text: String, problem: String) {
    let error = #expect(throws: FlowspecTextError.self) { try FlowspecRule(parsing: text) }
    #expect(error?.description.contains(problem) == true, "\(error?.description ?? "-")")
  }

  @Test(
    arguments: [
      "drop", "accept", "rate-limit 1000000", "rate-limit 500pps", "rate-limit 9600, mark 10, continue",
      "redirect 64512:7", "redirect 4200000000:7", "redirect 192.0.2.1:7", "sample", "mark 0",
    ])
  func actions(text: String) throws {
    let actions = try FlowspecActions(parsing: text)
    #expect("\(actions)" == text)
    #expect(FlowspecActions(actions.communities(autonomousSystem: 64_512)) == actions)
  }

  @Test func actionsThatAreNone() throws {
    for text in [
      "", "deny", "rate-limit", "rate-limit -1", "rate-limit x", "mark 64", "redirect 7", "drop,", "rate-limit inf",
      "redirect 1:2:3",
    ] {
      #expect(throws: FlowspecTextError.self, "\(text)") { try FlowspecActions(parsing: text) }
    }
    #expect(try FlowspecActions(parsing: "rate-limit 10M").rateBytes == 10_000_000)
    #expect(try FlowspecActions(parsing: "rate-limit 0") == .discard)
  }
}
