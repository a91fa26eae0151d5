import PacketCrypto
import Wire

/// Building one packet (RFC 9000 §12, §17).
extension Connection {
  mutating func hasWriteKeys(_ level: EncryptionLevel) -> Bool {
    switch level {
    case .initial: spaces[0].writeKeys != nil
    case .handshake: spaces[1].writeKeys != nil
    // RFC 9001 §5.7: a server may send before the handshake is complete; a client has nothing to gain.
    case .oneRTT: oneRTT != nil && (role == .server || isHandshakeComplete)
    case .zeroRTT: sendsEarlyData
    }
  }

  /// Bytes that a packet needs beside its header for the smallest frames and the tag.
  private static let leastPayload = 32

  /// Writes a header with the next packet number. Nil, with nothing written, when there is too little room.
  mutating func beginPacket(_ level: EncryptionLevel, to writer: inout ByteWriter, peerID: ConnectionID? = nil)
    -> PacketStart?
  {
    let index = Int(level.packetNumberSpace.rawValue)
    let number = spaces[index].nextPacketNumber
    // RFC 9000 §12.3: "If the packet number for sending reaches" 2^62-1, "the sender MUST close the connection without sending
    // a CONNECTION_CLOSE frame or any further packets".
    guard number < PacketNumber.max else {
      finish(.localTransport(TransportError(.internalError, "the packet numbers are used up")))
      return nil
    }
    let length = PacketNumber.encodedLength(number, largestAcknowledged: spaces[index].largestAcknowledged)
    guard let destination = peerID ?? peerIDs.id(active.peerIDSequence) ?? peerIDs.active.first?.id else { return nil }
    let fixed = fixedBit(number)
    if level == .oneRTT {
      let header = PacketStart.shortHeaderLength(destinationID: destination, packetNumberLength: length)
      guard writer.remaining >= header + Self.leastPayload, let keys = oneRTT, !keys.isExhausted else { return nil }
      return writer.beginShortPacket(
        destinationID: destination, fixedBit: fixed, spin: spin.bit(number), keyPhase: keys.writePhase,
        packetNumber: number, packetNumberLength: length)
    }
    let type: PacketType = level == .initial ? .initial : level == .handshake ? .handshake : .zeroRTT
    let header = PacketStart.longHeaderLength(
      type, destinationID: destination, sourceID: localIDs.first, tokenLength: initialToken.count,
      packetNumberLength: length)
    guard writer.remaining >= header + Self.leastPayload else { return nil }
    return initialToken.withUnsafeBytes {
      writer.beginLongPacket(
        type, version: level == .zeroRTT ? originalVersion : version, destinationID: destination,
        sourceID: localIDs.first, token: $0, fixedBit: fixed, packetNumber: number,
        packetNumberLength: length)
    }
  }

  /// A writer for the frames of the packet begun in `writer`, which leaves room for the tag.
  static func framesWriter(_ writer: ByteWriter) -> ByteWriter {
    let free = writer.free
    return ByteWriter(UnsafeMutableRawBufferPointer(rebasing: free[..<(free.count - PacketKey.tagLength)]))
  }

  /// PADDING until the packet, with its tag, ends `target` bytes into the datagram. True when there was any.
  @discardableResult
  static func pad(_ frames: inout ByteWriter, in writer: ByteWriter, to target: Int) -> Bool {
    let missing = target - PacketKey.tagLength - writer.count - frames.count
    guard missing > 0 else { return false }
    frames.writePadding(min(missing, frames.remaining))
    return true
  }

  /// Seals the packet and uses up its number. Nil when it did not fit.
  mutating func finishPacket(_ level: EncryptionLevel, _ start: PacketStart, _ writer: inout ByteWriter) -> Int? {
    let index = Int(level.packetNumberSpace.rawValue)
    if qlog != nil { logSending(level, start, writer) }
    let size: Int?
    if level == .oneRTT {
      guard let keys = oneRTT else { return nil }
      size = writer.finishPacket(start, key: keys.write.key, headerProtection: keys.writeHeader.key)
      countSealed(start.packetNumber)
    } else {
      guard let keys = level == .zeroRTT ? earlyKeys : spaces[index].writeKeys else { return nil }
      size = writer.finishPacket(start, key: keys.packet, headerProtection: keys.header)
    }
    spaces[index].advancePacketNumber(entropy)
    return size
  }

