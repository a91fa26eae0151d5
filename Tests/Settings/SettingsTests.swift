import Foundation
import Testing
import Wire

@testable import Settings

private let schema = Schema([
  .value("name", .identifier, default: "pop", "A name."),
  .section(
    "pop", "A section.",
    [
      .value("domain", .host, required: true, "A domain."),
      .value("port", .integer(1...65535), default: "443", "A port."),
      .list("addresses", .hostPort, example: ["192.0.2.1:443"], "Addresses."),
      .section(
        "trust", "Inner.", [.value("caFile", .path, "A file."), .value("roots", .boolean, default: "true", "B.")]),
    ]),
  .section(
    "transport", "T.",
    [
      .value(
        "congestion", .choice(["cubic", "newreno"]), default: "cubic", environment: "CBR_CC", "C."),
      .value("idleTimeout", .duration(.seconds(1)...(.seconds(60))), default: "30s", "I."),
    ]),
  .sections(
    "tunnels", example: [["name": "a", "listen": "127.0.0.1:1"]], "Tunnels.",
    [
      .value("name", .identifier, required: true, "N."),
      .value("listen", .loopbackAddress(anyPort: true), required: true, "L."),
      .value("limit", .integer(0...9), default: "3", "M."),
    ]),
])

private func problems(_ text: String) -> [String] {
  do {
    let file = try SettingsFile(text: text, path: "a.yaml", schema: schema)
    _ = try ResolvedSettings(schema: schema, file: file, environment: [:])
    return []
  } catch {
    return error.problems.map(\.description)
  }
}

@Suite struct FileChecks {
  @Test func aGoodFileGivesItsValuesAndDefaults() throws {
    let file = try SettingsFile(
      text: """
        pop:
          domain: pop.example.net
          addresses: ["192.0.2.1:443", '[2001:db8::1]:4433']
          trust: {caFile: ca.pem, roots: false}
        tunnels:
          - {name: one, listen: "127.0.0.1:0"}
          - name: two
            listen: "[::1]:53"
            limit: 9
        """, path: "/etc/x/a.yaml", schema: schema)
    let settings = try ResolvedSettings(schema: schema, file: file, environment: [:])
    #expect(settings.text("pop.domain") == "pop.example.net")
    #expect(settings.list("pop.addresses") == ["192.0.2.1:443", "[2001:db8::1]:4433"])
    #expect(settings.integer("pop.port") == 443)
    #expect(settings.boolean("pop.trust.roots") == false)
    #expect(settings.path("pop.trust.caFile") == "/etc/x/ca.pem")
    #expect(settings.interval("transport.idleTimeout") == .seconds(30))
    #expect(settings.sectionCount("tunnels") == 2)
    #expect(settings.text("tunnels[1].listen") == "[::1]:53")
    #expect(settings.integer("tunnels[0].limit") == 3)
    #expect(settings.integer("tunnels[1].limit") == 9)
    #expect(settings.origin(of: "tunnels[1].name") == .file("/etc/x/a.yaml", line: 7))
  }

  @Test func everyFaultNamesFileLineKeyAndTheNearestKey() {
    let found = problems(
      """
      name: pop
      pop:
        domian: pop.example.net
        port: https
        addresses: 192.0.2.1:443
      idleTimeout: 3s
      transport:
        idleTimeout: 30
        congestion: cubik
      colour: red
      """)
    #expect(
      found == [
        "a.yaml:3: pop.domian: unknown key; did you mean domain?",
        "a.yaml:4: pop.port: expected a whole number from 1 to 65535, found 'https'",
        "a.yaml:5: pop.addresses: expected a list, found '192.0.2.1:443'",
        "a.yaml:6: idleTimeout: unknown key; did you mean transport.idleTimeout?",
        "a.yaml:8: transport.idleTimeout: expected a duration such as 30s or 250ms, found '30'",
        "a.yaml:9: transport.congestion: expected one of cubic, newreno, found 'cubik'; did you mean cubic?",
        "a.yaml:10: colour: unknown key; valid here are name, pop, transport, tunnels",
      ])
  }

  @Test func shapesThatDoNotFit() {
    #expect(problems("- a\n- b") == ["a.yaml:1: expected a mapping of keys at the top of the file"])
    #expect(problems("pop: [1]") == ["a.yaml:1: pop: expected a section of keys, found a list"])
    #expect(
      problems("pop: {domain: a.b}\nname: {x: 1}") == ["a.yaml:2: name: expected a single value, found a section"])
    #expect(
      problems("pop: {domain: a.b}\ntunnels: [x]") == ["a.yaml:2: tunnels[0]: expected a section of keys, found 'x'"])
    #expect(
      problems("pop: {domain: a.b}\ntunnels:\n  - name: x") == ["a.yaml:3: tunnels[0]: lacks the key listen"])
    #expect(
      problems("pop: {domain: a.b}\ntunnels:\n  - {name: x, listen: '0.0.0.0:80'}")
        == ["a.yaml:3: tunnels[0].listen: '0.0.0.0:80' is not a loopback address; use 127.0.0.1 or [::1]"])
    #expect(problems("").first?.contains("pop.domain: is required (here, or as CBR_POP_DOMAIN)") == true)
    #expect(problems("pop:\n  domain: a.b\n  domain: c.d").first?.hasPrefix("a.yaml:") == true)
    #expect(problems("pop: {domain: a.b").first?.contains("is not YAML") == true)
    #expect(problems("pop: {domain: a.b}\nname:") == [])
  }

  @Test func anUnreadableFileSaysWhy() {
    #expect(throws: SettingsError([.init(.file("/nowhere/a.yaml", line: nil), "cannot be read: no such file")])) {
      try SettingsFile(path: "/nowhere/a.yaml", schema: schema)
    }
  }

  @Test func depthAndSizeAreBounded() {
    #expect(problems(String(repeating: "[", count: 100_000)) == ["a.yaml:1: nested too deeply"])
    #expect(problems(String(repeating: "- ", count: 1000)) == ["a.yaml:1: nested too deeply"])
    #expect(problems(String(repeating: "#", count: 300_000)).first?.contains("larger than") == true)
  }

  @Test func mutatedFilesNeverCrash() {
    let valid = Array(schema.example(preface: ["Head"]).utf8)
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    func random(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    for _ in 0..<3000 {
      var bytes = valid
      for _ in 0...random(4) {
        switch random(4) {
        case 0: bytes[random(bytes.count)] = UInt8(random(256))
        case 1: bytes.remove(at: random(bytes.count))
        case 2:
          bytes.insert(
            contentsOf: Array("[]{}:-&*!|>'\"%@`#, \n\t?<".utf8.shuffled(by: random)).prefix(3), at: random(bytes.count)
          )
        default: bytes.removeSubrange(random(bytes.count)...)
        }
        if bytes.isEmpty { bytes = [0x61] }
      }
      _ = problems(String(decoding: bytes, as: UTF8.self))
    }
  }
}

