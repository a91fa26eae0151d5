/// What the application does with streams (RFC 9000 §2.4).
extension Streams {
  mutating func open(_ direction: StreamDirection) -> StreamID? {
    let state = local[direction]
    // RFC 9000 §19.11: "An endpoint MUST NOT open more streams than permitted by the current stream limit set by its peer."
    guard state.opened < state.limit else {
      if !state.owesAvailable, state.limit > 0 {
        due.insert(direction == .bidirectional ? .streamsBlockedBidi : .streamsBlockedUni)
      }
      local[direction].owesAvailable = true
      return nil
    }
    let id = StreamID(role, direction, sequence: state.opened)
    local[direction].opened += 1
    _ = create(id)
    return id
  }

  mutating func write(_ id: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool) -> Int {
    guard let stream = table.find(id) else { return bytes.count }
    let count = stream.pointee.send.write(bytes, finish: finish, limit: sendLimit)
    reschedule(stream)
    return count
  }

  func writableBytes(_ id: StreamID) -> Int {
    table.peek(id)?.pointee.send.writableBytes(limit: sendLimit) ?? settings.sendBufferLimit
  }

  /// Bytes that one stream may have buffered now. A peer that opens many streams and acknowledges nothing makes us hold
  /// little for each, while every stream, however late it came, can still send.
  var sendLimit: Int {
    pool.sending * ChunkPool.chunkSize < settings.connectionSendBufferLimit
      ? settings.sendBufferLimit : min(settings.sendBufferLimit, ChunkPool.chunkSize)
  }

  mutating func read(_ id: StreamID, _ body: (UnsafeRawBufferPointer, Bool) -> Int) -> StreamRead {
    guard let stream = table.find(id) else { return .ended }
    let (outcome, consumed) = stream.pointee.receive.read(body)
    consumeConnectionCredit(consumed)
    if outcome == .ended {
      removeIfEnded(stream)
    } else if consumed > 0, stream.pointee.receive.wantsCredit, stream.pointee.receive.window.isUpdateDue {
      setDue(.maxStreamData, stream)
    }
    return outcome
  }

  mutating func setPriority(_ id: StreamID, _ priority: StreamPriority) {
    guard let stream = table.find(id), stream.pointee.priority != priority else { return }
    let wasReady = ready.contains(stream)
    ready.remove(stream)
    stream.pointee.priority = priority
    if wasReady { ready.append(stream) }
  }

  mutating func reset(_ id: StreamID, code: UInt64) {
    guard let stream = table.find(id), stream.pointee.send.reset(code: code) else { return }
    ready.remove(stream)
    awaitingCredit.remove(stream)
    setDue(.resetStream, stream)
  }

  mutating func stopReading(_ id: StreamID, code: UInt64) {
    guard let stream = table.find(id), let outcome = stream.pointee.receive.stop(code: code) else { return }
    consumeConnectionCredit(outcome.discarded)
    if outcome.sendsFrame { setDue(.stopSending, stream) }
    removeIfEnded(stream)
  }
}