  /// Keeps to the AEAD's limit (RFC 9001 §6.6): updates in time, or closes.
  private mutating func countSealed(_ number: UInt64) {
    switch oneRTT!.willSeal(number, interval: configuration.keyUpdateInterval) {
    case .plenty:
      if keyUpdateRequested { updateKeys() }
    case .updateDue: updateKeys()
    case .exhausted:
      updateKeys()
      // RFC 9001 §6.6: "If a key update is not possible or integrity limits are reached, the endpoint MUST stop using the
      // connection". "It is RECOMMENDED that endpoints immediately close the connection with a connection error of type
      // AEAD_LIMIT_REACHED before reaching a state where key updates are not possible."
      if oneRTT!.isNearlyExhausted { fail(TransportError(.aeadLimitReached, "no key update was possible in time")) }
    }
  }

  mutating func updateKeys() {
    guard isHandshakeConfirmed, oneRTT?.initiate() == true else { return }
    keyUpdateRequested = false
  }

  /// Begins a key update as soon as the rules allow one (RFC 9001 §6.1).
  public mutating func initiateKeyUpdate() {
    keyUpdateRequested = true
    updateKeys()
    // An acknowledgement of this phase must come first: ask for one.
    if keyUpdateRequested { isPingDue = true }
  }

  /// How a packet may be filled.
  struct Allowance {
    /// Frames that count in flight, which congestion control governs.
    var inFlight: Bool
    /// A probe: at least one ack-eliciting frame, whatever congestion control says.
    var isProbe: Bool
  }

  /// Writes one packet with whatever is due at `level`. False, with nothing written, when nothing is.
  mutating func writePacket(
    _ level: EncryptionLevel, to writer: inout ByteWriter, padTo: Int, padsIfNearlyFull: Bool = false,
    allowance: Allowance, ecn: ECN, now: Instant
  ) -> Bool {
    let space = level.packetNumberSpace
    let index = Int(space.rawValue)
    guard let start = beginPacket(level, to: &writer) else { return false }
    var frames = Self.framesWriter(writer)
    packetFrames.removeAll(keepingCapacity: true)

    let wroteAck = writeAck(index, &frames, now)
    let ackEnd = frames.count
    let asksPromptAck = level == .oneRTT && allowance.inFlight && ackRequests != nil && recovery.wantsPromptAck
    if asksPromptAck, frames.remaining > 0 { frames.writeImmediateAck() }
    let framesStart = frames.count
    if allowance.inFlight || allowance.isProbe { writeFrames(level, index, &frames, now) }
    // With nothing else to say there is nothing to be acknowledged.
    if frames.count == framesStart { frames.rewind(to: ackEnd) }
    // ack-frequency §7: "When sending PTO packets, one can include an IMMEDIATE_ACK frame to elicit an immediate
    // acknowledgment."
    if allowance.isProbe, level == .oneRTT, ackRequests != nil, frames.remaining > 0 {
      frames.writeImmediateAck()
      packetFrames.append(.ping)
    }
    if allowance.isProbe, frames.count == ackEnd {
      frames.writePing()
      packetFrames.append(.ping)
    }
    let isAckEliciting = frames.count > ackEnd
    // An ACK that is not due yet waits for company.
    let isWorthSending = isAckEliciting || (wroteAck && spaces[index].received.isAckDue(now))
    guard isWorthSending || padTo > start.offset else {
      writer.rewind(to: start.offset)
      return false
    }
    var target = padTo
    if padsIfNearlyFull, frames.remaining < 100 { target = writer.buffer.count }
    let isPadded = Self.pad(&frames, in: writer, to: target)
    writer.advance(frames.count)
    guard let size = finishPacket(level, start, &writer) else { return false }
    if wroteAck { spaces[index].received.ackSent() }
    if isAckEliciting, spaces[index].probes > 0 { spaces[index].probes -= 1 }
    note(
      space, start.packetNumber, size: size, isAckEliciting: isAckEliciting,
      isInFlight: isAckEliciting || isPadded, ecn: ecn, now: now)
    return true
  }

  /// Hands a sealed packet and its frames to loss recovery.
  mutating func note(
    _ space: PacketNumberSpace, _ number: UInt64, size: Int, isAckEliciting: Bool, isInFlight: Bool,
    isPMTUProbe: Bool = false, ecn: ECN, now: Instant
  ) {
    for frame in packetFrames { recovery.record(frame, in: space) }
    recovery.onPacketSent(
      space, number: number, size: size, isAckEliciting: isAckEliciting, isInFlight: isInFlight,
      isPMTUProbe: isPMTUProbe, ecn: ecn, now: now)
    // RFC 9000 §10.1: "An endpoint also restarts its idle timer when sending an ack-eliciting packet if no other
    // ack-eliciting packets have been sent since last receiving and processing a packet."
    if isAckEliciting, !hasSentSinceReceiving {
      hasSentSinceReceiving = true
      restartIdleTimer()
    }
  }

