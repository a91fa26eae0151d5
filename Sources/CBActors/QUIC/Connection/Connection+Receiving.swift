import PacketCrypto
public import Wire

/// From a datagram to the frames of its packets (RFC 9000 §5.2, §12.2).
extension Connection {
  /// Takes in one UDP datagram, which may hold coalesced packets. Decrypts in place: `datagram` is overwritten.
  public mutating func receive(_ datagram: UnsafeMutableRawBufferPointer, path: Path, ecn: ECN, now: Instant) {
    clock = now
    defer { if qlog != nil { logChanges() } }
    counts.bytesReceived += UInt64(datagram.count)
    switch lifecycle {
    case .open: break
    case .closing:
      noteWhileClosing(datagram)
      return
    case .draining, .drained:
      counts.drops.closed += 1
      return
    }
    guard let arrival = classify(path) else {
      counts.drops.unexpectedPath += 1
      return
    }
    let path = knownPath(arrival, path)
    creditPath(arrival, path, bytes: datagram.count)
    process(datagram, path: path, arrival: arrival, ecn: ecn, now: now)
    if !undecryptable.isEmpty { retryUndecryptable(now: now) }
  }

  /// Where a datagram came from, seen from the connection's paths.
  enum Arrival: Equatable {
    case active
    case other(Int)
    /// An address that the connection has no path to yet; only a server hears from one.
    case new
  }

  private mutating func classify(_ path: Path) -> Arrival? {
    if path == active.path { return .active }
    if let index = others.firstIndex(where: { $0.path == path }) { return .other(index) }
    if role == .client {
      // A socket that is bound to no address of its own tells by each datagram where that was sent to.
      if path.remote == active.path.remote, path.local.port == active.path.local.port { return .active }
      if let index = others.firstIndex(where: {
        $0.path.remote == path.remote && $0.path.local.port == path.local.port
      }) {
        return .other(index)
      }
      // RFC 9000 §9: "If a client receives packets from an unknown server address, the client MUST discard these
      // packets." Its own address is its owner's affair.
      return path.remote == active.path.remote ? .active : nil
    }
    // RFC 9000 §9: "An endpoint MUST NOT initiate connection migration before the handshake is confirmed".
    return isHandshakeConfirmed ? .new : nil
  }

  /// The path as it was named to the connection.
  private mutating func knownPath(_ arrival: Arrival, _ path: Path) -> Path {
    switch arrival {
    case .active: active.path
    case .other(let index): others[index].path
    case .new: path
    }
  }

  private mutating func creditPath(_ arrival: Arrival, _ path: Path, bytes: Int) {
    switch arrival {
    case .active:
      active.bytesReceived += UInt64(bytes)
      recovery.isAmplificationLimited = false
    case .other(let index): others[index].bytesReceived += UInt64(bytes)
    case .new: break
    }
  }

  private mutating func process(
    _ datagram: UnsafeMutableRawBufferPointer, path: Path, arrival: Arrival, ecn: ECN, now: Instant
  ) {
    var rest = datagram
    var firstDestination: ConnectionID?
    while !rest.isEmpty, case .open = lifecycle {
      let header: PacketHeader
      do throws(PacketHeaderError) {
        header = try PacketHeader(
          UnsafeRawBufferPointer(rest), shortIDLength: localIDs.length, takesAnyFixedBit: configuration.greases)
      } catch {
        if error == .unsupportedVersion { counts.drops.mismatched += 1 } else { counts.drops.malformed += 1 }
        detectStatelessReset(rest)
        return
      }
      let packet = UnsafeMutableRawBufferPointer(rebasing: rest[..<header.packetLength])
      rest = UnsafeMutableRawBufferPointer(rebasing: rest[header.packetLength...])
      // RFC 9000 §12.2: "Receivers SHOULD ignore any subsequent packets with a different Destination Connection ID than
      // the first packet in the datagram."
      if let firstDestination, firstDestination != header.destinationID {
        counts.drops.mismatched += 1
        continue
      }
      let isFirst = firstDestination == nil
      firstDestination = header.destinationID
      let isAuthentic = processPacket(
        packet, header, datagramSize: datagram.count, path: path, arrival: arrival, ecn: ecn, now: now)
      if qlog != nil { logDrops(header.type, length: packet.count) }
      // RFC 9000 §10.3.1: "the comparison MUST be performed when the first packet in an incoming datagram either cannot be
      // associated with a connection or cannot be decrypted."
      if isFirst, !isAuthentic, case .open = lifecycle, detectStatelessReset(datagram) { return }
    }
  }

