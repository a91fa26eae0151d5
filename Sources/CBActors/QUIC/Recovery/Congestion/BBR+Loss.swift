import Wire

/// What loss and CE marks do to the model (draft-ietf-ccwg-bbr, "Updating the Model Upon Packet Loss").
extension BBR {
  // MARK: Signals of the last round

  mutating func updateLatestDeliverySignals() {
    lossRoundStart = false
    bwLatest = max(bwLatest, rs.deliveryRate)
    inflightLatest = max(inflightLatest, rs.delivered)
    ownGain.current = max(ownGain.current, min(state.pacingGain, 1))
    if rs.priorDelivered >= lossRoundDelivered {
      lossRoundDelivered = delivered
      lossRoundStart = true
    }
  }

  mutating func advanceLatestDeliverySignals() {
    guard lossRoundStart else { return }
    bwLatest = rs.deliveryRate
    inflightLatest = rs.delivered
    ownGain = (ownGain.current, min(state.pacingGain, 1))
  }

  mutating func resetCongestionSignals() {
    isLossInRound = false
    bwLatest = 0
    inflightLatest = 0
  }

  mutating func updateCongestionSignals() {
    updateMaxBw()
    // What was sent in ProbeRTT was delivered slowly because it was sent slowly: judge by what came after.
    guard lossRoundStart, rs.priorDelivered >= probeRTTEnd else { return }
    if isLossInRound, !state.isProbingBW { adaptLowerBounds() }
    isLossInRound = false
  }

  /// InitLowerBounds() and LossLowerBounds(): toward what the last round delivered, by 30 % at most.
  ///
  /// By how much the flow itself held back is taken out of that first, the pacing margin and a gain below 1. Else each
  /// round with a loss would find the path slower by what the flow was slower, and the next slower again: at 1 % loss and
  /// 100 ms, 86 % of the rate are left instead of 92.
  private mutating func adaptLowerBounds() {
    if bwShortterm == .infinity { bwShortterm = maxBw }
    if inflightShortterm == .infinity { inflightShortterm = cwnd }
    let held = ownGain.last * (1 - Self.pacingMargin)
    bwShortterm = max(min(bwLatest / held, maxBw), Self.beta * bwShortterm)
    inflightShortterm = max(inflightLatest / held, Self.beta * inflightShortterm)
  }

  mutating func resetShortTermModel() {
    bwShortterm = .infinity
    inflightShortterm = .infinity
  }

  // MARK: Loss

  /// IsInflightTooHigh(). What is marked CE counts as lost.
  var isInflightTooHigh: Bool { rs.lost > rs.txInFlight * Self.lossThresh }

  private mutating func noteLoss() {
    if !isLossInRound { lossRoundDelivered = delivered }
    isLossInRound = true
  }

  /// HandleLostPacket().
  mutating func onPacketLost(
    _ packet: SentPacket, number: UInt64, delivered: UInt64, lost: UInt64, now: Instant
  ) {
    self.now = now
    self.delivered = delivered
    if !isEpisodeBeginning, episodeStart.map({ packet.timeSent > $0 }) ?? true {
      isEpisodeBeginning = true
      saveStateUponLoss()
    }
    noteLoss()
    if lastLost.map({ number != $0 + 1 }) ?? true { lossRangesInRound += 1 }
    lastLost = number
    let txInFlight = Double(packet.inFlight)
    let lostSinceSent = Double(lost - packet.lost)
    guard lostSinceSent > txInFlight * Self.lossThresh else { return }
    if state == .startup { conservePackets(Double(packet.size)) }
    guard isBwProbeSample else { return }
    let level = Self.inflightAtLoss(size: Double(packet.size), txInFlight: txInFlight, lost: lostSinceSent)
    handleInflightTooHigh(level, isAppLimited: packet.flags.contains(.appLimited))
  }

  /// Startup overflows the queue. Until CheckStartupHighLoss() has seen a whole round of that, what is lost is not
  /// refilled: the draft would send on at 2.77 times the rate into a queue that is full.
  private mutating func conservePackets(_ lost: Double) {
    conservesPackets = true
    cwnd = max(cwnd - lost, minPipeCwnd)
  }