extension Sequence {
  fileprivate func shuffled(by random: (Int) -> Int) -> [Element] {
    var items = Array(self)
    for index in items.indices.reversed() { items.swapAt(index, random(index + 1)) }
    return items
  }
}

@Suite struct Layers {
  @Test func flagsWinOverEnvironmentOverFileOverDefaults() throws {
    let file = try SettingsFile(
      text: "pop: {domain: file.test, port: 1}\ntransport: {congestion: newreno}", path: "a.yaml", schema: schema)
    let environment = [
      "CBR_POP_PORT": "2", "CBR_POP_DOMAIN": "env.test", "CBR_POP_ADDRESSES": "a.test:1, b.test:2",
      "CBR_POP_TRUST_ROOTS": "false", "CBR_POP_TRUST_CA_FILE": "~/ca.pem", "HOME": "/home/me", "CBR_NAME": "",
    ]
    let settings = try ResolvedSettings(
      schema: schema, file: file, flags: [("pop.port", "3", "--set")], environment: environment)
    #expect(settings.integer("pop.port") == 3)
    #expect(settings.text("pop.domain") == "env.test")
    #expect(settings.list("pop.addresses") == ["a.test:1", "b.test:2"])
    #expect(settings.boolean("pop.trust.roots") == false)
    #expect(settings.path("pop.trust.caFile") == "/home/me/ca.pem")
    #expect(settings.text("transport.congestion") == "newreno")
    #expect(settings.text("name") == "pop")
    #expect(settings.origin(of: "pop.port") == .flag("--set"))
    #expect(settings.origin(of: "pop.domain") == .environment("CBR_POP_DOMAIN"))
    #expect(settings.origin(of: "transport.congestion") == .file("a.yaml", line: 2))
  }

  @Test func anAliasOfTheEnvironmentCounts() throws {
    let settings = try ResolvedSettings(
      schema: schema, file: nil, environment: ["CBR_CC": "newreno", "CBR_POP_DOMAIN": "a.test"])
    #expect(settings.text("transport.congestion") == "newreno")
  }

  @Test func faultsNameTheVariableOrFlag() {
    do {
      _ = try ResolvedSettings(
        schema: schema, file: nil, flags: [("pop.prot", "1", "--set pop.prot")],
        environment: ["CBR_POP_PORT": "x", "CBR_CC": "cubik", "CBR_POP_DOMAIN": "a.test"])
      Issue.record("no error")
    } catch {
      #expect(
        error.problems.map(\.description) == [
          "environment variable CBR_POP_PORT: pop.port: expected a whole number from 1 to 65535, found 'x'",
          "environment variable CBR_CC: transport.congestion: expected one of cubic, newreno, found 'cubik'; did you mean cubic?",
          "--set pop.prot: pop.prot: unknown key; did you mean pop.port?",
        ])
    }
  }
}

@Suite struct Kinds {
  @Test(arguments: [
    ("30s", Interval.seconds(30)), ("250ms", .milliseconds(250)), ("0", .zero), ("5m", .seconds(300)),
    ("2h", .seconds(7200)), ("10us", .microseconds(10)),
  ]) func durations(_ text: String, _ interval: Interval) {
    #expect(Interval(settingsText: text) == interval)
    #expect(interval.settingsText == text)
  }

