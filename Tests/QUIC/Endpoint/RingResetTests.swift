import Testing
import Wire

@testable import QUIC

/// Stateless resets of endpoints that share an address and a key, one on each ring (RFC 9000 §21.11).
@Suite struct RingResetTests {
  private static let key = [UInt8](repeating: 3, count: 32)
  private static let rings = 3

  /// The endpoints of all rings, and what became of the datagrams that they tossed to each other.
  private final class Rings {
    var endpoints: [Endpoint<Int>] = []
    private var reply = [UInt8](repeating: 0, count: 1_500)

    init() {
      for index in 0..<RingResetTests.rings {
        var configuration = Endpoint<Int>.Configuration(acceptsConnections: true)
        configuration.connectionIDs = ConnectionIDFormat(
          ring: RingShare(index: index, count: RingResetTests.rings, key: 77))
        configuration.statelessResetKey = RingResetTests.key
        endpoints.append(Endpoint(configuration, entropy: SeededEntropy(seed: UInt64(index))))
      }
    }

    /// Where a datagram ends up that the kernel gave to `ring`, tossed on as often as an endpoint asks for it.
    func route(_ datagram: [UInt8], to ring: Int) -> (ring: Int, tosses: Int, Endpoint<Int>.Route) {
      var ring = ring
      for tosses in 0..<RingResetTests.rings {
        let route = datagram.withUnsafeBytes { bytes in
          reply.withUnsafeMutableBytes {
            endpoints[ring].route(
              bytes, from: ConnectionPair.reversed(ConnectionPair.clientPath), now: Instant(nanoseconds: 1), reply: $0)
          }
        }
        guard case .ring(let next) = route else { return (ring, tosses, route) }
        ring = next
      }
      Issue.record("tossed about")
      return (ring, RingResetTests.rings, .drop(.malformed))
    }

    var resets: UInt64 { endpoints.reduce(0) { $0 + $1.resetsSent } }
  }

  private static func shortPacket(_ id: ConnectionID) -> [UInt8] {
    [0x41] + id.withUnsafeBytes { [UInt8]($0) } + [UInt8](repeating: 0x5a, count: 60)
  }

  /// Every ID of a live connection leads to it from every ring, and none draws a reset.
  @Test func noRingResetsWhatAnotherHolds() {
    let rings = Rings()
    let entropy = SeededEntropy(seed: 8)
    for owner in 0..<Self.rings {
      for number in 0..<200 {
        let id = rings.endpoints[owner].configuration.connectionIDs.next(entropy)
        rings.endpoints[owner].add(id, owner * 1_000 + number)
        for ring in 0..<Self.rings {
          let (end, tosses, route) = rings.route(Self.shortPacket(id), to: ring)
          guard case .connection(owner * 1_000 + number) = route else {
            Issue.record("\(route)")
            return
          }
          #expect(end == owner && tosses == (ring == owner ? 0 : 1))
        }
      }
    }
    #expect(rings.resets == 0)
  }

  /// An ID that no ring knows is reset by the one whose it would be, and by no other.
  @Test func onlyTheRingThatWouldHoldItResets() {
    let rings = Rings()
    let entropy = SeededEntropy(seed: 9)
    let forgotten = (0..<Self.rings).map { rings.endpoints[$0].configuration.connectionIDs.next(entropy) }
    for (owner, id) in forgotten.enumerated() {
      for ring in 0..<Self.rings {
        let before = rings.endpoints.map(\.resetsSent)
        let (end, _, route) = rings.route(Self.shortPacket(id), to: ring)
        guard case .reply = route else {
          Issue.record("\(route)")
          return
        }
        #expect(end == owner)
        for other in 0..<Self.rings {
          #expect(rings.endpoints[other].resetsSent == before[other] + (other == owner ? 1 : 0))
        }
      }
    }
  }

  /// The ID that a client made up leads, from its first packet on, to one ring, whichever the kernel chose.
  @Test func aFirstFlightComesToOneRing() {
    let rings = Rings()
    let entropy = SeededEntropy(seed: 10)
    for _ in 0..<100 {
      let id = entropy.bytes(8)
      var initial: [UInt8] = [0xc0, 0, 0, 0, 1, 8] + id + [0, 0]
      let length = 1_200 - initial.count - 2
      initial += [0x40 | UInt8(length >> 8), UInt8(length & 0xff)] + [UInt8](repeating: 0, count: length)
      var ends: Set<Int> = []
      for ring in 0..<Self.rings {
        let (end, _, route) = rings.route(initial, to: ring)
        guard case .accept = route else {
          Issue.record("\(route)")
          return
        }
        ends.insert(end)
      }
      #expect(ends.count == 1)
    }
  }
}
