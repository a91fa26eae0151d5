import Foundation
import QUIC
import Settings
import Testing
import Wire

@testable import CBClient

/// The root of the checkout: profiles are part of what is tested.
private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// A folder that a test may fill, removed when it ends.
final class ScratchFolder {
  let path: String
  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("cb-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  func write(_ text: String, to name: String) throws {
    let url = URL(fileURLWithPath: "\(path)/\(name)")
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: url)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

private let least = "pop: {domain: pop.test}\nidentity: {issuer: 'https://login.test'}\n"

@Suite struct ProfileTests {
  @Test func theLeastProfileGetsEveryDefault() throws {
    let folder = try ScratchFolder()
    try folder.write(least, to: "least.yaml")
    let profile = try Profile(path: "\(folder.path)/least.yaml", environment: [:])
    #expect(profile.name == "least")
    #expect(profile.pop.port == 443)
    #expect(profile.pop.trust == .init(caFile: nil, systemRoots: true, pins: []))
    #expect(profile.identity.clientID == "cbterm")
    #expect(profile.identity.scopes == ["openid", "profile", "email", "offline_access"])
    #expect(profile.transport.congestion == .bbrV3)
    #expect(profile.transport.idleTimeout == .seconds(30))
    #expect(profile.transport.keepAlive == .seconds(10))
    #expect(profile.proxy.socks == SocketAddress("127.0.0.1:1080"))
    #expect(profile.proxy.http == SocketAddress("127.0.0.1:8118"))
    #expect(profile.reconnect.maxDelay == .seconds(30))
    #expect(profile.tunnels.isEmpty)
    #expect(
      profile.connectUDPTemplate(for: "192.0.2.1")
        == "https://pop.test/.well-known/masque/udp/{target_host}/{target_port}/")
    #expect(profile.serverName(for: "192.0.2.1") == "pop.test")
  }

  @Test func theExampleIsWhatTheSchemaSays() throws {
    let path = root.appendingPathComponent("profiles/example.yaml")
    let text = Profile.schema.example(preface: [
      "A complete profile: every key there is, with its default or, commented out, a sample value.",
      "",
      "Put your own as NAME.yaml into $XDG_CONFIG_HOME/cloudbridge/profiles (~/.config/cloudbridge/profiles).",
      "Only pop and identity.issuer are needed. A key KEY.SUBKEY of this file is also the environment variable",
      "CBR_KEY_SUBKEY (pop.trust.caFile is CBR_POP_TRUST_CA_FILE) and the flag --set KEY.SUBKEY=VALUE;",
      "flags win over the environment, and that over the file. Durations: 250ms, 30s, 5m, 1h.",
    ])
    if ProcessInfo.processInfo.environment["UPDATE_EXAMPLES"] != nil { try Data(text.utf8).write(to: path) }
    #expect(try String(contentsOf: path, encoding: .utf8) == text, "run the tests with UPDATE_EXAMPLES=1")
    let profile = try Profile(path: path.path, environment: [:])
    #expect(profile.pop.domain == "pop.example.net")
    #expect(profile.tunnels.map(\.name) == ["resolver", "web"])
  }

  @Test func theLocalProfileFitsDevMode() throws {
    let path = root.appendingPathComponent("profiles/local.yaml").path
    let profile = try Profile(path: path, environment: ["HOME": "/home/me"])
    #expect(profile.pop.domain == "cloudbridge.test")
    #expect(profile.dns.servers == [SocketAddress("127.0.0.1:5300")!])
    #expect(profile.identity.issuer == "http://127.0.0.1:8081")
    #expect(profile.pop.trust.caFile == "/home/me/.local/state/cloudbridge/dev/ca.pem")
  }

