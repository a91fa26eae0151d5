import QUIC
import Wire

/// How one direction of a path treats datagrams.
struct LinkConditions: Sendable {
  /// Bytes per second of the bottleneck.
  var rate: Double = 12_500_000
  /// Propagation, one way.
  var delay = Interval.milliseconds(10)
  /// Bytes that may wait at the bottleneck; more are dropped.
  var queueBytes = 250_000
  /// Larger UDP payloads do not pass.
  var mtu = 1_472
  /// Probabilities, 0 to 1, for each datagram.
  var loss = 0.0
  var duplication = 0.0
  var corruption = 0.0
  var reordering = 0.0
  /// A reordered datagram is late by up to this.
  var reorderingDelay = Interval.milliseconds(10)
  /// An ECN-capable datagram that finds more than this waiting is marked CE; nil marks none.
  var markingThreshold: Int?
  /// Nothing that leaves in these times arrives.
  var blackouts: [Range<Instant>] = []

  /// Seeded conditions, from fair to bad.
  static func random(_ dice: inout Dice, worst: Double) -> LinkConditions {
    var conditions = LinkConditions()
    conditions.rate = Double(dice.below(50_000_000) + 100_000)
    conditions.delay = .microseconds(Int64(dice.below(100_000)))
    conditions.queueBytes = Int(dice.below(500_000)) + 20_000
    conditions.mtu = 1200 + Int(dice.below(300))
    conditions.loss = dice.unit() * worst
    conditions.duplication = dice.unit() * worst / 2
    conditions.corruption = dice.unit() * worst / 2
    conditions.reordering = dice.unit() * worst
    return conditions
  }
}

/// One direction of a path: a bottleneck with a queue, then propagation.
struct Link {
  /// One copy of a datagram on its way.
  struct Arrival {
    var time: Instant
    var ecn: ECN
    /// The bit that was flipped on the way.
    var flippedBit: Int?
  }

  struct Counters: Hashable {
    var offered = 0
    var offeredBytes = 0
    var dropped = 0
    var lost = 0
    var duplicated = 0
    var corrupted = 0
    var reordered = 0
    var marked = 0
    var deepestQueue = 0
  }

  var conditions: LinkConditions
  private(set) var counters = Counters()
  private var dice: Dice
  private var busyUntil = Instant.zero
  private var lastArrival = Instant.zero

  init(_ conditions: LinkConditions, seed: UInt64) {
    self.conditions = conditions
    dice = Dice(seed: seed)
  }

  /// Bytes that wait at `now`.
  func backlog(_ now: Instant) -> Int {
    busyUntil > now ? Int((busyUntil - now).seconds * conditions.rate) : 0
  }

  /// What becomes of a datagram of `size` bytes sent at `now`: no arrival, one, or two.
  mutating func send(size: Int, ecn: ECN, now: Instant) -> [Arrival] {
    counters.offered += 1
    counters.offeredBytes += size
    let waiting = backlog(now)
    guard size <= conditions.mtu, waiting + size <= conditions.queueBytes else {
      counters.dropped += 1
      return []
    }
    counters.deepestQueue = max(counters.deepestQueue, waiting + size)
    busyUntil = max(now, busyUntil) + .nanoseconds(Int64(Double(size) / conditions.rate * 1e9))
    var codepoint = ecn
    if let threshold = conditions.markingThreshold, waiting > threshold, ecn != .notECT {
      codepoint = .ce
      counters.marked += 1
    }
    // The dice fall alike whatever happens, so that one condition changed leaves the others' luck as it was.
    let isLost = dice.chance(conditions.loss)
    let isReordered = dice.chance(conditions.reordering)
    let lateness = dice.below(UInt64(max(conditions.reorderingDelay.nanoseconds, 1)))
    let isCorrupted = dice.chance(conditions.corruption)
    let bit = Int(dice.below(UInt64(max(size * 8, 1))))
    let isDuplicated = dice.chance(conditions.duplication)
    if isLost || conditions.blackouts.contains(where: { $0.contains(now) }) {
      counters.lost += 1
      return []
    }
    var arrival = Arrival(time: busyUntil + conditions.delay, ecn: codepoint)
    if isReordered {
      counters.reordered += 1
      arrival.time += .nanoseconds(Int64(lateness))
    } else {
      arrival.time = max(arrival.time, lastArrival)
      lastArrival = arrival.time
    }
    if isCorrupted {
      counters.corrupted += 1
      arrival.flippedBit = bit
    }
    guard isDuplicated else { return [arrival] }
    counters.duplicated += 1
    var copy = arrival
    copy.flippedBit = nil
    copy.time += .nanoseconds(Int64(lateness))
    return [arrival, copy]
  }
}
