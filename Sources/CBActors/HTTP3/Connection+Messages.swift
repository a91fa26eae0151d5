public import QUIC
internal import Wire

// Requests, responses and trailers (RFC 9114 §4.1).
extension Connection {
  /// Opens a stream and sends a request's header section on it.
  ///
  /// - Parameter finish: Neither content nor trailers follow. False for CONNECT, whose stream stays open.
  /// - Returns: The stream, or nil when the peer allows no more now; `.requestsAvailable` follows.
  public mutating func sendRequest<T: StreamTransport & ~Copyable>(
    _ list: HeaderList, finish: Bool, on transport: inout T
  ) throws(SendError) -> StreamID? {
    guard state == .open, role == .client else { throw .closed }
    // RFC 9114 §5.2: "Endpoints MUST NOT initiate new requests or promise new pushes on the connection after receipt
    // of a GOAWAY frame from the peer."
    guard !isGoingAway else { throw .goingAway }
    let request = try check { () throws(MessageRules.Malformed) in
      try MessageRules.checkRequest(list, connectProtocol: true)
    }
    // RFC 8441 §3: a client uses :protocol only once the server has announced that it takes it.
    guard request.kind != .extendedConnect || peerSettings.enableConnectProtocol else {
      throw .extendedConnectNotEnabled
    }
    try checkSize(list)
    guard let id = transport.openStream(.bidirectional) else {
      awaitsStream = true
      return nil
    }
    nextRequestStream = max(nextRequestStream, id.rawValue + 4)
    var stream = RequestStream()
    stream.kind = request.kind
    stream.sentFinalHeaders = true
    streams[id] = stream
    if let own = PriorityParameters(list) {
      streams[id]?.requestPriority = own
      applyPriority(id, on: &transport)
    }
    sendSection(list, id, finish: finish, on: &transport)
    return id
  }

  /// Sends an interim (1xx) or the final response to a request.
  public mutating func sendResponse<T: StreamTransport & ~Copyable>(
    _ list: HeaderList, to id: StreamID, finish: Bool, on transport: inout T
  ) throws(SendError) {
    guard state == .open, role == .server else { throw .closed }
    guard let index = streams.index(forKey: id), !streams.values[index].isSendingOver,
      streams.values[index].phase != .headers
    else { throw .streamClosed(id) }
    guard !streams.values[index].sentFinalHeaders else { throw .malformed("a final response has been sent") }
    let response = try check { () throws(MessageRules.Malformed) in try MessageRules.checkResponse(list) }
    try checkSize(list)
    if response.status >= 200 {
      streams.values[index].sentFinalHeaders = true
      if let own = PriorityParameters(list) {
        streams.values[index].responsePriority = own
        applyPriority(id, on: &transport)
      }
    } else if finish {
      throw .malformed("an interim response cannot be the last")
    }
    sendSection(list, id, finish: finish, on: &transport)
  }

  /// Sends the trailer section and ends our side.
  public mutating func sendTrailers<T: StreamTransport & ~Copyable>(
    _ list: HeaderList, on id: StreamID, over transport: inout T
  ) throws(SendError) {
    guard state == .open else { throw .closed }
    guard let index = streams.index(forKey: id), !streams.values[index].isSendingOver else {
      throw .streamClosed(id)
    }
    guard streams.values[index].sentFinalHeaders, !streams.values[index].sentTrailers,
      streams.values[index].owed == 0, !streams.values[index].kind.isConnect
    else { throw .malformed("no trailers are due") }
    try check { () throws(MessageRules.Malformed) in try MessageRules.checkTrailers(list) }
    try checkSize(list)
    streams.values[index].sentTrailers = true
    sendSection(list, id, finish: true, on: &transport)
  }

  /// Gives the stream up both ways, or what is left of it.
  ///
  /// A server that has not acted on a request passes `.requestRejected`, else `.requestCancelled`; a client
  /// `.requestCancelled` (RFC 9114 §4.1.1).
  public mutating func cancel<T: StreamTransport & ~Copyable>(
    _ id: StreamID, code: ErrorCode, on transport: inout T
  ) {
    guard let stream = streams.removeValue(forKey: id) else { return }
    if !stream.isSendingOver || !stream.unsent.isEmpty { transport.reset(id, code: code.rawValue) }
    guard !stream.isReceivingOver else { return }
    transport.stopReading(id, code: code.rawValue)
    decoder.abandoned(id)
    sendDecoderInstructions(on: &transport)
  }

  /// Gives up our sending side with RESET_STREAM.
  public mutating func reset<T: StreamTransport & ~Copyable>(
    _ id: StreamID, code: ErrorCode, on transport: inout T
  ) {
    guard let index = streams.index(forKey: id) else { return }
    guard !streams.values[index].isSendingOver || !streams.values[index].unsent.isEmpty else { return }
    streams.values[index].endSending()
    transport.reset(id, code: code.rawValue)
    removeIfOver(id)
  }

