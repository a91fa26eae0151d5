import CongestionSimulation
import Foundation
import QUIC
import Wire

/// Scenarios 4 and 6 to 8: flows that share a link.
extension Report {
  mutating func mixture() throws {
    heading(
      "4. BBRv3 beside CUBIC, 50 Mbit/s, 30 ms",
      "BBRv3's share of what both deliver, 10 s to 120 s, mean and range of nine runs: either flow 0.7 s ahead or both at "
        + "once, three seeds each. 50 % is even. Harm is what CUBIC loses of what it has alone. Beside it what is published of others: the model of “Modeling BBR's "
        + "Interactions with Loss-Based Congestion Control” (IMC 2019) gives BBRv1 1/2 + 1/2X of a link with a buffer of X BDP, "
        + "alike beside one CUBIC flow or many. Of Linux's BBRv3 “Promises and Potential of BBRv3” (PAM 2024) says that it "
        + "struggles to share evenly with CUBIC in a wide range of conditions; its curve is not at hand as numbers.")
    var rows: [[String]] = []
    var shares = Chart(
      title: "Scenario 4: BBRv3's share beside CUBIC, 50 Mbit/s, 30 ms", xLabel: "buffer, BDP", yLabel: "share, %",
      xScale: .logarithmic,
      yLimit: 100)
    var points: [(x: Double, y: Double)] = []
    for buffer in [0.1, 0.25, 0.5, 1, 2, 4, 8, 16] {
      let path = Path(megabits: 50, roundTrip: 30, buffer: buffer)
      var found: [Double] = []
      var used = 0.0
      var left = 0.0
      var delays: [Double] = []
      for starts in [(0, 0.7), (0.7, 0), (0, 0)] {
        for seed in 1...3 as ClosedRange<UInt64> {
          let world = try path.run(
            [path.plan(.bbrV3, start: starts.0), path.plan(.cubic, start: starts.1)], seconds: 120, seed: seed)
          let both = (0..<2).map { world.goodput($0, from: 10, to: 120) }
          found.append(both[0] / (both[0] + both[1]))
          left += both[1]
          used += world.utilisation(from: 10, to: 120) / 9
          delays.append(world.queuePercentile(0.5, from: 10, to: 120) / path.bdp)
        }
      }
      let mean = found.reduce(0, +) / 9
      points.append((buffer, mean * 100))
      let solo = try path.run([path.plan(.cubic)], seconds: 120).goodput(0, from: 10, to: 120)
      let alike = try path.run([path.plan(.cubic), path.plan(.cubic, start: 0.7)], seconds: 120)
      rows.append([
        "\(buffer) BDP", percent(mean, 0), "\(percent(found.min() ?? 0, 0)) to \(percent(found.max() ?? 0, 0))",
        percent(1 - left / 9 / solo, 0),
        percent(1 - (alike.goodput(0, from: 10, to: 120) + alike.goodput(1, from: 10, to: 120)) / 2 / solo, 0),
        percent(used), number(delays.reduce(0, +) / 9),
      ])
    }
    shares.series = [
      .init(name: "BBRv3, measured", points: points, hasMarks: true),
      .init(
        name: "BBRv1, model of 2019", points: [1, 1.5, 2, 3, 4, 6, 8, 12, 16].map { ($0, 50 + 50 / $0) }, isDashed: true
      ),
      .init(name: "even", points: [(0.1, 50), (16, 50)], isDashed: true),
    ]
    table(
      [
        "buffer", "BBRv3's share", "range", "harm to CUBIC by BBRv3", "by another CUBIC", "both, share of the rate",
        "queue P50, BDP",
      ], rows)
    try chart("scenario-4-share", shares)
  }

  mutating func manyFlows() throws {
    heading(
      "6. Many flows, 1 Gbit/s, 100 ms, a buffer of 0.02 BDP",
      "20 s, flows starting within the first second; from 5 s on.")
    var rows: [[String]] = []
    var resent = Chart(
      title: "Scenario 6: what is sent again", xLabel: "flows", yLabel: "resent, % of bytes",
      xScale: .logarithmic)
    for kinds in [[.bbrV3], [.cubic], [.bbrV3, .cubic]] as [[CongestionAlgorithm]] {
      let name = kinds.map(\.name).joined(separator: " and ")
      var points: [(x: Double, y: Double)] = []
      for count in [1, 2, 5, 10, 20, 50, 100] where count >= kinds.count {
        let path = Path(megabits: 1_000, roundTrip: 100, buffer: 0.02)
        let world = try path.run(
          (0..<count).map { path.plan(kinds[$0 % kinds.count], start: Double($0) / Double(count)) }, seconds: 20)
        points.append((Double(count), world.resent * 100))
        rows.append([
          "\(count) × \(name)", percent(world.utilisation(from: 5, to: 20)), percent(world.resent, 2),
          number(world.jain(from: 10, to: 20), 3),
        ])
      }
      resent.series.append(.init(name: name, points: points, hasMarks: true))
    }
    table(["flows", "share of the rate", "resent", "Jain, second half"], rows)
    try chart("scenario-6-resent", resent)
  }

