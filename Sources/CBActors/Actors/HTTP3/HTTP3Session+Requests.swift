public import HTTP3
public import QUIC

extension HTTP3Session {
  /// Waits until requests can be sent. Throws the ``CloseReason`` when the connection ends before.
  public func ready() async throws {
    if let closeReason { throw closeReason }
    if isReady { return }
    try await withCheckedThrowingContinuation { readyWaiters.append($0) }
  }

  /// Requests can be sent in early data. Only what may be replayed without harm belongs there, and what was refused
  /// ends with H3_REQUEST_REJECTED and may be sent again (RFC 8470 §3).
  public var takesEarlyRequests: Bool { role == .client && http.isOpen && !quic.isHandshakeComplete }

  /// What has come so far, came before the client's handshake was complete: it may be a replay (RFC 8470 §4).
  public var isInEarlyData: Bool { role == .server && !quic.isHandshakeComplete }

  /// Requests are being served, or their answers have not all arrived.
  public var isServing: Bool { !handlers.isEmpty }

  /// Sends a request; nil when the peer's stream limit is reached. Throws `HTTP3.SendError`: `.goingAway` and `.closed`
  /// when the request belongs on another connection.
  public func request(_ fields: HeaderList, finish: Bool, handler: any RequestStreamHandler) throws -> StreamID? {
    guard closeReason == nil else { throw SendError.closed }
    guard let stream = try http.sendRequest(fields, finish: finish, on: &quic) else { return nil }
    bind(stream, to: handler)
    markDirty()
    return stream
  }

  /// Sends a response. What is malformed by RFC 9114 §4.3.2 is our own mistake, and is dropped.
  public func respond(_ fields: HeaderList, on stream: StreamID, finish: Bool) {
    guard closeReason == nil else { return }
    // A stream that ended meanwhile has nobody to tell.
    try? http.sendResponse(fields, to: stream, finish: finish, on: &quic)
    markDirty()
  }

  /// Sends a whole response; `body` must fit the stream's send buffer.
  public func respond(_ fields: HeaderList, body: [UInt8], on stream: StreamID) {
    respond(fields, on: stream, finish: body.isEmpty)
    if !body.isEmpty { body.withUnsafeBytes { _ = send($0, finish: true, on: stream) } }
  }

  /// Queues content and returns how many bytes were taken; after a short count the handler is told when there is room.
  public func send(_ bytes: UnsafeRawBufferPointer, finish: Bool, on stream: StreamID) -> Int {
    guard closeReason == nil else { return bytes.count }
    let taken = http.sendData(stream, bytes, finish: finish, on: &quic)
    markDirty()
    return taken
  }

  /// Queues an HTTP datagram for a stream. False when it is too large or the peer takes none: it is dropped.
  public func sendDatagram(_ payload: UnsafeRawBufferPointer, contextID: UInt64, on stream: StreamID) -> Bool {
    guard closeReason == nil else { return false }
    let taken = http.sendDatagram(stream, contextID: contextID, payload, on: &quic)
    markDirty()
    return taken
  }

  /// Offers a stream's data again to a handler that had consumed less than it was given.
  public func resumeReading(_ stream: StreamID) {
    guard closeReason == nil else { return }
    read(stream)
    markDirty()
  }

  /// Abandons a stream in both directions; its handler hears nothing more.
  public func cancel(_ stream: StreamID, code: HTTP3.ErrorCode) {
    handlers[stream] = nil
    guard closeReason == nil else { return }
    http.cancel(stream, code: code, on: &quic)
    markDirty()
  }

  /// Abandons a stream once the session's present work is done. The one call that is allowed from
  /// inside ``RequestStreamHandler/receive(data:)`` and ``RequestStreamHandler/receive(datagram:)``.
  public func cancelSoon(_ stream: StreamID, code: HTTP3.ErrorCode) {
    cancellations.append((stream, code))
    markDirty()
  }

  /// Unbinds a stream whose response has been sent and whose content is unwanted.
  public func release(_ stream: StreamID) {
    handlers[stream] = nil
    guard closeReason == nil else { return }
    http.stopReading(stream, code: .noError, on: &quic)
    markDirty()
  }

  func bind(_ stream: StreamID, to handler: any RequestStreamHandler) {
    handlers[stream] = BoundStream(handler: handler)
    guard !early.isEmpty else { return }
    let waiting = early
    early = waiting.filter { $0.stream > stream }
    for datagram in waiting where datagram.stream == stream {
      datagram.payload.withUnsafeBytes { handler.receive(datagram: $0) }
    }
  }
}
