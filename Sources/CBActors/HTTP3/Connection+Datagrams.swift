public import QUIC
internal import Wire

// HTTP datagrams in QUIC DATAGRAM frames (RFC 9297 §2.1).
extension Connection {
  /// HTTP datagrams may be sent in QUIC DATAGRAM frames.
  // RFC 9297 §2.1.1: "QUIC DATAGRAM frames MUST NOT be sent until the SETTINGS_H3_DATAGRAM setting has been both sent
  // and received with a value of 1."
  public var canSendDatagrams: Bool { state == .open && settings.h3Datagram && peerSettings.h3Datagram }

  /// The largest payload, with its Context ID if there is one, that fits one datagram of `id` now, in bytes.
  /// Nil when datagrams cannot be sent.
  public func maximumDatagramPayload<T: StreamTransport & ~Copyable>(
    _ id: StreamID, on transport: borrowing T
  ) -> Int? {
    guard canSendDatagrams, let size = transport.maximumDatagramSize else { return nil }
    return max(0, size - Varint.length(of: id.rawValue >> 2))
  }

  /// Sends one HTTP datagram for the request on `id`: the Context ID, if given, and the payload.
  ///
  /// - Returns: False when it is too large, when datagrams were not agreed on, or when our side of the stream is
  ///   over. Like any datagram it may be lost.
  public mutating func sendDatagram<T: StreamTransport & ~Copyable>(
    _ id: StreamID, contextID: UInt64? = nil, _ payload: UnsafeRawBufferPointer, on transport: inout T
  ) -> Bool {
    // RFC 9297 §2.1: "HTTP/3 Datagrams MUST NOT be sent unless the corresponding stream's send side is open."
    guard canSendDatagrams, let index = streams.index(forKey: id), !streams.values[index].isSendingOver,
      // RFC 9297 §2: datagrams belong to requests that explicitly support them, which extended CONNECT alone does.
      streams.values[index].kind == .extendedConnect
    else { return false }
    var storage: (UInt64, UInt64) = (0, 0)
    return withUnsafeMutableBytes(of: &storage) { buffer in
      var writer = ByteWriter(buffer)
      writer.writeVarint(id.rawValue >> 2)
      if let contextID { writer.writeVarint(contextID) }
      return !writer.overflowed && transport.sendDatagram(writer.written, payload)
    }
  }

  /// Hands every datagram that has come to `body`, in place, without its Quarter Stream ID.
  ///
  /// A datagram may come before its request. Such a stream is one that the owner has no request for yet: it may
  /// keep a bounded number of these for a round trip or drop them. Those of streams that are over are dropped here.
  public mutating func readDatagrams<T: StreamTransport & ~Copyable>(
    on transport: inout T, _ body: (_ stream: StreamID, _ payload: UnsafeRawBufferPointer) -> Void
  ) {
    while state == .open {
      var verdict = DatagramVerdict.delivered
      let any = transport.readDatagram { bytes in verdict = self.deliver(bytes, body) }
      guard any else { return }
      switch verdict {
      case .delivered: break
      case .dropped: counters.droppedDatagrams += 1
      case .noSemantics(let id):
        // RFC 9297 §2: "the receiver MUST terminate the request; if HTTP/3 is in use, the request stream MUST be
        // aborted with H3_DATAGRAM_ERROR (0x33)."
        giveUp(id, StreamError(.datagramError, "datagram for a request that has none"), on: &transport)
      case .malformed(let reason): fail(ConnectionError(.datagramError, reason), on: &transport)
      }
    }
  }

  private enum DatagramVerdict {
    case delivered
    case dropped
    case noSemantics(StreamID)
    case malformed(String)
  }

  private func deliver(
    _ bytes: UnsafeRawBufferPointer, _ body: (StreamID, UnsafeRawBufferPointer) -> Void
  ) -> DatagramVerdict {
    var reader = ByteReader(bytes)
    // RFC 9297 §2.1: "Receipt of a QUIC DATAGRAM frame whose payload is too short to allow parsing the Quarter Stream ID
    // field MUST be treated as an HTTP/3 connection error of type H3_DATAGRAM_ERROR (0x33)."
    guard let quarter = reader.readVarint() else { return .malformed("datagram without a Quarter Stream ID") }
    // RFC 9297 §2.1: "Receipt of an HTTP/3 Datagram that includes a larger value MUST be treated as an HTTP/3
    // connection error of type H3_DATAGRAM_ERROR (0x33)."
    guard quarter < 1 << 60 else { return .malformed("Quarter Stream ID \(quarter)") }
    let id = StreamID(rawValue: quarter << 2)
    guard let index = streams.index(forKey: id) else {
      // RFC 9297 §2.1: "If a datagram is received after the corresponding stream's receive side is closed, the received
      // datagrams MUST be silently dropped."
      guard role == .server, id.rawValue >= nextRequestStream, sentGoAway == nil else { return .dropped }
      body(id, reader.rest)
      return .delivered
    }
    switch streams.values[index].phase {
    case .endPending, .ended: return .dropped
    // A server cannot judge yet what the request will be.
    case .headers where role == .server: break
    case .headers, .content, .trailers:
      guard streams.values[index].kind == .extendedConnect else { return .noSemantics(id) }
    }
    body(id, reader.rest)
    return .delivered
  }
}
