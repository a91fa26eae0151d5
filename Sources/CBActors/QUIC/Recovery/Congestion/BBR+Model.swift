import Wire

/// The model of the path (draft-ietf-ccwg-bbr, "Updating Network Path Model Parameters").
extension BBR {
  // MARK: Rounds

  /// UpdateRound(): a packet sent after the round began is acknowledged.
  mutating func updateRound() {
    roundStart = rs.priorDelivered >= nextRoundDelivered
    guard roundStart else { return }
    startRound()
    roundCount += 1
    roundsSinceProbeUp += 1
    isCwndLimited = wasCwndLimitedInRound
    wasCwndLimitedInRound = false
  }

  mutating func startRound() { nextRoundDelivered = delivered }

  // MARK: Bandwidth

  /// UpdateMaxBw(). The application's limits are not the path's, but a sample above the estimate is proof all the same.
  mutating func updateMaxBw() {
    updateRound()
    guard rs.deliveryRate > 0, rs.deliveryRate >= maxBw || !rs.isAppLimited else { return }
    maxBwFilter.current = max(maxBwFilter.current, rs.deliveryRate)
  }

  /// AdvanceMaxBwFilter(): the filter holds this cycle of ProbeBW and the one before. A cycle in which nothing could be
  /// measured forgets nothing.
  mutating func advanceMaxBwFilter() {
    guard maxBwFilter.current > 0 else { return }
    maxBwFilter = (maxBwFilter.current, 0)
  }

  mutating func boundBwForModel() { bw = min(maxBw, bwShortterm) }

  // MARK: Volume

  /// BDPMultiple(): what `rate` fills of the path in its least round-trip time, times `gain`.
  func bdpMultiple(_ rate: Double, _ gain: Double) -> Double {
    minRTT == .infinite ? Double(initialWindow) : gain * rate * minRTT.seconds
  }

  /// BBR.bdp.
  var bdp: Double { bdpMultiple(bw, 1) }

  /// QuantizationBudget(): room for whole send quanta, and for a peer that acknowledges every second packet.
  func quantizationBudget(_ inflightCap: Double) -> Double {
    // BBR.offload_budget is one quantum for QUIC: what the kernel may be cutting up.
    let cap = max(inflightCap, quantum, minPipeCwnd)
    return state == .probeUp ? cap + 2 * smss : cap
  }

  /// Inflight().
  func inflight(_ rate: Double, _ gain: Double) -> Double { quantizationBudget(bdpMultiple(rate, gain)) }

  var maxInflight: Double { quantizationBudget(bdpMultiple(bw, state.cwndGain) + extraAcked) }

  /// TargetInflight(): the estimated BDP, unless congestion cut the window.
  var targetInflight: Double { min(bdp, cwnd) }

  // MARK: Aggregation

  /// UpdateACKAggregation(): how much more is acknowledged at once than the rate would have it.
  mutating func updateACKAggregation() {
    var expected = bw * max((now - extraAckedIntervalStart).seconds, 0)
    if extraAckedDelivered <= expected {
      extraAckedDelivered = 0
      extraAckedIntervalStart = now
      expected = 0
    }
    extraAckedDelivered += rs.newlyAcked
    let extra = min(extraAckedDelivered - expected, cwnd)
    extraAckedFilter.update(extra, time: roundCount, window: fullBwReached ? Self.extraAckedFilterLength : 1)
  }
}
