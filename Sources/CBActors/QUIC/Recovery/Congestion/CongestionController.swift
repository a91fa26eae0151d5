import Wire

/// Which congestion controller a connection runs.
public enum CongestionAlgorithm: String, Sendable, CaseIterable {
  /// draft-ietf-ccwg-bbr.
  case bbrV3 = "bbrv3"
  /// RFC 9438, with the slow start of RFC 9406.
  case cubic
  /// RFC 9002 §7.
  case newReno = "newreno"
}

/// What one ACK, after loss detection, tells a congestion controller.
struct AckSample: Sendable {
  var now: Instant
  /// Bytes newly acknowledged that were in flight on this path.
  var bytesAcked: UInt64 = 0
  /// Of these, the bytes of packets sent after the present recovery period began (RFC 9002 §7.3.2).
  var bytesAckedPastRecovery: UInt64 = 0
  /// Bytes in flight before and after this ACK.
  var priorInFlight: UInt64 = 0
  var inFlight: UInt64 = 0
  /// The pacer, not the window or the application, held packets back since the last ACK.
  var isPacingLimited = false
  /// The round-trip time that this ACK sampled; nil when it did not.
  var rttSample: Interval?
  var rtt: RTTEstimator
  /// A packet sent after the last round began is acknowledged: a new round trip begins.
  var isRoundStart = false
  /// Bytes that this ACK declared lost.
  var bytesLost: UInt64 = 0
  /// Bytes of packets that it newly reports as marked CE.
  var bytesMarked: UInt64 = 0
  var delivery: DeliveryRateSample?
}

/// Packets that were declared lost together.
struct LossSample: Sendable {
  var now: Instant
  var packets = 0
  var bytes: UInt64 = 0
  /// When the newest of them was sent.
  var newestSent: Instant
  /// Bytes in flight before they were declared lost.
  var priorInFlight: UInt64 = 0
}

/// Decides how much may be in flight, and how fast it leaves (RFC 9002 §7). All quantities in bytes.
protocol CongestionController: Sendable {
  var congestionWindow: UInt64 { get }
  /// Bytes per second; nil when the pacer is to derive a rate from the window.
  var pacingRate: UInt64? { get }
  /// Bytes that may leave back to back; nil leaves it to the pacer.
  var sendQuantum: UInt64? { get }
  var isInSlowStart: Bool { get }
  /// When the present recovery period began; nil outside of one that still matters.
  var recoveryStart: Instant? { get }
  /// The window is kept below what the path holds: samples of the delivery rate are low for that reason.
  var isSendingLessThanPathDelivers: Bool { get }

  mutating func onPacketSent(bytes: UInt64, inFlight: UInt64, isAppLimited: Bool, now: Instant)
  mutating func onAcknowledged(_ sample: AckSample)
  /// One packet was declared lost; those lost with it follow, then ``onLost(_:)``.
  /// - Parameters:
  ///   - delivered: bytes delivered over the connection's life; `lost`: those declared lost, this packet's with them.
  mutating func onPacketLost(_ packet: SentPacket, number: UInt64, delivered: UInt64, lost: UInt64, now: Instant)
  mutating func onLost(_ sample: LossSample)
  /// Every packet declared lost since the newest recovery period began has been acknowledged after all.
  mutating func onSpuriousLoss(now: Instant)
  /// The peer reported more packets marked CE; `sent` is when the largest acknowledged one left.
  mutating func onCongestionExperienced(sent: Instant, now: Instant)
  mutating func onPersistentCongestion(now: Instant)
  mutating func setMaximumDatagramSize(_ bytes: UInt64)
}

extension CongestionController {
  mutating func onPacketSent(bytes: UInt64, inFlight: UInt64, isAppLimited: Bool, now: Instant) {}
  mutating func onPacketLost(_ packet: SentPacket, number: UInt64, delivered: UInt64, lost: UInt64, now: Instant) {}
  mutating func onSpuriousLoss(now: Instant) {}
  var pacingRate: UInt64? { nil }
  var sendQuantum: UInt64? { nil }
  var isSendingLessThanPathDelivers: Bool { false }

  /// RFC 9002 §7.2: ten datagrams, but no more than the larger of 14,720 bytes and two datagrams.
  static func initialWindow(_ maximumDatagramSize: UInt64) -> UInt64 {
    min(10 * maximumDatagramSize, max(14_720, 2 * maximumDatagramSize))
  }

  /// RFC 9002 §7.2: The RECOMMENDED value is 2 * max_datagram_size.
  static func minimumWindow(_ maximumDatagramSize: UInt64) -> UInt64 { 2 * maximumDatagramSize }

  /// RFC 9002 §7.8: a window that was not used has not been shown to fit the path, and does not
  /// grow. Waiting for the pacer is not leaving it unused; nor is room for a burst, or, in slow
  /// start, for the doubling of what is in flight.
  func isWindowUsed(_ sample: AckSample, maximumDatagramSize: UInt64) -> Bool {
    if sample.isPacingLimited || sample.priorInFlight >= congestionWindow { return true }
    if isInSlowStart, sample.priorInFlight > congestionWindow / 2 { return true }
    return congestionWindow - sample.priorInFlight <= 3 * maximumDatagramSize
  }
}
