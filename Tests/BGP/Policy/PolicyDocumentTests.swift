import Testing
import Wire

@testable import BGP

@Suite("Policy files")
struct PolicyDocumentTests {
  /// A node of texts, arrays and pairs; each on a line of its own, in the order in which they are made.
  private struct Lines {
    var last = 0
    mutating func text(_ text: String) -> PolicyNode {
      last += 1
      return PolicyNode(.text(text), line: last)
    }
    mutating func list(_ texts: String...) -> PolicyNode {
      let nodes = texts.map { text($0) }
      return PolicyNode(.list(nodes), line: nodes.first?.line ?? last)
    }
  }

  private func keys(_ all: [(String, PolicyNode)], line: Int = 1) -> PolicyNode {
    PolicyNode(.keys(all.map { (key: $0.0, value: $0.1) }), line: line)
  }

  private func list(_ all: PolicyNode...) -> PolicyNode { PolicyNode(.list(all), line: 1) }

  @Test func aFileOfEverything() throws {
    var lines = Lines()
    let conditions = keys([
      ("prefix", lines.list("customers", "198.51.100.0/24 le 25")), ("asPath", lines.text("65001 *")),
      ("community", lines.list("64512:1", "no-export")), ("nextHop", lines.text("10.0.1.0/24 le 32")),
      ("origin", lines.text("igp")), ("peerAS", lines.text("65001-65009")), ("asPathLength", lines.text("1-4")),
      ("originValidity", lines.text("not-found")), ("local", lines.text("false")),
      ("not", keys([("asPath", lines.text("* 666 *")), ("origin", lines.text("egp"))])),
    ])
    let changes = keys([
      ("localPreference", lines.text("200")), ("med", lines.text("none")), ("origin", lines.text("incomplete")),
      ("nextHop", lines.text("192.0.2.1")), ("prepend", lines.text("64512 2")),
      ("addCommunities", lines.list("64512:2", "rt:64512:9")), ("removeCommunities", lines.text("64512:1")),
    ])
    let root = keys([
      ("prefixLists", keys([("customers", lines.list("203.0.113.0/24 le 28", "2001:db8::/32"))])),
      (
        "policies",
        keys([
          (
            "in",
            list(
              keys([("if", keys([("prefix", lines.text("10.0.0.0/8 le 32"))])), ("then", lines.text("deny"))]),
              keys([("name", lines.text("ours")), ("if", conditions), ("set", changes), ("then", lines.text("permit"))])
            )
          ), ("out", list()),
        ])
      ),
    ])
    let document = try PolicyDocument(root)
    #expect(document.policies.map(\.name) == ["in", "out"])
    let policy = try #require(document["in"])
    var route = PolicyRoute(try prefix("203.0.113.128/26"), attributes([65_001, 7]), peerAS: 65_001)
    route.attributes.communities = [Community(64_512, 1)]
    let decision = policy.evaluate(route)
    #expect(decision.reason == "in: rule \"ours\" permits it")
    #expect(
      decision.attributes.localPreference == 200 && decision.attributes.asPath == ASPath([64_512, 64_512, 65_001, 7]))
    #expect(
      decision.attributes.communities == [Community(64_512, 2)] && decision.attributes.extendedCommunities.count == 1)
    #expect(decision.attributes.nextHop == .v4(IPv4Address(192, 0, 2, 1)) && decision.attributes.origin == .incomplete)
    route.attributes.asPath = ASPath([65_001, 666])
    #expect(policy.evaluate(route).verdict == .permit, "not both: its origin is no EGP")
    route.prefix = try prefix("10.1.0.0/16")
    #expect(policy.evaluate(route).reason == "in: rule \"rule 1\" denies it")
    #expect(document["out"]?.evaluate(route).verdict == .deny)
  }

  @Test func allFaultsAreToldWithTheirLines() throws {
    var lines = Lines()
    let root = keys([
      ("prefixLists", keys([("a", lines.text("10.0.0.0/33"))])), ("polices", lines.text("")),
      (
        "policies",
        keys([
          ("x", lines.text("permit")),
          (
            "y",
            list(
              keys([
                (
                  "if",
                  keys([
                    ("prefix", lines.text("nobody")), ("asPath", lines.text("65001x")), ("colour", lines.text("red")),
                  ])
                ),
                (
                  "set",
                  keys([("med", lines.text("-1")), ("prepend", lines.text("64512 99")), ("weight", lines.text("1"))])
                ),
                ("then", lines.text("accept")), ("else", lines.text("deny")),
              ]))
          ),
        ])
      ),
    ])
    let error = #expect(throws: PolicyFaults.self) { try PolicyDocument(root) }
    let faults = try #require(error).faults
    #expect(faults.map(\.line) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    let words = [
      "no length", "polices", "list of rules", "no prefix list", "no AS", "colour", "no number", "no AS", "weight",
      "no verdict", "else",
    ]
    for (fault, word) in zip(faults, words) { #expect(fault.message.contains(word), "\(fault)") }
    #expect(faults[0].description == "1: \"10.0.0.0/33\", character 10: \"33\" is no length; write 0 to 32")
  }
}
