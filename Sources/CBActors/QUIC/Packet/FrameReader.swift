import Wire

/// Reads the frames of one packet's payload, checking each against RFC 9000 §12.4 and §19.
///
/// What depends on the state of a connection is its owner's to check: which end may send a frame, stream
/// states, flow-control limits.
public struct FrameReader {
  private var reader: ByteReader
  private let level: EncryptionLevel
  private var hasReadAny = false

  /// - Parameters:
  ///   - payload: a packet's plaintext.
  ///   - level: of the packet that it came in.
  public init(_ payload: UnsafeRawBufferPointer, level: EncryptionLevel) {
    reader = ByteReader(payload)
    self.level = level
  }

  /// Bytes of the payload that have been read.
  var offset: Int { reader.offset }

  /// The next frame; nil at the end of the payload.
  public mutating func next() throws(TransportError) -> Frame? {
    guard let first = reader.peekUInt8() else {
      // RFC 9000 §12.4: "An endpoint MUST treat receipt of a packet containing no frames as a connection error of
      // type PROTOCOL_VIOLATION."
      guard hasReadAny else { throw Self.violation("packet without frames", 0) }
      return nil
    }
    hasReadAny = true
    // Every type known but one is one byte long; a longer encoding goes the slow way.
    guard first < 0x40 else { return try readLongType() }
    let type = UInt64(first)
    guard FrameType.isPermitted(type, at: level) else {
      // RFC 9000 §12.4: "An endpoint MUST treat receipt of a frame in a packet type that is not permitted as a
      // connection error of type PROTOCOL_VIOLATION."
      throw Self.violation("frame not permitted in this packet type", type)
    }
    if type == FrameType.padding { return readPadding() }
    _ = reader.skip(1)
    guard let frame = try readBody(type) else { throw Self.encodingError("truncated or malformed frame", type) }
    return frame
  }

  private mutating func readPadding() -> Frame {
    let rest = reader.rest
    var count = 0
    while count + 8 <= rest.count, rest.loadUnaligned(fromByteOffset: count, as: UInt64.self) == 0 { count += 8 }
    while count < rest.count, rest[count] == 0 { count += 1 }
    _ = reader.skip(count)
    return .padding(count: count)
  }

  /// Nil when the frame is truncated, or breaks a rule whose error has no need of words of its own.
  private mutating func readBody(_ type: UInt64) throws(TransportError) -> Frame? {
    switch type {
    case FrameType.ping: return .ping
    case FrameType.stream..<FrameType.maxData: return try readStream(type)
    case FrameType.ack, FrameType.ackECN:
      return AckFrame(&reader, hasECN: type == FrameType.ackECN).map { .ack($0) }
    case FrameType.datagram: return reader.readBytes(reader.remaining).map { .datagram($0) }
    case FrameType.datagram + 1: return reader.readVarintPrefixedBytes().map { .datagram($0) }
    case FrameType.crypto: return try readCrypto()
    case FrameType.resetStream...FrameType.stopSending: return readStreamAbort(type)
    case FrameType.maxData...FrameType.streamsBlockedUnidirectional: return try readFlowControl(type)
    case FrameType.newToken: return try readNewToken()
    case FrameType.newConnectionID: return try readNewConnectionID()
    case FrameType.retireConnectionID: return reader.readVarint().map { .retireConnectionID(sequence: $0) }
    case FrameType.pathChallenge: return reader.readUInt64().map { .pathChallenge($0) }
    case FrameType.pathResponse: return reader.readUInt64().map { .pathResponse($0) }
    case FrameType.connectionClose, FrameType.connectionCloseApplication: return readConnectionClose(type)
    case FrameType.handshakeDone: return .handshakeDone
    case FrameType.immediateAck: return .immediateAck
    default:
      // RFC 9000 §12.4: "An endpoint MUST treat the receipt of a frame of unknown type as a connection error of
      // type FRAME_ENCODING_ERROR."
      throw Self.encodingError("unknown frame type", type)
    }
  }
}

// MARK: Streams and flow control

extension FrameReader {
  private mutating func readStream(_ type: UInt64) throws(TransportError) -> Frame? {
    guard let id = reader.readVarint() else { return nil }
    var offset: UInt64 = 0
    if type & FrameType.streamOffset != 0 {
      guard let value = reader.readVarint() else { return nil }
      offset = value
    }
    let data: UnsafeRawBufferPointer
    if type & FrameType.streamLength != 0 {
      guard let bytes = reader.readVarintPrefixedBytes() else { return nil }
      data = bytes
    } else {
      guard let bytes = reader.readBytes(reader.remaining) else { return nil }
      data = bytes
    }
    // RFC 9000 §19.8: "Receipt of a frame that exceeds this limit MUST be treated as a connection error of type
    // FRAME_ENCODING_ERROR or FLOW_CONTROL_ERROR."
    guard offset + UInt64(data.count) <= Varint.max else {
      throw Self.encodingError("stream data beyond offset 2^62-1", type)
    }
    return .stream(
      StreamFrame(id: StreamID(rawValue: id), offset: offset, isFin: type & FrameType.streamFin != 0, data: data))
  }

  private mutating func readCrypto() throws(TransportError) -> Frame? {
    guard let offset = reader.readVarint(), let data = reader.readVarintPrefixedBytes() else { return nil }
    // RFC 9000 §19.6: "Receipt of a frame that exceeds this limit MUST be treated as a connection error of type
    // FRAME_ENCODING_ERROR or CRYPTO_BUFFER_EXCEEDED."
    guard offset + UInt64(data.count) <= Varint.max else {
      throw Self.encodingError("handshake data beyond offset 2^62-1", FrameType.crypto)
    }
    return .crypto(offset: offset, data: data)
  }

