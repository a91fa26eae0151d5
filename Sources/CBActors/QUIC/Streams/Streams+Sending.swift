import Wire

/// Writing the frames that are due into a packet, each noted in `sent` so that its fate can be told later.
extension Streams {
  /// No frame written by ``writeControlFrames`` is longer: a type and three varints.
  private static var longestControlFrame: Int { 1 + 3 * 8 }

  /// Frames other than STREAM. Stops when the packet has no room for the longest.
  mutating func writeControlFrames(
    to writer: inout ByteWriter, sent: inout [SentFrame], now: Instant, roundTrip: Interval
  ) {
    if !due.isEmpty { writeConnectionFrames(to: &writer, sent: &sent, now: now, roundTrip: roundTrip) }
    while let stream = control.first {
      guard writer.remaining >= Self.longestControlFrame * 4 else { return }
      control.remove(stream)
      writeFrames(of: stream, to: &writer, sent: &sent, now: now, roundTrip: roundTrip)
    }
  }

  private mutating func writeFrames(
    of stream: StreamPointer, to writer: inout ByteWriter, sent: inout [SentFrame], now: Instant, roundTrip: Interval
  ) {
    let id = stream.pointee.id
    let due = stream.pointee.due
    stream.pointee.due = []
    if due.contains(.resetStream), case .resetting(let code, false) = stream.pointee.send.state {
      writer.writeResetStream(id, code: code, finalSize: stream.pointee.send.resetFinalSize)
      stream.pointee.send.resetSent()
      sent.append(.resetStream(id))
    }
    if due.contains(.stopSending), case .stopped(let code) = stream.pointee.receive.state {
      writer.writeStopSending(id, code: code)
      sent.append(.stopSending(id))
    }
    if due.contains(.maxStreamData), stream.pointee.receive.wantsCredit {
      let limit = stream.pointee.receive.updateWindow(now: now, roundTrip: roundTrip)
      writer.writeMaxStreamData(id, maximum: limit)
      sent.append(.maxStreamData(id))
    }
    if due.contains(.streamDataBlocked), stream.pointee.send.isBlockedByStreamLimit {
      writer.writeStreamDataBlocked(id, limit: stream.pointee.send.maximumData)
      sent.append(.streamDataBlocked(id))
    }
  }

  private mutating func writeConnectionFrames(
    to writer: inout ByteWriter, sent: inout [SentFrame], now: Instant, roundTrip: Interval
  ) {
    guard writer.remaining >= Self.longestControlFrame * 4 else { return }
    if due.contains(.maxData) {
      writer.writeMaxData(receiveWindow.update(now: now, roundTrip: roundTrip))
      sent.append(.maxData)
    }
    if due.contains(.dataBlocked) {
      writer.writeDataBlocked(limit: sendCredit.limit)
      sent.append(.dataBlocked)
    }
    if due.contains(.maxStreamsBidi) { writeMaxStreams(.bidirectional, to: &writer, sent: &sent) }
    if due.contains(.maxStreamsUni) { writeMaxStreams(.unidirectional, to: &writer, sent: &sent) }
    for direction in [StreamDirection.bidirectional, .unidirectional] {
      guard due.contains(direction == .bidirectional ? .streamsBlockedBidi : .streamsBlockedUni) else { continue }
      writer.writeStreamsBlocked(direction, limit: local[direction].limit)
      sent.append(.streamsBlocked(direction))
    }
    due = []
  }

  private mutating func writeMaxStreams(
    _ direction: StreamDirection, to writer: inout ByteWriter, sent: inout [SentFrame]
  ) {
    let state = remote[direction]
    let limit = min(max(state.advertised, state.closed + state.concurrent), FrameType.maximumStreamCount)
    remote[direction].advertised = limit
    writer.writeMaxStreams(direction, maximum: limit)
    sent.append(.maxStreams(direction))
  }

  /// STREAM frames, from the ready streams in their order, until the packet is full or nothing is left.
  mutating func writeStreamFrames(to writer: inout ByteWriter, sent: inout [SentFrame]) {
    var last: StreamPointer?
    while let stream = ready.first {
      guard stream.pointee.send.isSendable else {
        ready.remove(stream)
        if stream.pointee.send.isBlockedByStreamLimit { markBlocked(stream) }
        continue
      }
      let range = stream.pointee.send.nextRange(connectionCredit: sendCredit.available)
      if range.isEmpty, !stream.pointee.send.carriesFin(endingAt: range.upperBound) {
        // Only the connection's credit holds it back.
        ready.remove(stream)
        awaitingCredit.append(stream)
        markConnectionBlocked()
        continue
      }
      guard writeStreamFrame(of: stream, range, to: &writer, sent: &sent) else {
        // A new packet is another stream's turn.
        if let last { ready.endTurn(rotates: last == stream) }
        return
      }
      last = stream
      if stream.pointee.send.isSendable {
        if writer.remaining == 0 {
          ready.endTurn(rotates: true)
          return
        }
      } else {
        ready.remove(stream)
        if stream.pointee.send.isBlockedByStreamLimit { markBlocked(stream) }
      }
    }
  }

  private mutating func markConnectionBlocked() {
    guard sendCredit.blockedAt != sendCredit.limit else { return }
    sendCredit.blockedAt = sendCredit.limit
    due.insert(.dataBlocked)
  }

  /// One STREAM frame with as much of `range` as there is room for. False when not even one byte fits.
  private mutating func writeStreamFrame(
    of stream: StreamPointer, _ range: Range<UInt64>, to writer: inout ByteWriter, sent: inout [SentFrame]
  ) -> Bool {
    let id = stream.pointee.id
    let offset = range.lowerBound
    let space = min(writer.remaining, Int(UInt16.max))
    guard let toTheEnd = StreamFrameSize.capacity(id, offset: offset, space: space, withLength: false),
      let withLength = StreamFrameSize.capacity(id, offset: offset, space: space, withLength: true),
      withLength > 0 || range.isEmpty
    else { return false }
    // A frame that fills the packet needs no length of its own.
    let fills = range.count >= toTheEnd && toTheEnd > 0 && space == writer.remaining
    let length = fills ? toTheEnd : min(range.count, withLength)
    let end = offset + UInt64(length)
    let fin = stream.pointee.send.carriesFin(endingAt: end)
    writer.writeStreamHeader(id, offset: offset, length: fills ? nil : length, isFin: fin)
    if length > 0 {
      stream.pointee.send.buffer.copy(offset..<end, to: writer.free.baseAddress!)
      writer.advance(length)
    }
    let sentBefore = stream.pointee.send.buffer.sentEnd
    if end > sentBefore { sendCredit.use(end - sentBefore) }
    stream.pointee.send.sent(offset..<end, fin: fin)
    sent.append(.stream(id, offset: offset, length: UInt16(length), fin: fin))
    return true
  }
}
