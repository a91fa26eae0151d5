import Wire

extension LossRecovery {
  /// Packets declared lost in one pass.
  struct Losses {
    var packets = 0
    var bytes: UInt64 = 0
    /// When the newest one that tells of congestion was sent; nil when none does.
    var newestSent: Instant?
    var isProbeLost = false
    /// Larger than every path must carry.
    var isLargeLost = false
    /// About as large as that, or larger.
    var isFullLost = false
    var isPersistentCongestion = false
  }

  /// A packet declared lost, for whoever keeps a log.
  struct LostPacket: Sendable {
    var space: PacketNumberSpace
    var number: UInt64
    /// By the packet threshold; else by the time threshold (RFC 9002 §6.1).
    var isReordered: Bool
    var isMTUProbe: Bool
  }

  /// DetectAndRemoveLostPackets of RFC 9002 §A.10, with the test for persistent congestion (§7.6.2).
  ///
  /// Numbers and sending times rise together, so the pass ends at the first packet that is not lost:
  /// it costs what is lost and what was acknowledged out of order, never the whole window.
  mutating func detectLosses(in space: PacketNumberSpace, now: Instant) -> Losses {
    let index = Int(space.rawValue)
    spaces[index].lossTime = nil
    var losses = Losses()
    guard let largestAcked = spaces[index].largestAcked else { return losses }
    let lossDelay = rtt.lossDelay
    let persistentDuration = probeTimeout * Self.persistentCongestionThreshold
    /// When the oldest of the ack-eliciting losses with no acknowledgment since was sent.
    var runStart: Instant?

    var number = spaces[index].sent.base
    while number < spaces[index].sent.next, number <= largestAcked {
      let packet = spaces[index].sent[number]
      if packet.state == .settled { runStart = nil }
      if packet.state == .outstanding {
        // RFC 9002 §6.1: sent long enough ago, or enough packets before an acknowledged one.
        guard packet.timeSent + lossDelay <= now || largestAcked - number >= Self.packetThreshold else {
          // A bare ACK is not worth a timer, which would hold up the probe timeout too.
          if packet.isAckEliciting || packet.isInFlight {
            spaces[index].lossTime = packet.timeSent + lossDelay
            break
          }
          number += 1
          continue
        }
        settleLost(packet, number, index, &losses, now)
        // RFC 9002 §7.6.2: These two packets MUST be ack-eliciting
        if packet.isAckEliciting, !packet.flags.contains(.formerPath),
          let first = rtt.firstSample, packet.timeSent > first
        {
          let start = runStart ?? packet.timeSent
          runStart = start
          if packet.timeSent - start > persistentDuration { losses.isPersistentCongestion = true }
        }
      }
      number += 1
    }
    spaces[index].sent.releaseSettled()
    return losses
  }

  private mutating func settleLost(
    _ packet: SentPacket, _ number: UInt64, _ index: Int, _ losses: inout Losses, _ now: Instant
  ) {
    if packet.isAckEliciting {
      spaces[index].ackElicitingInFlight -= 1
      spaces[index].sent.copyFrames(of: packet, to: &lostFrames)
    }
    spaces[index].sent.settle(number)
    if packet.flags.contains(.ect0), !packet.flags.contains(.formerPath) { ecn.onLost() }
    if packet.flags.contains(.pmtuProbe) { losses.isProbeLost = true }
    guard packet.isAckEliciting || packet.isInFlight else { return }
    losses.packets += 1
    statistics.packetsLost += 1
    if lostPackets != nil { noteLost(packet, number, index) }
    statistics.bytesLost += UInt64(packet.size)
    guard packet.isInFlight else { return }
    bytesInFlight -= UInt64(packet.size)
    // RFC 9000 §14.4: the loss of a probe of the path's size is no sign of congestion.
    if packet.flags.contains(.pmtuProbe) { return }
    losses.bytes += UInt64(packet.size)
    if Int(packet.size) > MTUDiscovery.base { losses.isLargeLost = true }
    if Int(packet.size) > MTUDiscovery.nearlyBase { losses.isFullLost = true }
    sampler.onLost(UInt64(packet.size))
    lossEpisode.onLost(number, isOneRTT: index == 2, sent: packet.timeSent, now: now)
    controller.onPacketLost(
      packet, number: number, delivered: sampler.delivered, lost: sampler.lost, now: now)
    losses.newestSent = max(losses.newestSent ?? packet.timeSent, packet.timeSent)
  }

  private mutating func noteLost(_ packet: SentPacket, _ number: UInt64, _ index: Int) {
    let largest = spaces[index].largestAcked ?? 0
    lostPackets?.append(
      LostPacket(
        // Proof for the unwrap: there is a space for each index.
        space: PacketNumberSpace(rawValue: UInt8(index))!, number: number,
        isReordered: largest >= number + Self.packetThreshold, isMTUProbe: packet.flags.contains(.pmtuProbe)))
  }

  /// OnPacketsLost of RFC 9002 §B.8.
  mutating func report(_ losses: Losses, priorInFlight: UInt64, now: Instant) {
    if losses.isLargeLost { largeLossEvents += 1 }
    if losses.isFullLost { fullLossEvents += 1 }
    guard let newestSent = losses.newestSent else { return }
    let sample = LossSample(
      now: now, packets: losses.packets, bytes: losses.bytes, newestSent: newestSent, priorInFlight: priorInFlight)
    noteCongestionEvent { $0.onLost(sample) }
    if losses.isPersistentCongestion { onPersistentCongestion(now: now) }
  }

  mutating func noteCongestionEvent(_ body: (inout AnyController) -> Void) {
    let before = controller.recoveryStart
    body(&controller)
    guard controller.recoveryStart != before else { return }
    statistics.congestionEvents += 1
    // RFC 9002 §7.3.2: a single packet can be sent prior to
    // reduction. It speeds up the repair.
    mayExceedWindowOnce = true
  }
}