  /// Asks the peer to send no more with STOP_SENDING. A server that has answered and does not need the rest
  /// of a request passes `.noError` (RFC 9114 §4.1).
  public mutating func stopReading<T: StreamTransport & ~Copyable>(
    _ id: StreamID, code: ErrorCode, on transport: inout T
  ) {
    guard let index = streams.index(forKey: id), !streams.values[index].isReceivingOver else { return }
    streams.values[index].phase = .ended
    streams.values[index].fieldSection = []
    transport.stopReading(id, code: code.rawValue)
    decoder.abandoned(id)
    sendDecoderInstructions(on: &transport)
    removeIfOver(id)
  }

  // MARK: Sending

  /// Encodes a HEADERS frame and sends it, or keeps what the transport has no room for.
  private mutating func sendSection<T: StreamTransport & ~Copyable>(
    _ list: HeaderList, _ id: StreamID, finish: Bool, on transport: inout T
  ) {
    guard let index = streams.index(forKey: id) else { return }
    var section: [UInt8] = []
    var instructions: [UInt8] = []
    encoder.encode(
      list, on: id, mayInsert: outbound.isClear(.encoder), to: &section, instructions: &instructions)
    if !instructions.isEmpty {
      outbound.enqueue(instructions, on: .encoder)
      outbound.flush(.encoder, on: &transport)
    }
    var frame: [UInt8] = []
    frame.reserveCapacity(section.count + 9)
    frame.appendVarint(FrameType.headers.rawValue)
    frame.appendVarint(UInt64(section.count))
    frame += section
    streams.values[index].unsent += frame
    if finish {
      streams.values[index].finishAfterUnsent = true
      streams.values[index].isSendingOver = true
    }
    _ = flush(index, id, on: &transport)
    removeIfOver(id)
  }

  /// Sends what is kept. True when nothing is left.
  mutating func flush<T: StreamTransport & ~Copyable>(
    _ index: Dictionary<StreamID, RequestStream>.Index, _ id: StreamID, on transport: inout T
  ) -> Bool {
    guard !streams.values[index].unsent.isEmpty else { return true }
    let offset = streams.values[index].unsentOffset
    let finish = streams.values[index].finishAfterUnsent
    let taken = streams.values[index].unsent.withUnsafeBytes {
      transport.write(id, UnsafeRawBufferPointer(rebasing: $0[offset...]), finish: finish)
    }
    guard offset + taken == streams.values[index].unsent.count else {
      streams.values[index].unsentOffset = offset + taken
      return false
    }
    streams.values[index].unsent = []
    streams.values[index].unsentOffset = 0
    return true
  }

  private func checkSize(_ list: HeaderList) throws(SendError) {
    // RFC 9114 §4.2.2: one "SHOULD NOT send an HTTP message header that exceeds the indicated size". Our own bound
    // holds for what is kept until the transport has room.
    let limit = min(peerSettings.maximumFieldSectionSize ?? .max, UInt64(limits.fieldSection))
    guard UInt64(list.size) <= limit else { throw .fieldSectionTooLarge(size: list.size, limit: limit) }
  }

  // RFC 9114 §4.2: "An endpoint MUST NOT generate an HTTP/3 field section containing connection-specific fields": what
  // we send is held to the same rules as what we take.
  private func check<R>(_ rule: () throws(MessageRules.Malformed) -> R) throws(SendError) -> R {
    do throws(MessageRules.Malformed) { return try rule() } catch { throw .malformed(error.reason) }
  }

  // MARK: Receiving

