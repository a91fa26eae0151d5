import Foundation
import Testing
import Wire

@testable import BGP

/// Meshes of sessions through delays, partitions, broken connections and restarts of all kinds: in the end every speaker
/// knows what it must, and no more.
@Suite("Meshes of speakers")
struct MeshTests {
  enum Shape: CaseIterable { case line, ring, full, star, `internal` }

  private static let count = 5

  private static func links(_ shape: Shape) -> [(Int, Int)] {
    switch shape {
    case .line: (1..<count).map { ($0 - 1, $0) }
    case .ring: (0..<count).map { ($0, ($0 + 1) % count) }
    case .star: (1..<count).map { (0, $0) }
    case .full, .internal: (0..<count).flatMap { one in (one + 1..<count).map { (one, $0) } }
    }
  }

  private static let pool: [IPPrefix] = (0..<24).map { number in
    guard number % 3 == 0 else { return IPPrefix(UInt32(0x0a00_0000) | UInt32(number) << 16, 16) }
    return IPPrefix((UInt128(0x2001_0db8_0000) | UInt128(number)) << 80, 48)
  }

  private func restart(_ kind: UInt64) -> GracefulRestartConfiguration? {
    guard kind > 0 else { return nil }
    var restart = GracefulRestartConfiguration()
    restart.restartTime = 20
    restart.staleTime = .seconds(30)
    restart.survivesNotification = kind == 2
    restart.longLivedTime = kind == 2 ? 15 : nil
    return restart
  }

  /// `CBR_MESH_SEEDS=100` for a night of it.
  private static let seeds = 1...(ProcessInfo.processInfo.environment["CBR_MESH_SEEDS"].flatMap { UInt64($0) } ?? 3)

  @Test(arguments: Shape.allCases, seeds) func allIsWellInTheEnd(shape: Shape, seed: UInt64) {
    let entropy = SeededEntropy(seed: seed &* 977)
    func random(_ bound: Int) -> Int { Int(entropy.nextUInt64() % UInt64(bound)) }
    let links = Self.links(shape)
    let mesh = Mesh(
      Self.count, links: links, isInternal: shape == .internal, restart: restart(seed % 3), seed: seed)
    mesh.run(for: .seconds(10))
    for _ in 0..<60 {
      let (speaker, link) = (random(Self.count), random(links.count))
      switch random(12) {
      case 0: mesh.restart(speaker, Mesh.Restart.allCases[random(3)])
      case 1: mesh.cut(link)
      case 2, 3: mesh.heal(link)
      case 4: mesh.breakConnections(link)
      case 5: mesh.setDelay(.milliseconds(Int64(1 + random(700))), of: link)
      case 6, 7: mesh.withdraw(Self.pool[random(Self.pool.count)], at: speaker)
      default: mesh.originate(Self.pool[random(Self.pool.count)], at: speaker)
      }
      mesh.run(for: .milliseconds(Int64(random(6_000))))
    }
    for link in links.indices {
      mesh.heal(link)
      mesh.setDelay(.milliseconds(20), of: link)
    }
    mesh.run(for: .seconds(300))
    check(mesh, links, isInternal: shape == .internal)

    // And when all is taken back, nothing is left of it.
    for speaker in mesh.speakers { for prefix in speaker.own { mesh.withdraw(prefix, at: speaker.number) } }
    mesh.run(for: .seconds(60))
    for speaker in mesh.speakers {
      let counts = speaker.rib.counts
      #expect(counts.destinations == 0 && counts.routes == 0 && counts.attributeSets == 0)
    }
  }

  private func check(_ mesh: Mesh, _ links: [(Int, Int)], isInternal: Bool) {
    for speaker in mesh.speakers {
      for session in speaker.sessions.values { #expect(session.state == .established) }
    }
    for prefix in Self.pool {
      let origins = Set(mesh.speakers.filter { $0.own.contains(prefix) }.map(\.number))
      let distances = Self.distances(from: origins, links)
      let tables = mesh.speakers.map { $0.rib.destination(prefix) }
      for number in tables.indices {
        let best = tables[number]?.routes.first
        guard !origins.isEmpty else {
          #expect(best == nil, "\(prefix) at \(number) from nowhere")
          continue
        }
        #expect(best?.isStale == false, "\(prefix) at \(number)")
        // As short as there is: no speaker prefers a longer path.
        #expect(best?.attributes.asPath.length == (isInternal ? 0 : distances[number]), "\(prefix) at \(number)")
        #expect((best?.peer == nil) == origins.contains(number))
      }
      for (one, other) in links {
        agree(tables, prefix, from: one, to: other, isInternal)
        agree(tables, prefix, from: other, to: one, isInternal)
      }
    }
  }

  /// What `to` has from `from` is what that has chosen.
  private func agree(_ tables: [RIB.Destination?], _ prefix: IPPrefix, from: Int, to: Int, _ isInternal: Bool) {
    let held = tables[to]?.routes.first { $0.peer == .v4(Mesh.identifier(from)) }
    let best = tables[from]?.routes.first
    var expected: ASPath?
    if let best, best.peer != .v4(Mesh.identifier(to)) {
      if isInternal {
        expected = best.peer == nil ? ASPath() : nil
      } else {
        var path = best.attributes.asPath
        path.prepend(64_512 + UInt32(from))
        let isLoop = path.segments.contains { $0.numbers.contains(64_512 + UInt32(to)) }
        expected = isLoop ? nil : path
      }
    }
    #expect(held?.attributes.asPath == expected, "\(prefix), from \(from) to \(to)")
    #expect(held?.isStale != true && held?.attributes.communities.isEmpty != false)
  }

  private static func distances(from origins: Set<Int>, _ links: [(Int, Int)]) -> [Int] {
    var distances = (0..<count).map { origins.contains($0) ? 0 : Int.max / 2 }
    for _ in 0..<count {
      for (one, other) in links {
        distances[one] = min(distances[one], distances[other] + 1)
        distances[other] = min(distances[other], distances[one] + 1)
      }
    }
    return distances
  }

  @Test func aSeedMakesTheSameRunAgain() {
    func run() -> [String] {
      let mesh = Mesh(3, links: [(0, 1), (1, 2), (0, 2)], restart: restart(1), seed: 4)
      for number in 0..<3 { mesh.originate(Self.pool[number], at: number) }
      mesh.run(for: .seconds(7))
      mesh.restart(1, .killed)
      mesh.run(for: .milliseconds(1_300))
      return mesh.speakers.flatMap { speaker in Self.pool.map { "\(String(describing: speaker.rib.destination($0)))" } }
    }
    #expect(run() == run())
  }
}
