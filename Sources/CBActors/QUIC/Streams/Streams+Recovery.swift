/// What becomes of frames once their packets are acknowledged or lost (RFC 9000 §13.3).
extension Streams {
  mutating func acknowledged(
    _ id: StreamID, offset: UInt64, length: UInt16, fin: Bool, events: inout EventQueue
  ) {
    guard let stream = table.find(id) else { return }
    let outcome = stream.pointee.send.acknowledge(
      offset..<offset + UInt64(length), fin: fin, limit: sendLimit)
    switch outcome {
    case .nothing: break
    case .writable: events.append(.streamWritable(id))
    case .finished:
      events.append(.streamFinished(id))
      removeIfEnded(stream)
    }
  }

  mutating func lost(_ id: StreamID, offset: UInt64, length: UInt16, fin: Bool) {
    guard let stream = table.find(id) else { return }
    stream.pointee.send.lose(offset..<offset + UInt64(length), fin: fin)
    // Lost bytes need no new credit: a stream that waits for some must not wait on.
    if stream.pointee.send.buffer.hasLost { awaitingCredit.remove(stream) }
    reschedule(stream)
  }

  mutating func resetAcknowledged(_ id: StreamID) {
    guard let stream = table.find(id) else { return }
    stream.pointee.send.resetAcknowledged()
    removeIfEnded(stream)
  }

  mutating func resetLost(_ id: StreamID) {
    guard let stream = table.find(id), stream.pointee.send.resetLost() else { return }
    setDue(.resetStream, stream)
  }

  mutating func stopSendingLost(_ id: StreamID) {
    guard let stream = table.find(id), case .stopped = stream.pointee.receive.state else { return }
    setDue(.stopSending, stream)
  }

  mutating func maxStreamDataLost(_ id: StreamID) {
    guard let stream = table.find(id), stream.pointee.receive.wantsCredit else { return }
    setDue(.maxStreamData, stream)
  }

  mutating func streamDataBlockedLost(_ id: StreamID) {
    guard let stream = table.find(id), stream.pointee.send.isBlockedByStreamLimit else { return }
    setDue(.streamDataBlocked, stream)
  }

  mutating func dataBlockedLost() {
    if !awaitingCredit.isEmpty { due.insert(.dataBlocked) }
  }

  mutating func streamsBlockedLost(_ direction: StreamDirection) {
    guard local[direction].owesAvailable else { return }
    due.insert(direction == .bidirectional ? .streamsBlockedBidi : .streamsBlockedUni)
  }

  mutating func maxStreamsLost(_ direction: StreamDirection) {
    due.insert(direction == .bidirectional ? .maxStreamsBidi : .maxStreamsUni)
  }

  mutating func maxDataLost() { due.insert(.maxData) }
}
