import Testing
import Wire

@testable import MASQUE

let six = Target(host: .address(IPAddress("2001:db8::42")!), port: 443)
let four = Target(host: .address(IPAddress("192.0.2.6")!), port: 443)
let named = Target(host: .name("target.example"), port: 8443)

@Suite struct URITemplateTests {
  /// RFC 9298 §2, the figure's three templates, and forms around them.
  static let templates: [(text: String, four: String, six: String)] = [
    (
      "https://example.org/.well-known/masque/udp/{target_host}/{target_port}/",
      "/.well-known/masque/udp/192.0.2.6/443/", "/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/"
    ),
    (
      "https://proxy.example.org:4443/masque?h={target_host}&p={target_port}",
      "/masque?h=192.0.2.6&p=443", "/masque?h=2001%3Adb8%3A%3A42&p=443"
    ),
    (
      "https://proxy.example.org:4443/masque{?target_host,target_port}",
      "/masque?target_host=192.0.2.6&target_port=443", "/masque?target_host=2001%3Adb8%3A%3A42&target_port=443"
    ),
    (
      "https://p/m?fixed=1{&target_port,target_host}", "/m?fixed=1&target_port=443&target_host=192.0.2.6",
      "/m?fixed=1&target_port=443&target_host=2001%3Adb8%3A%3A42"
    ),
    ("https://p/{target_host,target_port}", "/192.0.2.6,443", "/2001%3Adb8%3A%3A42,443"),
    ("https://p/{other}{target_host}/{target_port}{?more}", "/192.0.2.6/443", "/2001%3Adb8%3A%3A42/443"),
    ("https://p/a%20b/{target_host}/{target_port}", "/a%20b/192.0.2.6/443", "/a%20b/2001%3Adb8%3A%3A42/443"),
  ]

  @Test(arguments: templates)
  func expansionAndBack(text: String, fourPath: String, sixPath: String) throws {
    let template = try URITemplate(text)
    #expect(template.expand(four) == fourPath)
    #expect(template.expand(six) == sixPath)
    for target in [four, six, named] { #expect(try template.match(template.expand(target)) == target) }
  }

  @Test func componentsAreKept() throws {
    let template = try URITemplate("HTTPS://proxy.example.org:4443/masque{?target_host,target_port}")
    #expect(template.scheme == "https")
    #expect(template.authority == "proxy.example.org:4443")
    #expect(
      try URITemplate.default(authority: "pop.example:443").text
        == "https://pop.example:443/.well-known/masque/udp/{target_host}/{target_port}/")
  }

  @Test(arguments: [
    "", "/{target_host}/{target_port}", "https:/{target_host}/{target_port}", "https://", "https://p",
    "https:///{target_host}/{target_port}", "https://p{/target_host,target_port}",
    "https://p?{target_host}{target_port}",
    "https://{target_host}/{target_port}", "https://p/{target_host}", "https://p/{target_port}", "https://p/x",
    "https://p/{+target_host}/{target_port}", "https://p/{#target_host}/{target_port}",
    "https://p/{.target_host}/{target_port}", "https://p{/target_host}{/target_port}",
    "https://p/x{/target_host}{/target_port}", "https://p/{;target_host,target_port}",
    "https://p/{target_host*}/{target_port}", "https://p/{target_host:3}/{target_port}",
    "https://p/{=target_host}/{target_port}", "https://p/{|target_host}/{target_port}",
    "https://p/{target_host}/{target_port", "https://p/{target_host}/target_port}",
    "https://p/{}{target_host}{target_port}",
    "https://p/{target_host,}/{target_port}", "https://p/{target_host}/{target_port}#f",
    "https://p/{target_host}/{target_port} ", "https://p/é/{target_host}/{target_port}",
    "1ttps://p/{target_host}/{target_port}",
    "https://u@p/{target_host}/{target_port}", "https://p/{target host}/{target_port}",
  ])
  func templatesThatAreRefused(text: String) {
    #expect(throws: URITemplate.Invalid.self) { try URITemplate(text) }
  }

