import Wire

/// BBRv3 (draft-ietf-ccwg-bbr): paces at the rate that the path was seen to deliver, and keeps in flight what the path
/// holds, instead of filling its queue until it overflows.
///
/// Names are the draft's. Rates are in bytes per second and volumes in bytes, both as Double: infinity means "no limit",
/// and every sum is exact up to 2^53. What the draft calls C and RS, the connection and the rate sample, is kept from the
/// event being handled, so that each function reads as its pseudocode does. docs/decisions/0009-bbrv3.md says where this
/// departs from the draft and why.
struct BBR: CongestionController {
  // "Core Algorithm Design Parameters" and the parameters of each state.
  static let startupPacingGain = 2.77
  static let drainPacingGain = 0.5
  static let probeDownPacingGain = 0.9
  static let probeUpPacingGain = 1.25
  static let probeUpCwndGain = 2.25
  static let defaultCwndGain = 2.0
  static let probeRTTCwndGain = 0.5
  static let pacingMargin = 0.01
  static let lossThresh = 0.02
  static let beta = 0.7
  static let headroom = 0.15
  /// BBR.MinPipeCwnd, in datagrams.
  static let minPipeDatagrams: UInt64 = 4
  static let startupFullLossCount = 6
  static let fullBwGrowth = 1.25
  static let fullBwRounds = 3
  static let drainRounds: UInt64 = 3
  static let minRTTFilterLength = Interval.seconds(10)
  static let probeRTTInterval = Interval.seconds(5)
  static let probeRTTDuration = Interval.milliseconds(200)
  static let extraAckedFilterLength: UInt64 = 10
  /// "A BBR implementation SHOULD attempt to use the smallest feasible quanta": a quarter of the draft's millisecond is four
  /// thousand timers a second at most, and a queue a quarter as uneven.
  static let quantumTime = Interval.microseconds(250)
  static let largestQuantum = 65_536.0
  /// T_reno_bound: 62 or 63 rounds, by whether the count begins at one or at zero.
  static let renoRounds = 63.0

  enum State: Sendable {
    case startup, drain
    case probeDown, probeCruise, probeRefill, probeUp
    case probeRTT

    var isProbeBW: Bool {
      switch self {
      case .probeDown, .probeCruise, .probeRefill, .probeUp: true
      case .startup, .drain, .probeRTT: false
      }
    }

    /// IsProbingBW(): in these states losses tell what the path holds at most, not that it holds less than before.
    var isProbingBW: Bool { self == .startup || self == .probeRefill || self == .probeUp }

    // The table of "Summary of Control Behavior in the State Machine".

    var pacingGain: Double {
      switch self {
      case .startup: BBR.startupPacingGain
      case .drain: BBR.drainPacingGain
      case .probeDown: BBR.probeDownPacingGain
      case .probeUp: BBR.probeUpPacingGain
      case .probeCruise, .probeRefill, .probeRTT: 1
      }
    }

    var cwndGain: Double {
      switch self {
      case .probeUp: BBR.probeUpCwndGain
      case .probeRTT: BBR.probeRTTCwndGain
      case .startup, .drain, .probeDown, .probeCruise, .probeRefill: BBR.defaultCwndGain
      }
    }
  }

  /// What the acknowledgments now coming tell of the last probe for bandwidth.
  enum AckPhase: Sendable { case initial, refilling, probeStarting, probeFeedback, probeStopping }

  /// RS: what the ACK being handled says.
  struct RateSample: Sendable {
    var deliveryRate = 0.0
    var delivered = 0.0
    var priorDelivered: UInt64 = 0
    var newlyAcked = 0.0
    var lost = 0.0
    var txInFlight = 0.0
    /// C.inflight before the ACK: the most that it had reached.
    var priorInFlight = 0.0
    var isAppLimited = false
    var rtt: Interval?
  }

  /// What a loss episode that proves spurious gives back.
  struct Undo: Sendable {
    /// The state that the episode ended, if it ended one.
    var state: State?
    var bwShortterm: Double
    var inflightShortterm: Double
    var inflightLongterm: Double
  }

  // C: the connection, as of the event being handled.
  var maximumDatagramSize: UInt64
  var initialWindow: UInt64
  var now = Instant.zero
  var delivered: UInt64 = 0
  var inFlight: UInt64 = 0
  var isCwndLimited = false
  var wasCwndLimitedInRound = false
  var rs = RateSample()

  // Output control parameters.
  var cwnd: Double
  var pacingBytesPerSecond: Double
  var quantum: Double

  // General state.
  var state = State.startup
  var isUntouched = true
  var hasSeenRTT = false
  var idleRestart = false
  var drainStartRound: UInt64 = 0
  var dice: UInt64

  // Rounds.
  var nextRoundDelivered: UInt64 = 0
  var roundStart = false
  var roundCount: UInt64 = 0

  // The path: data rate.
  var maxBwFilter = (previous: 0.0, current: 0.0)
  var bw = 0.0
  var bwShortterm = Double.infinity

  // The path: data volume.
  var minRTT = Interval.infinite
  var minRTTStamp = Instant.distantFuture
  var inflightLongterm = Double.infinity
  var inflightShortterm = Double.infinity
  var extraAckedFilter = WindowedMaximum()
  var extraAckedIntervalStart = Instant.distantFuture
  var extraAckedDelivered = 0.0

