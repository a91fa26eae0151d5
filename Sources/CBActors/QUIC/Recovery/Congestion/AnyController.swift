import Wire

/// The controller of a connection: exactly one of these is there. Not an existential, so that calls are direct, and not
/// an enum, whose payload would be copied out and back on each call: 50 ns of every ACK, where this costs 5.
///
/// BBR is much the largest, and held in an array of one or none: a connection with another has no room for it.
package struct AnyController: Sendable {
  package let algorithm: CongestionAlgorithm
  private(set) var newReno: NewReno?
  private(set) var cubic: Cubic?
  private var held: [BBR] = []

  /// A copy.
  var bbr: BBR? { held.first }

  /// - Parameter seed: what a controller that leaves something to chance draws from.
  init(_ algorithm: CongestionAlgorithm, maximumDatagramSize: UInt64, seed: UInt64 = 0) {
    self.algorithm = algorithm
    switch algorithm {
    case .newReno: newReno = NewReno(maximumDatagramSize: maximumDatagramSize)
    case .cubic: cubic = Cubic(maximumDatagramSize: maximumDatagramSize)
    case .bbrV3: held = [BBR(maximumDatagramSize: maximumDatagramSize, seed: seed)]
    }
  }
}

extension AnyController: CongestionController {
  package var congestionWindow: UInt64 {
    held.isEmpty ? cubic?.congestionWindow ?? newReno?.congestionWindow ?? 0 : held[0].congestionWindow
  }
  package var pacingRate: UInt64? { held.isEmpty ? nil : held[0].pacingRate }
  var sendQuantum: UInt64? { held.isEmpty ? nil : held[0].sendQuantum }
  var isInSlowStart: Bool {
    held.isEmpty ? cubic?.isInSlowStart ?? newReno?.isInSlowStart ?? false : held[0].isInSlowStart
  }
  var recoveryStart: Instant? {
    held.isEmpty ? cubic?.recoveryStart ?? newReno?.recoveryStart : held[0].recoveryStart
  }
  var isSendingLessThanPathDelivers: Bool { !held.isEmpty && held[0].isSendingLessThanPathDelivers }

  mutating func onPacketSent(bytes: UInt64, inFlight: UInt64, isAppLimited: Bool, now: Instant) {
    if !held.isEmpty { held[0].onPacketSent(bytes: bytes, inFlight: inFlight, isAppLimited: isAppLimited, now: now) }
  }

  mutating func onAcknowledged(_ sample: AckSample) {
    if !held.isEmpty { held[0].onAcknowledged(sample) }
    cubic?.onAcknowledged(sample)
    newReno?.onAcknowledged(sample)
  }

  mutating func onPacketLost(_ packet: SentPacket, number: UInt64, delivered: UInt64, lost: UInt64, now: Instant) {
    if !held.isEmpty { held[0].onPacketLost(packet, number: number, delivered: delivered, lost: lost, now: now) }
  }

  mutating func onLost(_ sample: LossSample) {
    if !held.isEmpty { held[0].onLost(sample) }
    cubic?.onLost(sample)
    newReno?.onLost(sample)
  }

  mutating func onSpuriousLoss(now: Instant) { if !held.isEmpty { held[0].onSpuriousLoss(now: now) } }

  mutating func onCongestionExperienced(sent: Instant, now: Instant) {
    if !held.isEmpty { held[0].onCongestionExperienced(sent: sent, now: now) }
    cubic?.onCongestionExperienced(sent: sent, now: now)
    newReno?.onCongestionExperienced(sent: sent, now: now)
  }

  mutating func onPersistentCongestion(now: Instant) {
    if !held.isEmpty { held[0].onPersistentCongestion(now: now) }
    cubic?.onPersistentCongestion(now: now)
    newReno?.onPersistentCongestion(now: now)
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    if !held.isEmpty { held[0].setMaximumDatagramSize(bytes) }
    cubic?.setMaximumDatagramSize(bytes)
    newReno?.setMaximumDatagramSize(bytes)
  }
}
