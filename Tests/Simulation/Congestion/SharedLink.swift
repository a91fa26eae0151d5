package import QUIC
package import Wire

/// A bottleneck that flows share: a rate, and a queue that drops what no longer fits.
package struct SharedLink {
  package struct Conditions: Sendable {
    /// Bytes per second.
    package var rate: Double
    /// From each of these times, in rising order, another rate.
    package var rateSteps: [(from: Instant, rate: Double)] = []
    /// Bytes that may wait, the packet in service included; more are dropped.
    package var queueBytes: Int
    /// The probability that a packet is lost, and other probabilities for a time.
    package var loss = 0.0
    package var lossSteps: [(from: Instant, loss: Double)] = []
    /// A token bucket in front of the queue: what finds too few tokens is dropped.
    package var policer: (rate: Double, burst: Double)?
    /// An ECN-capable packet that finds more than this waiting is marked CE.
    package var markingThreshold: Int?
    /// Packets that take a detour: how many of them, and by how much they are late.
    package var reordering: (probability: Double, lateness: Interval)?
    /// What leaves the link arrives all at once, at multiples of this time: a shared medium's slots.
    package var slot: Interval?

    package init(rate: Double, queueBytes: Int) {
      self.rate = rate
      self.queueBytes = queueBytes
    }
  }

  package struct Counters: Hashable, Sendable {
    package var offered = 0
    /// For want of room in the queue, and of tokens.
    package var dropped = 0
    package var lost = 0
    package var marked = 0
    package var deepestQueue = 0
  }

  package struct Arrival {
    package var time: Instant
    package var ecn: ECN
  }

  package var conditions: Conditions
  package private(set) var counters = Counters()
  private var dice: Dice
  private var busyUntil = Instant.zero
  private var tokens: Double
  private var tokensAt = Instant.zero

  package init(_ conditions: Conditions, seed: UInt64) {
    self.conditions = conditions
    dice = Dice(seed: seed)
    tokens = conditions.policer?.burst ?? 0
  }

  package func rate(at now: Instant) -> Double {
    conditions.rateSteps.last { $0.from <= now }?.rate ?? conditions.rate
  }

  /// Bytes that wait at `now`.
  package func backlog(_ now: Instant) -> Int {
    guard busyUntil > now else { return 0 }
    var bytes = 0.0
    var time = now
    for step in conditions.rateSteps where step.from > now && step.from < busyUntil {
      bytes += (step.from - time).seconds * rate(at: time)
      time = step.from
    }
    return Int((bytes + (busyUntil - time).seconds * rate(at: time)).rounded())
  }

  /// When `bytes` that begin to be served at `start` have been.
  private func served(_ bytes: Double, from start: Instant) -> Instant {
    var left = bytes
    var time = start
    for step in conditions.rateSteps where step.from > time {
      let served = (step.from - time).seconds * rate(at: time)
      if served >= left { break }
      left -= served
      time = step.from
    }
    return time + .nanoseconds(Int64((left / rate(at: time) * 1e9).rounded()))
  }

  /// When and how a packet of `size` bytes sent at `now` leaves the link; nil when it does not.
  package mutating func send(size: Int, ecn: ECN, now: Instant) -> Arrival? {
    counters.offered += 1
    let waiting = backlog(now)
    guard passesPolicer(size, now), waiting + size <= conditions.queueBytes else {
      counters.dropped += 1
      return nil
    }
    counters.deepestQueue = max(counters.deepestQueue, waiting + size)
    busyUntil = served(Double(size), from: max(now, busyUntil))
    let loss = conditions.lossSteps.last { $0.from <= now }?.loss ?? conditions.loss
    guard loss == 0 || dice.unit() >= loss else {
      counters.lost += 1
      return nil
    }
    var arrival = Arrival(time: busyUntil, ecn: ecn)
    if let threshold = conditions.markingThreshold, waiting > threshold, ecn != .notECT {
      arrival.ecn = .ce
      counters.marked += 1
    }
    if let slot = conditions.slot { arrival.time = arrival.time.nextMultiple(of: slot) }
    if let reordering = conditions.reordering, dice.unit() < reordering.probability {
      arrival.time += reordering.lateness
    }
    return arrival
  }

  private mutating func passesPolicer(_ size: Int, _ now: Instant) -> Bool {
    guard let policer = conditions.policer else { return true }
    tokens = min(policer.burst, tokens + (now - tokensAt).seconds * policer.rate)
    tokensAt = now
    guard tokens >= Double(size) else { return false }
    tokens -= Double(size)
    return true
  }
}

extension Instant {
  /// This instant, or the next at which a clock of this period ticks.
  func nextMultiple(of period: Interval) -> Instant {
    let over = nanoseconds % period.nanoseconds
    return over == 0 ? self : Instant(nanoseconds: nanoseconds - over + period.nanoseconds)
  }
}
