package import Wire

/// The round-trip time of one path (RFC 9002 §5).
package struct RTTEstimator: Sendable {
  /// RFC 9002 §6.1.2: kGranularity.
  static let granularity = Interval.milliseconds(1)
  /// RFC 9002 §6.2.2: "the initial RTT SHOULD be set to 333 milliseconds".
  package static let defaultInitial = Interval.milliseconds(333)

  /// The newest sample; zero before the first.
  package private(set) var latest = Interval.zero
  package private(set) var smoothed: Interval
  /// The mean deviation, rttvar.
  package private(set) var variance: Interval
  /// The least sample; zero before the first.
  package private(set) var minimum = Interval.zero
  /// When the first sample was taken: persistent congestion looks only at packets sent later.
  private(set) var firstSample: Instant?

  init(initial: Interval = RTTEstimator.defaultInitial) {
    smoothed = initial
    variance = initial / 2
  }

  var hasSample: Bool { firstSample != nil }

  /// Takes in one sample.
  /// - Parameters:
  ///   - sample: the time from sending the largest acknowledged packet to its acknowledgment.
  ///   - ackDelay: the peer's decoded ACK Delay; the caller passes zero for Initial packets.
  ///   - maxAckDelay: the limit on `ackDelay`; nil until the handshake is confirmed.
  mutating func update(_ sample: Interval, ackDelay: Interval, maxAckDelay: Interval?, now: Instant) {
    // A clock that has not moved between sending and the acknowledgment would divide the pacer by zero.
    latest = max(sample, .microseconds(1))
    guard firstSample != nil else {
      // RFC 9002 §5.2: min_rtt MUST be set to the latest_rtt on the first RTT sample.
      minimum = latest
      smoothed = latest
      variance = latest / 2
      firstSample = now
      return
    }
    // RFC 9002 §5.2: min_rtt MUST be set to the lesser of min_rtt and latest_rtt
    minimum = min(minimum, latest)
    var delay = max(ackDelay, .zero)
    if let maxAckDelay {
      // RFC 9002 §5.3: MUST use the lesser of the acknowledgment delay and the peer's max_ack_delay
      delay = min(delay, maxAckDelay)
    }
    // RFC 9002 §5.3: MUST NOT subtract the acknowledgment delay from the RTT sample if the
    // resulting value is smaller than the min_rtt.
    let adjusted = latest >= minimum + delay ? latest - delay : latest
    // The deviation is from the average before this sample (RFC 9002 §A.7, and RFC 6298 §2).
    let deviation = smoothed > adjusted ? smoothed - adjusted : adjusted - smoothed
    variance = Interval(nanoseconds: variance.nanoseconds / 4 * 3 + deviation.nanoseconds / 4)
    smoothed = Interval(nanoseconds: smoothed.nanoseconds / 8 * 7 + adjusted.nanoseconds / 8)
  }

  /// RFC 9002 §5.2: Endpoints SHOULD set the min_rtt to the newest RTT sample after persistent
  /// congestion is established.
  mutating func onPersistentCongestion() {
    guard hasSample else { return }
    minimum = latest
  }

  /// The PTO period without backoff and without max_ack_delay (RFC 9002 §6.2.1).
  var probeTimeout: Interval { smoothed + max(variance * 4, Self.granularity) }

  /// How long after a packet's sending, once a later one is acknowledged, it counts as lost (RFC 9002 §6.1.2).
  var lossDelay: Interval {
    let longest = max(smoothed, latest)
    // kTimeThreshold is 9/8.
    return max(longest + longest / 8, Self.granularity)
  }
}
