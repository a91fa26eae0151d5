import Wire

/// The receiving part of a stream (RFC 9000 §3.2).
struct ReceiveStream: ~Copyable {
  enum State: Equatable {
    /// "Recv", "Size Known" and "Data Recvd": the application may read.
    case open
    /// We sent STOP_SENDING: what comes is dropped until the final size is known.
    case stopped(code: UInt64)
    /// "Data Read", "Reset Read", or a stream that has no receiving part.
    case ended
  }

  private(set) var state: State
  private(set) var buffer: ReceiveBuffer
  private(set) var window: ReceiveWindow
  private(set) var finalSize: UInt64?
  /// `.streamReadable` has been said and no read has come to the end since.
  var saidReadable = false

  /// `exists` is false for the stream that only we write to.
  init(pool: ChunkPool, initialWindow: UInt64, maximumWindow: UInt64, exists: Bool) {
    buffer = ReceiveBuffer(pool: pool)
    window = ReceiveWindow(initial: initialWindow, maximum: maximumWindow)
    state = exists ? .open : .ended
  }

  var isEnded: Bool { state == .ended }

  /// There is data, or the end, to hand to the application.
  var isReadable: Bool { state == .open && (buffer.isReadable || finalSize == buffer.readOffset) }

  /// The peer may still need credit: its final size is not known.
  var wantsCredit: Bool { state == .open && finalSize == nil }

  /// How the connection's flow control must change after a frame.
  struct Credit {
    /// Bytes that count as received for the first time.
    var received: UInt64 = 0
    /// Bytes that nobody will read, so that their credit returns at once.
    var discarded: UInt64 = 0
  }

  /// Checks a STREAM frame and counts it; ``insert(_:at:)`` then takes the bytes.
  mutating func receive(offset: UInt64, count: Int, fin: Bool, frameType: UInt64) throws(TransportError) -> Credit {
    let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
    // RFC 9000 §19.8: "Receipt of a frame that exceeds this limit MUST be treated as a connection error of type
    // FRAME_ENCODING_ERROR or FLOW_CONTROL_ERROR"
    guard !overflow, end <= Varint.max else {
      throw TransportError(.frameEncodingError, "stream offset beyond 2^62-1", frameType: frameType)
    }
    // RFC 9000 §4.5: "an endpoint SHOULD respond with an error of type FINAL_SIZE_ERROR"
    if let finalSize, end > finalSize || (fin && end != finalSize) {
      throw TransportError(.finalSizeError, "data beyond the final size", frameType: frameType)
    }
    if fin, end < window.received {
      throw TransportError(.finalSizeError, "final size below data already received", frameType: frameType)
    }
    var credit = Credit()
    if end > window.received {
      credit.received = end - window.received
      // RFC 9000 §4.1: "A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the sender
      // violates the advertised connection or stream data limits"
      guard window.receive(credit.received) else {
        throw TransportError(.flowControlError, "stream data limit exceeded", frameType: frameType)
      }
    }
    if fin { finalSize = end }
    if case .stopped = state {
      credit.discarded = credit.received
      window.consume(credit.received)
      if finalSize != nil { state = .ended }
    }
    return credit
  }

  /// Keeps the bytes of a frame that ``receive(offset:count:fin:frameType:)`` has checked.
  mutating func insert(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) -> Bool {
    guard state == .open, !bytes.isEmpty else { return true }
    return buffer.insert(bytes, at: offset)
  }

  /// RESET_STREAM: what was not read is dropped (RFC 9000 §3.2).
  mutating func receiveReset(finalSize size: UInt64, frameType: UInt64) throws(TransportError) -> Credit {
    if let finalSize, finalSize != size {
      throw TransportError(.finalSizeError, "RESET_STREAM changes the final size", frameType: frameType)
    }
    guard size >= window.received else {
      throw TransportError(.finalSizeError, "RESET_STREAM below data already received", frameType: frameType)
    }
    var credit = Credit()
    guard state != .ended else { return credit }
    credit.received = size - window.received
    guard window.receive(credit.received) else {
      throw TransportError(.flowControlError, "stream data limit exceeded", frameType: frameType)
    }
    finalSize = size
    credit.discarded = size - window.consumed
    window.consume(credit.discarded)
    buffer.discard()
    state = .ended
    return credit
  }

  /// STOP_SENDING is due. Nil when there is nothing to stop; otherwise the bytes dropped.
  mutating func stop(code: UInt64) -> (discarded: UInt64, sendsFrame: Bool)? {
    guard state == .open else { return nil }
    let discarded = window.received - window.consumed
    window.consume(discarded)
    buffer.discard()
    // RFC 9000 §3.5: "STOP_SENDING SHOULD only be sent for a stream that has not been reset by the peer"; once the
    // final size is known there is nothing left to stop either.
    if finalSize != nil {
      state = .ended
      return (discarded, false)
    }
    state = .stopped(code: code)
    return (discarded, true)
  }

  /// Gives contiguous bytes to `body`; returns the outcome and how many it consumed.
  mutating func read(_ body: (UnsafeRawBufferPointer, Bool) -> Int) -> (StreamRead, consumed: UInt64) {
    guard state == .open else { return (.ended, 0) }
    let bytes = buffer.readable
    let isLast = finalSize == buffer.readOffset + UInt64(bytes.count)
    guard !bytes.isEmpty || isLast else {
      saidReadable = false
      return (.blocked, 0)
    }
    let consumed = min(max(0, body(bytes, isLast)), bytes.count)
    if consumed > 0 {
      buffer.consume(consumed)
      window.consume(UInt64(consumed))
    }
    if finalSize == buffer.readOffset {
      state = .ended
      return (.ended, UInt64(consumed))
    }
    if consumed == 0 {
      saidReadable = false
      return (.blocked, 0)
    }
    return (.progressed, UInt64(consumed))
  }

  mutating func updateWindow(now: Instant, roundTrip: Interval) -> UInt64 {
    window.update(now: now, roundTrip: roundTrip)
  }
}
