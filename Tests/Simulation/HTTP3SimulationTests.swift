import QUIC
import Testing
import Wire

/// HTTP/3 on both ends of a path that loses and reorders: field sections wait for the dynamic table's entries, which come
/// on another stream (RFC 9204 §2.1.2).
@Suite struct HTTP3SimulationTests {
  @Test(arguments: 0..<8 as Range<UInt64>) func everyResponseIsItsRequests(block: UInt64) {
    var blockings = 0
    for seed in block * 10..<(block + 1) * 10 {
      var scenario = Scenario.random(400_000 + seed, totalBytes: 1, worst: 0.08)
      scenario.plan = TransferPlan(streams: 0, bytes: 0, datagrams: 0)
      scenario.server.maxStreamsBidi = 1 + seed % 30
      scenario.up.blackouts = []
      scenario.down.blackouts = []
      scenario.client.keepAliveInterval = .seconds(1)
      scenario.expectHolds {
        let network = $0.makeNetwork { HTTP3Peer($0, plan: $1, maxSegments: $2) }
        network.runToTheEnd()
        for peer in [network.client, network.server] { blockings += (peer as? HTTP3Peer)?.blockings ?? 0 }
        return network.verdict
      }
    }
    #expect(blockings > 0, "nothing ever waited for the dynamic table")
  }
}