  /// InflightAtLoss(): how much was in flight when the losses crossed the threshold, perhaps midway through this packet.
  static func inflightAtLoss(size: Double, txInFlight: Double, lost: Double) -> Double {
    let inflightPrevious = txInFlight - size
    let lostPrevious = lost - size
    let lostPrefix = (lossThresh * inflightPrevious - lostPrevious) / (1 - lossThresh)
    return inflightPrevious + max(lostPrefix, 0)
  }

  private mutating func handleInflightTooHigh(_ txInFlight: Double, isAppLimited: Bool) {
    prevProbeTooHigh = true
    isBwProbeSample = false
    if !isAppLimited { inflightLongterm = max(txInFlight, targetInflight * Self.beta) }
    guard state == .probeUp else { return }
    undo?.state = .probeUp
    startProbeDown()
  }

  /// The ACK reports packets marked CE. The draft leaves the response open but for this: a mark is congestion. It is
  /// taken for a loss that needs no repair.
  mutating func noteMarks() {
    noteLoss()
    lossRangesInRound += 1
    guard isBwProbeSample, isInflightTooHigh else { return }
    handleInflightTooHigh(rs.txInFlight, isAppLimited: rs.isAppLimited)
  }

  // MARK: Recovery

  mutating func onLost(_ sample: LossSample) {
    guard isEpisodeBeginning else { return }
    isEpisodeBeginning = false
    episodeStart = sample.now
    enterRecovery(sample.now)
  }

  mutating func onCongestionExperienced(sent: Instant, now: Instant) {
    // A mark is never spurious: what it brings about is not undone with a loss that is.
    undo = nil
    if let recoveryStart, sent <= recoveryStart { return }
    saveCwnd()
    enterRecovery(now)
  }

  private mutating func enterRecovery(_ now: Instant) {
    recoveryStart = now
    isInRecovery = true
  }

  /// A packet sent in recovery is acknowledged (RFC 9002 §7.3.2).
  mutating func exitRecovery() {
    isInRecovery = false
    conservesPackets = false
    restoreCwnd()
  }

  /// OnEnterRTO(). What QUIC has of it is persistent congestion; the model of the path outlives it.
  mutating func onPersistentCongestion(now: Instant) {
    saveCwnd()
    // RFC 9002 §7.6.2: the sender's congestion window MUST be reduced to the minimum congestion window
    cwnd = Double(Self.minimumWindow(maximumDatagramSize))
    // The window then grows by what is acknowledged; the one before comes back only if the losses prove spurious.
    recoveryStart = nil
    isInRecovery = false
    conservesPackets = false
  }

  mutating func saveCwnd() {
    priorCwnd = isInRecovery || state == .probeRTT ? max(priorCwnd, cwnd) : cwnd
  }

  mutating func restoreCwnd() { cwnd = max(cwnd, priorCwnd) }

  // MARK: Spurious loss

  private mutating func saveStateUponLoss() {
    saveCwnd()
    undo = Undo(
      bwShortterm: bwShortterm, inflightShortterm: inflightShortterm, inflightLongterm: inflightLongterm)
  }

  /// HandleSpuriousLossDetection(): everything declared lost since ``episodeStart`` has arrived.
  mutating func onSpuriousLoss(now: Instant) {
    guard let undo else { return }
    self.undo = nil
    self.now = now
    episodeStart = nil
    recoveryStart = nil
    // Only what slowed the flow down can have hidden growth from the full-pipe estimator. A path that goes on reordering
    // would otherwise keep it from ever ending Startup or ProbeBW_UP.
    if undo.state != nil || cwnd * Self.fullBwGrowth < priorCwnd { resetFullBw() }
    exitRecovery()
    isLossInRound = false
    lossRangesInRound = 0
    bwShortterm = max(bwShortterm, undo.bwShortterm)
    inflightShortterm = max(inflightShortterm, undo.inflightShortterm)
    inflightLongterm = max(inflightLongterm, undo.inflightLongterm)
    switch undo.state {
    case .startup where state != .startup && mayReturnToStartup:
      // Once: on a path that goes on reordering Startup would have no end.
      mayReturnToStartup = false
      fullBwReached = false
      if state != .probeRTT { state = .startup }
    case .probeUp where state != .probeUp:
      if state != .probeRTT { startProbeRefill() }
    default: break
    }
  }
}