  /// Returns whether it was opened: only whoever has the keys can have made it.
  private mutating func processPacket(
    _ packet: UnsafeMutableRawBufferPointer, _ header: PacketHeader, datagramSize: Int, path: Path, arrival: Arrival,
    ecn: ECN, now: Instant
  ) -> Bool {
    switch header.type {
    case .versionNegotiation:
      receiveVersionNegotiation(UnsafeRawBufferPointer(packet), header)
      return false
    case .retry:
      receiveRetry(UnsafeRawBufferPointer(packet), header, now: now)
      return false
    case .zeroRTT:
      // RFC 9001 §5.6: "A client MUST NOT attempt to decrypt 0-RTT packets it receives and instead MUST discard them."
      guard role == .server else {
        counts.drops.noKeys += 1
        return false
      }
    case .initial:
      // RFC 9000 §14.1: "A server MUST discard an Initial packet that is carried in a UDP datagram with a payload that
      // is smaller than the smallest allowed maximum datagram size of 1200 bytes."
      if role == .server, datagramSize < MTUDiscovery.base {
        counts.drops.malformed += 1
        return false
      }
      // RFC 9000 §17.2.2: "clients that receive an Initial packet with a non-zero Token Length field MUST either discard
      // the packet or generate a connection error of type PROTOCOL_VIOLATION."
      if role == .client, !header.token.isEmpty {
        counts.drops.malformed += 1
        return false
      }
    case .handshake, .oneRTT: break
    }
    guard isOurs(header) else {
      counts.drops.mismatched += 1
      return false
    }
    let opened: OpenedPacket?
    if header.type == .oneRTT {
      opened = openShort(packet, header, path: path, ecn: ecn, now: now)
    } else {
      opened = openLong(packet, header, path: path, ecn: ecn)
    }
    guard let opened else { return false }
    accept(opened, header, datagramSize: datagramSize, path: path, arrival: arrival, ecn: ecn, now: now)
    return true
  }

  /// The packet's connection IDs are this connection's.
  private mutating func isOurs(_ header: PacketHeader) -> Bool {
    if header.type == .oneRTT {
      return localIDs.contains(header.destinationID) || formerIDs.contains(header.destinationID)
    }
    guard localIDs.contains(header.destinationID) || (role == .server && header.destinationID == routedInitialID) else {
      return false
    }
    // RFC 9000 §7.2: "it MUST discard any subsequent packet it receives on that connection with a different Source
    // Connection ID."
    return peerInitialSourceID == nil || header.sourceID == peerInitialSourceID
  }

  struct OpenedPacket {
    var payload: UnsafeMutableRawBufferPointer
    var packetNumber: UInt64
    var level: EncryptionLevel
    var space: Int
  }

  private mutating func openLong(
    _ packet: UnsafeMutableRawBufferPointer, _ header: PacketHeader, path: Path, ecn: ECN
  ) -> OpenedPacket? {
    let level: EncryptionLevel =
      header.type == .initial ? .initial : header.type == .handshake ? .handshake : .zeroRTT
    let index = Int(level.packetNumberSpace.rawValue)
    guard isExpected(header) else {
      counts.drops.mismatched += 1
      return nil
    }
    let found =
      switch level {
      case .zeroRTT: earlyReadKeys(packet, path: path, ecn: ecn)
      case .initial: initialReadKeys(header.version)
      default: spaces[index].readKeys
      }
    guard let keys = found else {
      if level != .zeroRTT { wait(packet, isGone: spaces[index].isDiscarded, path: path, ecn: ecn) }
      return nil
    }
    guard let unprotected = keys.header.unprotect(packet, packetNumberOffset: header.packetNumberOffset) else {
      counts.drops.malformed += 1
      return nil
    }
    let number = PacketNumber.decode(
      unprotected.truncatedPacketNumber, length: unprotected.packetNumberLength,
      largestReceived: spaces[index].received.largest)
    guard let payload = keys.packet.open(packet, headerLength: unprotected.headerLength, packetNumber: number) else {
      countForgery()
      return nil
    }
    guard checkReserved(unprotected) else { return nil }
    if level == .initial { noteVersion(header.version) }
    return OpenedPacket(payload: payload, packetNumber: number, level: level, space: index)
  }

