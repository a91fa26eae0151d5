import Wire

/// How often the peer is asked to acknowledge (draft-ietf-quic-ack-frequency §8): about sixteen times in a round trip.
///
/// The delay asked for is never above the max_ack_delay that the peer declared, so that probe time-outs, which go by that,
/// are never too early.
struct AckRequests {
  /// Packets that the peer may leave unacknowledged, at most, however large the window.
  static let highestThreshold: UInt64 = 64
  /// RFC 9002 §6.1.1: kPacketThreshold, by which our loss detection goes.
  static let reorderingThreshold: UInt64 = 3

  /// min_ack_delay and max_ack_delay of the peer.
  private let least: Interval
  private let most: Interval
  /// A frame to be sent.
  private(set) var due: AckFrequencyFrame?
  private var threshold: UInt64 = 1
  private var nextSequence: UInt64 = 0
  private var last: AckFrequencyFrame?
  private var lastChange = Instant.zero

  init(least: Interval, most: Interval) {
    self.least = least
    self.most = most
  }

  /// Asks anew when the window has doubled or halved since, at most once in a round trip.
  mutating func consider(windowPackets: UInt64, roundTrip: Interval, now: Instant) {
    let wanted = min(max(windowPackets / 16, 1), Self.highestThreshold)
    guard wanted >= threshold * 2 || wanted * 2 <= threshold, now - lastChange >= roundTrip else { return }
    threshold = wanted
    lastChange = now
    request(delay: min(max(roundTrip / 4, least), most))
  }

  private mutating func request(delay: Interval) {
    due = AckFrequencyFrame(
      sequence: nextSequence, ackElicitingThreshold: threshold,
      requestedMaxAckDelay: UInt64(max(0, delay.microseconds)),
      reorderingThreshold: Self.reorderingThreshold)
    nextSequence += 1
  }

  mutating func sent() {
    last = due
    due = nil
  }

  /// ack-frequency §4: "the sender is encouraged to send another ACK_FREQUENCY frame, unless an ACK_FREQUENCY frame with a
  /// larger Sequence Number value has already been sent."
  mutating func lost(_ sequence: UInt64) {
    guard due == nil, let last, last.sequence == sequence else { return }
    due = last
  }
}

extension Connection {
  /// What was acknowledged may have changed the window.
  mutating func considerAckFrequency(_ now: Instant) {
    // ack-frequency §8.1.1: in slow start "delaying ACKs can delay the increase in congestion window".
    guard isHandshakeConfirmed, !recovery.controller.isInSlowStart else { return }
    ackRequests!.consider(
      windowPackets: recovery.controller.congestionWindow / UInt64(max(1, mtu.current)),
      roundTrip: recovery.rtt.smoothed,
      now: now)
  }

  /// A frame of an extension that we did not offer is one of an unknown type.
  func expectAckFrequency(_ type: UInt64) throws(TransportError) {
    guard configuration.minAckDelay == nil else { return }
    throw TransportError(.frameEncodingError, "ACK_FREQUENCY was not offered", frameType: type)
  }

  mutating func receiveAckFrequency(_ frame: AckFrequencyFrame) throws(TransportError) {
    try expectAckFrequency(FrameType.ackFrequency)
    let least = ourTransportParameters().minAckDelay ?? 0
    // ack-frequency §4: "Receipt of an invalid value MUST be treated as a connection error of type PROTOCOL_VIOLATION."
    guard frame.requestedMaxAckDelay >= least, frame.requestedMaxAckDelay < 1_000 << 14 else {
      throw TransportError(
        .protocolViolation, "a max_ack_delay of \(frame.requestedMaxAckDelay) µs", frameType: FrameType.ackFrequency)
    }
    // ack-frequency §4: "A receiving endpoint MUST ignore a received ACK_FREQUENCY frame unless the Sequence Number value in
    // the frame is greater than the largest processed value."
    if let largestAckFrequency, frame.sequence <= largestAckFrequency { return }
    largestAckFrequency = frame.sequence
    spaces[2].received.follow(frame)
  }
}
