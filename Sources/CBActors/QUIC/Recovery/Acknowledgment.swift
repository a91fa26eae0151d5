package import Wire

/// What one ACK frame did.
package struct AckOutcome: Hashable, Sendable {
  package var newlyAckedPackets = 0
  package var lostPackets = 0
  /// The largest size of an acknowledged probe of the path's maximum datagram size (RFC 9000 §14.3).
  var ackedProbeSize: Int?
  /// A probe of the path's maximum datagram size was lost.
  var isProbeLost = false
}

extension LossRecovery {
  /// Takes in an ACK frame (RFC 9002 §A.7). ``ackedFrames`` and ``lostFrames`` then hold what it settled.
  /// - Parameters:
  ///   - largest: the frame's Largest Acknowledged, the upper bound of the first range.
  ///   - delay: its decoded ACK Delay.
  ///   - ecnCounts: its ECN counts, if it has them.
  ///   - ranges: its ranges, from the largest numbers down.
  /// - Throws: PROTOCOL_VIOLATION when it acknowledges a packet that was not sent.
  package mutating func onAckReceived(
    _ space: PacketNumberSpace, largest: UInt64, delay: Interval, ecnCounts: ECNCounts? = nil,
    ranges: some Sequence<ClosedRange<UInt64>>, now: Instant
  ) throws(TransportError) -> AckOutcome {
    ackedFrames.removeAll(keepingCapacity: true)
    lostFrames.removeAll(keepingCapacity: true)
    let index = Int(space.rawValue)
    // RFC 9000 §13.1: An endpoint SHOULD treat receipt of an acknowledgment for a packet it did not
    // send as a connection error of type PROTOCOL_VIOLATION
    guard largest < spaces[index].sent.next else { throw Self.neverSent }
    let raisesLargest = spaces[index].largestAcked.map { largest > $0 } ?? true
    if raisesLargest { spaces[index].largestAcked = largest }

    let priorInFlight = bytesInFlight
    var batch = AckedBatch(recoveryStart: controller.recoveryStart)
    var wasSpurious = false
    let doubtful = index == 2 ? lossEpisode.lowest : nil
    for range in ranges {
      let isPast = range.upperBound < spaces[index].sent.base
      if isPast, doubtful.map({ range.upperBound < $0 }) ?? true { break }
      if doubtful != nil, lossEpisode.onAcknowledged(range) { wasSpurious = true }
      if !isPast { try acknowledge(range, index, &batch) }
    }
    if wasSpurious {
      statistics.spuriousRecoveries += 1
      controller.onSpuriousLoss(now: now)
    }
    var outcome = AckOutcome()
    outcome.newlyAckedPackets = batch.packets
    outcome.ackedProbeSize = batch.probeSize
    guard let newest = batch.newest else { return outcome }

    var rttSample: Interval?
    // RFC 9002 §5.1: An RTT sample MUST NOT be generated on receiving an ACK frame that does not
    // newly acknowledge at least one ack-eliciting packet.
    if newest.number == largest, batch.isAckEliciting, !newest.packet.flags.contains(.formerPath) {
      let sample = max(now - newest.packet.timeSent, .zero)
      rttSample = sample
      takeRTTSample(sample, ackDelay: space == .initial ? .zero : delay, now: now)
    }
    // RFC 9000 §13.4.2.1: An endpoint MUST NOT fail ECN validation as a result of processing an ACK frame
    // that does not increase the largest acknowledged packet number.
    var bytesMarked: UInt64 = 0
    if raisesLargest {
      let marks = ecn.onAcknowledged(
        space, reported: ecnCounts, newlyAckedMarked: batch.marked, isOfThisPath: batch.marksPath)
      if marks > 0 {
        noteCongestionEvent { $0.onCongestionExperienced(sent: newest.packet.timeSent, now: now) }
        bytesMarked = min(marks, UInt64(batch.packets)) * UInt64(newest.packet.size)
        sampler.onMarked(bytesMarked)
      }
    }

    spaces[index].sent.releaseSettled()
    let beforeLoss = bytesInFlight
    let losses = detectLosses(in: space, now: now)
    report(losses, priorInFlight: beforeLoss, now: now)
    // One ACK that tells of both shows that large packets pass.
    if batch.largestSize > MTUDiscovery.base { largeLossEvents = 0 }
    if batch.largestSize > MTUDiscovery.nearlyBase { fullLossEvents = 0 }
    if batch.largestSize >= MTUDiscovery.base { acknowledgedBase = true }
    outcome.lostPackets = losses.packets
    outcome.isProbeLost = losses.isProbeLost

    if batch.bytes > 0 {
      var sample = AckSample(now: now, rtt: rtt)
      sample.bytesAcked = batch.bytes
      // A recovery period that this ACK began covers all that it acknowledges.
      let isRecovering = controller.recoveryStart != batch.recoveryStart && controller.recoveryStart != nil
      sample.bytesAckedPastRecovery = isRecovering ? 0 : batch.bytesPastRecovery
      sample.priorInFlight = priorInFlight
      sample.inFlight = bytesInFlight
      sample.isPacingLimited = isPacingLimited
      sample.rttSample = rttSample
      sample.bytesLost = losses.bytes
      sample.bytesMarked = bytesMarked
      sample.delivery = sampler.sample(minimumRTT: rtt.minimum, now: now)
      sample.isRoundStart = passesRound(sample.delivery)
      controller.onAcknowledged(sample)
      if controller.isSendingLessThanPathDelivers { sampler.markAppLimited(inFlight: bytesInFlight) }
    }
    onProgress(in: space, now: now)
    return outcome
  }