  private mutating func openShort(
    _ packet: UnsafeMutableRawBufferPointer, _ header: PacketHeader, path: Path, ecn: ECN, now: Instant
  ) -> OpenedPacket? {
    // RFC 9001 §5.7: "A server MUST NOT process incoming 1-RTT protected packets before the TLS handshake is complete."
    // RFC 9001 §5.7: "Even if it has 1-RTT secrets, a client MUST NOT process incoming 1-RTT protected packets before the TLS
    // handshake is complete."
    guard isHandshakeComplete, let keys = oneRTT, let readKeys = keys.readHeader else {
      wait(packet, isGone: false, path: path, ecn: ecn)
      return nil
    }
    guard let unprotected = readKeys.header.unprotect(packet, packetNumberOffset: header.packetNumberOffset) else {
      counts.drops.malformed += 1
      return nil
    }
    let number = PacketNumber.decode(
      unprotected.truncatedPacketNumber, length: unprotected.packetNumberLength,
      largestReceived: spaces[2].received.largest)
    let which = keys.which(phase: unprotected.keyPhase, packetNumber: number)
    // RFC 9001 §9.5: "the entire process of header protection removal, packet number recovery, and packet protection removal
    // MUST be applied together without timing and other side channels." Every packet long enough to be one is opened with
    // some key, and what is wrong with it is looked at afterwards.
    guard let tried = keys.readKey(which),
      let payload = tried.key.key.open(packet, headerLength: unprotected.headerLength, packetNumber: number),
      tried.isKept
    else {
      countForgery()
      return nil
    }
    guard checkReserved(unprotected) else { return nil }
    spin.received(unprotected.spin, number, at: role)
    if which == .current {
      oneRTT!.openedCurrent(number)
    } else {
      do throws(TransportError) {
        let retain = now + recovery.probeTimeout * 3
        try oneRTT!.opened(which, packetNumber: number, retain: retain)
      } catch {
        fail(error)
        return nil
      }
    }
    return OpenedPacket(payload: payload, packetNumber: number, level: .oneRTT, space: 2)
  }

  /// A packet was not authentic, whichever keys it asked for. RFC 9001 §6.6: "endpoints MUST count the number of received
  /// packets that fail authentication during the lifetime of a connection."
  private mutating func countForgery() {
    counts.drops.undecryptable += 1
    // RFC 9001 §6.6: "If the total number of received packets that fail authentication within the connection, across all
    // keys, exceeds the integrity limit for the selected AEAD, the endpoint MUST immediately close the connection with a
    // connection error of type AEAD_LIMIT_REACHED and not process any more packets."
    // Before a suite is agreed on the least of all limits holds.
    let limits = oneRTT?.limits ?? AEADLimits(.chaCha20Poly1305, configuration)
    guard counts.drops.undecryptable > limits.integrity else { return }
    fail(TransportError(.aeadLimitReached, "too many packets not authentic"))
  }

  /// The header was authentic: what it must not say is now the peer's fault.
  private mutating func checkReserved(_ header: UnprotectedHeader) -> Bool {
    guard header.hasReservedBits else { return true }
    fail(TransportError(.protocolViolation, "reserved header bits are set"))
    return false
  }

  /// Keeps a packet until its keys are there.
  mutating func wait(_ packet: UnsafeMutableRawBufferPointer, isGone: Bool, path: Path, ecn: ECN) {
    if isGone || !undecryptable.append(UnsafeRawBufferPointer(packet), path: path, ecn: ecn) {
      counts.drops.noKeys += 1
    } else if qlog != nil {
      logBuffered(UnsafeRawBufferPointer(packet))
    }
  }

  /// Tries the packets that waited, when keys have come since.
  private mutating func retryUndecryptable(now: Instant) {
    let hasHandshake = spaces[1].readKeys != nil || spaces[1].isDiscarded
    let hasOneRTT = oneRTT?.readHeader != nil && isHandshakeComplete
    let hasLongHeaderKeys = hasHandshake || earlyKeys != nil
    guard hasOneRTT || (hasLongHeaderKeys && undecryptable.hasLongHeader) else { return }
    for var entry in undecryptable.takeAll() {
      entry.bytes.withUnsafeMutableBytes { bytes in
        guard case .open = lifecycle, let arrival = classify(entry.path) else { return }
        process(bytes, path: knownPath(arrival, entry.path), arrival: arrival, ecn: entry.ecn, now: now)
      }
    }
  }

