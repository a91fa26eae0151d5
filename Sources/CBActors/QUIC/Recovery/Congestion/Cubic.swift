import Wire

/// CUBIC (RFC 9438), with HyStart++ in the first slow start.
///
/// The window is kept in bytes as a Double and the formulas' segments are datagrams of the maximum size.
struct Cubic: CongestionController {
  /// RFC 9438 §4.6: β_cubic.
  static let beta = 0.7
  /// RFC 9438 §5.1: C, in segments per second cubed.
  static let c = 0.4
  /// RFC 9438 §4.3: the additive increase that matches Reno's share with β_cubic.
  static let friendlyAlpha = 3 * (1 - beta) / (1 + beta)

  /// One stage of congestion avoidance (RFC 9438 §4.2).
  struct Epoch: Sendable {
    var start: Instant
    /// Seconds from the start until the window is back at `origin`.
    var k: Double
    /// W_max of this stage, in segments.
    var origin: Double
    /// W_est, in segments: what Reno would have reached.
    var estimate: Double
    var lastUpdate: Instant

    /// W_cubic, in segments, `elapsed` seconds into the stage.
    func window(after elapsed: Double) -> Double {
      let t = elapsed - k
      return Cubic.c * t * t * t + origin
    }
  }

  private var window: Double
  private var threshold = Double.infinity
  private(set) var recoveryStart: Instant?
  private var maximumDatagramSize: UInt64
  /// W_max in segments: the window at the last reduction; 0 before the first.
  private(set) var maximumWindow = 0.0
  /// cwnd_prior in segments.
  private var priorWindow = 0.0
  private(set) var epoch: Epoch?
  /// Nil once the first slow start is over.
  private var hyStart: HyStart? = HyStart()
  private var isUntouched = true

  init(maximumDatagramSize: UInt64) {
    self.maximumDatagramSize = maximumDatagramSize
    window = Double(Self.initialWindow(maximumDatagramSize))
  }

  var congestionWindow: UInt64 { UInt64(window) }
  var isInSlowStart: Bool { window < threshold }
  private var segment: Double { Double(maximumDatagramSize) }
  private var floor: Double { Double(Self.minimumWindow(maximumDatagramSize)) }

  mutating func onAcknowledged(_ sample: AckSample) {
    isUntouched = false
    let advice = isInSlowStart ? adviseSlowStart(sample) : .slowStart
    let isUsed = isWindowUsed(sample, maximumDatagramSize: maximumDatagramSize)
    guard sample.bytesAckedPastRecovery > 0, isUsed else {
      if !isUsed { passIdleTime(to: sample.now) }
      return
    }
    if isInSlowStart {
      growInSlowStart(sample, advice)
    } else {
      growInAvoidance(sample)
    }
  }

  /// Rounds and round-trip times count for HyStart++ even while the window is not filled.
  private mutating func adviseSlowStart(_ sample: AckSample) -> HyStart.Advice {
    hyStart?.onAcknowledged(rttSample: sample.rttSample, isRoundStart: sample.isRoundStart) ?? .slowStart
  }

  private mutating func growInSlowStart(_ sample: AckSample, _ advice: HyStart.Advice) {
    let acked = Double(sample.bytesAckedPastRecovery)
    switch advice {
    case .slowStart:
      window += acked
    case .conservative:
      window += acked / Double(HyStart.growthDivisor)
    case .leave:
      hyStart = nil
      threshold = window
    }
  }

  private mutating func growInAvoidance(_ sample: AckSample) {
    var epoch = self.epoch ?? beginEpoch(at: sample.now)
    let segments = window / segment
    let acked = Double(sample.bytesAckedPastRecovery) / segment
    let elapsed = max((sample.now - epoch.start).seconds, 0)

    // RFC 9438 §4.3: once W_est has caught up with the window before the reduction, grow as Reno does.
    let alpha = epoch.estimate >= priorWindow ? 1 : Self.friendlyAlpha
    epoch.estimate += alpha * acked / segments
    epoch.lastUpdate = sample.now

    var next = segments
    if epoch.window(after: elapsed) < epoch.estimate {
      next = max(segments, epoch.estimate)
    } else {
      // RFC 9438 §4.2: the target, a round trip ahead, is kept within 1 to 1.5 windows.
      let ahead = epoch.window(after: elapsed + sample.rtt.smoothed.seconds)
      let target = min(max(ahead, segments), 1.5 * segments)
      next += (target - segments) * acked / segments
    }
    // No single ACK may do what a whole window's worth of them is allowed to.
    next = min(next, 1.5 * segments)
    window = next * segment
    self.epoch = epoch
  }

  /// RFC 9438 §4.2: K is the time after which the curve is back at W_max.
  private func beginEpoch(at now: Instant) -> Epoch {
    let segments = window / segment
    guard segments < maximumWindow else {
      return Epoch(start: now, k: 0, origin: segments, estimate: segments, lastUpdate: now)
    }
    let k = cubeRoot((maximumWindow - segments) / Self.c)
    return Epoch(start: now, k: k, origin: maximumWindow, estimate: segments, lastUpdate: now)
  }

  /// RFC 9438 §4.2: time in which the application did not use the window does not count.
  private mutating func passIdleTime(to now: Instant) {
    guard var epoch, now > epoch.lastUpdate else { return }
    epoch.start += now - epoch.lastUpdate
    epoch.lastUpdate = now
    self.epoch = epoch
  }

  mutating func onLost(_ sample: LossSample) { onCongestionExperienced(sent: sample.newestSent, now: sample.now) }

  mutating func onCongestionExperienced(sent: Instant, now: Instant) {
    if let recoveryStart, sent <= recoveryStart { return }
    recoveryStart = now
    reduce()
    window = max(threshold, floor)
  }

  private mutating func reduce() {
    isUntouched = false
    hyStart = nil
    epoch = nil
    let segments = window / segment
    priorWindow = segments
    // RFC 9438 §4.7, fast convergence: a flow that lost before it was back at its last maximum
    // gives way to a newer one.
    maximumWindow = segments < maximumWindow ? segments * (1 + Self.beta) / 2 : segments
    threshold = max(window * Self.beta, floor)
  }

  mutating func onPersistentCongestion(now: Instant) {
    // The losses that established it have set W_max and the threshold (RFC 9438 §4.8).
    // RFC 9002 §7.6.2: the sender's congestion window MUST be reduced to the minimum congestion window
    window = floor
    recoveryStart = nil
    epoch = nil
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    let scale = segment / Double(bytes)
    maximumDatagramSize = bytes
    maximumWindow *= scale
    priorWindow *= scale
    epoch = nil
    // RFC 9002 §7.2: the initial congestion window SHOULD be recalculated with the new size.
    window = isUntouched ? Double(Self.initialWindow(bytes)) : max(window, floor)
  }
}

/// By Newton's method, so that one seed gives one run on every machine and C library.
func cubeRoot(_ value: Double) -> Double {
  guard value > 0, value.isFinite else { return 0 }
  // A power of two within a factor of two of the root; each step then doubles the right digits.
  let (quotient, _) = value.exponent.quotientAndRemainder(dividingBy: 3)
  var root = Double(sign: .plus, exponent: quotient, significand: 1.5)
  for _ in 0..<6 { root -= (root - value / (root * root)) / 3 }
  return root
}