  private mutating func readStreamAbort(_ type: UInt64) -> Frame? {
    guard let id = reader.readVarint(), let code = reader.readVarint() else { return nil }
    if type == FrameType.stopSending { return .stopSending(StreamID(rawValue: id), code: code) }
    guard let finalSize = reader.readVarint() else { return nil }
    return .resetStream(StreamID(rawValue: id), code: code, finalSize: finalSize)
  }

  private mutating func readFlowControl(_ type: UInt64) throws(TransportError) -> Frame? {
    guard let value = reader.readVarint() else { return nil }
    switch type {
    case FrameType.maxData: return .maxData(value)
    case FrameType.dataBlocked: return .dataBlocked(limit: value)
    case FrameType.maxStreamData:
      return reader.readVarint().map { .maxStreamData(StreamID(rawValue: value), maximum: $0) }
    case FrameType.streamDataBlocked:
      return reader.readVarint().map { .streamDataBlocked(StreamID(rawValue: value), limit: $0) }
    default:
      // RFC 9000 §19.11: "Receipt of a frame that permits opening of a stream larger than this limit MUST be
      // treated as a connection error of type FRAME_ENCODING_ERROR."
      guard value <= FrameType.maximumStreamCount else {
        throw Self.encodingError("stream count beyond 2^60", type)
      }
      let direction: StreamDirection = type & 1 == 0 ? .bidirectional : .unidirectional
      return type <= FrameType.maxStreamsUnidirectional
        ? .maxStreams(direction, maximum: value) : .streamsBlocked(direction, limit: value)
    }
  }
}

// MARK: Connection

extension FrameReader {
  private mutating func readNewToken() throws(TransportError) -> Frame? {
    guard let token = reader.readVarintPrefixedBytes() else { return nil }
    // RFC 9000 §19.7: "A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field as a connection
    // error of type FRAME_ENCODING_ERROR."
    guard !token.isEmpty else { throw Self.encodingError("empty token", FrameType.newToken) }
    return .newToken(token)
  }

  private mutating func readNewConnectionID() throws(TransportError) -> Frame? {
    guard let sequence = reader.readVarint(), let retirePriorTo = reader.readVarint(), let length = reader.readUInt8()
    else { return nil }
    // RFC 9000 §19.15: "Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error
    // of type FRAME_ENCODING_ERROR."
    guard length >= 1, length <= ConnectionID.maximumLength else {
      throw Self.encodingError("connection ID of \(length) bytes", FrameType.newConnectionID)
    }
    // RFC 9000 §19.15: "Receiving a value in the Retire Prior To field that is greater than that in the Sequence
    // Number field MUST be treated as a connection error of type FRAME_ENCODING_ERROR."
    guard retirePriorTo <= sequence else {
      throw Self.encodingError("Retire Prior To above Sequence Number", FrameType.newConnectionID)
    }
    guard let bytes = reader.readBytes(Int(length)), let id = ConnectionID(bytes),
      let tokenBytes = reader.readBytes(StatelessResetToken.length), let token = StatelessResetToken(tokenBytes)
    else { return nil }
    return .newConnectionID(
      NewConnectionIDFrame(sequence: sequence, retirePriorTo: retirePriorTo, connectionID: id, resetToken: token))
  }

  private mutating func readConnectionClose(_ type: UInt64) -> Frame? {
    guard let code = reader.readVarint() else { return nil }
    var frameType: UInt64 = 0
    if type == FrameType.connectionClose {
      guard let value = reader.readVarint() else { return nil }
      frameType = value
    }
    guard let reason = reader.readVarintPrefixedBytes() else { return nil }
    return .connectionClose(
      ConnectionCloseFrame(
        isApplication: type == FrameType.connectionCloseApplication, code: code, frameType: frameType, reason: reason))
  }
}

// MARK: Errors

extension FrameReader {
  @inline(never) private mutating func readLongType() throws(TransportError) -> Frame {
    let start = reader.offset
    guard let type = reader.readVarint() else { throw Self.encodingError("truncated frame type", 0) }
    // RFC 9000 §12.4: "a frame type MUST use the shortest possible encoding"
    guard reader.offset - start == Varint.length(of: type) else {
      throw Self.violation("frame type not in its shortest encoding", type)
    }
    guard type == FrameType.ackFrequency else { throw Self.encodingError("unknown frame type", type) }
    guard FrameType.isPermitted(type, at: level) else {
      throw Self.violation("frame not permitted in this packet type", type)
    }
    guard let sequence = reader.readVarint(), let threshold = reader.readVarint(), let delay = reader.readVarint(),
      let reordering = reader.readVarint()
    else { throw Self.encodingError("truncated or malformed frame", type) }
    return .ackFrequency(
      AckFrequencyFrame(
        sequence: sequence, ackElicitingThreshold: threshold, requestedMaxAckDelay: delay,
        reorderingThreshold: reordering))
  }

  @inline(never) private static func encodingError(_ reason: String, _ type: UInt64) -> TransportError {
    TransportError(.frameEncodingError, reason, frameType: type)
  }

  @inline(never) private static func violation(_ reason: String, _ type: UInt64) -> TransportError {
    TransportError(.protocolViolation, reason, frameType: type)
  }
}
