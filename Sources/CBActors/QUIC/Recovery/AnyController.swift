import Wire

/// The controller of a connection: exactly one of these is there. Not an existential, so that calls are direct, and not
/// an enum, whose payload would be copied out and back on each call: 50 ns of every ACK, where this costs 5.
package struct AnyController: Sendable {
  package let algorithm: CongestionAlgorithm
  private(set) var newReno: NewReno?
  private(set) var cubic: Cubic?
  private(set) var bbr: BBR?

  /// - Parameter seed: what a controller that leaves something to chance draws from.
  init(_ algorithm: CongestionAlgorithm, maximumDatagramSize: UInt64, seed: UInt64 = 0) {
    self.algorithm = algorithm
    switch algorithm {
    case .newReno: newReno = NewReno(maximumDatagramSize: maximumDatagramSize)
    case .cubic: cubic = Cubic(maximumDatagramSize: maximumDatagramSize)
    case .bbrV3: bbr = BBR(maximumDatagramSize: maximumDatagramSize, seed: seed)
    }
  }
}

extension AnyController: CongestionController {
  package var congestionWindow: UInt64 {
    bbr?.congestionWindow ?? cubic?.congestionWindow ?? newReno?.congestionWindow ?? 0
  }
  package var pacingRate: UInt64? { bbr?.pacingRate }
  var sendQuantum: UInt64? { bbr?.sendQuantum }
  var isInSlowStart: Bool { bbr?.isInSlowStart ?? cubic?.isInSlowStart ?? newReno?.isInSlowStart ?? false }
  var recoveryStart: Instant? { bbr?.recoveryStart ?? cubic?.recoveryStart ?? newReno?.recoveryStart }
  var isSendingLessThanPathDelivers: Bool { bbr?.isSendingLessThanPathDelivers ?? false }

  mutating func onPacketSent(bytes: UInt64, inFlight: UInt64, isAppLimited: Bool, now: Instant) {
    bbr?.onPacketSent(bytes: bytes, inFlight: inFlight, isAppLimited: isAppLimited, now: now)
  }

  mutating func onAcknowledged(_ sample: AckSample) {
    bbr?.onAcknowledged(sample)
    cubic?.onAcknowledged(sample)
    newReno?.onAcknowledged(sample)
  }

  mutating func onPacketLost(_ packet: SentPacket, number: UInt64, delivered: UInt64, lost: UInt64, now: Instant) {
    bbr?.onPacketLost(packet, number: number, delivered: delivered, lost: lost, now: now)
  }

  mutating func onLost(_ sample: LossSample) {
    bbr?.onLost(sample)
    cubic?.onLost(sample)
    newReno?.onLost(sample)
  }

  mutating func onSpuriousLoss(now: Instant) { bbr?.onSpuriousLoss(now: now) }

  mutating func onCongestionExperienced(sent: Instant, now: Instant) {
    bbr?.onCongestionExperienced(sent: sent, now: now)
    cubic?.onCongestionExperienced(sent: sent, now: now)
    newReno?.onCongestionExperienced(sent: sent, now: now)
  }

  mutating func onPersistentCongestion(now: Instant) {
    bbr?.onPersistentCongestion(now: now)
    cubic?.onPersistentCongestion(now: now)
    newReno?.onPersistentCongestion(now: now)
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    bbr?.setMaximumDatagramSize(bytes)
    cubic?.setMaximumDatagramSize(bytes)
    newReno?.setMaximumDatagramSize(bytes)
  }
}