  mutating func requestReadable<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: inout T) {
    guard let index = streams.index(forKey: id) else { return }
    switch streams.values[index].phase {
    case .headers:
      switch readFrames(id, on: &transport) {
      case .data, .ended: sayReadable(id)
      case .blocked, .failed, .finishedWithHeaders: break
      }
    case .content, .trailers, .endPending: sayReadable(id)
    case .ended: break
    }
  }

  private mutating func sayReadable(_ id: StreamID) {
    guard let index = streams.index(forKey: id), !streams.values[index].saidReadable else { return }
    streams.values[index].saidReadable = true
    events.push(.dataReadable(id))
  }

  enum FrameReading {
    /// Content is next.
    case data
    case blocked
    /// The end has come; the owner is yet to hear of it.
    case ended
    /// The header section was all there was, and its event said so.
    case finishedWithHeaders
    /// The stream or the connection is gone.
    case failed
  }

  /// Reads frames other than DATA until content, the end, or no more bytes.
  mutating func readFrames<T: StreamTransport & ~Copyable>(
    _ id: StreamID, on transport: inout T
  ) -> FrameReading {
    guard !decoder.isBlocked(id) else { return .blocked }
    let role = role
    while let index = streams.index(forKey: id) {
      var progress = RequestStream.Progress()
      // Taken out and put back, so that the closure holds the stream and not the connection.
      var stream = RequestStream()
      swap(&stream, &streams.values[index])
      let sectionDecoder = decoder.sectionDecoder(maximumSize: limits.fieldSection)
      let outcome = transport.read(id) { bytes, finished in
        progress = stream.readFrames(bytes, finished: finished, role: role, decoder: sectionDecoder)
        return progress.consumed
      }
      swap(&stream, &streams.values[index])

      if let error = progress.connectionError {
        fail(error, on: &transport)
        return .failed
      }
      if let error = progress.streamError {
        giveUp(id, error, on: &transport)
        return .failed
      }
      if let count = progress.blockedUntil {
        do throws(ConnectionError) {
          try decoder.block(id, until: count)
        } catch {
          fail(error, on: &transport)
          return .failed
        }
        return .blocked
      }
      if let section = progress.section {
        decoder.processed(id, requiredInsertCount: section.requiredInsertCount)
        let isFirst = streams.values[index].phase == .headers
        do throws(MessageRules.Malformed) {
          try receive(section.list, id, index, finished: progress.ended)
        } catch {
          giveUp(id, StreamError(.messageError, error.reason), on: &transport)
          return .failed
        }
        if isFirst, role == .server { beginPriority(id, section.list, on: &transport) }
        if progress.ended {
          if isFirst, streams.values[index].phase != .headers {
            streams.values[index].phase = .ended
            removeIfOver(id)
            return .finishedWithHeaders
          }
          return finishReading(id, on: &transport)
        }
        continue
      }
      if progress.isAtData { return .data }
      if progress.ended { return finishReading(id, on: &transport) }
      if case .progressed = outcome { continue }
      return .blocked
    }
    return .failed
  }

  /// The peer's side has ended at a frame's boundary.
  private mutating func finishReading<T: StreamTransport & ~Copyable>(
    _ id: StreamID, on transport: inout T
  ) -> FrameReading {
    guard let index = streams.index(forKey: id) else { return .failed }
    guard streams.values[index].phase != .headers else {
      // RFC 9114 §4.1: "the server SHOULD abort its response stream with the error code H3_REQUEST_INCOMPLETE."
      let error =
        role == .server
        ? StreamError(.requestIncomplete, "the stream ends before a request")
        : StreamError(.messageError, "the stream ends before a final response")
      giveUp(id, error, on: &transport)
      return .failed
    }
    guard streams.values[index].content.allows(0, isLast: true) else {
      giveUp(id, Self.contentLengthMismatch, on: &transport)
      return .failed
    }
    streams.values[index].phase = .endPending
    return .ended
  }

  // RFC 9114 §4.1.2: "is malformed if the value of the Content-Length header field does not equal the sum of the DATA
  // frame lengths received."
  static var contentLengthMismatch: StreamError {
    StreamError(.messageError, "content differs from content-length")
  }

  // RFC 9114 §4.1.2: "Malformed requests or responses that are detected MUST be treated as a stream error of type
  // H3_MESSAGE_ERROR."
  mutating func giveUp<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ error: StreamError, on transport: inout T
  ) {
    let isKnownToOwner = role == .client || streams[id].map { $0.phase != .headers } ?? false
    counters.malformedMessages += 1
    cancel(id, code: error.code, on: &transport)
    if isKnownToOwner { events.push(.streamFailed(id, error)) }
  }

  /// Takes in a whole field section.
  private mutating func receive(
    _ list: HeaderList, _ id: StreamID, _ index: Dictionary<StreamID, RequestStream>.Index, finished: Bool
  ) throws(MessageRules.Malformed) {
    guard streams.values[index].phase == .headers else {
      try MessageRules.checkTrailers(list)
      streams.values[index].phase = .trailers
      events.push(.trailersReceived(id, list))
      return
    }
    if role == .server {
      let request = try MessageRules.checkRequest(list, connectProtocol: settings.enableConnectProtocol)
      if finished, request.contentLength ?? 0 > 0 { throw MessageRules.Malformed("content-length without content") }
      streams.values[index].kind = request.kind
      streams.values[index].isTunnel = request.kind.isConnect
      streams.values[index].content.expected = request.kind.isConnect ? nil : request.contentLength
      streams.values[index].phase = .content
      events.push(.requestReceived(id, list, finished: finished))
      return
    }
    let response = try MessageRules.checkResponse(list)
    guard response.status >= 200 else {
      streams.values[index].interimResponses += 1
      guard streams.values[index].interimResponses <= limits.interimResponses else {
        throw MessageRules.Malformed("more than \(limits.interimResponses) interim responses")
      }
      events.push(.interimResponseReceived(id, list))
      return
    }
    let kind = streams.values[index].kind
    let isSuccess = (200..<300).contains(response.status)
    streams.values[index].isTunnel = kind.isConnect && isSuccess
    // RFC 9114 §4.1.2: "A response that is defined as never having content, even when a Content-Length is present, can
    // have a non-zero Content-Length header field even though no content is included in DATA frames."
    let neverHasContent = kind == .head || response.status == 204 || response.status == 304
    if !neverHasContent && !streams.values[index].isTunnel {
      if finished, response.contentLength ?? 0 > 0 { throw MessageRules.Malformed("content-length without content") }
      streams.values[index].content.expected = response.contentLength
    }
    streams.values[index].phase = .content
    events.push(.responseReceived(id, list, finished: finished))
  }
}

extension RequestStream {
  /// Nothing more is sent; what is kept is dropped.
  mutating func endSending() {
    isSendingOver = true
    unsent = []
    unsentOffset = 0
    owed = 0
  }
}