  /// An authentic packet: its frames are processed, and then it counts as received.
  private mutating func accept(
    _ packet: OpenedPacket, _ header: PacketHeader, datagramSize: Int, path: Path, arrival: Arrival, ecn: ECN,
    now: Instant
  ) {
    // RFC 9000 §12.3: "A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed
    // another packet with the same packet number from the same packet number space."
    guard !spaces[packet.space].received.isDuplicate(packet.packetNumber) else {
      counts.drops.duplicate += 1
      return
    }
    counts.packetsReceived += 1
    if qlog != nil { logReceived(packet, length: header.packetLength) }
    noteFirstPackets(packet.level, header)
    var context = PacketContext(
      level: packet.level, packetNumber: packet.packetNumber, destinationID: header.destinationID, path: path,
      arrival: arrival, datagramSize: datagramSize, now: now)
    do throws(TransportError) {
      try processFrames(UnsafeRawBufferPointer(packet.payload), &context)
    } catch {
      fail(error)
      return
    }
    guard case .open = lifecycle else { return }
    spaces[packet.space].received.received(
      packet.packetNumber, ackEliciting: context.isAckEliciting, ecn: ecn, now: now)
    hasSentSinceReceiving = false
    restartIdleTimer()
    if packet.level == .oneRTT { settlePath(&context) }
    if context.hasCrypto {
      attempt { connection throws(TransportError) in try connection.advanceHandshake() }
    }
  }

  /// What the first authentic packets settle: the peer's ID, and which keys are no longer needed.
  private mutating func noteFirstPackets(_ level: EncryptionLevel, _ header: PacketHeader) {
    hasProcessedPacket = true
    guard level != .oneRTT else { return }
    if peerInitialSourceID == nil {
      // RFC 9000 §7.2: "A client MUST change the Destination Connection ID it uses for sending packets in response to
      // only the first received Initial or Retry packet."
      peerInitialSourceID = header.sourceID
      peerIDs.replaceFirst(header.sourceID)
    }
    if role == .server, level == .handshake {
      // RFC 9001 §4.9.1: "a server MUST discard Initial keys when it first successfully processes a Handshake packet."
      discard(.initial)
      // RFC 9000 §8.1: a Handshake packet shows that the client has our Initial packet, and so receives at its address.
      active.isValidated = true
    }
  }

  /// True, with the connection ended, when the datagram ends in a token of the peer's (RFC 9000 §10.3.1).
  @discardableResult
  private mutating func detectStatelessReset(_ datagram: UnsafeMutableRawBufferPointer) -> Bool {
    guard let token = StatelessResetToken(endOf: UnsafeRawBufferPointer(datagram)), peerIDs.matchesReset(token) else {
      return false
    }
    // RFC 9000 §10.3.1: "the endpoint MUST enter the draining period and not send any further packets on this connection."
    enterDraining(.statelessReset)
    return true
  }

  private mutating func receiveVersionNegotiation(_ packet: UnsafeRawBufferPointer, _ header: PacketHeader) {
    // RFC 9000 §6.2: "A client MUST discard any Version Negotiation packet if it has received and successfully processed
    // any other packet, including an earlier Version Negotiation packet." and one that "lists the QUIC version selected
    // by the client". RFC 9368 §4: "A client that makes a connection attempt based on information received from a Version
    // Negotiation packet MUST ignore any Version Negotiation packets it receives in response to that connection attempt."
    guard role == .client, !hasProcessedPacket, retrySourceID == nil, localIDs.contains(header.destinationID),
      peerIDs.id(0) == header.sourceID, !configuration.followsVersionNegotiation,
      let versions = VersionNegotiation.versions(packet, header: header), !versions.contains(originalVersion)
    else {
      counts.drops.mismatched += 1
      return
    }
    finish(.versionMismatch(offered: versions))
  }

  private mutating func receiveRetry(_ packet: UnsafeRawBufferPointer, _ header: PacketHeader, now: Instant) {
    // RFC 9000 §17.2.5.2: "A client MUST accept and process at most one Retry packet for each connection attempt." and
    // discards those that come after an Initial packet of the server's. RFC 9369 §4.1: "The client ignores Retry packets
    // using other versions."
    guard role == .client, !hasProcessedPacket, retrySourceID == nil, header.version == originalVersion,
      localIDs.contains(header.destinationID),
      Retry.isValid(packet, header: header, originalDestinationID: originalDestinationID)
    else {
      counts.drops.mismatched += 1
      return
    }
    retrySourceID = header.sourceID
    initialToken = [UInt8](header.token)
    peerIDs.replaceFirst(header.sourceID)
    installInitialKeys()
    repeatEarlyData()
    recovery.onRetry(now: now)
    spaces[0].cryptoSend.loseEverything()
    spaces[0].probes = 0
  }
}
