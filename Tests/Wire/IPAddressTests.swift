import Testing
import Wire

@Suite("IP addresses and prefixes")
struct IPAddressTests {
  @Test(arguments: [
    "0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "::1", "2001:db8::1", "fe80::1", "::ffff:192.0.2.1",
    "2001:db8:0:1:1:1:1:1",
  ])
  func textRoundTrips(text: String) {
    #expect(IPAddress(text)?.description == text)
  }

  @Test(arguments: ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4 ", ":::", "2001:db8::1%eth0", "[::1]", "host"])
  func whatIsNoAddressIsNil(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test func mappedAddressesUnmap() {
    #expect(IPAddress("::ffff:10.0.0.1")?.unmapped == IPAddress("10.0.0.1"))
    #expect(IPAddress("2001:db8::1")?.unmapped == IPAddress("2001:db8::1"))
  }

  @Test func networkBytesRoundTrip() {
    for text in ["192.0.2.7", "2001:db8::7"] {
      let address = IPAddress(text)!
      #expect(address.networkBytes.withUnsafeBytes { IPAddress(networkBytes: $0) } == address)
    }
    #expect([1, 2, 3].withUnsafeBytes { IPAddress(networkBytes: $0) } == nil)
  }

  @Test func socketAddressesParseWithTheirPort() {
    #expect(SocketAddress("192.0.2.1:443") == SocketAddress(IPAddress("192.0.2.1")!, port: 443))
    #expect(SocketAddress("[2001:db8::1]:8443")?.description == "[2001:db8::1]:8443")
    for text in ["192.0.2.1", "2001:db8::1:443", "[192.0.2.1]:1", "192.0.2.1:65536", "host:1", ":1"] {
      #expect(SocketAddress(text) == nil, "\(text)")
    }
  }

  @Test func prefixesContainWhatTheyCover() throws {
    let private10 = try #require(IPPrefix("10.0.0.0/8"))
    #expect(private10.contains(IPAddress("10.255.0.1")!))
    #expect(!private10.contains(IPAddress("11.0.0.1")!))
    #expect(!private10.contains(IPAddress("::1")!))
    let everything = try #require(IPPrefix("::/0"))
    #expect(everything.contains(IPAddress("2001:db8::1")!))
    let site = try #require(IPPrefix("2001:db8:0:0:8000::/65"))
    #expect(site.contains(IPAddress("2001:db8::9000:0:0:1")!))
    #expect(!site.contains(IPAddress("2001:db8::1")!))
    #expect(IPPrefix("10.0.0.1/8") == nil)
    #expect(IPPrefix("10.0.0.0/33") == nil)
    #expect(IPPrefix(IPAddress("10.1.2.3")!, length: 8) == private10)
  }
}
