/// What becomes of the frames of packets that were acknowledged or lost (RFC 9000 §13.3).
extension Connection {
  mutating func settleAcknowledged(_ space: PacketNumberSpace) {
    let index = Int(space.rawValue)
    for position in recovery.ackedFrames.indices {
      switch recovery.ackedFrames[position] {
      case .stream(let id, let offset, let length, let fin):
        streams.acknowledged(id, offset: offset, length: length, fin: fin, events: &events)
      case .crypto(let offset, let length): spaces[index].cryptoSend.acknowledge(offset..<offset + UInt64(length))
      case .ack(let largest): spaces[index].received.ackAcknowledged(largest: largest)
      case .resetStream(let id): streams.resetAcknowledged(id)
      case .retireConnectionID: peerIDs.retirementAcknowledged()
      case .mtuProbe(let size):
        if mtu.probeAcknowledged(Int(size)) { applyMTU() }
      case .maxData, .maxStreamData, .maxStreams, .dataBlocked, .streamDataBlocked, .streamsBlocked, .stopSending,
        .newConnectionID, .newToken, .handshakeDone, .pathChallenge, .pathResponse, .datagram, .ping,
        .ackFrequency:
        break
      }
    }
  }

  mutating func settleLost(_ space: PacketNumberSpace) {
    for position in recovery.lostFrames.indices { repair(recovery.lostFrames[position], space) }
    if recovery.largeLossEvents >= MTUDiscovery.blackHoleThreshold
      || recovery.fullLossEvents >= MTUDiscovery.blackHoleThreshold
    {
      fallBackToBase()
    }
    if mtu.isTooNarrow { leaveNarrowPath() }
    mtu.armRaise(clock)
  }

  /// The path has become too narrow for the packets sent (RFC 8899 §4.3), or seems to be for any.
  mutating func fallBackToBase() {
    recovery.largeLossEvents = 0
    recovery.fullLossEvents = 0
    guard mtu.current > MTUDiscovery.base else { return mtu.doubtBase() }
    counts.blackHoles += 1
    mtu.blackHole()
    applyMTU()
  }

  /// Queues again what a frame carried, where it still matters.
  mutating func repair(_ frame: SentFrame, _ space: PacketNumberSpace) {
    let index = Int(space.rawValue)
    switch frame {
    case .stream(let id, let offset, let length, let fin):
      counts.bytesRetransmitted += UInt64(length)
      streams.lost(id, offset: offset, length: length, fin: fin)
    case .crypto(let offset, let length):
      guard !spaces[index].isDiscarded else { return }
      counts.bytesRetransmitted += UInt64(length)
      spaces[index].cryptoSend.lose(offset..<offset + UInt64(length))
    case .resetStream(let id): streams.resetLost(id)
    case .stopSending(let id): streams.stopSendingLost(id)
    case .maxData: streams.maxDataLost()
    case .maxStreamData(let id): streams.maxStreamDataLost(id)
    case .maxStreams(let direction): streams.maxStreamsLost(direction)
    case .dataBlocked: streams.dataBlockedLost()
    case .streamDataBlocked(let id): streams.streamDataBlockedLost(id)
    case .streamsBlocked(let direction): streams.streamsBlockedLost(direction)
    case .newConnectionID(let sequence): localIDs.announcementLost(sequence)
    case .retireConnectionID(let sequence): peerIDs.retirementLost(sequence)
    case .handshakeDone: isHandshakeDoneDue = true
    case .ackFrequency(let sequence): ackRequests?.lost(sequence)
    // Another one: it is for where the client is now.
    case .newToken: isNewTokenDue = true
    case .datagram: counts.datagramsLost += 1
    case .mtuProbe(let size): mtu.probeLost(Int(size))
    // RFC 9000 §13.3: an ACK is said anew, PATH_CHALLENGE has a timer of its own, PATH_RESPONSE is sent just once,
    // PING only elicits.
    case .ack, .pathChallenge, .pathResponse, .ping: break
    }
  }
}
