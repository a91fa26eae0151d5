import Wire

/// Startup and Drain (draft-ietf-ccwg-bbr, "State Machine Operation").
extension BBR {
  // MARK: Is the pipe full?

  mutating func resetFullBw() {
    fullBw = 0
    fullBwCount = 0
    fullBwNow = false
  }

  /// CheckFullBWReached(): three rounds that sent faster and were not delivered much faster.
  mutating func checkFullBwReached() {
    // An ACK without a sample of the rate is no evidence that the rate has stopped growing.
    guard !fullBwNow, roundStart, !rs.isAppLimited, rs.deliveryRate > 0 else { return }
    if rs.deliveryRate >= fullBw * Self.fullBwGrowth {
      resetFullBw()
      fullBw = rs.deliveryRate
      return
    }
    fullBwCount += 1
    guard fullBwCount >= Self.fullBwRounds else { return }
    fullBwNow = true
    fullBwReached = true
  }

  mutating func checkStartupDone() {
    checkStartupHighLoss()
    if state == .startup, fullBwReached { enterDrain() }
  }

  /// CheckStartupHighLoss(): a round trip after the first loss, too much is lost and in too many places.
  private mutating func checkStartupHighLoss() {
    guard lossRoundStart else { return }
    let ranges = lossRangesInRound
    lossRangesInRound = 0
    guard state == .startup, !fullBwReached, ranges >= Self.startupFullLossCount, isInflightTooHigh else { return }
    undo?.state = .startup
    fullBwReached = true
    fullBwNow = true
    inflightLongterm = max(bdp, inflightLatest)
  }

  // MARK: Drain

  private mutating func enterDrain() {
    state = .drain
    drainStartRound = roundCount
  }

  mutating func checkDrainDone() {
    guard state == .drain else { return }
    if Double(inFlight) <= inflight(bw, 1) || roundCount > drainStartRound + Self.drainRounds { startProbeDown() }
  }
}
