import PacketCrypto
public import Wire

/// From what is due to datagrams (RFC 9000 §12.2, §14; RFC 9002 §7).
extension Connection {
  /// Fills `buffer` with a batch of datagrams for one path, all of `segmentSize` but the last, which may be shorter.
  ///
  /// - Parameters:
  ///   - buffer: at least 1200 bytes, or nothing is sent.
  ///   - maxSegments: how many datagrams one system call may take (UDP_SEGMENT).
  /// - Returns: nil when there is nothing to send now; otherwise to be called again.
  public mutating func transmit(
    into buffer: UnsafeMutableRawBufferPointer, maxSegments: Int, now: Instant
  ) -> Transmission? {
    clock = now
    defer { if qlog != nil { logChanges() } }
    switch lifecycle {
    case .open: break
    case .closing: return transmitClose(into: buffer)
    case .draining, .drained: return nil
    }
    guard buffer.count >= MTUDiscovery.base else { return nil }
    pacedUntil = nil
    if isHandshakeConfirmed, let probe = transmitPathProbe(into: buffer, now: now) { return probe }
    if !spaces[0].isDiscarded || !spaces[1].isDiscarded, let first = transmitHandshake(into: buffer, now: now) {
      return first
    }
    guard hasWriteKeys(.oneRTT) else { return nil }
    if let probe = transmitMTUProbe(into: buffer, now: now) { return probe }
    return transmitOneRTT(into: buffer, maxSegments: max(1, maxSegments), now: now)
  }

  /// Congestion control and the pacer let something out now. When only the pacer forbids, notes when it will not.
  private mutating func mayFly(_ now: Instant) -> Bool {
    switch recovery.sendBudget(now) {
    case .bytes: return true
    case .congestionLimited: return false
    case .paced(let until):
      pacedUntil = until
      return false
    }
  }

  /// Something is due in a space, given whether in-flight frames may leave.
  private mutating func isPending(_ index: Int, mayFly: Bool, now: Instant) -> Bool {
    if spaces[index].received.isAckDue(now) || spaces[index].probes > 0 { return true }
    guard mayFly else { return false }
    return spaces[index].hasCryptoToSend || (index == 2 && hasApplicationFrames())
  }

  private mutating func hasApplicationFrames() -> Bool {
    streams.hasFrames || !outgoingDatagrams.isEmpty || isPingDue || isHandshakeDoneDue
      || (isNewTokenDue && active.isValidated)
      || ackRequests?.due != nil
      || !localIDs.announcing.isEmpty || !peerIDs.retiring.isEmpty
  }

  /// Counts a batch as sent on the active path.
  mutating func sent(_ byteCount: Int, segment: Int, ecn: ECN) -> Transmission {
    active.bytesSent += UInt64(byteCount)
    counts.bytesSent += UInt64(byteCount)
    return Transmission(path: active.path, byteCount: byteCount, segmentSize: segment, ecn: ecn)
  }

  // MARK: Handshake

  /// What packets of a space are sent at now.
  private func level(_ index: Int) -> EncryptionLevel {
    switch index {
    case 0: .initial
    case 1: .handshake
    default: sendsEarlyData ? .zeroRTT : .oneRTT
    }
  }

