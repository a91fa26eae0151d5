import Wire

/// The peer's frames about streams (RFC 9000 §19.4, §19.5, §19.8 to §19.14).
extension Streams {
  /// Which part of a stream a frame speaks of, seen from here.
  private enum Part { case sending, receiving }

  /// The stream that a frame names, made if the peer may make it; nil when it is over and forgotten.
  private mutating func find(
    _ id: StreamID, _ part: Part, frameType: UInt64, events: inout EventQueue
  ) throws(TransportError) -> StreamPointer? {
    if let stream = table.find(id) {
      try checkDirection(id, part, frameType)
      return stream
    }
    try checkDirection(id, part, frameType)
    if id.initiator == role {
      guard id.sequence < local[id.direction].opened else {
        throw TransportError(.streamStateError, "frame for a stream that was never opened", frameType: frameType)
      }
      return nil
    }
    let state = remote[id.direction]
    // RFC 9000 §4.6: "An endpoint that receives a frame with a stream ID exceeding the limit it has sent MUST treat this
    // as a connection error of type STREAM_LIMIT_ERROR"
    guard id.sequence < state.advertised else {
      throw TransportError(.streamLimitError, "stream \(id) beyond the limit", frameType: frameType)
    }
    guard id.sequence >= state.opened else { return nil }
    // RFC 9000 §3.2: "all streams of the same type with lower-numbered stream IDs MUST be created"
    var created: StreamPointer?
    for sequence in state.opened...id.sequence {
      let next = StreamID(role.peer, id.direction, sequence: sequence)
      created = create(next)
      events.append(.streamOpened(next))
    }
    remote[id.direction].opened = id.sequence + 1
    return created
  }

  private func checkDirection(_ id: StreamID, _ part: Part, _ frameType: UInt64) throws(TransportError) {
    guard id.direction == .unidirectional else { return }
    let weSend = id.initiator == role
    guard weSend == (part == .sending) else {
      throw TransportError(
        .streamStateError, "frame for the absent part of a unidirectional stream", frameType: frameType)
    }
  }

  private mutating func charge(_ credit: ReceiveStream.Credit, frameType: UInt64) throws(TransportError) {
    // RFC 9000 §19.9: "An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives
    // more data than the maximum data value that it has sent."
    guard receiveWindow.receive(credit.received) else {
      throw TransportError(.flowControlError, "connection data limit exceeded", frameType: frameType)
    }
    consumeConnectionCredit(credit.discarded)
  }

  mutating func receiveStream(
    _ id: StreamID, offset: UInt64, data: UnsafeRawBufferPointer, fin: Bool, frameType: UInt64,
    events: inout EventQueue
  ) throws(TransportError) {
    guard let stream = try find(id, .receiving, frameType: frameType, events: &events),
      !stream.pointee.receive.isEnded
    else { return }
    let credit = try stream.pointee.receive.receive(
      offset: offset, count: data.count, fin: fin, frameType: frameType)
    try charge(credit, frameType: frameType)
    guard stream.pointee.receive.insert(data, at: offset) else {
      throw TransportError(.internalError, "too many gaps in stream \(id)", frameType: frameType)
    }
    if stream.pointee.receive.isReadable, !stream.pointee.receive.saidReadable {
      stream.pointee.receive.saidReadable = true
      events.append(.streamReadable(id))
    }
    removeIfEnded(stream)
  }

  mutating func receiveReset(
    _ id: StreamID, code: UInt64, finalSize: UInt64, frameType: UInt64, events: inout EventQueue
  ) throws(TransportError) {
    guard let stream = try find(id, .receiving, frameType: frameType, events: &events),
      !stream.pointee.receive.isEnded
    else { return }
    let wasOpen = stream.pointee.receive.state == .open
    let credit = try stream.pointee.receive.receiveReset(finalSize: finalSize, frameType: frameType)
    try charge(credit, frameType: frameType)
    if wasOpen { events.append(.streamReset(id, code: code)) }
    removeIfEnded(stream)
  }

  mutating func receiveStopSending(
    _ id: StreamID, code: UInt64, frameType: UInt64, events: inout EventQueue
  ) throws(TransportError) {
    guard let stream = try find(id, .sending, frameType: frameType, events: &events) else { return }
    // RFC 9000 §3.5: "An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream is in
    // the "Ready" or "Send" state."
    guard stream.pointee.send.reset(code: code) else { return }
    ready.remove(stream)
    awaitingCredit.remove(stream)
    setDue(.resetStream, stream)
    events.append(.streamStopped(id, code: code))
  }

  mutating func receiveMaxStreamData(
    _ id: StreamID, limit: UInt64, frameType: UInt64, events: inout EventQueue
  ) throws(TransportError) {
    guard let stream = try find(id, .sending, frameType: frameType, events: &events) else { return }
    stream.pointee.send.raiseLimit(to: limit)
    reschedule(stream)
  }

  /// STREAM_DATA_BLOCKED only informs, but may create the stream.
  mutating func receiveStreamDataBlocked(
    _ id: StreamID, frameType: UInt64, events: inout EventQueue
  ) throws(TransportError) {
    _ = try find(id, .receiving, frameType: frameType, events: &events)
  }

  mutating func receiveMaxData(_ limit: UInt64) {
    guard sendCredit.raise(to: limit) else { return }
    due.remove(.dataBlocked)
    while let stream = awaitingCredit.first {
      awaitingCredit.remove(stream)
      ready.append(stream)
    }
  }
}