  @Test func valuesThatDoNotFitTogether() throws {
    let folder = try ScratchFolder()
    try folder.write(
      """
      name: other
      pop:
        trust:
          systemRoots: false
      identity: {issuer: https://login.test}
      transport:
        keepAlive: 30s
        initialMTU: 1400
        maximumMTU: 1300
      reconnect: {maxDelay: 100ms}
      proxy: {http: "127.0.0.1:1080"}
      tunnels:
        - {name: a, type: tcp, listen: "127.0.0.1:1080", target: "x.test:1"}
        - {name: a, type: udp, listen: "127.0.0.1:1080", target: "x.test:1"}
      """, to: "bad.yaml")
    do {
      _ = try Profile(path: "\(folder.path)/bad.yaml", environment: [:])
      Issue.record("no error")
    } catch {
      let lines = error.problems.map { $0.description.replacing("\(folder.path)/", with: "") }
      #expect(
        lines == [
          "bad.yaml:1: name: 'other' is not the file's own name 'bad'",
          "bad.yaml: pop: needs a domain or addresses",
          "bad.yaml:4: pop.trust.systemRoots: is false, and neither caFile nor pins says what to trust",
          "bad.yaml:7: transport.keepAlive: 30s is not less than idleTimeout (30s)",
          "bad.yaml:9: transport.maximumMTU: is less than initialMTU (1400)",
          "bad.yaml:10: reconnect.maxDelay: is less than initialDelay (250ms)",
          "bad.yaml:11: proxy.http: is the same address as proxy.socks",
          "bad.yaml:13: tunnels[0].listen: 127.0.0.1:1080 is taken already",
          "bad.yaml:14: tunnels[1].name: 'a' is taken by an earlier tunnel",
        ])
    }
  }

  @Test func onlyLoopbackListens() throws {
    let folder = try ScratchFolder()
    try folder.write(least + "proxy: {socks: '0.0.0.0:1080'}\n", to: "open.yaml")
    #expect(throws: SettingsError.self) { try Profile(path: "\(folder.path)/open.yaml", environment: [:]) }
    let off = ["CBR_PROXY_SOCKS": "127.0.0.2:0", "CBR_PROXY_ENABLED": "false"]
    #expect(throws: SettingsError.self) { try Profile(path: "\(folder.path)/open.yaml", environment: off) }
    try folder.write(least, to: "open.yaml")
    #expect(try Profile(path: "\(folder.path)/open.yaml", environment: off).proxy.socks == nil)
  }
}

@Suite struct ProfileLibraryTests {
  @Test func foldersComeInOrderAndHideLaterOnes() throws {
    let folder = try ScratchFolder()
    try folder.write(least + "description: given", to: "given/a.yaml")
    try folder.write(least + "description: home", to: "config/cloudbridge/profiles/a.yaml")
    try folder.write(least + "description: home", to: "config/cloudbridge/profiles/b.yml")
    try folder.write("pop: {domian: x}", to: "work/profiles/c.yaml")
    try folder.write(least, to: "checkout/profiles/d.yaml")
    try folder.write("", to: "checkout/.build/debug/cbterm")
    let environment = ["XDG_CONFIG_HOME": "\(folder.path)/config", "XDG_STATE_HOME": "\(folder.path)/state"]
    let library = ProfileLibrary(
      folder: "\(folder.path)/given", environment: environment, workingDirectory: "\(folder.path)/work",
      executable: "\(folder.path)/checkout/.build/debug/cbterm")
    #expect(library.names() == ["a", "b", "c", "d"])
    let entries = library.entries()
    #expect(entries[0].description == "given")
    #expect(entries[1].description == "home")
    #expect(entries[2].problem?.contains("c.yaml:1: pop.domian: unknown key; did you mean domain?") == true)
    #expect(try library.profile("b").name == "b")
    #expect(try library.profile("\(folder.path)/given/a.yaml").description == "given")
    #expect(try library.profile("a", flags: [("pop.port", "99", "--set")]).pop.port == 99)
  }

  @Test func anUnknownNameSuggestsTheNearest() throws {
    let folder = try ScratchFolder()
    try folder.write(least, to: "frankfurt.yaml")
    let library = ProfileLibrary(folder: folder.path, environment: [:], workingDirectory: folder.path)
    do {
      _ = try library.profile("frankfrut")
      Issue.record("no error")
    } catch {
      #expect(error.description.hasSuffix("did you mean frankfurt?"))
      #expect(error.description.contains(folder.path))
    }
  }

  @Test func theChoiceIsRemembered() throws {
    let folder = try ScratchFolder()
    try folder.write(least, to: "p/a.yaml")
    try folder.write(least, to: "p/b.yaml")
    var environment = ["XDG_STATE_HOME": "\(folder.path)/state"]
    let library = ProfileLibrary(
      folder: "\(folder.path)/p", environment: environment, workingDirectory: folder.path)
    #expect(library.defaultName() == nil)
    try library.remember("b")
    #expect(library.defaultName() == "b")
    try folder.write(least, to: "p/local.yaml")
    try library.remember("gone")
    #expect(library.defaultName() == "local")
    environment["CBR_PROFILE"] = "a"
    #expect(ProfileLibrary(folder: "\(folder.path)/p", environment: environment).defaultName() == "a")
  }
}
