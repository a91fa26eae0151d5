public import Wire

// Each function writes one frame whole. One that does not fit leaves the writer overflowed, as every write
// of a ``ByteWriter`` does; the caller sizes what it sends, or rewinds.

extension ByteWriter {
  /// PADDING (RFC 9000 §19.1), `count` times.
  public mutating func writePadding(_ count: Int) { write(zeros: count) }

  /// PING (RFC 9000 §19.2).
  public mutating func writePing() { writeVarint(FrameType.ping) }

  /// RESET_STREAM (RFC 9000 §19.4).
  public mutating func writeResetStream(_ id: StreamID, code: UInt64, finalSize: UInt64) {
    writeFrame(FrameType.resetStream, id.rawValue, code, finalSize)
  }

  /// STOP_SENDING (RFC 9000 §19.5).
  public mutating func writeStopSending(_ id: StreamID, code: UInt64) {
    writeFrame(FrameType.stopSending, id.rawValue, code)
  }

  /// NEW_TOKEN (RFC 9000 §19.7).
  public mutating func writeNewToken(_ token: UnsafeRawBufferPointer) {
    writeFrame(FrameType.newToken, UInt64(token.count))
    write(token)
  }

  /// MAX_DATA (RFC 9000 §19.9).
  public mutating func writeMaxData(_ maximum: UInt64) { writeFrame(FrameType.maxData, maximum) }

  /// MAX_STREAM_DATA (RFC 9000 §19.10).
  public mutating func writeMaxStreamData(_ id: StreamID, maximum: UInt64) {
    writeFrame(FrameType.maxStreamData, id.rawValue, maximum)
  }

  /// MAX_STREAMS (RFC 9000 §19.11).
  public mutating func writeMaxStreams(_ direction: StreamDirection, maximum: UInt64) {
    writeFrame(
      direction == .bidirectional ? FrameType.maxStreamsBidirectional : FrameType.maxStreamsUnidirectional, maximum)
  }

  /// DATA_BLOCKED (RFC 9000 §19.12).
  public mutating func writeDataBlocked(limit: UInt64) { writeFrame(FrameType.dataBlocked, limit) }

  /// STREAM_DATA_BLOCKED (RFC 9000 §19.13).
  public mutating func writeStreamDataBlocked(_ id: StreamID, limit: UInt64) {
    writeFrame(FrameType.streamDataBlocked, id.rawValue, limit)
  }

  /// STREAMS_BLOCKED (RFC 9000 §19.14).
  public mutating func writeStreamsBlocked(_ direction: StreamDirection, limit: UInt64) {
    writeFrame(
      direction == .bidirectional ? FrameType.streamsBlockedBidirectional : FrameType.streamsBlockedUnidirectional,
      limit)
  }

  /// NEW_CONNECTION_ID (RFC 9000 §19.15).
  public mutating func writeNewConnectionID(
    sequence: UInt64, retirePriorTo: UInt64, connectionID: ConnectionID, resetToken: StatelessResetToken
  ) {
    writeFrame(FrameType.newConnectionID, sequence, retirePriorTo)
    write(UInt8(connectionID.length))
    connectionID.withUnsafeBytes { write($0) }
    resetToken.withUnsafeBytes { write($0) }
  }

  /// RETIRE_CONNECTION_ID (RFC 9000 §19.16).
  public mutating func writeRetireConnectionID(sequence: UInt64) {
    writeFrame(FrameType.retireConnectionID, sequence)
  }

  /// PATH_CHALLENGE (RFC 9000 §19.17).
  public mutating func writePathChallenge(_ data: UInt64) {
    writeVarint(FrameType.pathChallenge)
    write(data)
  }

  /// PATH_RESPONSE (RFC 9000 §19.18).
  public mutating func writePathResponse(_ data: UInt64) {
    writeVarint(FrameType.pathResponse)
    write(data)
  }

  /// CONNECTION_CLOSE of type 0x1c (RFC 9000 §19.19). The reason is cut to what fits and to 256 bytes.
  public mutating func writeConnectionClose(_ error: TransportError) {
    writeFrame(FrameType.connectionClose, error.code.rawValue, error.frameType)
    writeReason(error.reason)
  }

  /// CONNECTION_CLOSE of type 0x1d (RFC 9000 §19.19). The reason is cut to what fits and to 256 bytes.
  public mutating func writeApplicationClose(code: UInt64, reason: String) {
    writeFrame(FrameType.connectionCloseApplication, code)
    writeReason(reason)
  }

  /// HANDSHAKE_DONE (RFC 9000 §19.20).
  public mutating func writeHandshakeDone() { writeVarint(FrameType.handshakeDone) }

  /// ACK_FREQUENCY (draft-ietf-quic-ack-frequency §4).
  public mutating func writeAckFrequency(_ frame: AckFrequencyFrame) {
    writeFrame(FrameType.ackFrequency, frame.sequence, frame.ackElicitingThreshold, frame.requestedMaxAckDelay)
    writeVarint(frame.reorderingThreshold)
  }

  /// IMMEDIATE_ACK (draft-ietf-quic-ack-frequency §5).
  public mutating func writeImmediateAck() { writeVarint(FrameType.immediateAck) }

  private mutating func writeReason(_ reason: String) {
    var text = Substring(reason)
    let room = min(256, max(0, remaining - 2))
    while text.utf8.count > room { text.removeLast() }
    writeVarint(UInt64(text.utf8.count))
    text.utf8.withContiguousStorageIfAvailable { write(UnsafeRawBufferPointer($0)) } ?? write([UInt8](text.utf8))
  }

  @inline(__always) private mutating func writeFrame(_ type: UInt64, _ a: UInt64) {
    writeVarint(type)
    writeVarint(a)
  }
  @inline(__always) private mutating func writeFrame(_ type: UInt64, _ a: UInt64, _ b: UInt64) {
    writeFrame(type, a)
    writeVarint(b)
  }
  @inline(__always) private mutating func writeFrame(_ type: UInt64, _ a: UInt64, _ b: UInt64, _ c: UInt64) {
    writeFrame(type, a, b)
    writeVarint(c)
  }
}
