import CongestionSimulation
import Foundation
import QUIC
import Wire

/// Scenarios 5 and 9: paths that lose, change, police, reorder and bunch, and applications that pause.
extension Report {
  mutating func randomLoss() throws {
    heading(
      "5. Random loss, 1 Gbit/s, 100 ms, a buffer of 1 BDP",
      "Goodput from 5 s to 60 s, in shares of the rate; of a lossy path no more than 1 − loss can arrive.")
    let losses = [1e-5, 1e-4, 1e-3, 0.003, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2]
    var curve = Chart(
      title: "Scenario 5: goodput by random loss, 1 Gbit/s and 100 ms", xLabel: "random loss, %",
      yLabel: "goodput, % of the rate",
      xScale: .logarithmic, yLimit: 100)
    var columns: [[Double]] = []
    for (algorithm, roundTrip) in [(CongestionAlgorithm.bbrV3, 100.0), (.cubic, 100), (.newReno, 100), (.bbrV3, 30)] {
      let path = Path(megabits: 1_000, roundTrip: roundTrip, buffer: 1)
      let shares = try losses.map { loss in
        try path.run([path.plan(algorithm)], seconds: 60) { $0.loss = loss }.utilisation(from: 5, to: 60)
      }
      columns.append(shares)
      curve.series.append(
        .init(
          name: roundTrip == 100 ? algorithm.name : "\(algorithm.name), 30 ms",
          points: zip(losses, shares).map { ($0 * 100, $1 * 100) }, hasMarks: true))
    }
    table(
      ["loss", "BBRv3", "CUBIC", "NewReno", "BBRv3 at 30 ms"],
      losses.indices.map { row in ["\(losses[row] * 100) %"] + columns.map { percent($0[row]) } })
    try chart("scenario-5-loss", curve)
  }

  mutating func changingPaths() throws {
    heading(
      "9. Paths that change and applications that pause",
      "60 s each. Steps: 10 and 100 Mbit/s in turn, 10 s each, 40 ms, a buffer of 50 kB. The policer lets 10 Mbit/s and a "
        + "burst of 64 kB through a link of 100. Aggregation: acknowledgments, or data, arrive every 20 ms. Reordering: one "
        + "packet of a hundred is 20 ms late. Bursts: 500 kB each second.")
    var rows: [[String]] = []
    var steps = Chart(title: "Scenario 9: 10 and 100 Mbit/s in turn", xLabel: "seconds", yLabel: "goodput, Mbit/s")
    let path = Path(megabits: 20, roundTrip: 40, buffer: 2)
    for algorithm in [CongestionAlgorithm.bbrV3, .cubic] {
      let stepped = try stepped(algorithm)
      steps.series.append(.init(name: algorithm.name, points: stepped.goodputCurve(0, window: 0.5, to: 60)))
      rows.append(row("steps", algorithm, stepped, of: 55 * 125_000))
      let wide = Path(megabits: 100, roundTrip: 40, buffer: 1)
      rows.append(
        row(
          "policer", algorithm,
          try wide.run([wide.plan(algorithm)], seconds: 60) { $0.policer = (1_250_000, 64_000) }, of: 1_250_000))
      var bunched = path.plan(algorithm)
      bunched.ackSlot = .milliseconds(20)
      rows.append(row("ACK aggregation", algorithm, try path.run([bunched], seconds: 60), of: path.rate))
      rows.append(
        row(
          "data aggregation", algorithm,
          try path.run([path.plan(algorithm)], seconds: 60) { $0.slot = .milliseconds(20) }, of: path.rate))
      rows.append(
        row(
          "reordering", algorithm,
          try path.run([path.plan(algorithm)], seconds: 60) { $0.reordering = (0.01, .milliseconds(20)) }, of: path.rate
        ))
      var bursts = path.plan(algorithm)
      bursts.application = .writes(bytes: 500_000, every: .seconds(1))
      rows.append(row("bursts", algorithm, try path.run([bursts], seconds: 60), of: 500_000))
    }
    table(["path", "controller", "share of what there is", "resent", "induced delay P50", "P95"], rows)
    try chart("scenario-9-steps", steps)
  }

  private func stepped(_ algorithm: CongestionAlgorithm) throws -> Dumbbell {
    let path = Path(megabits: 10, roundTrip: 40, buffer: 1)
    return try path.run([path.plan(algorithm)], seconds: 60) { link in
      link.queueBytes = 50_000
      for step in 1..<6 {
        let rate = step % 2 == 1 ? path.rate * 10 : path.rate
        link.rateSteps.append((.zero + .seconds(Int64(step) * 10), rate))
      }
    }
  }

  private func row(
    _ name: String, _ algorithm: CongestionAlgorithm, _ world: Dumbbell, of rate: Double
  ) -> [String] {
    [
      name, algorithm.name, percent(world.goodput(0, from: 0, to: 60) / rate), percent(world.resent, 2),
      milliseconds(world.inducedDelay(0, 0.5, from: 0, to: 60)),
      milliseconds(world.inducedDelay(0, 0.95, from: 0, to: 60)),
    ]
  }

  mutating func callBesideBulk() throws {
    heading(
      "A call of 2 Mbit/s beside a bulk flow, 20 Mbit/s, 40 ms",
      "Four packets of 1,200 bytes each 19.2 ms for 60 s; one-way delay of the call's packets from 10 s on, of which 20 ms are the path's."
    )
    var rows: [[String]] = []
    for buffer in [1, 4, 16] as [Double] {
      let path = Path(megabits: 20, roundTrip: 40, buffer: buffer)
      for (call, bulk) in [(CongestionAlgorithm.bbrV3, CongestionAlgorithm.bbrV3), (.bbrV3, .cubic), (.cubic, .cubic)] {
        var plan = path.plan(call)
        plan.application = .writes(bytes: 4_800, every: .microseconds(19_200))
        plan.notesTransits = true
        let world = try path.run([plan, path.plan(bulk)], seconds: 60)
        let transits = world.flows[0].transits.filter { $0.time >= 10 }.map { Double($0.taken) }
        rows.append([
          "\(Int(buffer)) BDP", call.name, bulk.name, milliseconds(percentile(0.5, transits)),
          milliseconds(percentile(0.95, transits)), percent(world.goodput(0, from: 10, to: 60) / 250_000),
          percent(world.goodput(1, from: 10, to: 60) / path.rate),
        ])
      }
    }
    table(
      ["buffer", "call", "bulk", "one-way delay P50", "P95", "call delivered", "bulk, share of the rate"], rows)
  }
}
