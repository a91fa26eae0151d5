import QUIC
import Wire

/// How one direction of a path treats datagrams.
struct LinkConditions: Sendable {
  /// Bytes per second of the bottleneck.
  var rate: Double = 12_500_000
  /// Propagation, one way.
  var delay = Interval.milliseconds(10)
  /// From each of these times, in rising order, another delay.
  var delaySteps: [(from: Instant, delay: Interval)] = []
  /// Bytes that may wait at the bottleneck; more are dropped.
  var queueBytes = 250_000
  /// Larger UDP payloads do not pass.
  var mtu = 1_472
  /// From each of these times, in rising order, another limit: a black hole, since nobody is told.
  var mtuSteps: [(from: Instant, mtu: Int)] = []
  /// Probabilities, 0 to 1, for each datagram.
  var loss = 0.0
  var duplication = 0.0
  var corruption = 0.0
  var reordering = 0.0
  /// Losses that come in bursts, beside those of `loss`.
  var bursts: BurstLoss?
  /// A reordered datagram is late by up to this.
  var reorderingDelay = Interval.milliseconds(10)
  /// An ECN-capable datagram that finds more than this waiting is marked CE; nil marks none.
  var markingThreshold: Int?
  var ecnTreatment = ECNTreatment.passes
  /// Nothing that leaves in these times arrives.
  var blackouts: [Range<Instant>] = []

  func delay(at now: Instant) -> Interval { delaySteps.last { $0.from <= now }?.delay ?? delay }
  func mtu(at now: Instant) -> Int { mtuSteps.last { $0.from <= now }?.mtu ?? mtu }
}

/// The model of Gilbert and Elliott: a path is good or bad, changes from one to the other by chance with each
/// datagram, and loses with a probability that belongs to the state.
struct BurstLoss: Sendable {
  var goodToBad = 0.01
  var badToGood = 0.3
  var lossWhenGood = 0.0
  var lossWhenBad = 0.7
}

/// What a path does to the ECN field beside marking it where there is congestion (RFC 9000 §13.4.2).
enum ECNTreatment: Sendable {
  case passes
  /// Clears the field.
  case bleaches
  /// Turns ECT(0) into ECT(1).
  case remarks
  /// Marks everything that is ECN-capable CE.
  case marksAll
  /// Drops what is ECN-capable.
  case dropsMarked
}

extension LinkConditions {
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
    var bleached = 0
    var deepestQueue = 0
  }

  var conditions: LinkConditions
  private(set) var counters = Counters()
  private var dice: Dice
  /// Dice of their own, so that bursts leave the rest of the luck as it was.
  private var burstDice: Dice
  private var isBad = false
  private var busyUntil = Instant.zero
  private var lastArrival = Instant.zero

  init(_ conditions: LinkConditions, seed: UInt64) {
    self.conditions = conditions
    dice = Dice(seed: seed)
    burstDice = Dice(seed: seed ^ 0xb0b0)
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
    guard size <= conditions.mtu(at: now), waiting + size <= conditions.queueBytes else {
      counters.dropped += 1
      return []
    }
    counters.deepestQueue = max(counters.deepestQueue, waiting + size)
    busyUntil = max(now, busyUntil) + .nanoseconds(Int64(Double(size) / conditions.rate * 1e9))
    let isBurstLost = burstLoses()
    var codepoint = ecn
    var isDroppedForECN = false
    if ecn != .notECT {
      switch conditions.ecnTreatment {
      case .passes: break
      case .bleaches:
        codepoint = .notECT
        counters.bleached += 1
      case .remarks: codepoint = .ect1
      case .marksAll: codepoint = .ce
      case .dropsMarked: isDroppedForECN = true
      }
    }
    if let threshold = conditions.markingThreshold, waiting > threshold, codepoint != .notECT {
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
    if isLost || isBurstLost || isDroppedForECN || conditions.blackouts.contains(where: { $0.contains(now) }) {
      counters.lost += 1
      return []
    }
    var arrival = Arrival(time: busyUntil + conditions.delay(at: now), ecn: codepoint)
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

  private mutating func burstLoses() -> Bool {
    guard let bursts = conditions.bursts else { return false }
    isBad = burstDice.chance(isBad ? 1 - bursts.badToGood : bursts.goodToBad)
    return burstDice.chance(isBad ? bursts.lossWhenBad : bursts.lossWhenGood)
  }
}