  @Test(arguments: [
    "", "/", "/.well-known/masque/udp/192.0.2.6/443", "/.well-known/masque/udp/192.0.2.6/443/x",
    "/.well-known/masque/tcp/192.0.2.6/443/", "/.well-known/masque/udp/192.0.2.6/443/?x",
    "/.well-known/masque/udp/2001:db8::42/443/", "/.well-known/masque/udp/a%2/443/",
    "/.well-known/masque/udp/a%zz/443/", "/.well-known/masque/udp/a%ff/443/", "/.well-known/masque/udp/a/b/443/",
    "/.well-known/masque/udp/a%/443/",
  ])
  func pathsOfNoTarget(path: String) throws {
    let template = try URITemplate.default(authority: "p")
    #expect(throws: URITemplate.MatchError.noMatch) { try template.match(path) }
  }

  @Test(arguments: [
    ("", "443", Target.Invalid.host), ("a%20b", "443", .host), ("%5B%3A%3A1%5D", "443", .host), ("a%00", "443", .host),
    ("fe80%3A%3A1%25eth0", "443", .host), ("127.1", "443", .host), ("0x7f000001", "443", .host),
    ("2130706433", "443", .host), ("a..b", "443", .host), ("-a", "443", .host), ("..", "443", .host),
    ("a%2Fb", "443", .host), ("192.0.2.6", "", .port), ("192.0.2.6", "0", .port), ("192.0.2.6", "65536", .port),
    ("192.0.2.6", "-1", .port), ("192.0.2.6", "%2B80", .port), ("192.0.2.6", "4a", .port),
    ("192.0.2.6", "000443", .port),
  ])
  func targetsThatAreRefused(host: String, port: String, error: Target.Invalid) throws {
    let template = try URITemplate.default(authority: "p")
    #expect(throws: URITemplate.MatchError.invalid(error)) {
      try template.match("/.well-known/masque/udp/\(host)/\(port)/")
    }
  }

  @Test func namesAreMadeOne() throws {
    let template = try URITemplate.default(authority: "p")
    #expect(try template.match("/.well-known/masque/udp/TARGET.example./8443/") == named)
    #expect(try template.match("/.well-known/masque/udp/%74arget.example/8443/") == named)
    let twice = try URITemplate("https://p/{target_host}/{target_port}/{target_host}")
    #expect(try twice.match("/a/1/a").port == 1)
    #expect(throws: URITemplate.MatchError.noMatch) { try twice.match("/a/1/b") }
  }

  @Test func mutatedPathsNeverTrap() throws {
    let entropy = SeededEntropy(seed: 6570)
    let template = try URITemplate("https://p/m{?target_host,target_port}")
    let seed = Array(template.expand(six).utf8)
    for _ in 0..<3000 {
      var bytes = seed
      for _ in 0..<3 {
        let at = Int(entropy.nextUInt64() % UInt64(bytes.count))
        bytes[at] = UInt8(truncatingIfNeeded: entropy.nextUInt64())
        if entropy.nextUInt64() % 4 == 0 { bytes.removeLast(bytes.count - max(at, 1)) }
      }
      let path = String(decoding: bytes, as: UTF8.self)
      if let target = try? template.match(path) { #expect(try template.match(template.expand(target)) == target) }
      _ = try? URITemplate("https://p/\(path)")
    }
  }
}

@Suite struct TargetTests {
  @Test(arguments: ["192.0.2.6:443", "[2001:db8::42]:443", "target.example:8443"])
  func authoritiesComeBack(text: String) throws { #expect(try Target(authority: text).authority == text) }

  @Test(arguments: [
    "", ":", "a", "a:", ":443", "a:0", "a:65536", "2001:db8::42:443", "[192.0.2.6]:443", "[a]:443", "[]:443",
    "[2001:db8::42]", "[2001:db8::42]443", "u@a:443", "a b:443", "[fe80::1%eth0]:443", "a:443:443",
  ])
  func badAuthorities(text: String) { #expect(throws: Target.Invalid.self) { try Target(authority: text) } }
}
