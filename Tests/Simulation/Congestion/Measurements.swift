import Wire

/// What is said of a run.
extension Dumbbell {
  /// Indices of ``queue`` and ``Flow/progress`` from one time to another, in seconds.
  private func marks(_ from: Double, _ to: Double) -> Range<Int> {
    let perSecond = 1 / Self.period.seconds
    let end = min(Int(to * perSecond), queue.count)
    return min(Int(from * perSecond), end)..<end
  }

  /// Bytes of payload that a flow's receiver got in each second, on average over a time.
  package func goodput(_ flow: Int, from: Double, to: Double) -> Double {
    let marks = marks(from, to)
    guard let first = marks.first, let last = marks.last, last > first else { return 0 }
    let progress = flows[flow].progress
    return Double(progress[last] - progress[first]) / (Double(last - first) * Self.period.seconds)
  }

  /// The share of the link's rate that all flows together delivered.
  package func utilisation(from: Double, to: Double) -> Double {
    flows.indices.reduce(0) { $0 + goodput($1, from: from, to: to) } / link.rate(at: now)
  }

  /// Jain's index of the goodputs: 1 is equal shares.
  package func jain(from: Double, to: Double) -> Double {
    Self.jain(flows.indices.map { goodput($0, from: from, to: to) })
  }

  package static func jain(_ shares: [Double]) -> Double {
    let sum = shares.reduce(0, +)
    let squares = shares.reduce(0) { $0 + $1 * $1 }
    return squares > 0 ? sum * sum / (Double(shares.count) * squares) : 1
  }

  /// The share of windows of one second with an index of at least 0.9.
  package func fairSeconds(from: Double, to: Double) -> Double {
    let starts = stride(from: from, through: to - 1, by: 1).map { $0 }
    return Double(starts.count { jain(from: $0, to: $0 + 1) >= 0.9 }) / Double(max(starts.count, 1))
  }

  /// The first second after which the index stays at 0.9 or above for ten seconds; nil when there is none.
  package func convergence(from: Double, to: Double) -> Double? {
    stride(from: from, through: to - 10, by: 1).first { start in
      stride(from: start, to: start + 10, by: 1).allSatisfy { jain(from: $0, to: $0 + 1) >= 0.9 }
    }
  }

  /// Bytes that waited at the bottleneck, at the given share of all marks from lowest to highest.
  package func queuePercentile(_ share: Double, from: Double, to: Double) -> Double {
    percentile(share, queue[marks(from, to)].map(Double.init))
  }

  /// Seconds by which round trips exceeded the path's own.
  package func inducedDelay(_ flow: Int, _ share: Double, from: Double, to: Double) -> Double {
    let delays = flows[flow].delays.lazy.filter { Double($0.time) >= from && Double($0.time) < to }
    return percentile(share, delays.map { Double($0.induced) })
  }

  /// Variation of the one-way transit of probes sent every 20 ms: the mean of RFC 3550's J and the 95th percentile of
  /// |D|, in seconds.
  package func jitter(from: Double, to: Double) -> (mean: Double, worst: Double) {
    let marks = marks(from, to)
    let step = Int(Interval.milliseconds(20).seconds / Self.period.seconds)
    var jitter = 0.0
    var sum = 0.0
    var differences: [Double] = []
    var last: Double?
    for mark in stride(from: marks.lowerBound, to: marks.upperBound, by: step) {
      let transit = Double(queue[mark]) / link.rate(at: now)
      if let last {
        let difference = abs(transit - last)
        jitter += (difference - jitter) / 16
        sum += jitter
        differences.append(difference)
      }
      last = transit
    }
    return (sum / Double(max(differences.count, 1)), percentile(0.95, differences))
  }
}

/// The value at `share` of the way from the least to the greatest; 0 when there are none.
package func percentile(_ share: Double, _ values: [Double]) -> Double {
  guard !values.isEmpty else { return 0 }
  let sorted = values.sorted()
  return sorted[min(Int(share * Double(sorted.count)), sorted.count - 1)]
}
