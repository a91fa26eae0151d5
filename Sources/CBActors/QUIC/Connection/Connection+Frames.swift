import Wire

/// What each frame of the peer's does (RFC 9000 §19).
extension Connection {
  /// The packet whose frames are being processed.
  struct PacketContext {
    let level: EncryptionLevel
    let packetNumber: UInt64
    let destinationID: ConnectionID
    let path: Path
    let arrival: Arrival
    /// Bytes of the datagram that it came in.
    let datagramSize: Int
    let now: Instant
    var isAckEliciting = false
    /// A frame that is not a probe: the peer has moved here if the path is new (RFC 9000 §9.1).
    var isNonProbing = false
    var hasCrypto = false
    /// Data of PATH_CHALLENGE frames.
    var challenges: [UInt64] = []
  }

  mutating func processFrames(
    _ payload: UnsafeRawBufferPointer, _ context: inout PacketContext
  ) throws(TransportError) {
    var reader = FrameReader(payload, level: context.level)
    while true {
      let start = reader.offset
      guard let frame = try reader.next() else { return }
      if case .stream(let stream) = frame {
        context.isAckEliciting = true
        context.isNonProbing = true
        try streams.receiveStream(
          stream.id, offset: stream.offset, data: stream.data, fin: stream.isFin, frameType: FrameType.stream,
          events: &events)
        continue
      }
      if frame.isAckEliciting { context.isAckEliciting = true }
      if !frame.isProbing { context.isNonProbing = true }
      if case .datagram(let data) = frame {
        try receiveDatagram(data, frameSize: reader.offset - start)
      } else {
        try process(frame, &context)
      }
      guard case .open = lifecycle else { return }
    }
  }

  private mutating func process(_ frame: Frame, _ context: inout PacketContext) throws(TransportError) {
    switch frame {
    case .padding, .ping: break
    case .stream, .datagram: break
    case .ack(let ack): try receiveAck(ack, context)
    case .crypto(let offset, let data):
      context.hasCrypto = true
      // RFC 9369 §4.1: "If the client receives a CRYPTO frame from the server in the original version, it indicates that the
      // negotiated version is equal to the original version."
      isVersionSettled = true
      try spaces[Int(context.level.packetNumberSpace.rawValue)].receiveCrypto(
        offset: offset, data: data, isOver: context.level < receivingLevel)
    case .resetStream(let id, let code, let finalSize):
      try streams.receiveReset(
        id, code: code, finalSize: finalSize, frameType: FrameType.resetStream, events: &events)
    case .stopSending(let id, let code):
      try streams.receiveStopSending(id, code: code, frameType: FrameType.stopSending, events: &events)
    case .maxData(let limit): streams.receiveMaxData(limit)
    case .maxStreamData(let id, let limit):
      try streams.receiveMaxStreamData(id, limit: limit, frameType: FrameType.maxStreamData, events: &events)
    case .maxStreams(let direction, let limit): streams.raiseStreamLimit(direction, to: limit, events: &events)
    case .streamDataBlocked(let id, _):
      try streams.receiveStreamDataBlocked(id, frameType: FrameType.streamDataBlocked, events: &events)
    case .dataBlocked, .streamsBlocked: break
    case .newConnectionID(let frame): try receiveNewConnectionID(frame)
    case .retireConnectionID(let sequence):
      if let id = try localIDs.receiveRetirement(sequence, packetDestination: context.destinationID) {
        if let oldest = formerIDs.add(id, until: context.now + validationPeriod) {
          events.append(.connectionIDRetired(oldest))
        }
        issueConnectionIDs()
      }
    case .pathChallenge(let data): context.challenges.append(data)
    case .pathResponse(let data): receivePathResponse(data)
    case .newToken(let token): try receiveNewToken(token)
    case .handshakeDone:
      // RFC 9000 §19.20: "A server MUST treat receipt of a HANDSHAKE_DONE frame as a connection error of type
      // PROTOCOL_VIOLATION."
      guard role == .client else {
        throw TransportError(.protocolViolation, "HANDSHAKE_DONE from a client", frameType: FrameType.handshakeDone)
      }
      guard isHandshakeComplete else { return }
      confirmHandshake()
    case .ackFrequency(let frame): try receiveAckFrequency(frame)
    case .immediateAck:
      try expectAckFrequency(FrameType.immediateAck)
      spaces[2].received.acknowledgeAtOnce()
    case .connectionClose(let close): receiveClose(close)
    }
  }

