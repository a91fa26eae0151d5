/// The sending part of a stream (RFC 9000 §3.1).
struct SendStream: ~Copyable {
  enum State: Equatable {
    /// "Ready" and "Send": the application may write.
    case open
    /// "Data Sent" once everything up to the final size has been sent.
    case finishing(Fin)
    /// "Reset Sent"; `isSent` is false while RESET_STREAM waits for a packet.
    case resetting(code: UInt64, isSent: Bool)
    /// "Data Recvd", "Reset Recvd", or a stream that has no sending part.
    case ended
  }
  enum Fin { case unsent, inFlight, acknowledged }

  private(set) var state: State
  private(set) var buffer: SendBuffer
  /// The peer's limit for this stream (RFC 9000 §4.1).
  private(set) var maximumData: UInt64
  /// The limit that the last STREAM_DATA_BLOCKED complained of.
  var blockedAt: UInt64?
  /// A write fell short; `.streamWritable` is owed.
  private(set) var owesWritable = false

  /// `exists` is false for the stream that only the peer writes to.
  init(pool: ChunkPool, maximumData: UInt64, exists: Bool) {
    buffer = SendBuffer(pool: pool)
    self.maximumData = maximumData
    state = exists ? .open : .ended
  }

  var isEnded: Bool { state == .ended }

  func writableBytes(limit: Int) -> Int { state == .open ? max(0, limit - buffer.count) : limit }

  /// Takes what fits below `limit` buffered bytes. A stream that is not open takes, and drops, everything.
  mutating func write(_ bytes: UnsafeRawBufferPointer, finish: Bool, limit: Int) -> Int {
    guard state == .open else { return bytes.count }
    let count = min(bytes.count, max(0, limit - buffer.count))
    if count > 0 { buffer.append(UnsafeRawBufferPointer(rebasing: bytes[..<count])) }
    if count < bytes.count {
      owesWritable = true
    } else if finish {
      state = .finishing(.unsent)
    }
    return count
  }

  /// A STREAM frame could carry something now, if the connection's credit allows new data.
  var isSendable: Bool {
    switch state {
    case .open: hasSendableData
    case .finishing(let fin): hasSendableData || (fin == .unsent && !buffer.hasUnsent)
    case .resetting, .ended: false
    }
  }

  private var hasSendableData: Bool { buffer.hasLost || (buffer.hasUnsent && buffer.sentEnd < maximumData) }

  /// There is data that only the peer's stream limit holds back.
  var isBlockedByStreamLimit: Bool {
    switch state {
    case .open, .finishing: buffer.hasUnsent && buffer.sentEnd >= maximumData
    case .resetting, .ended: false
    }
  }

  /// What the next STREAM frame may carry: lost bytes first, then new ones within both credits.
  func nextRange(connectionCredit: UInt64) -> Range<UInt64> {
    let (byConnection, overflow) = buffer.sentEnd.addingReportingOverflow(connectionCredit)
    return buffer.nextRange(limit: overflow ? maximumData : min(maximumData, byConnection))
  }

  /// A frame that ends at `end` is the last and carries FIN.
  func carriesFin(endingAt end: UInt64) -> Bool {
    if case .finishing = state { end == buffer.writtenEnd } else { false }
  }

  var needsFin: Bool { state == .finishing(.unsent) }

  mutating func sent(_ range: Range<UInt64>, fin: Bool) {
    buffer.sent(range)
    if fin, state == .finishing(.unsent) { state = .finishing(.inFlight) }
  }

  /// What an acknowledgement led to.
  enum Outcome { case nothing, writable, finished }

  mutating func acknowledge(_ range: Range<UInt64>, fin: Bool, limit: Int) -> Outcome {
    switch state {
    case .open, .finishing: break
    case .resetting, .ended: return .nothing
    }
    buffer.acknowledge(range)
    if case .finishing(let progress) = state {
      if fin || progress == .acknowledged {
        guard buffer.isEmpty else {
          state = .finishing(.acknowledged)
          return .nothing
        }
        state = .ended
        return .finished
      }
      return .nothing
    }
    // A quarter of the buffer free is worth a wake-up; a byte is not.
    if owesWritable, buffer.count <= limit - limit / 4 {
      owesWritable = false
      return .writable
    }
    return .nothing
  }

  mutating func lose(_ range: Range<UInt64>, fin: Bool) {
    switch state {
    case .open: buffer.lose(range)
    case .finishing(let progress):
      buffer.lose(range)
      if fin, progress == .inFlight { state = .finishing(.unsent) }
    case .resetting, .ended: break
    }
  }

  mutating func raiseLimit(to limit: UInt64) { maximumData = max(maximumData, limit) }

  /// Abandons the stream. False when it had already ended or was being reset.
  mutating func reset(code: UInt64) -> Bool {
    switch state {
    case .open, .finishing: break
    case .resetting, .ended: return false
    }
    let final = buffer.sentEnd
    buffer.discard()
    resetFinalSize = final
    state = .resetting(code: code, isSent: false)
    return true
  }

  /// RFC 9000 §4.5: the final size is what we have used of the credit.
  private(set) var resetFinalSize: UInt64 = 0

  mutating func resetSent() {
    if case .resetting(let code, _) = state { state = .resetting(code: code, isSent: true) }
  }

  mutating func resetLost() -> Bool {
    guard case .resetting(let code, true) = state else { return false }
    state = .resetting(code: code, isSent: false)
    return true
  }

  mutating func resetAcknowledged() {
    if case .resetting = state { state = .ended }
  }
}
