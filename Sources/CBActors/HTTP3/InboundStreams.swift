internal import QUIC
internal import Wire

/// The peer's unidirectional streams (RFC 9114 §6.2). Their number is bounded by the transport's stream limit.
struct InboundStreams {
  enum Kind {
    /// The stream type has not come whole; these bytes of it have.
    case untyped([UInt8])
    case control
    case qpackEncoder
    case qpackDecoder
    /// Reading was aborted, or the stream ended before its type.
    case ignored
  }

  private(set) var kinds: [StreamID: Kind] = [:]
  var control = ControlReader()
  private var claimed: Set<UInt64> = []

  mutating func opened(_ id: StreamID) {
    if kinds[id] == nil { kinds[id] = .untyped([]) }
  }

  mutating func ignore(_ id: StreamID) { kinds[id] = nil }

  /// The stream was closed or reset. An error if the connection cannot do without it.
  mutating func ended(_ id: StreamID) -> ConnectionError? {
    switch kinds.removeValue(forKey: id) {
    // RFC 9114 §6.2.1: "If either control stream is closed at any point, this MUST be treated as a connection error
    // of type H3_CLOSED_CRITICAL_STREAM."
    case .control: ConnectionError(.closedCriticalStream, "control stream closed")
    // RFC 9204 §4.2: "Closure of either unidirectional stream type MUST be treated as a connection error of type
    // H3_CLOSED_CRITICAL_STREAM."
    case .qpackEncoder, .qpackDecoder: ConnectionError(.closedCriticalStream, "QPACK stream closed")
    // RFC 9114 §6.2: "A receiver MUST tolerate unidirectional streams being closed or reset prior to the reception of
    // the unidirectional stream header."
    case .untyped, .ignored, nil: nil
    }
  }

  enum Typing {
    case incomplete
    case known
    /// RFC 9114 §6.2: the semantics are unknown; reading is to be aborted.
    case unknown
  }

  /// Reads on in the stream's type.
  mutating func readType(
    _ id: StreamID, _ reader: inout ByteReader, role: Role
  ) throws(ConnectionError) -> Typing {
    guard case .untyped(var prefix) = kinds[id] else { return .known }
    var type: UInt64?
    while type == nil, let byte = reader.readUInt8() {
      prefix.append(byte)
      type = prefix.withUnsafeBytes {
        var whole = ByteReader($0)
        return whole.readVarint()
      }
    }
    guard let type else {
      kinds[id] = .untyped(prefix)
      return .incomplete
    }
    switch type {
    case 0x00: try claim(type, id, .control)
    case 0x01:
      if role == .server {
        // RFC 9114 §6.2.2: "if a server receives a client-initiated push stream, this MUST be treated as a connection
        // error of type H3_STREAM_CREATION_ERROR."
        throw ConnectionError(.streamCreationError, "push stream from a client")
      }
      // RFC 9114 §4.6: "A client MUST treat receipt of a push stream as a connection error of type H3_ID_ERROR when
      // no MAX_PUSH_ID frame has been sent"
      throw ConnectionError(.idError, "push stream though no push ID was allowed")
    case 0x02: try claim(type, id, .qpackEncoder)
    case 0x03: try claim(type, id, .qpackDecoder)
    default:
      kinds[id] = .ignored
      return .unknown
    }
    return .known
  }

  // RFC 9114 §6.2.1: "receipt of a second stream claiming to be a control stream MUST be treated as a connection error
  // of type H3_STREAM_CREATION_ERROR."
  // RFC 9204 §4.2: "Receipt of a second instance of either stream type MUST be treated as a connection error of type
  // H3_STREAM_CREATION_ERROR."
  private mutating func claim(_ type: UInt64, _ id: StreamID, _ kind: Kind) throws(ConnectionError) {
    guard claimed.insert(type).inserted else {
      throw ConnectionError(.streamCreationError, "second stream of type \(type)")
    }
    kinds[id] = kind
  }
}

extension Connection {
  /// Reads one of the peer's unidirectional streams as far as it goes.
  mutating func readInbound<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: inout T) {
    while state == .open, let kind = inbound.kinds[id] {
      if case .ignored = kind { return }
      var failure: ConnectionError?
      var typing = InboundStreams.Typing.known
      var ended = false
      // All that reads is taken out and put back, so that the closure holds it and not the connection.
      var inbound = InboundStreams()
      var encoder = QPACKEncoder()
      var decoder = QPACKDecoder(maximumCapacity: 0, maximumBlockedStreams: 0)
      swap(&inbound, &self.inbound)
      swap(&encoder, &self.encoder)
      swap(&decoder, &self.decoder)
      let role = role
      let limit = limits.settingsPayload
      let outcome = transport.read(id) { bytes, finished in
        ended = finished
        var reader = ByteReader(bytes)
        do throws(ConnectionError) {
          typing = try inbound.readType(id, &reader, role: role)
          guard typing == .known, let kind = inbound.kinds[id] else { return bytes.count }
          switch kind {
          case .control: try inbound.control.read(reader.rest, role: role, limit: limit)
          case .qpackEncoder: try decoder.readInstructions(reader.rest)
          case .qpackDecoder: try encoder.readInstructions(reader.rest)
          case .untyped, .ignored: break
          }
        } catch {
          failure = error
        }
        return bytes.count
      }
      swap(&inbound, &self.inbound)
      swap(&encoder, &self.encoder)
      swap(&decoder, &self.decoder)
      applyControl(on: &transport)
      if let failure { return fail(failure, on: &transport) }
      resumeUnblocked(on: &transport)
      if typing == .unknown {
        self.inbound.ignore(id)
        // RFC 9114 §6.2: "If reading is aborted, the recipient SHOULD use the H3_STREAM_CREATION_ERROR error code"
        if !ended { transport.stopReading(id, code: ErrorCode.streamCreationError.rawValue) }
        return
      }
      if ended {
        if let error = self.inbound.ended(id) { fail(error, on: &transport) }
        return
      }
      if case .progressed = outcome { continue }
      return
    }
  }
}
