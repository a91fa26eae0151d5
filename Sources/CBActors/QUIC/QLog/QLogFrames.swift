import Wire

/// The frames of a packet, as draft-ietf-quic-qlog-quic-events §8.13 has them.
extension JSONText {
  /// - Parameter delayExponent: of the end that sent the packet, for the delay of its ACK frames.
  mutating func frames(_ payload: UnsafeRawBufferPointer, level: EncryptionLevel, delayExponent: UInt64) {
    key("frames")
    beginArray()
    var reader = FrameReader(payload, level: level)
    do throws(TransportError) {
      while let frame = try reader.next() {
        beginObject()
        write(frame, delayExponent: delayExponent)
        endObject()
      }
    } catch {
      beginObject()
      member("frame_type", "unknown")
      member("frame_type_bytes", error.frameType)
      endObject()
    }
    endArray()
  }

  private mutating func write(_ frame: Frame, delayExponent: UInt64) {
    switch frame {
    case .padding(let count):
      member("frame_type", "padding")
      raw(payload: count)
    case .ping: member("frame_type", "ping")
    case .ack(let ack): write(ack, delayExponent: delayExponent)
    case .resetStream(let id, let code, let finalSize):
      member("frame_type", "reset_stream")
      member("stream_id", id.rawValue)
      applicationError(code)
      member("final_size", finalSize)
    case .stopSending(let id, let code):
      member("frame_type", "stop_sending")
      member("stream_id", id.rawValue)
      applicationError(code)
    case .crypto(let offset, let data):
      member("frame_type", "crypto")
      member("offset", offset)
      raw(length: data.count, payload: data.count)
    case .newToken(let token):
      member("frame_type", "new_token")
      key("token")
      beginObject()
      raw(length: token.count)
      endObject()
    case .stream(let stream):
      member("frame_type", "stream")
      member("stream_id", stream.id.rawValue)
      member("offset", stream.offset)
      if stream.isFin { member("fin", true) }
      raw(length: stream.data.count, payload: stream.data.count)
    case .datagram(let data):
      member("frame_type", "datagram")
      raw(length: data.count, payload: data.count)
    case .handshakeDone: member("frame_type", "handshake_done")
    case .ackFrequency, .immediateAck:
      // The draft of qlog has no names for them yet.
      member("frame_type", "unknown")
      var type = FrameType.immediateAck
      if case .ackFrequency = frame { type = FrameType.ackFrequency }
      member("frame_type_bytes", type)
    case .connectionClose(let close): write(close)
    case .maxData, .maxStreamData, .maxStreams, .dataBlocked, .streamDataBlocked, .streamsBlocked:
      writeLimit(frame)
    case .newConnectionID, .retireConnectionID, .pathChallenge, .pathResponse:
      writePathFrame(frame)
    }
  }

  private mutating func write(_ ack: AckFrame, delayExponent: UInt64) {
    member("frame_type", "ack")
    let microseconds = ack.rawDelay > UInt64(Int64.max) >> 24 ? UInt64(Int64.max) : ack.rawDelay << delayExponent
    member("ack_delay", Interval.microseconds(Int64(clamping: microseconds)))
    key("acked_ranges")
    beginArray()
    for range in ack {
      beginArray()
      value(range.lowerBound)
      if range.count > 1 { value(range.upperBound) }
      endArray()
    }
    endArray()
    if let ecn = ack.ecn {
      member("ect0", ecn.ect0)
      member("ect1", ecn.ect1)
      member("ce", ecn.ce)
    }
  }

  private mutating func write(_ close: ConnectionCloseFrame) {
    member("frame_type", "connection_close")
    member("error_space", close.isApplication ? "application" : "transport")
    if close.isApplication {
      applicationError(close.code)
    } else {
      transportError("error", TransportError.Code(rawValue: close.code))
      member("trigger_frame_type", close.frameType)
    }
    member("reason", close.reasonText)
  }

  private mutating func writeLimit(_ frame: Frame) {
    switch frame {
    case .maxData(let limit):
      member("frame_type", "max_data")
      member("maximum", limit)
    case .maxStreamData(let id, let limit):
      member("frame_type", "max_stream_data")
      member("stream_id", id.rawValue)
      member("maximum", limit)
    case .maxStreams(let direction, let limit):
      member("frame_type", "max_streams")
      streamType(direction)
      member("maximum", limit)
    case .dataBlocked(let limit):
      member("frame_type", "data_blocked")
      member("limit", limit)
    case .streamDataBlocked(let id, let limit):
      member("frame_type", "stream_data_blocked")
      member("stream_id", id.rawValue)
      member("limit", limit)
    case .streamsBlocked(let direction, let limit):
      member("frame_type", "streams_blocked")
      streamType(direction)
      member("limit", limit)
    default: break
    }
  }

  /// The stateless reset token is left out: who has it can end the connection.
  private mutating func writePathFrame(_ frame: Frame) {
    switch frame {
    case .newConnectionID(let new):
      member("frame_type", "new_connection_id")
      member("sequence_number", new.sequence)
      member("retire_prior_to", new.retirePriorTo)
      member("connection_id", new.connectionID)
    case .retireConnectionID(let sequence):
      member("frame_type", "retire_connection_id")
      member("sequence_number", sequence)
    case .pathChallenge(let data):
      member("frame_type", "path_challenge")
      member("data", hex: data)
    case .pathResponse(let data):
      member("frame_type", "path_response")
      member("data", hex: data)
    default: break
    }
  }

  mutating func streamType(_ direction: StreamDirection) {
    member("stream_type", direction == .bidirectional ? "bidirectional" : "unidirectional")
  }

  /// The names of an application's codes are its own.
  private mutating func applicationError(_ code: UInt64) {
    member("error", "unknown")
    member("error_code", code)
  }

  /// A code by the draft's name for it; the number beside it where it has none.
  mutating func transportError(_ name: StaticString, _ code: TransportError.Code) {
    if let alert = code.alert {
      let digits = String(alert, radix: 16)
      member(name, "crypto_error_0x1" + (alert < 16 ? "0" : "") + digits)
    } else if code.rawValue <= TransportError.Code.noViablePath.rawValue {
      member(name, code.description.lowercased())
    } else {
      member(name, "unknown")
      member("error_code", code.rawValue)
    }
  }
}
