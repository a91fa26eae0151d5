import Wire

/// ProbeBW (draft-ietf-ccwg-bbr, "ProbeBW Algorithm Details").
extension BBR {
  // MARK: Entering each state

  mutating func startProbeDown() {
    resetCongestionSignals()
    probeUpAckedPerInc = .infinity
    pickProbeWait()
    cycleStamp = now
    ackPhase = .probeStopping
    startRound()
    state = .probeDown
  }

  mutating func startProbeRefill() {
    resetShortTermModel()
    bwProbeUpRounds = 0
    bwProbeUpAcked = 0
    prevProbePrecautionary = false
    ackPhase = .refilling
    startRound()
    state = .probeRefill
  }

  private mutating func startProbeUp() {
    ackPhase = .probeStarting
    startRound()
    resetFullBw()
    fullBw = rs.deliveryRate
    state = .probeUp
    raiseInflightLongtermSlope()
  }

  /// UpdateProbeBWCyclePhase(), on each ACK.
  mutating func updateProbeBWCyclePhase() {
    guard fullBwReached, !adaptLongTermModel() else { return }
    switch state {
    case .probeDown:
      if isTimeToProbeBw { return startProbeRefill() }
      if isTimeToCruise { state = .probeCruise }
    case .probeCruise:
      if isTimeToProbeBw { startProbeRefill() }
    case .probeRefill:
      // One round has filled the pipe.
      guard roundStart else { return }
      isBwProbeSample = true
      startProbeUp()
    case .probeUp:
      guard isTimeToGoDown() else { return }
      prevProbeTooHigh = false
      startProbeDown()
    case .startup, .drain, .probeRTT: break
    }
  }

  // MARK: How long to wait

  /// PickProbeWait(): 2 to 3 seconds, or 62 to 63 round trips, drawn so that flows do not probe in step.
  private mutating func pickProbeWait() {
    roundsSinceProbeUp = draw() < 0.5 ? 0 : 1
    bwProbeWait = .seconds(2) + .nanoseconds(Int64(draw() * 1e9))
  }

  /// IsTimeToProbeBW(), without the transition.
  private var isTimeToProbeBw: Bool { now > cycleStamp + bwProbeWait || isRenoCoexistenceProbeTime }

  /// IsRenoCoexistenceProbeTime(): as many rounds as Reno would need to grow by what it had halved.
  private var isRenoCoexistenceProbeTime: Bool {
    roundsSinceProbeUp >= min(targetInflight / smss, Self.renoRounds)
  }

  // MARK: When to leave

  /// IsTimeToCruise(): the queue is gone, and there is room for others.
  private var isTimeToCruise: Bool {
    let inFlight = Double(inFlight)
    return inFlight <= inflightWithHeadroom && inFlight <= inflight(maxBw, 1)
  }

  /// IsTimeToGoDown().
  private mutating func isTimeToGoDown() -> Bool {
    // Precautionary bandwidth probing: the level that was too much last time is reached. After an ACK there is always room
    // below the window, and so below that level: what counts is how full it was before.
    if prevProbeTooHigh, rs.priorInFlight + smss > inflightLongterm {
      prevProbePrecautionary = true
      return true
    }
    if isCwndLimited, cwnd >= inflightLongterm {
      // What is delivered is bounded by the limit being raised, and says nothing of the path.
      resetFullBw()
      fullBw = rs.deliveryRate
      return false
    }
    return fullBwNow
  }

  /// InflightWithHeadroom(): leaves room for other flows.
  var inflightWithHeadroom: Double {
    guard inflightLongterm.isFinite else { return .infinity }
    return max(inflightLongterm - max(smss, Self.headroom * inflightLongterm), minPipeCwnd)
  }

  // MARK: The long-term model

  /// RaiseInflightLongtermSlope(): by one datagram in the first round, two in the next, then four.
  private mutating func raiseInflightLongtermSlope() {
    let growthThisRound = Double(1 << bwProbeUpRounds)
    bwProbeUpRounds = min(bwProbeUpRounds + 1, 30)
    probeUpAckedPerInc = max(cwnd / growthThisRound, smss)
  }

  private mutating func probeInflightLongtermUpward() {
    // Not fully used, so not grown.
    guard isCwndLimited, cwnd >= inflightLongterm else { return }
    bwProbeUpAcked += rs.newlyAcked
    if bwProbeUpAcked >= probeUpAckedPerInc {
      let delta = Double(UInt64(bwProbeUpAcked / probeUpAckedPerInc))
      bwProbeUpAcked -= delta * probeUpAckedPerInc
      inflightLongterm += delta * smss
    }
    if roundStart { raiseInflightLongtermSlope() }
  }

  /// AdaptLongTermModel(). True when it decided on a transition.
  private mutating func adaptLongTermModel() -> Bool {
    if ackPhase == .probeStarting, roundStart { ackPhase = .probeFeedback }
    if ackPhase == .probeStopping, roundStart {
      // The last of what was sent in the probe is acknowledged.
      isBwProbeSample = false
      ackPhase = .initial
      if state.isProbeBW {
        if !rs.isAppLimited { advanceMaxBwFilter() }
        // Precautionary bandwidth probing: the risky level did no harm, so probe on.
        if prevProbePrecautionary, !prevProbeTooHigh {
          startProbeRefill()
          return true
        }
      }
    }
    guard !isInflightTooHigh, inflightLongterm.isFinite else { return false }
    inflightLongterm = max(inflightLongterm, rs.txInFlight)
    if state == .probeUp { probeInflightLongtermUpward() }
    return false
  }
}