  private static var neverSent: TransportError {
    TransportError(.protocolViolation, "acknowledgment of a packet that was not sent", frameType: 0x02)
  }

  /// What the ranges of one ACK frame newly acknowledge.
  private struct AckedBatch {
    let recoveryStart: Instant?
    var newest: (number: UInt64, packet: SentPacket)?
    var packets = 0
    var isAckEliciting = false
    var bytes: UInt64 = 0
    var bytesPastRecovery: UInt64 = 0
    var marked: UInt64 = 0
    var marksPath = false
    var probeSize: Int?
    /// Bytes of the largest packet of this path.
    var largestSize = 0

    init(recoveryStart: Instant?) { self.recoveryStart = recoveryStart }
  }

  private mutating func acknowledge(
    _ range: ClosedRange<UInt64>, _ index: Int, _ batch: inout AckedBatch
  ) throws(TransportError) {
    guard range.upperBound < spaces[index].sent.next else { throw Self.neverSent }
    var number = max(range.lowerBound, spaces[index].sent.base)
    while number <= range.upperBound {
      let packet = spaces[index].sent[number]
      switch packet.state {
      case .settled: break
      // RFC 9000 §21.4: a number was left out just to catch this.
      case .skipped: throw Self.neverSent
      case .outstanding:
        settleAcknowledged(packet, number, index, &batch)
      }
      number += 1
    }
  }

  private mutating func settleAcknowledged(
    _ packet: SentPacket, _ number: UInt64, _ index: Int, _ batch: inout AckedBatch
  ) {
    batch.packets += 1
    if batch.newest.map({ number > $0.number }) ?? true { batch.newest = (number, packet) }
    if packet.flags.contains(.ect0) {
      batch.marked += 1
      if !packet.flags.contains(.formerPath) { batch.marksPath = true }
    }
    if packet.flags.contains(.pmtuProbe) { batch.probeSize = max(batch.probeSize ?? 0, Int(packet.size)) }
    if packet.isAckEliciting {
      batch.isAckEliciting = true
      spaces[index].ackElicitingInFlight -= 1
    }
    if packet.isInFlight {
      let size = UInt64(packet.size)
      batch.largestSize = max(batch.largestSize, Int(packet.size))
      bytesInFlight -= size
      batch.bytes += size
      if batch.recoveryStart.map({ packet.timeSent > $0 }) ?? true { batch.bytesPastRecovery += size }
      sampler.onAcknowledged(packet, number: number)
    }
    spaces[index].sent.copyFrames(of: packet, to: &ackedFrames)
    spaces[index].sent.settle(number)
  }
}