  // Congestion signals.
  var bwLatest = 0.0
  var inflightLatest = 0.0
  /// The largest pacing gain, 1 at most, in the last loss round, whose packets are now being acknowledged, and in this.
  var ownGain = (last: 1.0, current: 1.0)
  var isLossInRound = false
  var lossRoundDelivered: UInt64 = 0
  var lossRoundStart = false
  /// Discontiguous ranges of packets lost since the loss round began, and the last number lost.
  var lossRangesInRound = 0
  var lastLost: UInt64?

  // Startup.
  var fullBwReached = false
  var fullBwNow = false
  var fullBw = 0.0
  var fullBwCount = 0

  // ProbeBW.
  var ackPhase = AckPhase.initial
  var isBwProbeSample = false
  var bwProbeUpAcked = 0.0
  var probeUpAckedPerInc = Double.infinity
  var bwProbeUpRounds = 0
  var roundsSinceProbeUp = 0.0
  var bwProbeWait = Interval.zero
  var cycleStamp = Instant.zero
  var prevProbeTooHigh = false
  var prevProbePrecautionary = false

  // ProbeRTT.
  var probeRTTMinDelay = Interval.infinite
  var probeRTTMinStamp = Instant.distantFuture
  var probeRTTExpired = false
  var probeRTTDoneStamp: Instant?
  var probeRTTRoundDone = false
  /// C.delivered once everything sent in the last ProbeRTT has been settled.
  var probeRTTEnd: UInt64 = 0

  // Loss recovery.
  var recoveryStart: Instant?
  var isInRecovery = false
  /// Startup loses too much: the window is not refilled until this recovery period ends.
  var conservesPackets = false
  var priorCwnd = 0.0
  var undo: Undo?
  var mayReturnToStartup = true
  /// When the newest loss episode began; what was sent before belongs to it.
  var episodeStart: Instant?
  var isEpisodeBeginning = false

  /// - Parameter seed: what the waits between probes are drawn from. Flows on one path want different ones.
  init(maximumDatagramSize: UInt64, seed: UInt64) {
    self.maximumDatagramSize = maximumDatagramSize
    initialWindow = Self.initialWindow(maximumDatagramSize)
    cwnd = Double(initialWindow)
    quantum = Double(2 * maximumDatagramSize)
    dice = seed
    // InitPacingRate(): C.InitialCwnd in a millisecond, until there is an RTT.
    pacingBytesPerSecond = Self.startupPacingGain * Double(initialWindow) * 1_000
  }

  var congestionWindow: UInt64 { UInt64(cwnd) }
  var pacingRate: UInt64? { UInt64(min(max(pacingBytesPerSecond, 1), 1e15)) }
  var sendQuantum: UInt64? { UInt64(quantum) }
  var isInSlowStart: Bool { state == .startup }
  var isSendingLessThanPathDelivers: Bool { state == .probeRTT }

  var smss: Double { Double(maximumDatagramSize) }
  var minPipeCwnd: Double { Double(Self.minPipeDatagrams * maximumDatagramSize) }
  var maxBw: Double { max(maxBwFilter.previous, maxBwFilter.current) }
  var extraAcked: Double { extraAckedFilter.value }

  mutating func onPacketSent(bytes: UInt64, inFlight: UInt64, isAppLimited: Bool, now: Instant) {
    self.now = now
    // OnTransmit().
    if inFlight == bytes, isAppLimited { handleRestartFromIdle() }
    self.inFlight = inFlight
    // C.is_cwnd_limited: no further datagram would have fitted at some point of the round.
    if inFlight + maximumDatagramSize > congestionWindow { wasCwndLimitedInRound = true }
  }

  /// UpdateOnACK().
  mutating func onAcknowledged(_ sample: AckSample) {
    guard let delivery = sample.delivery else { return }
    isUntouched = false
    now = sample.now
    inFlight = sample.inFlight
    delivered = delivery.priorDelivered + delivery.delivered
    rs = RateSample(
      deliveryRate: Double(delivery.bytesPerSecond ?? 0), delivered: Double(delivery.delivered),
      priorDelivered: delivery.priorDelivered, newlyAcked: Double(sample.bytesAcked), lost: Double(delivery.lost),
      txInFlight: Double(delivery.inFlightWhenSent), priorInFlight: Double(sample.priorInFlight),
      isAppLimited: delivery.isAppLimited, rtt: sample.rttSample)
    if isInRecovery, sample.bytesAckedPastRecovery > 0 { exitRecovery() }
    if sample.bytesMarked > 0 { noteMarks() }
    updateModelAndState()
    updateControlParameters(sample.rtt)
  }

  private mutating func updateModelAndState() {
    updateLatestDeliverySignals()
    updateCongestionSignals()
    updateACKAggregation()
    checkFullBwReached()
    checkStartupDone()
    checkDrainDone()
    updateProbeBWCyclePhase()
    updateMinRTT()
    checkProbeRTT()
    advanceLatestDeliverySignals()
    boundBwForModel()
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    maximumDatagramSize = bytes
    quantum = max(quantum, 2 * smss)
    // RFC 9002 §7.2: the initial congestion window SHOULD be recalculated with the new size.
    guard isUntouched else { return cwnd = max(cwnd, minPipeCwnd) }
    initialWindow = Self.initialWindow(bytes)
    cwnd = Double(initialWindow)
  }

  /// The next of the seed's draws, in 0..<1 (SplitMix64).
  mutating func draw() -> Double {
    dice &+= 0x9e37_79b9_7f4a_7c15
    var z = dice
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return Double((z ^ (z >> 31)) >> 11) / Double(1 << 53)
  }
}
