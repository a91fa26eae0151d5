import BGP
import Foundation
import Settings
import Testing

@testable import CBPoP

/// What the settings make of `import`, `export` and `policyFile`.
@Suite struct BGPPolicySettingsTests {
  /// A folder with a policy file in it, and the settings beside it.
  private func bgp(_ neighbors: String, policies: String? = nil) throws -> PoPSettings.BGP {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    if let policies { try Data(policies.utf8).write(to: folder.appendingPathComponent("policy.yaml")) }
    let text = """
      bgp:
        routerID: 192.0.2.1
        policyFile: \(policies == nil ? "" : "policy.yaml")
        neighbors: [\(neighbors)]
      """
    return try PoPSettings(text: text, path: folder.appendingPathComponent("cbpop.yaml").path).bgp
  }

  private func problems(_ neighbors: String, policies: String? = nil) -> [String] {
    do {
      _ = try bgp(neighbors, policies: policies)
      return []
    } catch {
      return (error as? SettingsError)?.problems.map { problem in
        let text = "\(problem)"
        return text.split(separator: "/").last.map(String.init) ?? text
      } ?? ["\(error)"]
    }
  }

  private let external = "name: a, address: 192.0.2.9, remoteAS: 65001"
  private let inside = "name: b, address: 192.0.2.10, remoteAS: 64512"

  private func policy(_ neighbor: String, policies: String? = nil) throws -> (PeerPolicy, passesOn: Bool) {
    let bgp = try bgp("{\(neighbor)}", policies: policies)
    let first = try #require(bgp.neighbors.first)
    return (first.policy(bgp.policies, localAS: bgp.localAS), first.passesOn(localAS: bgp.localAS))
  }

  /// RFC 8212 §3.
  @Test func withoutAWord() throws {
    let (other, otherPasses) = try policy(external + ", transit: true")
    #expect(other == PeerPolicy(incoming: .some(PeerPolicy.missing)) && !otherPasses)
    let (own, ownPasses) = try policy(inside + ", transit: true")
    #expect(own == PeerPolicy() && ownPasses)
    let missing = try bgp("{\(external), transit: true}, {\(inside)}").neighbors.map {
      $0.missingPolicies(localAS: 64_512).map(\.remedy)
    }
    #expect(missing.map(\.count) == [2, 0] && missing[0][0].hasPrefix("import: all"))
  }

  @Test func withOne() throws {
    let (all, passesOn) = try policy(external + ", import: all, export: all, transit: true")
    #expect(all == PeerPolicy() && passesOn)
    let (none, _) = try policy(inside + ", import: none, export: none")
    #expect(none.incoming?.deniesAll == true && none.outgoing?.deniesAll == true)
    let (named, _) = try policy(external + ", import: x, export: y", policies: "policies: {x: [], y: [{then: permit}]}")
    #expect(named.incoming?.name == "x" && named.outgoing?.rules.count == 1)
    #expect(try bgp("{\(external), import: all}").neighbors[0].missingPolicies(localAS: 64_512).isEmpty)
  }

  @Test func whatIsWrongIsSaidWithItsPlace() {
    #expect(
      problems("{\(external), import: x}") == [
        "cbpop.yaml:4: bgp.neighbors[0].import: 'x' is to be a policy, but bgp.policyFile names no file; write all or "
          + "none, or set it"
      ])
    let file = "policies: {y: []}"
    #expect(
      problems("{\(external), import: x, export: y}", policies: file) == ["policy.yaml has no policy 'x'; it has y"])
    #expect(
      problems("{\(external), import: y}", policies: "policies: {all: []}") == [
        "policy.yaml: a policy is called all, which stands for no policy in bgp.neighbors; call it something else"
      ])
    let wrong = problems("{\(external), import: x, holdTime: 1s}", policies: "policies:\n  x: 7\n")
    #expect(wrong.count == 2 && wrong[0] == "policy.yaml:2: policy \"x\" must be a list of rules")
    #expect(wrong[1].contains("holdTime"), "both are said")
  }

  @Test func caches() throws {
    let text = "bgp: {rpki: {caches: [{address: 192.0.2.5}, {address: '2001:db8::5', port: 8282}]}}"
    func read(_ text: String) throws -> PoPSettings.BGP { try PoPSettings(text: text).bgp }
    #expect(try read(text).caches.map { "\($0)" } == ["192.0.2.5:323", "[2001:db8::5]:8282"])
    #expect(throws: SettingsError.self) {
      try read("bgp: {rpki: {caches: [{address: 192.0.2.5}, {address: 192.0.2.5}]}}")
    }
  }
}
