import BGP
import Health
import Ring
import Settings
import Testing
import Wire

@testable import CBPoP

private func bgp(_ text: String) throws(SettingsError) -> PoPSettings.BGP {
  let indented = text.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n")
  return try PoPSettings(text: "bgp:\n\(indented)\n", path: "cbpop.yaml").bgp
}

private func problems(_ text: String) -> [String] {
  do {
    _ = try bgp(text)
    return []
  } catch {
    return error.problems.map(\.description)
  }
}

@Suite("Settings of announcements, health and neighbors") struct AnnouncementSettingsTests {
  @Test func whatIsToldFollowsTheState() throws {
    let settings = try bgp(
      """
      announce: [192.0.2.0/24, 198.51.100.7]
      announcements:
        - name: web
          prefixes: [203.0.113.0/24]
          onFailure: med
          medUp: 100
          medDrained: 900
          communitiesUp: ["65000:1", no-export]
          communitiesDrained: ["65000:1:2"]
        - name: plain
          prefixes: ["2001:db8::/32"]
          medDegraded: 7
      """)
    #expect(settings.groups.map(\.name) == ["announce", "web", "plain"])
    let (short, web, plain) = (settings.groups[0], settings.groups[1], settings.groups[2])
    #expect(short.prefixes.last.map { "\($0)" } == "198.51.100.7/32")
    #expect(short.attributes(.up) == PathAttributes() && short.attributes(.degraded) == PathAttributes())
    #expect(short.attributes(.down) == nil && short.attributes(.drained) == nil)
    #expect(web.attributes(.up)?.multiExitDisc == 100 && web.attributes(.degraded) == web.attributes(.up))
    #expect(web.attributes(.up)?.communities.count == 2)
    #expect(web.attributes(.drained)?.multiExitDisc == 900 && web.attributes(.down) == web.attributes(.drained))
    #expect(web.attributes(.down)?.largeCommunities.count == 1 && web.attributes(.down)?.communities == [])
    #expect(plain.attributes(.up)?.multiExitDisc == nil && plain.attributes(.degraded)?.multiExitDisc == 7)
    #expect(plain.attributes(.down) == nil)
  }

  @Test func loadHasWaterMarks() throws {
    let load = try bgp("health: {load: {processorsHigh: 400, memoryHigh: 95, memoryLow: 90, onHigh: degrade}}").health
      .load
    #expect(load.limits == [.processors: .init(high: 400, low: 300), .memory: .init(high: 95, low: 90)])
    #expect(load.degrades)
    #expect(try bgp("localAS: 1").health.load.limits.isEmpty)
  }

  @Test func whatDoesNotFitTogetherIsSaid() {
    let found = problems(
      """
      announce: [192.0.2.0/24]
      announcements:
        - name: web
          prefixes: [192.0.2.0/24]
          checks: [listeners, load, ap]
          onFailure: med
          communitiesUp: ["65000"]
        - name: web
          prefixes: [198.51.100.0/24]
      health:
        load: {memoryHigh: 50, memoryLow: 60}
        commands:
          - name: app
            command: [check-app]
          - name: drain
            command: [/bin/true]
      """)
    for words in [
      "announcements[0].prefixes: 192.0.2.0/24 is announced already",
      "announcements[0].checks: there is no check 'ap' in bgp.health; there are listeners, load, app",
      "announcements[0].onFailure: med needs medDrained or communitiesDrained",
      "announcements[0].communitiesUp:", "announcements[1].name: 'web' is taken",
      "load.memoryLow: must not be more than memoryHigh",
      "commands[0].command: must begin with the absolute path of a program", "commands[1].name: 'drain' is taken",
    ] {
      #expect(found.contains { $0.contains(words) }, "\(words) is not in \(found)")
    }
    #expect(found.count == 8)
  }

  private func neighbor(_ address: String, _ rest: String = "") -> String {
    "routerID: 192.0.2.1\nneighbors:\n  - {name: a, address: '\(address)', remoteAS: 65001\(rest)}"
  }

  @Test func aLinkLocalNeighborHasItsInterface() throws {
    let found = try bgp(neighbor("fe80::1%eth1")).neighbors[0]
    #expect("\(found.address)" == "fe80::1" && found.interface == "eth1")
    #expect(try bgp(neighbor("192.0.2.9")).neighbors[0].interface == nil)
    for (address, words) in [
      ("fe80::1", "is link-local: add its interface, as in fe80::1%eth0"),
      ("2001:db8::1%eth0", "is not link-local: leave out the interface"), ("fe80::1%", "expected an IP address"),
      ("fe80::1%a/b", "expected an IP address"), ("fe80::1%0123456789abcdef", "expected an IP address"),
    ] {
      let found = problems(neighbor(address))
      #expect(found.count == 1 && found[0].contains(words), "\(found)")
    }
    let two = neighbor("fe80::1%eth1") + "\n  - {name: b, address: 'fe80::1%eth2', remoteAS: 65002"
    #expect(problems(two + "}") == [])
    #expect(problems(two + ", passwordFile: /k}").contains { $0.contains("both need the same keys") })
    let same = neighbor("fe80::1%eth1") + "\n  - {name: b, address: 'fe80::1%eth1', remoteAS: 65002}"
    #expect(problems(same).contains { $0.contains("fe80::1%eth1 has an earlier neighbor already") })
  }

  @Test func keysOfTwoKindsExcludeEachOther() throws {
    let found = try bgp(neighbor("192.0.2.9", ", keyFile: /k, sendID: 3, receiveID: 4, algorithm: aes-128-cmac-96"))
    let authentication = try #require(found.neighbors[0].authentication)
    #expect(authentication.sendID == 3 && authentication.receiveID == 4 && authentication.algorithm == .aes128CMAC)
    #expect(problems(neighbor("192.0.2.9", ", keyFile: /k, passwordFile: /p")).count == 1)
  }
}
