import Wire

/// The end of a connection (RFC 9000 §10).
extension Connection {
  enum Lifecycle {
    case open
    /// We closed: the peer is told, and told again when it goes on sending.
    case closing(Closing)
    /// The peer closed, or lost its state: nothing more is sent.
    case draining(until: Instant)
    case drained
  }

  struct Closing {
    let reason: CloseReason
    /// When to forget the connection. Set by the first call that brings an instant, since closing itself brings none.
    var until: Instant?
    /// CONNECTION_CLOSE is to be sent.
    var isDue = true
    /// Datagrams received since, and at how many the next answer is due.
    var received: UInt64 = 0
    var answerAt: UInt64 = 1
    /// Bytes that may still be sent for what was received since, and how many an answer takes.
    var allowance = 0
    var size = 0
  }

  /// The connection has ended, though it may still answer or wait.
  public var isClosed: Bool { if case .open = lifecycle { false } else { true } }

  /// Nothing more will happen: the owner may forget the connection and stop routing its IDs.
  public var isDrained: Bool { if case .drained = lifecycle { true } else { false } }

  /// Ends the connection with an application's code (RFC 9000 §10.2).
  public mutating func close(code: UInt64, reason: String) {
    beginClosing(.localApplication(code: min(code, Varint.max), reason: reason))
  }

  /// Ends the connection with a transport error.
  public mutating func close(_ error: TransportError) { beginClosing(.localTransport(error)) }

  /// The peer broke the protocol, or we cannot go on.
  mutating func fail(_ error: TransportError) { beginClosing(.localTransport(error)) }

  private mutating func beginClosing(_ reason: CloseReason) {
    guard case .open = lifecycle else { return }
    lifecycle = .closing(Closing(reason: reason))
    events.append(.closed(reason))
  }

  /// Ends at once: there is nobody to tell.
  mutating func finish(_ reason: CloseReason) {
    guard case .open = lifecycle else { return }
    lifecycle = .drained
    events.append(.closed(reason))
  }

  mutating func enterDraining(_ reason: CloseReason) {
    guard case .open = lifecycle else { return }
    lifecycle = .draining(until: clock + closingPeriod)
    events.append(.closed(reason))
  }

  /// RFC 9000 §10.2: the closing and draining states "SHOULD persist for at least three times the current PTO interval".
  var closingPeriod: Interval { recovery.probeTimeout * 3 }

  mutating func receiveClose(_ frame: ConnectionCloseFrame) {
    if frame.isApplication {
      enterDraining(.peerApplication(code: frame.code, reason: frame.reasonText))
    } else {
      enterDraining(
        .peerTransport(
          TransportError(TransportError.Code(rawValue: frame.code), frame.reasonText, frameType: frame.frameType)))
    }
  }

  /// A datagram came though we have closed.
  mutating func noteWhileClosing(_ datagram: UnsafeMutableRawBufferPointer, path: Path) {
    counts.drops.closed += 1
    guard case .closing(var closing) = lifecycle else { return }
    closing.received += 1
    // RFC 9000 §10.2.1: "An endpoint SHOULD limit the rate at which it generates packets in the closing state." One
    // answer to the first, the second, the fourth, the eighth…
    // RFC 9000 §10.2.1: "such endpoints MUST limit the cumulative size of packets it sends to three times the cumulative
    // size of the packets that are received and attributed to the connection." Those are not decrypted any more.
    closing.allowance += 3 * datagram.count
    if closing.received >= closing.answerAt, closing.allowance >= closing.size {
      closing.allowance -= closing.size
      closing.answerAt = closing.received * 2
      closing.isDue = true
    }
    // What comes from elsewhere says nothing of the address that is answered.
    if path == active.path { active.bytesReceived += UInt64(datagram.count) }
    lifecycle = .closing(closing)
  }

  /// One datagram with CONNECTION_CLOSE at every level that the peer may be able to read.
  mutating func transmitClose(into buffer: UnsafeMutableRawBufferPointer) -> Transmission? {
    guard case .closing(var closing) = lifecycle, closing.isDue else { return nil }
    closing.isDue = false
    if closing.until == nil { closing.until = clock + closingPeriod }
    lifecycle = .closing(closing)
    let limit = min(buffer.count, MTUDiscovery.base)
    guard active.sendAllowance >= UInt64(limit) else { return nil }
    var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: buffer[..<limit]))
    // RFC 9000 §10.2.3: until the handshake is confirmed the peer may lack the keys of the highest level.
    let levels: [EncryptionLevel] = isHandshakeConfirmed ? [.oneRTT] : [.initial, .handshake, .oneRTT]
    let usable = levels.filter { hasWriteKeys($0) }
    for level in usable {
      let pads = level == usable.last && usable.first == .initial && role == .client
      writeClosePacket(level, closing.reason, to: &writer, padTo: pads ? limit : 0)
    }
    guard writer.count > 0 else { return nil }
    closing.size = writer.count
    lifecycle = .closing(closing)
    return sent(writer.count, segment: writer.count, ecn: .notECT)
  }

  private mutating func writeClosePacket(
    _ level: EncryptionLevel, _ reason: CloseReason, to writer: inout ByteWriter, padTo: Int
  ) {
    guard let start = beginPacket(level, to: &writer) else { return }
    var frames = Self.framesWriter(writer)
    switch reason {
    case .localApplication(let code, let text):
      if level == .oneRTT {
        frames.writeApplicationClose(code: code, reason: text)
      } else {
        // RFC 9000 §10.2.3: "A CONNECTION_CLOSE of type 0x1d MUST be replaced by a CONNECTION_CLOSE of type 0x1c when
        // sending the frame in Initial or Handshake packets."
        frames.writeConnectionClose(TransportError(.applicationError, ""))
      }
    case .localTransport(let error):
      frames.writeConnectionClose(error)
    case .peerTransport, .peerApplication, .idleTimeout, .handshakeTimeout, .statelessReset, .versionMismatch:
      break
    }
    Self.pad(&frames, in: writer, to: padTo)
    writer.advance(frames.count)
    _ = finishPacket(level, start, &writer)
  }
}