  private mutating func receiveAck(_ ack: AckFrame, _ context: PacketContext) throws(TransportError) {
    let space = context.level.packetNumberSpace
    // RFC 9000 §18.2: ack_delay_exponent; Initial and Handshake packets use the default.
    let exponent = context.level == .oneRTT ? peerTransportParameters?.ackDelayExponent ?? 3 : 3
    let microseconds = ack.rawDelay > UInt64(Int64.max) >> 24 ? Int64.max : Int64(ack.rawDelay << exponent)
    let outcome = try recovery.onAckReceived(
      space, largest: ack.largest, delay: .microseconds(microseconds), ecnCounts: ack.ecn, ranges: ack,
      now: context.now)
    let index = Int(space.rawValue)
    spaces[index].largestAcknowledged = max(spaces[index].largestAcknowledged ?? 0, ack.largest)
    if space == .applicationData {
      oneRTT?.acknowledged(largest: ack.largest)
      if keyUpdateRequested { updateKeys() }
    }
    guard outcome.newlyAckedPackets > 0 || outcome.lostPackets > 0 else { return }
    settleAcknowledged(space)
    if recovery.acknowledgedBase {
      recovery.acknowledgedBase = false
      mtu.confirmBase()
    }
    settleLost(space)
    if space == .applicationData, ackRequests != nil { considerAckFrequency(context.now) }
  }

  private mutating func receiveDatagram(
    _ data: UnsafeRawBufferPointer, frameSize: Int
  ) throws(TransportError) {
    // RFC 9221 §3: "An endpoint that receives a DATAGRAM frame when it has not indicated support via the transport
    // parameter MUST terminate the connection with an error of type PROTOCOL_VIOLATION."
    // RFC 9221 §3: "an endpoint that receives a DATAGRAM frame that is larger than the value it sent in its
    // max_datagram_frame_size transport parameter MUST terminate the connection with an error of type PROTOCOL_VIOLATION."
    guard configuration.maxDatagramFrameSize > 0, UInt64(frameSize) <= configuration.maxDatagramFrameSize else {
      throw TransportError(.protocolViolation, "DATAGRAM larger than allowed", frameType: FrameType.datagram)
    }
    counts.datagramsReceived += 1
    guard incomingDatagrams.append(data, UnsafeRawBufferPointer(start: nil, count: 0)) else {
      counts.datagramsDroppedReceiving += 1
      return
    }
    if !saidDatagramsReceived {
      saidDatagramsReceived = true
      events.append(.datagramsReceived)
    }
  }

  private mutating func receiveNewConnectionID(_ frame: NewConnectionIDFrame) throws(TransportError) {
    try peerIDs.receive(frame)
    // The peer may have asked for IDs back that paths still use.
    replaceRetiredIDs()
  }

  /// Bytes of a token from NEW_TOKEN that are worth their room in every Initial packet.
  private static let maximumTokenLength = 512

  private mutating func receiveNewToken(_ token: UnsafeRawBufferPointer) throws(TransportError) {
    // RFC 9000 §19.7: "A server MUST treat receipt of a NEW_TOKEN frame as a connection error of type PROTOCOL_VIOLATION."
    guard role == .client else {
      throw TransportError(.protocolViolation, "NEW_TOKEN from a client", frameType: FrameType.newToken)
    }
    // An Initial packet must have room for it.
    guard token.count <= Self.maximumTokenLength else { return }
    events.append(.tokenReceived([UInt8](token)))
  }
}
