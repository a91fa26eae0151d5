package import Wire

/// Loss detection, probe timeouts and congestion control over the three packet-number spaces
/// (RFC 9002 §6, §7 and Appendix A).
///
/// The connection reports each packet as it leaves and each ACK as it comes, asks ``sendBudget(_:)``
/// before it sends, and calls ``onTimeout(_:)`` at ``deadline``. Frames of packets acknowledged or lost
/// by the last call stand in ``ackedFrames`` and ``lostFrames`` until the next one; the two buffers
/// are reused.
package struct LossRecovery: Sendable {
  /// RFC 9002 §6.1.1: kPacketThreshold.
  static let packetThreshold: UInt64 = 3
  /// RFC 9002 §7.6.1: kPersistentCongestionThreshold.
  static let persistentCongestionThreshold: Int64 = 3
  /// Packets that elicit no acknowledgment are forgotten, oldest first, when more are tracked than this.
  static let unelicitedLimit = 1024

  /// What is kept for one packet-number space.
  struct Space: Sendable {
    var sent = SentPackets()
    var largestAcked: UInt64?
    /// When the oldest unacknowledged packet will count as lost, if a later one is acknowledged already.
    var lossTime: Instant?
    var lastAckElicitingSent = Instant.zero
    var ackElicitingInFlight = 0
    /// Where the next probe's search for something to send again begins.
    var nextProbed: UInt64 = 0
  }

  let role: Role
  package private(set) var rtt: RTTEstimator
  private let initialRTT: Interval
  /// What controllers that leave something to chance draw from; each path's has another.
  private var seed: UInt64
  private(set) var maximumDatagramSize: UInt64
  var spaces = InlineArray<3, Space>(repeating: Space())
  package var controller: AnyController
  var pacer: Pacer
  var sampler = DeliveryRateSampler()
  var lossEpisode = LossEpisode()
  package var ecn: ECNValidation

  /// Bytes of packets in flight on the present path, over all spaces (RFC 9002 §B.2).
  package var bytesInFlight: UInt64 = 0
  var probeTimeoutCount = 0
  /// The start of a PTO that runs with nothing in flight.
  var timerBase = Instant.zero
  /// The pacer has held packets back since the last ACK.
  private(set) var isPacingLimited = false
  private var roundEnd: UInt64 = 0
  /// Loss events of packets larger than every path must carry, since one such was last acknowledged on this path.
  var largeLossEvents = 0
  /// The same of packets about as large as every path must carry, or larger.
  var fullLossEvents = 0
  /// A packet at least as large as every path must carry has been acknowledged on this path; cleared by whoever asked.
  var acknowledgedBase = false
  /// One packet may leave though the window is full, since a recovery period has just begun.
  var mayExceedWindowOnce = false

  /// The peer's max_ack_delay transport parameter.
  package var peerMaxAckDelay = Interval.milliseconds(25)
  /// No PTO period grows beyond this; nil lets them double for ever.
  var probeTimeoutLimit: Interval?
  /// RFC 9001 §4.1.2.
  package var isHandshakeConfirmed = false
  /// Handshake keys are there to send with.
  var hasHandshakeKeys = false
  /// A server that may send nothing until it hears more from an unvalidated client (RFC 9000 §8.1).
  var isAmplificationLimited = false
  var hasHandshakeAck = false

  /// Frames of packets that the last ACK newly acknowledged.
  package var ackedFrames: [SentFrame] = []
  /// Frames of packets that the last ACK or timeout declared lost.
  package var lostFrames: [SentFrame] = []
  /// Filled by ``collectProbeFrames(_:packets:)``.
  var probeFrames: [SentFrame] = []
  package var statistics = RecoveryStatistics()
  /// Packets declared lost that no log has yet; nil keeps none.
  var lostPackets: [LostPacket]?

  package init(
    role: Role, algorithm: CongestionAlgorithm = .cubic, maximumDatagramSize: Int = 1200,
    initialRTT: Interval = RTTEstimator.defaultInitial, isECNEnabled: Bool = false, seed: UInt64 = 0
  ) {
    self.role = role
    self.seed = seed
    self.initialRTT = initialRTT
    self.maximumDatagramSize = UInt64(max(maximumDatagramSize, 1200))
    rtt = RTTEstimator(initial: initialRTT)
    controller = AnyController(algorithm, maximumDatagramSize: self.maximumDatagramSize, seed: seed)
    pacer = Pacer(
      maximumDatagramSize: self.maximumDatagramSize,
      rate: controller.pacingRate ?? Pacer.rate(window: controller.congestionWindow, smoothedRTT: initialRTT))
    ecn = ECNValidation(isEnabled: isECNEnabled)
  }

  // MARK: Sending

  /// How much of what counts in flight may leave now.
  package enum SendBudget: Hashable, Sendable {
    /// At least one datagram, at most so many bytes.
    case bytes(Int)
    /// The congestion window is full: an ACK or a probe timeout comes first.
    case congestionLimited
    /// The pacer will let more out at this time.
    case paced(until: Instant)
  }

  /// Asked when there is something to send that counts in flight. Probes and bare ACKs need not ask.
  package mutating func sendBudget(_ now: Instant) -> SendBudget {
    let window = controller.congestionWindow
    guard !spaces[2].sent.isFull else { return .congestionLimited }
    // RFC 9002 §7: An endpoint MUST NOT send a packet if it would cause bytes_in_flight
    // (see {{vars-of-interest}}) to be larger than the congestion window, unless the packet
    // is sent on a PTO timer expiration (see {{pto}}) or when entering recovery
    guard window >= bytesInFlight + maximumDatagramSize else {
      return mayExceedWindowOnce ? .bytes(Int(maximumDatagramSize)) : .congestionLimited
    }
    let paced = pacer.budget(now)
    guard paced > 0 else {
      isPacingLimited = true
      return .paced(until: pacer.nextSendTime)
    }
    return .bytes(min(paced, Int(clamping: window - bytesInFlight)))
  }

  /// In ProbeRTT the next packet may be the last of its flight: one more would not fit the window. A delayed acknowledgment
  /// of it would be taken for a longer path (draft-ietf-ccwg-bbr, "ACK Frequency": an IMMEDIATE_ACK frame).
  var wantsPromptAck: Bool {
    controller.isSendingLessThanPathDelivers
      && controller.congestionWindow < bytesInFlight + 2 * maximumDatagramSize
  }

  /// Notes a frame of the packet being built in `space`.
  package mutating func record(_ frame: SentFrame, in space: PacketNumberSpace) {
    spaces[Int(space.rawValue)].sent.record(frame)
  }

  /// The packet being built is not sent after all: forgets the frames noted for it.
  mutating func abandonRecorded(in space: PacketNumberSpace) {
    spaces[Int(space.rawValue)].sent.abandonRecorded()
  }

  /// A packet with the frames recorded since the one before it in its space has left (RFC 9002 §A.5).
  /// - Parameters:
  ///   - number: larger than any before it in the space; numbers may be left out.
  ///   - size: bytes with header and tag, without UDP and IP.
  ///   - isInFlight: it elicits an acknowledgment or holds PADDING.
  package mutating func onPacketSent(
    _ space: PacketNumberSpace, number: UInt64, size: Int, isAckEliciting: Bool, isInFlight: Bool,
    isPMTUProbe: Bool = false, ecn codepoint: ECN = .notECT, now: Instant
  ) {
    let index = Int(space.rawValue)
    makeRoom(index)
    var packet = SentPacket(
      timeSent: now, size: UInt16(clamping: size), flags: [], state: .outstanding, frameCount: 0, firstFrame: 0)
    if isAckEliciting { packet.flags.insert(.ackEliciting) }
    if isPMTUProbe { packet.flags.insert(.pmtuProbe) }
    if codepoint == .ect0 {
      packet.flags.insert(.ect0)
      ecn.onSent(space)
    }
    statistics.packetsSent += 1
    statistics.bytesSent += UInt64(packet.size)
    if isInFlight || isAckEliciting {
      packet.flags.insert(.inFlight)
      let isRestart = bytesInFlight == 0
      sampler.onSent(&packet, inFlightBefore: bytesInFlight)
      bytesInFlight += UInt64(packet.size)
      mayExceedWindowOnce = false
      pacer.onSent(UInt64(packet.size))
      controller.onPacketSent(
        bytes: UInt64(packet.size), inFlight: bytesInFlight, isAppLimited: sampler.isAppLimited, now: now)
      // A controller may pace what follows idle time otherwise than what went before it.
      if isRestart, let rate = controller.pacingRate { pacer.setRate(rate, quantum: controller.sendQuantum, now: now) }
      if isAckEliciting {
        spaces[index].lastAckElicitingSent = now
        spaces[index].ackElicitingInFlight += 1
      }
      timerBase = now
    }
    spaces[index].sent.append(number, packet)
  }

  /// Keeps what is tracked bounded. A receiver that sends nothing but ACKs hears no acknowledgment of
  /// them for as long as it likes.
  private mutating func makeRoom(_ index: Int) {
    while !spaces[index].sent.isEmpty {
      let oldest = spaces[index].sent.base
      let packet = spaces[index].sent[oldest]
      if packet.state == .outstanding {
        let isSurplus = !packet.isAckEliciting && spaces[index].sent.count >= Self.unelicitedLimit
        guard isSurplus || spaces[index].sent.isFull else { return }
        if packet.isInFlight { bytesInFlight -= UInt64(packet.size) }
        if packet.isAckEliciting { spaces[index].ackElicitingInFlight -= 1 }
        spaces[index].sent.settle(oldest)
      }
      spaces[index].sent.releaseSettled()
    }
  }

  /// The application has nothing more to send though there was room: what is sampled from here on
  /// says nothing of the path's rate.
  package mutating func markAppLimited() {
    guard bytesInFlight < controller.congestionWindow else { return }
    sampler.markAppLimited(inFlight: bytesInFlight)
  }

  // MARK: Changes of state that other parts of the connection cause

  /// The keys of a space are gone: so is everything about its packets (RFC 9002 §6.4).
  mutating func discard(_ space: PacketNumberSpace, now: Instant) {
    let index = Int(space.rawValue)
    // RFC 9002 §6.4: The sender MUST discard all recovery state associated with those packets
    // and MUST remove them from the count of bytes in flight.
    removeFromFlight(index)
    spaces[index] = Space()
    // RFC 9002 §6.2.2: the PTO and loss detection timers MUST be reset
    probeTimeoutCount = 0
    timerBase = now
  }

  /// Gives up the room of what the last call reported, which has been dealt with.
  mutating func releaseBuffers() {
    ackedFrames = []
    lostFrames = []
    probeFrames = []
  }

  private mutating func removeFromFlight(_ index: Int) {
    var number = spaces[index].sent.base
    while number < spaces[index].sent.next {
      let packet = spaces[index].sent[number]
      if packet.state == .outstanding, packet.isInFlight {
        bytesInFlight -= UInt64(packet.size)
        spaces[index].sent.updateFlags(number) { $0.remove(.inFlight) }
      }
      number += 1
    }
  }

  /// A Retry came (RFC 9002 §6.3): everything starts again, but packet numbers do not. What Initial
  /// and 0-RTT packets carried is to be sent anew.
  mutating func onRetry(now: Instant) {
    discard(.initial, now: now)
    discard(.applicationData, now: now)
    startAgain()
  }

  private mutating func startAgain() {
    rtt = RTTEstimator(initial: initialRTT)
    seed &+= 1
    controller = AnyController(controller.algorithm, maximumDatagramSize: maximumDatagramSize, seed: seed)
    pacer = Pacer(
      maximumDatagramSize: maximumDatagramSize,
      rate: controller.pacingRate ?? Pacer.rate(window: controller.congestionWindow, smoothedRTT: initialRTT))
    sampler = DeliveryRateSampler()
    roundEnd = 0
    lossEpisode = LossEpisode()
  }

  /// Packets now take another path. RFC 9000 §9.4: what was sent before no longer counts, and, unless
  /// only the peer's port changed, congestion control and the RTT start again.
  mutating func onPathChanged(keepingState: Bool, now: Instant) {
    if keepingState { return }
    // RFC 9000 §13.4.2: "An endpoint thus attempts to use ECN and validates this for each new connection, when switching
    // to a server's preferred address, and on active connection migration to a new path."
    ecn.onNewPath()
    for index in 0..<3 {
      removeFromFlight(index)
      var number = spaces[index].sent.base
      while number < spaces[index].sent.next {
        spaces[index].sent.updateFlags(number) { $0.insert(.formerPath) }
        number += 1
      }
    }
    startAgain()
    largeLossEvents = 0
    fullLossEvents = 0
    acknowledgedBase = false
    probeTimeoutCount = 0
    timerBase = now
  }

  /// The path's maximum datagram size is known anew (RFC 9000 §14).
  mutating func setMaximumDatagramSize(_ bytes: Int) {
    maximumDatagramSize = UInt64(max(bytes, 1200))
    controller.setMaximumDatagramSize(maximumDatagramSize)
    pacer.setMaximumDatagramSize(maximumDatagramSize)
  }

  // Called by the ACK's processing.

  mutating func takeRTTSample(_ sample: Interval, ackDelay: Interval, now: Instant) {
    rtt.update(sample, ackDelay: ackDelay, maxAckDelay: isHandshakeConfirmed ? peerMaxAckDelay : nil, now: now)
  }

  mutating func onPersistentCongestion(now: Instant) {
    statistics.persistentCongestions += 1
    rtt.onPersistentCongestion()
    controller.onPersistentCongestion(now: now)
  }

  /// The end of an ACK that acknowledged something new.
  mutating func onProgress(in space: PacketNumberSpace, now: Instant) {
    if space == .handshake { hasHandshakeAck = true }
    // RFC 9002 §6.2.1: a client does not reset the PTO backoff factor on
    // receiving acknowledgments in Initial packets.
    if isPeerAddressValidationDone { probeTimeoutCount = 0 }
    spaces[Int(space.rawValue)].nextProbed = 0
    timerBase = now
    isPacingLimited = false
    let rate = controller.pacingRate ?? Pacer.rate(window: controller.congestionWindow, smoothedRTT: rtt.smoothed)
    pacer.setRate(rate, quantum: controller.sendQuantum, now: now)
  }

  /// Whether a packet sent after the present round trip began is among those acknowledged; begins the next then.
  mutating func passesRound(_ delivery: DeliveryRateSample?) -> Bool {
    guard let delivery, delivery.priorDelivered >= roundEnd else { return false }
    roundEnd = sampler.delivered
    return true
  }
}
