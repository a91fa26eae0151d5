import CongestionSimulation
import QUIC
import Wire

/// Scenarios 1 to 3, and the price of a deep buffer: how much a flow queues.
extension Report {
  mutating func oneFlow() throws {
    heading(
      "1 and 2. One flow, 12 MB, 4 Mbit/s, 67 ms",
      "As google/quiche tests its own: with a buffer of 2 BDP the bandwidth is found within 1 %, nothing is lost and the "
        + "smoothed round trip stays within 2.5 round trips; with half a BDP the first megabyte loses 5 % at most.")
    var rows: [[String]] = []
    var queues = Chart(
      title: "Scenario 1: the queue at 2 BDP", xLabel: "seconds", yLabel: "BDP waiting", series: [])
    for buffer in [2, 0.5] {
      for algorithm in [CongestionAlgorithm.bbrV3, .cubic, .newReno] {
        let path = Path(megabits: 4, roundTrip: 67, buffer: buffer)
        var plan = path.plan(algorithm)
        plan.bytes = 12_000_000
        let world = try path.run([plan], seconds: 60)
        plan.bytes = 1 << 20
        let first = try path.run([plan], seconds: 60)
        let flow = world.flows[0]
        let seconds = ((flow.finished ?? world.now) - .zero).seconds
        rows.append([
          "\(buffer) BDP", algorithm.name, percent(12_000_000 / seconds / path.rate),
          percent(first.resent), percent(world.resent, 2),
          milliseconds(world.inducedDelay(0, 0.5, from: 1, to: seconds)),
          milliseconds(world.inducedDelay(0, 0.95, from: 1, to: seconds)),
          milliseconds(flow.sender.rtt.smoothed.seconds),
        ])
        if buffer == 2 { queues.series.append(.init(name: algorithm.name, points: world.queueCurve(in: path.bdp))) }
      }
    }
    table(
      [
        "buffer", "controller", "share of the rate", "resent, first MB", "resent", "induced delay P50", "P95",
        "srtt at the end",
      ], rows)
    try chart("scenario-1-queue", queues)
  }

  mutating func twoFlows() throws {
    heading(
      "3. Two flows alike, 50 Mbit/s, 30 ms",
      "The draft's goal is a queue of 1.5 BDP at most. 60 s, the second flow 1.3 s after the first; queue and shares from "
        + "5 s on.")
    var rows: [[String]] = []
    var curve = Chart(
      title: "Scenario 3: P50 of the queue by the buffer's depth", xLabel: "buffer, BDP", yLabel: "BDP waiting",
      xScale: .logarithmic, yScale: .logarithmic)
    var queues = Chart(title: "Scenario 3: the queue at 10 BDP", xLabel: "seconds", yLabel: "BDP waiting")
    for algorithm in [CongestionAlgorithm.bbrV3, .cubic] {
      var points: [(x: Double, y: Double)] = []
      for buffer in [1, 10, 50, 100] as [Double] {
        let path = Path(megabits: 50, roundTrip: 30, buffer: buffer)
        let world = try path.run([path.plan(algorithm), path.plan(algorithm, start: 1.3)], seconds: 60)
        let median = world.queuePercentile(0.5, from: 5, to: 60) / path.bdp
        points.append((buffer, median))
        rows.append([
          "\(Int(buffer)) BDP", "2 × \(algorithm.name)", number(median),
          number(world.queuePercentile(0.95, from: 5, to: 60) / path.bdp),
          milliseconds(world.inducedDelay(0, 0.5, from: 5, to: 60)),
          milliseconds(world.jitter(from: 10, to: 60).mean, 2),
          percent(world.utilisation(from: 5, to: 60)), number(world.jain(from: 30, to: 60), 3),
          percent(world.resent, 2),
        ])
        if buffer == 10 { queues.series.append(.init(name: algorithm.name, points: world.queueCurve(in: path.bdp))) }
      }
      curve.series.append(.init(name: "2 × \(algorithm.name)", points: points, hasMarks: true))
    }
    table(
      [
        "buffer", "flows", "queue P50, BDP", "P95", "induced delay P50", "J, mean", "share of the rate",
        "Jain, second half", "resent",
      ], rows)
    try chart("scenario-3-depths", curve)
    try chart("scenario-3-queue", queues)
  }

  mutating func bufferbloat() throws {
    heading(
      "One flow, 20 Mbit/s, 40 ms, by the buffer's depth",
      "“Bufferbloat” is CUBIC's median induced delay over BBRv3's. 60 s, from 5 s on. Goodput is in shares of the rate."
    )
    var rows: [[String]] = []
    var ratios = Chart.Series(name: "CUBIC / BBRv3", points: [], hasMarks: true)
    var distribution = Chart(
      title: "Induced delay at 4 BDP, 20 Mbit/s, 40 ms: the share of round trips below", xLabel: "induced delay, ms",
      yLabel: "share of round trips", yLimit: 1)
    for buffer in [0.5, 1, 2, 4, 8, 16] {
      let path = Path(megabits: 20, roundTrip: 40, buffer: buffer)
      let worlds = try [CongestionAlgorithm.bbrV3, .cubic, .newReno].map { try path.run([path.plan($0)], seconds: 60) }
      func delay(_ share: Double) -> [Double] { worlds.map { $0.inducedDelay(0, share, from: 5, to: 60) } }
      let median = delay(0.5)
      let high = delay(0.95)
      ratios.points.append((buffer, median[1] / median[0]))
      let jitter = worlds.map { $0.jitter(from: 10, to: 60).mean }
      rows.append(
        ["\(buffer) BDP", number(median[1] / median[0], 1)] + (median.map { milliseconds($0) })
          + high.prefix(2).map { milliseconds($0) } + jitter.prefix(2).map { milliseconds($0, 2) }
          + worlds.prefix(2).map { percent($0.utilisation(from: 5, to: 60)) }
          + worlds.prefix(2).map { percent($0.resent, 2) })
      if buffer == 4 {
        distribution.series = zip(["BBRv3", "CUBIC", "NewReno"], worlds).map {
          .init(name: $0, points: $1.delayDistribution(0, from: 5))
        }
      }
    }
    table(
      [
        "buffer", "bufferbloat", "P50 BBRv3", "P50 CUBIC", "P50 NewReno", "P95 BBRv3", "P95 CUBIC", "J BBRv3",
        "J CUBIC", "goodput BBRv3", "CUBIC", "resent BBRv3", "CUBIC",
      ], rows)
    try chart("induced-delay", distribution)
    try chart(
      "bufferbloat",
      Chart(
        title: "Bufferbloat by the buffer's depth, 20 Mbit/s, 40 ms", xLabel: "buffer, BDP",
        yLabel: "median induced delay, CUBIC / BBRv3", xScale: .logarithmic,
        yScale: .logarithmic, series: [ratios]))
  }
}
