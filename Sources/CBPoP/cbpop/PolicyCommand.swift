import ArgumentParser
import CBPoP
import Foundation
import Settings
import Wire

struct PolicyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "policy", abstract: "Try BGP policies without a neighbor.", subcommands: [Test.self])

  struct Test: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say what a policy file makes of routes, and which rule says so.",
      discussion: """
        Each policy of the file is asked about each prefix, unless --policy names one. What the file looks like is in \
        docs/bgp-policy.md.

        Exit status: 0, or 1 when --expect was not what came of it, 7 for a file that is wrong, 64 for wrong flags.
        """)

    @Argument(help: "The policy file.") var file: String
    @Argument(help: "The prefixes of the routes.") var prefixes: [String]
    @Option(help: "Only the policy of this name.") var policy: String?
    @Option(help: ArgumentHelp("The AS path, from the neighbor to the origin.", valueName: "AS AS ...")) var asPath = ""
    @Option(
      parsing: .singleValue,
      help: ArgumentHelp("A community of any kind, such as 64512:1. May be repeated.", valueName: "community"))
    var community: [String] = []
    @Option(help: "The next hop.") var nextHop: String?
    @Option(name: .customLong("peer-as"), help: "The neighbor's AS. Without it, the path's first.") var peerAS: UInt32?
    @Flag(help: "The routes are our own.") var local = false
    @Option(help: "valid, invalid or not-found (RPKI).") var originValidity = "not-found"
    @Option(help: "permit or deny: fail unless all are.") var expect: String?
    @Flag(help: "Print one JSON object a line.") var json = false

    func validate() throws {
      guard !prefixes.isEmpty else { throw ValidationError("name a prefix, such as 192.0.2.0/24") }
      for prefix in prefixes where IPPrefix(prefix) == nil {
        throw ValidationError("'\(prefix)' is no prefix, such as 192.0.2.0/24")
      }
      for number in asPath.split(separator: " ") where UInt32(number) == nil {
        throw ValidationError("'\(number)' is no AS")
      }
      if let nextHop, IPAddress(nextHop) == nil { throw ValidationError("'\(nextHop)' is no address") }
      guard ["valid", "invalid", "not-found"].contains(originValidity) else {
        throw ValidationError("--origin-validity is valid, invalid or not-found, not '\(originValidity)'")
      }
      if let expect, expect != "permit", expect != "deny" {
        throw ValidationError("--expect is permit or deny, not '\(expect)'")
      }
    }

    func run() throws {
      let test: PolicyTest
      do {
        test = try PolicyTest(path: file)
      } catch {
        FileHandle.standardError.write(Data("\(error)\n".utf8))
        throw ExitCode(7)
      }
      if let policy, !test.policies.contains(policy) {
        throw ValidationError("\(file) has no policy '\(policy)', but \(test.policies.joined(separator: ", "))")
      }
      var isExpected = true
      for prefix in prefixes.compactMap({ IPPrefix($0) }) {
        var route = PolicyTest.Route(prefix)
        route.asPath = asPath.split(separator: " ").compactMap { UInt32($0) }
        route.communities = community
        route.nextHop = nextHop.flatMap { IPAddress($0) }
        route.peerAS = peerAS
        route.isLocal = local
        route.originValidity = originValidity
        for answer in try test.evaluate(route, by: policy) {
          if let expect, answer.isPermitted != (expect == "permit") { isExpected = false }
          try print(json ? Self.line(answer) : Self.text(answer))
        }
      }
      if !isExpected { throw ExitCode(1) }
    }

    private static func text(_ answer: PolicyTest.Answer) -> String {
      let verdict = answer.isPermitted ? "permit" : "deny"
      let changes = answer.changes.isEmpty ? "" : " (\(answer.changes.joined(separator: ", ")))"
      return "\(answer.prefix): \(verdict)\(changes): \(answer.reason)"
    }

    private static func line(_ answer: PolicyTest.Answer) throws -> String {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return String(decoding: try encoder.encode(answer), as: UTF8.self)
    }
  }
}