  /// The first of each is the one that was there before, or has the longer way.
  private static let pairs: [(CongestionAlgorithm, CongestionAlgorithm)] = [
    (.bbrV3, .bbrV3), (.cubic, .cubic), (.bbrV3, .cubic), (.cubic, .bbrV3),
  ]

  mutating func convergence() throws {
    heading(
      "7. A second flow 15 s later, 100 Mbit/s, 100 ms",
      "120 s, three seeds. Over the second half Jain's index, the mean and the least, the share of its seconds at 0.9 or "
        + "above, and the share of the flow that was first; how long after the second flow's start the index stays at 0.9 for "
        + "10 s, the longest of three.")
    var rows: [[String]] = []
    for (first, second) in Self.pairs {
      for buffer in [0.5, 1, 2, 4, 8, 16] {
        let path = Path(megabits: 100, roundTrip: 100, buffer: buffer)
        let worlds = try (1...3 as ClosedRange<UInt64>).map { seed in
          try path.run([path.plan(first), path.plan(second, start: 15)], seconds: 120, seed: seed)
        }
        func mean(_ value: (Dumbbell) -> Double) -> Double { worlds.reduce(0) { $0 + value($1) } / 3 }
        let indices = worlds.map { $0.jain(from: 60, to: 120) }
        let share = mean { world in
          let both = (0..<2).map { world.goodput($0, from: 60, to: 120) }
          return both[0] / (both[0] + both[1])
        }
        let latest = worlds.map { $0.convergence(from: 15, to: 120) ?? .infinity }.max() ?? .infinity
        rows.append([
          "\(buffer) BDP", "\(first.name), then \(second.name)",
          "\(number(indices.reduce(0, +) / 3, 3)), \(number(indices.min() ?? 0, 3))",
          percent(mean { $0.fairSeconds(from: 60, to: 120) }, 0), percent(share, 0),
          latest.isFinite ? "\(Int(latest - 15)) s" : "not in 105 s",
          number(mean { $0.queuePercentile(0.5, from: 20, to: 120) / path.bdp }),
          percent(mean { $0.utilisation(from: 20, to: 120) }), percent(mean(\.resent), 2),
        ])
        let world = worlds[0]
        guard buffer == 1 || buffer == 4 else { continue }
        try chart(
          "scenario-7-\(first.rawValue)-\(second.rawValue)-\(Int(buffer))",
          Chart(
            title: "Scenario 7: \(first.name), then \(second.name), \(Int(buffer)) BDP, 100 Mbit/s, 100 ms",
            xLabel: "seconds", yLabel: "goodput, Mbit/s",
            series: [
              .init(name: "\(first.name), first", points: world.goodputCurve(0, window: 1, to: 120)),
              .init(name: "\(second.name), 15 s later", points: world.goodputCurve(1, window: 1, to: 120)),
            ]))
      }
    }
    table(
      [
        "buffer", "flows", "Jain: mean, least", "fair seconds", "share of the first", "converged after",
        "queue P50, BDP", "share of the rate", "resent",
      ], rows)
  }

  mutating func roundTripBias() throws {
    heading(
      "8. Round trips of 10 and 100 ms, 100 Mbit/s",
      "The share of the flow with the long round trip, 10 s to 60 s. The buffer is in BDP of the long round trip.")
    var rows: [[String]] = []
    var bias = Chart(
      title: "Scenario 8: the share of the flow with 100 ms beside one with 10 ms", xLabel: "buffer, BDP of 100 ms",
      yLabel: "share, %", xScale: .logarithmic, yLimit: 100)
    for (long, other) in Self.pairs {
      let name = "\(long.name), 10 ms: \(other.name)"
      var points: [(x: Double, y: Double)] = []
      for buffer in [1, 2, 4, 8, 16] as [Double] {
        let path = Path(megabits: 100, roundTrip: 100, buffer: buffer)
        var short = path.plan(other)
        short.roundTrip = .milliseconds(10)
        let world = try path.run([path.plan(long), short], seconds: 60)
        let both = (0..<2).map { world.goodput($0, from: 10, to: 60) }
        points.append((buffer, both[0] / (both[0] + both[1]) * 100))
        rows.append([
          "\(Int(buffer)) BDP", "100 ms: \(name)", percent(both[0] / (both[0] + both[1]), 0),
          percent(world.utilisation(from: 10, to: 60)), number(world.queuePercentile(0.5, from: 10, to: 60) / path.bdp),
        ])
      }
      bias.series.append(.init(name: "100 ms: \(name)", points: points, hasMarks: true))
    }
    table(["buffer", "flows", "share of the 100 ms flow", "share of the rate", "queue P50, BDP"], rows)
    try chart("scenario-8-bias", bias)
  }
}
