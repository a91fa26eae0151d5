import Wire

/// What one ACK tells of the rate at which the path delivers (draft-ietf-ccwg-bbr, "Delivery Rate Samples").
struct DeliveryRateSample: Sendable {
  /// Bytes delivered between sending the newest acknowledged packet and now.
  var delivered: UInt64 = 0
  /// Bytes delivered in all when that packet was sent.
  var priorDelivered: UInt64 = 0
  /// Bytes declared lost or marked CE between that packet's sending and now.
  var lost: UInt64 = 0
  /// Bytes in flight when that packet was sent, with it.
  var inFlightWhenSent: UInt64 = 0
  /// The longer of the times in which those bytes were sent and acknowledged.
  var interval = Interval.zero
  /// That packet was sent when the application had nothing more.
  var isAppLimited = false
  /// Bytes per second; nil when the interval is too short to be believed.
  var bytesPerSecond: UInt64?
}

/// Counts what is delivered and snapshots it into packets as they leave.
struct DeliveryRateSampler: Sendable {
  /// Bytes acknowledged, and bytes declared lost or marked CE, over the life of the connection on this path.
  private(set) var delivered: UInt64 = 0
  private(set) var lost: UInt64 = 0
  private var deliveredTime = Instant.zero
  private var firstSentTime = Instant.zero
  /// Samples are application-limited until this much is delivered; 0 when they are not.
  private var appLimitedUntil: UInt64 = 0

  // The sample of the ACK being processed.
  private var newest: SentPacket?
  private var newestNumber: UInt64 = 0

  var isAppLimited: Bool { appLimitedUntil != 0 }

  mutating func onSent(_ packet: inout SentPacket, inFlightBefore: UInt64) {
    if inFlightBefore == 0 {
      firstSentTime = packet.timeSent
      deliveredTime = packet.timeSent
    }
    packet.firstSentTime = firstSentTime
    packet.deliveredTime = deliveredTime
    packet.delivered = delivered
    packet.lost = lost
    packet.inFlight = UInt32(clamping: inFlightBefore + UInt64(packet.size))
    if isAppLimited { packet.flags.insert(.appLimited) }
  }

  mutating func onAcknowledged(_ packet: SentPacket, number: UInt64) {
    delivered += UInt64(packet.size)
    if let newest, (newest.timeSent, newestNumber) >= (packet.timeSent, number) { return }
    newest = packet
    newestNumber = number
  }

  mutating func onLost(_ size: UInt64) { lost += size }

  /// A mark is what there would have been a loss for.
  mutating func onMarked(_ size: UInt64) { lost += size }

  /// Ends the ACK: what its packets together say of the rate. Nil when none was in flight.
  mutating func sample(minimumRTT: Interval, now: Instant) -> DeliveryRateSample? {
    if isAppLimited, delivered > appLimitedUntil { appLimitedUntil = 0 }
    guard let packet = newest else { return nil }
    newest = nil
    deliveredTime = now
    firstSentTime = max(firstSentTime, packet.timeSent)
    var sample = DeliveryRateSample()
    sample.priorDelivered = packet.delivered
    sample.delivered = delivered - packet.delivered
    sample.lost = lost - packet.lost
    sample.inFlightWhenSent = UInt64(packet.inFlight)
    sample.isAppLimited = packet.flags.contains(.appLimited)
    sample.interval = max(packet.timeSent - packet.firstSentTime, now - packet.deliveredTime)
    if sample.interval > .zero, sample.interval >= minimumRTT {
      sample.bytesPerSecond = UInt64(
        min(Double(sample.delivered) / sample.interval.seconds, Double(UInt64.max / 2)))
    }
    return sample
  }

  /// The application has nothing to send though the window has room.
  mutating func markAppLimited(inFlight: UInt64) { appLimitedUntil = max(delivered + inFlight, 1) }
}
