import Wire

/// NewReno as QUIC runs it (RFC 9002 §7.3 and Appendix B).
struct NewReno: CongestionController {
  private(set) var congestionWindow: UInt64
  private(set) var slowStartThreshold = UInt64.max
  private(set) var recoveryStart: Instant?
  private var maximumDatagramSize: UInt64
  /// Bytes acknowledged in congestion avoidance since the window last grew (RFC 3465 §2.1).
  private var bytesAcked: UInt64 = 0
  private var isUntouched = true

  init(maximumDatagramSize: UInt64) {
    self.maximumDatagramSize = maximumDatagramSize
    congestionWindow = Self.initialWindow(maximumDatagramSize)
  }

  var isInSlowStart: Bool { congestionWindow < slowStartThreshold }

  mutating func onAcknowledged(_ sample: AckSample) {
    isUntouched = false
    guard sample.bytesAckedPastRecovery > 0, isWindowUsed(sample, maximumDatagramSize: maximumDatagramSize)
    else { return }
    if isInSlowStart {
      congestionWindow += sample.bytesAckedPastRecovery
      return
    }
    bytesAcked += sample.bytesAckedPastRecovery
    // RFC 9002 §7.3.3: MUST limit the increase to the congestion window to at most one maximum
    // datagram size for each congestion window that is acknowledged.
    if bytesAcked >= congestionWindow {
      bytesAcked -= congestionWindow
      congestionWindow += maximumDatagramSize
    }
  }

  mutating func onLost(_ sample: LossSample) { onCongestionExperienced(sent: sample.newestSent, now: sample.now) }

  mutating func onCongestionExperienced(sent: Instant, now: Instant) {
    // Once per round trip: what was sent before the recovery period began says nothing new.
    if let recoveryStart, sent <= recoveryStart { return }
    isUntouched = false
    recoveryStart = now
    bytesAcked = 0
    // RFC 9002 §7.3.2: a sender MUST set the slow start threshold to half the value of the
    // congestion window when loss is detected.
    slowStartThreshold = congestionWindow / 2
    congestionWindow = max(slowStartThreshold, Self.minimumWindow(maximumDatagramSize))
  }

  mutating func onPersistentCongestion(now: Instant) {
    // RFC 9002 §7.6.2: the sender's congestion window MUST be reduced to the minimum congestion window
    congestionWindow = Self.minimumWindow(maximumDatagramSize)
    recoveryStart = nil
    bytesAcked = 0
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    maximumDatagramSize = bytes
    // RFC 9002 §7.2: the initial congestion window SHOULD be recalculated with the new size.
    congestionWindow =
      isUntouched ? Self.initialWindow(bytes) : max(congestionWindow, Self.minimumWindow(bytes))
  }
}
