package import Wire

extension ECNCounts {
  package var isZero: Bool { ect0 | ect1 | ce == 0 }

  /// Counts a packet that arrived with this codepoint (RFC 9000 §13.4.1).
  mutating func count(_ codepoint: ECN) {
    switch codepoint {
    case .notECT: break
    case .ect0: ect0 += 1
    case .ect1: ect1 += 1
    case .ce: ce += 1
    }
  }
}

/// What arrived in one packet-number space, and when it must be acknowledged (RFC 9000 §13.2).
package struct ReceivedPackets: Sendable {
  let space: PacketNumberSpace
  /// How long an ack-eliciting 1-RTT packet may wait; what we declared as max_ack_delay.
  private(set) var maxAckDelay: Interval
  /// An ACK is due after this many ack-eliciting packets (RFC 9000 §13.2.2 recommends 2). More
  /// saves work on both ends in bulk transfers, and costs the peer's congestion control some detail.
  private(set) var ackElicitingThreshold: Int
  /// How far a packet may be overtaken before an ACK is due at once; 0 is any distance.
  private(set) var reorderingThreshold: UInt64 = 1

  package private(set) var ranges = PacketNumberRanges()
  package private(set) var ecnCounts = ECNCounts()
  private var seen = DuplicateWindow()
  private var largestReceived: UInt64?
  private var largestReceivedTime = Instant.zero
  private var largestAckEliciting: UInt64?
  /// Ack-eliciting packets that no ACK frame of ours has covered.
  private var unacknowledged = 0
  private var oldestUnacknowledged = Instant.zero
  private var isImmediate = false
  /// The largest number in an ACK frame of ours, and the largest whose ACK was acknowledged.
  private var largestAcknowledged: UInt64?
  private var forgottenThrough: UInt64?
  private var wasMarked = false

  package init(_ space: PacketNumberSpace, maxAckDelay: Interval = .milliseconds(25), ackElicitingThreshold: Int = 2) {
    self.space = space
    self.maxAckDelay = maxAckDelay
    self.ackElicitingThreshold = ackElicitingThreshold
  }

  /// The largest number received: the base for decoding truncated ones. Kept even when its range is gone.
  var largest: UInt64? { largestReceived }

  /// Whether the packet must be dropped as processed before. Asked after its protection was removed.
  package func isDuplicate(_ number: UInt64) -> Bool { seen.contains(number) }

  /// Records a packet, all of whose frames have been processed.
  package mutating func received(_ number: UInt64, ackEliciting: Bool, ecn: ECN, now: Instant) {
    // RFC 9000 §13.4.1: duplicate QUIC packets are not processed and
    // do not increase ECN counts
    guard seen.insert(number) else { return }
    ranges.insert(number)
    ecnCounts.count(ecn)
    if largestReceived.map({ number > $0 }) ?? true {
      largestReceived = number
      largestReceivedTime = now
    }
    // RFC 9000 §13.2.1: An endpoint MUST NOT send a non-ack-eliciting packet in response to a
    // non-ack-eliciting packet, even if there are packet gaps that precede the received packet.
    guard ackEliciting else { return }
    if unacknowledged == 0 { oldestUnacknowledged = now }
    unacknowledged += 1
    // RFC 9000 §13.2.1: An endpoint MUST acknowledge all ack-eliciting Initial and Handshake packets
    // immediately
    let isReordered = reorderingThreshold == 1 ? isOutOfOrder(number) : isOutsideWindow(number)
    largestAckEliciting = max(largestAckEliciting ?? 0, number)
    if space != .applicationData || unacknowledged >= ackElicitingThreshold || isMark(ecn) || isReordered {
      isImmediate = true
    }
    wasMarked = ecn == .ce
  }

  /// ack-frequency §6.3: where fewer ACKs are asked for, "CE-marking only triggers an immediate acknowledgement when there
  /// is a transition from non-CE-marked to CE-marked."
  private func isMark(_ ecn: ECN) -> Bool { ecn == .ce && !(wasMarked && isAsked && ackElicitingThreshold > 2) }

  /// The peer has said how it would have its packets acknowledged.
  private var isAsked = false

  mutating func follow(_ request: AckFrequencyFrame) {
    isAsked = true
    ackElicitingThreshold = Int(clamping: request.ackElicitingThreshold &+ 1)
    maxAckDelay = .microseconds(Int64(clamping: request.requestedMaxAckDelay))
    reorderingThreshold = request.reorderingThreshold
  }

  /// IMMEDIATE_ACK: the packet that is being processed is acknowledged without delay.
  mutating func acknowledgeAtOnce() { isImmediate = true }

  /// ack-frequency §6.2: "An endpoint that receives an ACK_FREQUENCY frame with a non-zero Reordering Threshold value SHOULD
  /// send an immediate ACK whenever it receives an ack-eliciting, out-of order packet whose packet number is outside the
  /// reordering window of the peer".
  private func isOutsideWindow(_ number: UInt64) -> Bool {
    guard reorderingThreshold > 0 else { return false }
    var firstUnreported: UInt64 = 0
    if let largestAcknowledged, largestAcknowledged >= reorderingThreshold {
      let reported = largestAcknowledged - reorderingThreshold
      if number <= reported { return true }
      firstUnreported = reported + 1
    }
    if let forgottenThrough { firstUnreported = max(firstUnreported, forgottenThrough + 1) }
    let newest = max(largestAckEliciting ?? 0, number)
    guard newest >= reorderingThreshold, let missing = ranges.firstMissing(from: firstUnreported), missing < newest
    else { return false }
    return newest - missing >= reorderingThreshold
  }

  /// RFC 9000 §13.2.1: an ACK goes out at once when a packet arrives below, or past a gap above,
  /// the highest-numbered ack-eliciting one.
  private func isOutOfOrder(_ number: UInt64) -> Bool {
    guard let highest = largestAckEliciting else { return false }
    if number < highest { return true }
    guard let last = ranges.last else { return false }
    return last.lowerBound > highest + 1
  }

  /// Ack-eliciting packets wait: worth adding an ACK frame to whatever is sent anyway.
  var hasUnacknowledged: Bool { unacknowledged > 0 }

  /// When an ACK must be sent at the latest; in the past when it is due now, nil when none is owed.
  package var ackDeadline: Instant? {
    guard unacknowledged > 0 else { return nil }
    return isImmediate ? oldestUnacknowledged : oldestUnacknowledged + maxAckDelay
  }

  /// Asked once per batch of received packets.
  package func isAckDue(_ now: Instant) -> Bool {
    guard unacknowledged > 0 else { return false }
    return isImmediate || oldestUnacknowledged + maxAckDelay <= now
  }

  /// The time since the largest packet arrived, for the ACK Delay field (RFC 9000 §13.2.5).
  package func ackDelay(_ now: Instant) -> Interval { max(now - largestReceivedTime, .zero) }

  /// An ACK frame with every range (or as many of the newest as fit) has gone out.
  package mutating func ackSent() {
    largestAcknowledged = largestReceived
    unacknowledged = 0
    isImmediate = false
  }

  /// The peer acknowledged a packet of ours that carried an ACK up to `largest`: what that ACK said
  /// need not be said again (RFC 9000 §13.2.4).
  mutating func ackAcknowledged(largest acknowledged: UInt64) {
    guard let largestReceived else { return }
    // RFC 9000 §13.2.3: A receiver SHOULD include an ACK Range containing the largest received packet
    // number in every ACK frame. So that number's range is never emptied.
    if largestReceived == 0 { return }
    let through = min(acknowledged, largestReceived - 1)
    ranges.remove(through: through)
    forgottenThrough = max(forgottenThrough ?? 0, through)
  }
}
