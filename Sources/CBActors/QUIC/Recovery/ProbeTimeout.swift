package import Wire

extension LossRecovery {
  /// When ``onTimeout(_:)`` is to be called; may be in the past. Nil when there is nothing to wait for.
  package var deadline: Instant? {
    if let (time, _) = earliestLossTime {
      // RFC 9002 §6.2.1: The PTO timer MUST NOT be set if a timer is set for time threshold
      // loss detection
      return time
    }
    // RFC 9002 §6.2.2.1: the server's PTO timer MUST NOT be armed until datagrams have been
    // received from the client
    if isAmplificationLimited { return nil }
    return probeDeadline?.time
  }

  package enum TimeoutAction: Hashable, Sendable {
    case none
    /// ``lostFrames`` holds what to send again.
    case lost(PacketNumberSpace)
    /// Send up to `count` datagrams with ack-eliciting packets of this space, whatever the
    /// window and the pacer say; add packets of other spaces that have something in flight.
    case probe(PacketNumberSpace, count: Int)
  }

  /// RFC 9002 §A.9.
  package mutating func onTimeout(_ now: Instant) -> TimeoutAction {
    ackedFrames.removeAll(keepingCapacity: true)
    lostFrames.removeAll(keepingCapacity: true)
    if let (time, space) = earliestLossTime {
      guard time <= now else { return .none }
      let priorInFlight = bytesInFlight
      let losses = detectLosses(in: space, now: now)
      report(losses, priorInFlight: priorInFlight, now: now)
      timerBase = now
      return losses.packets > 0 ? .lost(space) : .none
    }
    guard !isAmplificationLimited, let (time, space) = probeDeadline, time <= now else { return .none }
    // RFC 9002 §6.2.1: When a PTO timer expires, the PTO backoff MUST be increased
    probeTimeoutCount += 1
    statistics.probeTimeouts += 1
    ecn.onProbeTimeout(count: probeTimeoutCount)
    timerBase = now
    return .probe(space, count: spaces[Int(space.rawValue)].ackElicitingInFlight > 0 ? 2 : 1)
  }

  var earliestLossTime: (time: Instant, space: PacketNumberSpace)? {
    var earliest: (time: Instant, space: PacketNumberSpace)?
    for index in 0..<3 {
      guard let time = spaces[index].lossTime else { continue }
      if earliest.map({ time < $0.time }) ?? true { earliest = (time, Self.space(index)) }
    }
    return earliest
  }

  private static func space(_ index: Int) -> PacketNumberSpace {
    switch index {
    case 0: .initial
    case 1: .handshake
    default: .applicationData
    }
  }

  /// A PTO period after the time-outs so far: doubled by each, up to ``probeTimeoutLimit``, which departs from RFC 9002
  /// where it is set.
  private func backedOff(_ period: Interval) -> Interval {
    let doubled = period * (1 << Int64(min(probeTimeoutCount, 20)))
    guard isHandshakeConfirmed, let probeTimeoutLimit else { return doubled }
    return min(doubled, max(probeTimeoutLimit, period))
  }

  /// The PTO period of the Application Data space, without backoff: the unit of idle, path-validation
  /// and closing periods (RFC 9000 §8.2.4, §10).
  var probeTimeout: Interval { rtt.probeTimeout + peerMaxAckDelay }

  /// GetPtoTimeAndSpace of RFC 9002 §A.8.
  private var probeDeadline: (time: Instant, space: PacketNumberSpace)? {
    var earliest: (time: Instant, space: PacketNumberSpace)?
    for index in 0..<3 where spaces[index].ackElicitingInFlight > 0 {
      let space = Self.space(index)
      var period = rtt.probeTimeout
      if space == .applicationData {
        // RFC 9002 §6.2.1: An endpoint MUST NOT set its PTO timer for the Application Data packet number
        // space until the handshake is confirmed.
        if !isHandshakeConfirmed { continue }
        period = period + peerMaxAckDelay
      }
      let time = spaces[index].lastAckElicitingSent + backedOff(period)
      if earliest.map({ time < $0.time }) ?? true { earliest = (time, space) }
    }
    if let earliest { return earliest }
    // RFC 9002 §6.2.2.1: the client MUST set the PTO timer if the client has not received an
    // acknowledgment for any of its Handshake packets and the handshake is not confirmed
    // And so does an end whose window is full of 1-RTT packets that the peer cannot read before the handshake
    // ends: what was lost of that handshake would otherwise wait for room that nothing ever makes.
    let waitsForHandshake = !isHandshakeConfirmed && hasHandshakeKeys && spaces[2].ackElicitingInFlight > 0
    if isPeerAddressValidationDone, !waitsForHandshake { return nil }
    return (timerBase + backedOff(rtt.probeTimeout), hasHandshakeKeys ? .handshake : .initial)
  }

  /// PeerCompletedAddressValidation of RFC 9002 §A.8: whether the server surely has validated this client.
  var isPeerAddressValidationDone: Bool { role == .server || hasHandshakeAck || isHandshakeConfirmed }

  func hasAckElicitingInFlight(_ space: PacketNumberSpace) -> Bool {
    spaces[Int(space.rawValue)].ackElicitingInFlight > 0
  }

  /// Copies the frames of the `packets` oldest ack-eliciting packets in flight into ``probeFrames``,
  /// for a probe that has no new data to carry. The packets stay in flight (RFC 9002 §6.2.4).
  ///
  /// The next time-out goes on with those after them: a flight of three of which only the first two were ever sent
  /// again would not be whole until an acknowledgment came through.
  mutating func collectProbeFrames(_ space: PacketNumberSpace, packets: Int) {
    probeFrames.removeAll(keepingCapacity: true)
    let left = collectProbeFrames(space, from: spaces[Int(space.rawValue)].nextProbed, packets: packets)
    if left == packets { _ = collectProbeFrames(space, from: 0, packets: packets) }
  }

  /// Returns how many of `packets` there were not.
  private mutating func collectProbeFrames(_ space: PacketNumberSpace, from first: UInt64, packets: Int) -> Int {
    let index = Int(space.rawValue)
    var number = max(first, spaces[index].sent.base)
    var left = packets
    while number < spaces[index].sent.next, left > 0 {
      let packet = spaces[index].sent[number]
      if packet.state == .outstanding, packet.isAckEliciting, !packet.flags.contains(.pmtuProbe) {
        spaces[index].sent.copyFrames(of: packet, to: &probeFrames)
        left -= 1
      }
      number += 1
    }
    spaces[index].nextProbed = number
    return left
  }
}