  private mutating func writeAck(_ index: Int, _ frames: inout ByteWriter, _ now: Instant) -> Bool {
    guard spaces[index].received.hasUnacknowledged, let largest = spaces[index].received.ranges.largest else {
      return false
    }
    let counts = spaces[index].received.ecnCounts
    // Our ack_delay_exponent is the default, 3.
    let delay = index == 2 ? UInt64(spaces[index].received.ackDelay(now).microseconds) >> 3 : 0
    guard
      frames.writeAck(
        spaces[index].received.ranges.descending, rawDelay: delay, ecn: counts.isZero ? nil : counts)
    else { return false }
    packetFrames.append(.ack(largest: largest))
    return true
  }

  private mutating func writeFrames(
    _ level: EncryptionLevel, _ index: Int, _ frames: inout ByteWriter, _ now: Instant
  ) {
    while let frame = spaces[index].writeCrypto(to: &frames) { packetFrames.append(frame) }
    guard index == 2 else { return }
    writeConnectionFrames(&frames, now)
    if isDatagramsTurn {
      writeDatagrams(&frames)
      streams.writeStreamFrames(to: &frames, sent: &packetFrames)
    } else {
      streams.writeStreamFrames(to: &frames, sent: &packetFrames)
      writeDatagrams(&frames)
    }
    isDatagramsTurn.toggle()
    if isPingDue, frames.remaining > 0 {
      isPingDue = false
      frames.writePing()
      packetFrames.append(.ping)
    }
  }

  private mutating func writeConnectionFrames(_ frames: inout ByteWriter, _ now: Instant) {
    if isHandshakeDoneDue {
      isHandshakeDoneDue = false
      frames.writeHandshakeDone()
      packetFrames.append(.handshakeDone)
    }
    // A token is for an address that the client has proved.
    if isNewTokenDue, active.isValidated, frames.remaining >= 96, let tokens = configuration.addressTokens {
      isNewTokenDue = false
      tokens.sealNewToken(to: active.path.remote.ip, version: version, now: now, entropy: entropy)
        .withUnsafeBytes { frames.writeNewToken($0) }
      packetFrames.append(.newToken)
    }
    // Five varints of at most eight bytes.
    if let request = ackRequests?.due, frames.remaining >= 40 {
      ackRequests!.sent()
      frames.writeAckFrequency(request)
      packetFrames.append(.ackFrequency(sequence: request.sequence))
    }
    // Two varints, a length, an ID and a token.
    while !localIDs.announcing.isEmpty, frames.remaining >= 64 {
      guard let entry = localIDs.announcementSent() else { break }
      frames.writeNewConnectionID(
        sequence: entry.sequence, retirePriorTo: 0, connectionID: entry.id,
        resetToken: localIDs.resetKey.token(for: entry.id))
      packetFrames.append(.newConnectionID(sequence: entry.sequence))
    }
    while !peerIDs.retiring.isEmpty, frames.remaining >= 16 {
      guard let sequence = peerIDs.retirementSent() else { break }
      frames.writeRetireConnectionID(sequence: sequence)
      packetFrames.append(.retireConnectionID(sequence: sequence))
    }
    streams.writeControlFrames(
      to: &frames, sent: &packetFrames, now: now, roundTrip: recovery.rtt.smoothed)
  }

  private mutating func writeDatagrams(_ frames: inout ByteWriter) {
    while let size = outgoingDatagrams.firstCount {
      let total = DatagramFrameSize.total(payload: size, withLength: true)
      if total > frames.remaining {
        // It may fit the next packet; if not even an empty one, the path has become too narrow for it.
        guard let most = datagramCapacity, size <= most else {
          outgoingDatagrams.removeFirst()
          counts.datagramsDroppedSending += 1
          continue
        }
        break
      }
      outgoingDatagrams.withFirst { frames.writeDatagram($0) }
      outgoingDatagrams.removeFirst()
      counts.datagramsSent += 1
      packetFrames.append(.datagram)
    }
    if owesDatagramsSendable, outgoingDatagrams.isEmpty {
      owesDatagramsSendable = false
      events.append(.datagramsSendable)
    }
  }
}

extension PacketSpace {
  /// Moves on to the next packet number, leaving one out now and then.
  mutating func advancePacketNumber(_ entropy: any EntropySource) {
    nextPacketNumber += 1
    guard space == .applicationData else { return }
    if skippedNumber == .max { skippedNumber = nextPacketNumber + 64 + entropy.nextUInt64() % 192 }
    if nextPacketNumber == skippedNumber {
      // RFC 9000 §21.4: "An endpoint MAY skip packet numbers when sending packets to detect this behavior."
      nextPacketNumber += 1
      skippedNumber = nextPacketNumber + 512 + entropy.nextUInt64() % 1_024
    }
  }
}
