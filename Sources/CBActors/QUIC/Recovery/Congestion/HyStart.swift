import Wire

/// HyStart++: leaves slow start when the round-trip time of a round rises, by way of a slower
/// "conservative slow start" that tells a rise from jitter (RFC 9406 §4.2).
///
/// L, the limit of growth per ACK, is infinite, as RFC 9406 §4.3 advises where packets are paced.
struct HyStart: Sendable {
  static let minimumThreshold = Interval.milliseconds(4)
  static let maximumThreshold = Interval.milliseconds(16)
  /// MIN_RTT_DIVISOR.
  static let divisor: Int64 = 8
  /// N_RTT_SAMPLE.
  static let samples = 8
  /// CSS_GROWTH_DIVISOR.
  static let growthDivisor: UInt64 = 4
  /// CSS_ROUNDS.
  static let conservativeRounds = 5

  enum Advice: Sendable {
    /// Grow by what was acknowledged.
    case slowStart
    /// Grow by a quarter of it.
    case conservative
    /// Enter congestion avoidance at the present window.
    case leave
  }

  private var lastRoundMinimum = Interval.infinite
  private var currentRoundMinimum = Interval.infinite
  private var sampleCount = 0
  /// cssBaselineMinRtt and the rounds spent in conservative slow start; nil outside of it.
  private var conservative: (baseline: Interval, rounds: Int)?

  mutating func onAcknowledged(rttSample: Interval?, isRoundStart: Bool) -> Advice {
    if isRoundStart {
      lastRoundMinimum = currentRoundMinimum
      currentRoundMinimum = .infinite
      sampleCount = 0
      if let state = conservative {
        conservative = (state.baseline, state.rounds + 1)
      }
    }
    // Said until it is heeded: an ACK that finds the window unused changes nothing.
    if let conservative, conservative.rounds >= Self.conservativeRounds { return .leave }
    if let rttSample {
      currentRoundMinimum = min(currentRoundMinimum, rttSample)
      sampleCount += 1
    }
    guard sampleCount >= Self.samples else { return conservative == nil ? .slowStart : .conservative }
    if let state = conservative {
      // The rise was jitter: slow start goes on.
      if currentRoundMinimum < state.baseline { conservative = nil }
    } else if lastRoundMinimum != .infinite {
      let threshold = max(Self.minimumThreshold, min(lastRoundMinimum / Self.divisor, Self.maximumThreshold))
      if currentRoundMinimum >= lastRoundMinimum + threshold { conservative = (currentRoundMinimum, 0) }
    }
    return conservative == nil ? .slowStart : .conservative
  }
}
