import Foundation
import Testing
import Wire

@testable import BGP

@Suite("Hostile messages")
struct HostileTests {
  static let table = HostileMessage.headersAndOpens + HostileMessage.updates

  @Test(arguments: table) func isAnsweredAsTheRFCsWant(hostile: HostileMessage) throws {
    #expect(try hostile.play() == hostile.answer, "\(hostile.source)")
  }

  @Test func theTableIsLong() {
    #expect(Self.table.count >= 100)
    #expect(Set(Self.table.map(\.name)).count == Self.table.count, "each name once")
  }

  /// Tests/Peers/BGP plays the table against others. `CBR_WRITE_HOSTILE=1` writes it anew.
  @Test func theTableIsWrittenDown() throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Peers/BGP/bgp_hostile.json")
    let json = Self.json
    if ProcessInfo.processInfo.environment["CBR_WRITE_HOSTILE"] != nil {
      try json.write(to: file, atomically: true, encoding: .utf8)
    }
    #expect(try String(contentsOf: file, encoding: .utf8) == json, "run with CBR_WRITE_HOSTILE=1")
  }

  private static var json: String {
    let peerings = HostileMessage.Peering.allCases.map { peering in
      let before = peering.before.map { "\"\(hexadecimal($0))\"" }.joined(separator: ", ")
      return """
            "\(peering.rawValue)": {"open": "\(hexadecimal(peering.open.serialized))", "before": [\(before)]}
        """
    }
    let messages = table.map { hostile in
      """
          {"name": "\(hostile.name)", "source": "\(hostile.source)", "stage": "\(hostile.stage.rawValue)",
            "peering": "\(hostile.peering.rawValue)", "ipv6": \(hostile.isIPv6), "answer": "\(hostile.answer)",
            "octets": "\(hexadecimal(hostile.octets))"}
      """
    }
    return """
      {
        "peerings": {
      \(peerings.joined(separator: ",\n"))
        },
        "messages": [
      \(messages.joined(separator: ",\n"))
        ]
      }

      """
  }
}
