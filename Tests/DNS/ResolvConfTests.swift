import Testing
import Wire

@testable import DNS

@Suite struct ResolvConfTests {
  @Test func readsWhatResolvConfSays() throws {
    let file = ResolvConf(
      """
      # a comment
      ; another
      nameserver 192.0.2.53
      nameserver 2001:db8::53\r
      nameserver fe80::1%eth0
      nameserver 192.0.2.54
      domain forgotten.example
      search corp.example.  example
      options ndots:2 timeout:3 attempts:4 rotate use-vc edns0
      sortlist 130.155.160.0
      """, interfaceIndex: { $0 == "eth0" ? 7 : nil })
    #expect(
      file.servers == [
        SocketAddress("192.0.2.53:53")!, SocketAddress("[2001:db8::53]:53")!,
        SocketAddress(IPAddress("fe80::1")!, port: 53, scopeID: 7),
      ])
    #expect(try file.search == [DNSName("corp.example"), DNSName("example")])
    #expect(file.ndots == 2)
    #expect(file.timeout == .seconds(3))
    #expect(file.attempts == 4)
    #expect(file.rotate)
    #expect(file.useTCP)
    #expect(StubResolver.Configuration(file).servers == file.servers)
  }

  @Test func nothingOrNonsenseGivesTheDefaults() {
    for text in [
      "", "nameserver", "nameserver x", "nameserver fe80::1%nowhere", "options ndots timeout:x", "\0\u{feff}",
    ] {
      let file = ResolvConf(text)
      #expect(file.servers == [SocketAddress("127.0.0.1:53")!])
      #expect(file.ndots == 1)
      #expect(file.timeout == .seconds(5))
    }
    let extreme = ResolvConf("options ndots:99 timeout:0 attempts:-3")
    #expect(extreme.ndots == 15)
    #expect(extreme.timeout == .seconds(1))
    #expect(extreme.attempts == 1)
  }

  @Test func namesAreSearchedByTheirDots() throws {
    let file = ResolvConf("search corp.example")
    #expect(try file.candidates(for: "pop") == [DNSName("pop.corp.example"), DNSName("pop")])
    #expect(try file.candidates(for: "pop.example") == [DNSName("pop.example"), DNSName("pop.example.corp.example")])
    #expect(try file.candidates(for: "pop.") == [DNSName("pop")])
    #expect(file.candidates(for: "a..b").isEmpty)
  }
}