  /// One datagram of coalesced packets, while there are keys below 1-RTT.
  private mutating func transmitHandshake(
    into buffer: UnsafeMutableRawBufferPointer, now: Instant
  ) -> Transmission? {
    let mayFly = mayFly(now)
    var pending = InlineArray<3, Bool>(repeating: false)
    for index in 0..<3 {
      pending[index] = hasWriteKeys(level(index)) && isPending(index, mayFly: mayFly, now: now)
    }
    guard pending[0] || pending[1] || (pending[2] && sendsEarlyData) else { return nil }
    // RFC 9000 §8.1: whole datagrams only, so that an Initial packet can always be padded.
    guard active.sendAllowance >= UInt64(MTUDiscovery.base) else {
      recovery.isAmplificationLimited = true
      return nil
    }
    let limit = min(buffer.count, configuration.initialMTU, Int(clamping: active.sendAllowance))
    var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: buffer[..<max(limit, MTUDiscovery.base)]))
    // RFC 9000 §14.1: "A client MUST expand the payload of all UDP datagrams carrying Initial packets to at least the
    // smallest allowed maximum datagram size of 1200 bytes"; a server, those that elicit acknowledgement.
    let needsPadding = pending[0] && (role == .client || spaces[0].hasCryptoToSend || spaces[0].probes > 0)
    let last = pending[2] ? 2 : pending[1] ? 1 : 0
    let codepoint = recovery.ecn.codepoint
    var wroteHandshake = false
    for index in 0...last where pending[index] {
      let wrote = writePacket(
        level(index), to: &writer, padTo: needsPadding && index == last ? MTUDiscovery.base : 0,
        padsIfNearlyFull: needsPadding && index != last,
        allowance: Allowance(inFlight: mayFly, isProbe: spaces[index].probes > 0), ecn: codepoint, now: now)
      if wrote, index == 1 { wroteHandshake = true }
    }
    guard writer.count > 0 else { return nil }
    if wroteHandshake, role == .client {
      // RFC 9001 §4.9.1: "a client MUST discard Initial keys when it first sends a Handshake packet"
      discard(.initial)
    }
    return sent(writer.count, segment: writer.count, ecn: codepoint)
  }

  // MARK: 1-RTT

  private mutating func transmitOneRTT(
    into buffer: UnsafeMutableRawBufferPointer, maxSegments: Int, now: Instant
  ) -> Transmission? {
    let codepoint = recovery.ecn.codepoint
    // Where it is doubtful whether full packets pass, a probe must: else nothing tells the one loss from the other.
    var segment = mtu.isConfirmingBase && spaces[2].probes > 0 ? MTUDiscovery.narrow : mtu.current
    var total = 0
    var count = 0
    var flies = true
    while count < maxSegments {
      flies = mayFly(now)
      guard isPending(2, mayFly: flies, now: now) else { break }
      let allowed = active.sendAllowance
      let used = UInt64(total)
      let room = min(segment, buffer.count - total, Int(clamping: allowed - min(allowed, used)))
      if room < segment, count > 0 || room < 100 {
        if count == 0 { recovery.isAmplificationLimited = true }
        break
      }
      var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: buffer[total..<total + room]))
      guard
        writePacket(
          .oneRTT, to: &writer, padTo: 0,
          allowance: Allowance(inFlight: flies, isProbe: spaces[2].probes > 0), ecn: codepoint, now: now)
      else { break }
      total += writer.count
      count += 1
      if count == 1 {
        segment = writer.count
      } else if writer.count < segment {
        break
      }
      guard case .open = lifecycle else { break }
    }
    if flies, !hasApplicationFrames() { recovery.markAppLimited() }
    guard total > 0 else { return nil }
    return sent(total, segment: segment, ecn: codepoint)
  }

  /// A PING padded to the size that the search for the path's MTU wants to try (RFC 9000 §14.4).
  private mutating func transmitMTUProbe(
    into buffer: UnsafeMutableRawBufferPointer, now: Instant
  ) -> Transmission? {
    guard let size = mtu.probeSize, size <= buffer.count, active.isValidated || role == .client, mayFly(now) else {
      return nil
    }
    var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: buffer[..<size]))
    guard let start = beginPacket(.oneRTT, to: &writer) else { return nil }
    var frames = Self.framesWriter(writer)
    frames.writePing()
    Self.pad(&frames, in: writer, to: size)
    writer.advance(frames.count)
    guard let length = finishPacket(.oneRTT, start, &writer) else { return nil }
    packetFrames.removeAll(keepingCapacity: true)
    packetFrames.append(.mtuProbe(size: UInt16(clamping: length)))
    note(
      .applicationData, start.packetNumber, size: length, isAckEliciting: true, isInFlight: true, isPMTUProbe: true,
      ecn: .notECT, now: now)
    mtu.probeSent()
    return sent(length, segment: length, ecn: .notECT)
  }

  /// PATH_CHALLENGE and PATH_RESPONSE, each on the path that it belongs to (RFC 9000 §8.2).
  private mutating func transmitPathProbe(
    into buffer: UnsafeMutableRawBufferPointer, now: Instant
  ) -> Transmission? {
    if active.isProbeDue {
      var path = active
      let size = writePathProbe(&path, into: buffer, now: now)
      active = path
      if let size {
        counts.bytesSent += UInt64(size)
        return Transmission(path: path.path, byteCount: size, segmentSize: size, ecn: .notECT)
      }
    }
    for index in others.indices where others[index].isProbeDue {
      var path = others[index]
      let size = writePathProbe(&path, into: buffer, now: now)
      others[index] = path
      guard let size else { continue }
      counts.bytesSent += UInt64(size)
      return Transmission(path: path.path, byteCount: size, segmentSize: size, ecn: .notECT)
    }
    return nil
  }

  private mutating func writePathProbe(
    _ path: inout PathState, into buffer: UnsafeMutableRawBufferPointer, now: Instant
  ) -> Int? {
    let allowed = Int(clamping: path.sendAllowance)
    let limit = min(MTUDiscovery.base, allowed)
    guard limit >= 64 else { return nil }
    var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: buffer[..<limit]))
    guard let start = beginPacket(.oneRTT, to: &writer, peerID: peerIDs.id(path.peerIDSequence)) else { return nil }
    var frames = Self.framesWriter(writer)
    packetFrames.removeAll(keepingCapacity: true)
    for data in path.responsesDue {
      frames.writePathResponse(data)
      packetFrames.append(.pathResponse)
    }
    path.responsesDue.removeAll(keepingCapacity: true)
    if path.isChallengeDue, frames.remaining >= 9 {
      path.isChallengeDue = false
      if limit < MTUDiscovery.base { path.wasChallengedSmall = true }
      let data = entropy.nextUInt64()
      path.challenges.append(data)
      path.challengeDeadline = now + challengePeriod
      frames.writePathChallenge(data)
      packetFrames.append(.pathChallenge)
    }
    // RFC 9000 §8.2.1, §8.2.2: "An endpoint MUST expand datagrams that contain a PATH_CHALLENGE frame to at least the
    // smallest allowed maximum datagram size of 1200 bytes, unless the anti-amplification limit for the path does not
    // permit sending a datagram of this size."
    Self.pad(&frames, in: writer, to: limit)
    writer.advance(frames.count)
    guard let size = finishPacket(.oneRTT, start, &writer) else { return nil }
    note(
      .applicationData, start.packetNumber, size: size, isAckEliciting: true, isInFlight: true, ecn: .notECT, now: now)
    path.bytesSent += UInt64(size)
    return size
  }
}
