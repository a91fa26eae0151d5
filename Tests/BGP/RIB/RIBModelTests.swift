import Testing
import Wire

@testable import BGP

@Suite("The tables against a plain model")
struct RIBModelTests {
  private let v6Hop = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))

  /// Against a plain model, through announcements, withdrawals, sessions that come and go, and peers that read slowly.
  @Test(arguments: 1...12 as ClosedRange<UInt64>) func agreesWithAModel(seed: UInt64) throws {
    let entropy = SeededEntropy(seed: seed)
    func random(_ bound: Int) -> Int { Int(entropy.nextUInt64() % UInt64(bound)) }
    let systems: [UInt32] = [65_001, 65_002, 65_003, 64_512]
    let network = try RIBNetwork(systems.map { .init(autonomousSystem: $0, fourOctet: $0 != 65_003) })
    var isUp = [true, true, true, true]
    var model: [IPPrefix: [Int: PathAttributes]] = [:]
    let pool = try (0..<60).map { number -> IPPrefix in
      number % 3 == 0
        ? try prefix("2001:db8:\(String(number, radix: 16))::/48")
        : try #require(
          IPPrefix(.v4(IPv4Address(10, UInt8(number / 8), UInt8(number % 8 * 32), 0)), length: 16 + number % 12))
    }
    for _ in 0..<1_500 {
      let peer = random(4)
      switch random(20) {
      case 0:
        if isUp[peer] {
          network.down(peer)
          for key in model.keys { model[key]?[peer] = nil }
        } else {
          network.up(peer)
        }
        isUp[peer].toggle()
      case 1:
        if isUp[peer] { network.rib.refresh(.init(.ipv4Unicast), of: network.peers[peer], marked: random(2) == 0) }
      case 2...4: network.deliver(limit: random(3))
      case 5...9 where isUp[peer]:
        let route = pool[random(pool.count)]
        network.withdraw([route], from: peer)
        model[route]?[peer] = nil
      default:
        guard isUp[peer] else { continue }
        let route = pool[random(pool.count)]
        let first: [UInt32] = peer == 3 ? [] : [systems[peer]]
        let set = attributes(
          first + (0..<random(3)).map { UInt32(1 + $0) },
          nextHop: route.address.isIPv4 ? .v4(IPv4Address(10, 0, 1, 9)) : v6Hop
        ) {
          $0.multiExitDisc = random(2) == 0 ? UInt32(random(3)) : nil
          $0.origin = random(4) == 0 ? .incomplete : .igp
          if peer == 3 { $0.localPreference = UInt32(99 + random(3)) }
        }
        network.announce([route], set, from: peer)
        model[route, default: [:]][peer] = set
      }
    }
    network.deliver()
    for route in pool {
      let paths = model[route] ?? [:]
      let destination = network.destination(route)
      #expect((destination?.routes.count ?? 0) == paths.count)
      guard let best = destination?.routes.first, let address = best.peer,
        let source = (0..<4).first(where: { address == .v4(IPv4Address(10, 0, 1, UInt8($0))) })
      else {
        for view in network.views { #expect(view.routes[route] == nil) }
        continue
      }
      #expect(paths[source] == best.attributes)
      #expect(source == Self.best(paths), "\(route)")
      for peer in 0..<4 where isUp[peer] {
        let view = network.views[peer].routes[route]
        if peer == source || peer == 3 && source == 3 {
          #expect(view == nil)
        } else {
          let path = best.attributes.asPath.segments.first?.numbers ?? []
          #expect(view?.asPath == ASPath(peer == 3 ? path : [64_512] + path))
        }
      }
    }
    for peer in 0..<4 where isUp[peer] { network.down(peer) }
    let counts = network.rib.counts
    #expect(counts.destinations == 0 && counts.routes == 0 && counts.attributeSets == 0)
  }

  /// RFC 4271 §9.1 by hand, for four peers of ascending identifiers.
  private static func best(_ paths: [Int: PathAttributes]) -> Int? {
    var left = Array(paths.keys)
    func keep(_ value: (Int) -> Int) {
      let lowest = left.map(value).min() ?? 0
      left.removeAll { value($0) > lowest }
    }
    keep { -Int(paths[$0]?.localPreference ?? 100) }
    keep { paths[$0]?.asPath.length ?? 0 }
    keep { Int(paths[$0]?.origin.rawValue ?? 0) }
    let before = left
    left.removeAll { m in
      before.contains { n in
        paths[n]?.summary.neighborAS == paths[m]?.summary.neighborAS
          && (paths[n]?.multiExitDisc ?? 0) < (paths[m]?.multiExitDisc ?? 0)
      }
    }
    keep { $0 == 3 ? 1 : 0 }
    return left.min()
  }
}
