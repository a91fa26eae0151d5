import CongestionSimulation
import Foundation
import QUIC
import Wire

/// Tables and charts, written to a folder.
struct Report {
  let folder: URL
  private(set) var text = ""

  init(folder: URL) throws {
    self.folder = folder
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  mutating func heading(_ title: String, _ words: String) {
    text += "\n## \(title)\n\n\(words)\n"
    print("\n## \(title)\n")
  }

  mutating func table(_ head: [String], _ rows: [[String]]) {
    let lines =
      ["| " + head.joined(separator: " | ") + " |", "|" + String(repeating: "---|", count: head.count)]
      + rows.map { "| " + $0.joined(separator: " | ") + " |" }
    text += "\n" + lines.joined(separator: "\n") + "\n"
    print(lines.joined(separator: "\n"))
  }

  mutating func chart(_ name: String, _ chart: Chart) throws {
    try chart.svg().write(to: folder.appendingPathComponent("\(name).svg"), atomically: true, encoding: .utf8)
    text += "\n![\(chart.title)](\(name).svg)\n"
  }

  func write(_ name: String, head: String) throws {
    try (head + text).write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
  }
}

/// A path as the scenarios name it.
struct Path {
  /// Mbit/s, and milliseconds there and back.
  var megabits: Double
  var roundTrip: Double
  /// In bandwidth-delay products.
  var buffer: Double

  var rate: Double { megabits * 125_000 }
  var bdp: Double { rate * roundTrip / 1000 }
  var conditions: SharedLink.Conditions { SharedLink.Conditions(rate: rate, queueBytes: max(Int(bdp * buffer), 3_000)) }

  func plan(_ algorithm: CongestionAlgorithm, start: Double = 0) -> Flow.Plan {
    var plan = Flow.Plan(algorithm, roundTrip: .nanoseconds(Int64(roundTrip * 1e6)))
    plan.start = .zero + .nanoseconds(Int64(start * 1e9))
    return plan
  }

  /// Runs bulk flows for so many seconds.
  func run(
    _ plans: [Flow.Plan], seconds: Double, seed: UInt64 = 1, link: (inout SharedLink.Conditions) -> Void = { _ in }
  ) throws -> Dumbbell {
    var conditions = conditions
    link(&conditions)
    var world = Dumbbell(conditions, seed: seed)
    for plan in plans { world.add(plan) }
    try world.run(until: .zero + .nanoseconds(Int64(seconds * 1e9)))
    return world
  }
}

extension Dumbbell {
  /// Packets declared lost, as a share of those sent.
  var resent: Double {
    let lost = flows.reduce(0) { $0 + $1.resentBytes }
    let sent = flows.reduce(0) { $0 + Int($1.sender.statistics.bytesSent) }
    return Double(lost) / Double(max(sent, 1))
  }

  /// The queue's depth over time, in `unit`s.
  func queueCurve(in unit: Double) -> [(x: Double, y: Double)] {
    let period = Self.period.seconds
    return Chart.thinned(queue.enumerated().map { (Double($0.offset + 1) * period, Double($0.element) / unit) })
  }

  /// A flow's goodput in each window of `window` seconds, in Mbit/s.
  func goodputCurve(_ flow: Int, window: Double, to end: Double) -> [(x: Double, y: Double)] {
    stride(from: 0, to: end, by: window).map { ($0 + window / 2, goodput(flow, from: $0, to: $0 + window) / 125_000) }
  }

  /// The distribution of a flow's induced delay, in milliseconds.
  func delayDistribution(_ flow: Int, from: Double) -> [(x: Double, y: Double)] {
    let values = flows[flow].delays.filter { Double($0.time) >= from }.map { Double($0.induced) * 1000 }.sorted()
    guard !values.isEmpty else { return [] }
    return (0...200).map { share in
      (values[min(share * values.count / 200, values.count - 1)], Double(share) / 200)
    }
  }
}

extension CongestionAlgorithm {
  var name: String {
    switch self {
    case .bbrV3: "BBRv3"
    case .cubic: "CUBIC"
    case .newReno: "NewReno"
    }
  }
}

func percent(_ share: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f %%", share * 100) }
func number(_ value: Double, _ digits: Int = 2) -> String { String(format: "%.\(digits)f", value) }
func milliseconds(_ seconds: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f ms", seconds * 1000) }