  @Test(arguments: ["", "30", "s", "-3s", "1.5s", "3 s", "99999999999999h", "3S", "٣s"])
  func whatIsNoDuration(_ text: String) { #expect(Interval(settingsText: text) == nil) }

  @Test func hosts() {
    for good in ["a", "a.b", "xn--e1afmkfd.test", "192.0.2.1", "2001:db8::1", "a.b.", "_x.y"] {
      #expect(ValueKind.isHost(good), "\(good)")
    }
    for bad in ["", ".", "-a", "a-", "a..b", "a b", "256.1.1.1", "1.2.3", "a:1", "[::1]", "ä.test"] {
      #expect(!ValueKind.isHost(bad), "\(bad)")
    }
  }

  @Test func hostPorts() {
    #expect(ValueKind.hostPort("[2001:db8::1]:53")?.host == "2001:db8::1")
    #expect(ValueKind.hostPort("dns.test:53")?.port == 53)
    for bad in ["a", "a:", "a:0", "a:65536", "2001:db8::1:53", "[a]:1", ":1", "a b:1"] {
      #expect(ValueKind.hostPort(bad) == nil, "\(bad)")
    }
  }

  @Test func urlsMustBeSecureOrLocal() {
    for good in [
      "https://a.test", "http://127.0.0.1:8081", "http://localhost/x", "http://[::1]:80", "https://a.test:8/x",
    ] {
      #expect(ValueKind.secureURL.problem(with: good) == nil, "\(good)")
    }
    for bad in ["http://a.test", "http://127.0.0.1.evil.test", "ftp://a", "a.test", "https://", "https://u@a.test", ""]
    {
      #expect(ValueKind.secureURL.problem(with: bad) != nil, "\(bad)")
    }
  }

  @Test func templatesNeedTheirVariables() {
    let kind = ValueKind.uriTemplate(variables: ["target_host", "target_port"])
    for good in [
      "https://a.test/.well-known/masque/udp/{target_host}/{target_port}/",
      "https://a.test/masque{?target_host,target_port}", "https://a.test:8443/m?h={target_host}&p={target_port}",
    ] { #expect(kind.problem(with: good) == nil, "\(good)") }
    for bad in [
      "https://a.test/{target_host}/", "/x/{target_host}/{target_port}", "http://a.test/{target_host}/{target_port}",
    ] {
      #expect(kind.problem(with: bad) != nil, "\(bad)")
    }
  }

  @Test func pins() {
    #expect(ValueKind.sha256.problem(with: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=") == nil)
    #expect(ValueKind.sha256.problem(with: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=") != nil)
    #expect(ValueKind.sha256.problem(with: "47DE") != nil)
  }

  @Test func portRanges() {
    #expect(ValueKind.portRange("8000-8999") == 8000...8999)
    #expect(ValueKind.portRange("53") == 53...53)
    for bad in ["", "0", "9-8", "1-2-3", "65536", "a"] { #expect(ValueKind.portRange(bad) == nil, "\(bad)") }
  }
}

@Suite struct Nearest {
  @Test func misspellings() {
    let names = ["connect", "disconnect", "discover", "status", "tunnel", "quit"]
    #expect(nearest(to: "conect", in: names) == "connect")
    #expect(nearest(to: "sttaus", in: names) == "status")
    #expect(nearest(to: "TUNEL", in: names) == "tunnel")
    #expect(nearest(to: "frobnicate", in: names) == nil)
    #expect(nearest(to: "", in: names) == nil)
    #expect(nearest(to: String(repeating: "x", count: 10_000), in: names) == nil)
  }

  @Test func distanceCountsAnExchangeAsOne() {
    #expect(editDistance("ab", "ba") == 1)
    #expect(editDistance("kitten", "sitting") == 3)
    #expect(editDistance("", "abc") == 3)
  }
}

@Suite struct Examples {
  @Test func theExampleIsValidAndHoldsEveryKey() {
    let text = schema.example(preface: ["Head", "", "More"])
    #expect(text.hasPrefix("# Head\n#\n# More\n"))
    for path in schema.paths {
      let leaf = path.split(separator: ".").last!
      #expect(text.contains("\(leaf):"), "\(path)")
    }
    #expect(problems(text).filter { !$0.contains("pop.domain") } == [])
  }

  @Test func environmentNames() {
    #expect(ResolvedSettings.environmentName(of: "pop.trust.caFile") == "CBR_POP_TRUST_CA_FILE")
    #expect(ResolvedSettings.environmentName(of: "identity.clientID") == "CBR_IDENTITY_CLIENT_ID")
    #expect(ResolvedSettings.environmentName(of: "transport.initialMTU") == "CBR_TRANSPORT_INITIAL_MTU")
    #expect(ResolvedSettings.environmentName(of: "identity.profiles.jwksURL") == "CBR_IDENTITY_PROFILES_JWKS_URL")
  }
}
