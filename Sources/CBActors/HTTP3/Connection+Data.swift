public import QUIC
internal import Wire

// Content: the payloads of DATA frames (RFC 9114 §7.2.1). Every byte of a tunnel passes here, so nothing is
// copied, kept or allocated on the way.
extension Connection {
  /// Sends `bytes` in DATA frames as far as the transport has room, and returns how many it took.
  ///
  /// After a short count `.dataWritable` follows when there is room; then the bytes that were not taken are to
  /// be offered again, for a frame that has begun may already count on them. `finish` ends our side after the last
  /// byte, and takes effect only if all were taken. A stream that is gone or stopped takes everything and drops it.
  public mutating func sendData<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool, on transport: inout T
  ) -> Int {
    guard let index = streams.index(forKey: id), !streams.values[index].isSendingOver,
      streams.values[index].sentFinalHeaders
    else { return bytes.count }
    guard flush(index, id, on: &transport) else {
      // Even an end without bytes must wait its turn.
      if finish && bytes.isEmpty {
        streams.values[index].finishAfterUnsent = true
        streams.values[index].isSendingOver = true
      } else {
        streams.values[index].awaitsRoom = true
      }
      return 0
    }
    var owed = streams.values[index].owed
    let sent = Self.sendFrames(id, bytes, finish: finish, &owed, &streams.values[index].unsent, on: &transport)
    streams.values[index].owed = owed
    if sent < bytes.count {
      streams.values[index].awaitsRoom = true
    } else if finish {
      streams.values[index].isSendingOver = true
      if owed > 0 {
        // The frame that has begun cannot be ended: the owner offered fewer bytes than it had before.
        streams.values[index].endSending()
        transport.reset(id, code: ErrorCode.internalError.rawValue)
      } else if bytes.isEmpty {
        _ = transport.write(id, bytes, finish: true)
      }
      removeIfOver(id)
    }
    return sent
  }

  /// Bytes of content that ``sendData(_:_:finish:on:)`` would take now, at the least.
  public func writableBytes<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: borrowing T) -> Int {
    guard let index = streams.index(forKey: id), !streams.values[index].isSendingOver else { return 0 }
    let waiting = streams.values[index].unsent.count - streams.values[index].unsentOffset
    return max(0, transport.writableBytes(id) - waiting - Self.headerLimit)
  }

  /// A DATA frame's header: one byte of type, at most eight of length.
  private static var headerLimit: Int { 9 }

  private static func sendFrames<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool, _ owed: inout Int, _ unsent: inout [UInt8],
    on transport: inout T
  ) -> Int {
    var sent = 0
    while sent < bytes.count {
      if owed == 0 {
        guard beginFrame(id, bytes.count - sent, &owed, &unsent, on: &transport) else { return sent }
      }
      let count = min(owed, bytes.count - sent)
      let piece = UnsafeRawBufferPointer(rebasing: bytes[sent..<sent + count])
      let isLast = finish && sent + count == bytes.count && owed == count
      let taken = transport.write(id, piece, finish: isLast)
      owed -= taken
      sent += taken
      if taken < count { return sent }
    }
    return sent
  }

  /// Sends the header of a frame for `count` bytes, or for as many as there is room for. False when no payload
  /// can follow now: the header did not fit, or only in part, which is then kept.
  private static func beginFrame<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ count: Int, _ owed: inout Int, _ unsent: inout [UInt8], on transport: inout T
  ) -> Bool {
    let (length, size) = fit(count, into: transport.writableBytes(id))
    var storage: (UInt64, UInt64) = (0, 0)
    let taken = withUnsafeMutableBytes(of: &storage) { buffer -> Int in
      var writer = ByteWriter(buffer)
      writer.write(UInt8(FrameType.data.rawValue))
      switch size {
      case 1: writer.write(UInt8(truncatingIfNeeded: length))
      case 2: writer.write(UInt16(truncatingIfNeeded: length) | 0x4000)
      case 4: writer.write(UInt32(truncatingIfNeeded: length) | 0x8000_0000)
      default: writer.write(UInt64(length) | 0xc000_0000_0000_0000)
      }
      return transport.write(id, writer.written, finish: false)
    }
    guard taken > 0 else { return false }
    owed = length
    if taken < 1 + size {
      withUnsafeBytes(of: storage) { unsent.append(contentsOf: $0[taken...size]) }
      return false
    }
    return true
  }

  /// The payload of the next frame and the bytes of its length, for `room` bytes of frame.
  ///
  /// What does not fit whole is cut so that the frame fills the room to the byte, in a longer coding of its
  /// length if need be. So no frame is left half-sent, and the next header is refused whole, which makes the
  /// transport say when there is room again. In two bytes or less no payload fits, and the frame is begun all the
  /// same: room may never come in larger pieces.
  static func fit(_ count: Int, into room: Int) -> (length: Int, size: Int) {
    let size = Varint.length(of: UInt64(count))
    if count <= room - 1 - size || room < 3 { return (count, size) }
    let filling = room - 2 < 0x40 ? 1 : room - 3 < 0x4000 ? 2 : room - 5 < 0x4000_0000 ? 4 : 8
    return (room - 1 - filling, filling)
  }

  /// Hands the next content to `body`, which returns how many bytes it consumed. `finished` is true with the
  /// last of them, or with none when the end comes alone. The bytes lie where the transport received them.
  ///
  /// - Returns: `.blocked` when there is nothing now, or when `body` consumed nothing: after the former,
  ///   `.dataReadable` follows; after the latter the owner comes back of itself. `.ended` after the end, or when
  ///   the stream is gone. Trailers are an event that comes before the end. What is given up over its content has not
  ///   ended, lest a part be taken for the whole: `.blocked`, and an event that says why.
  public mutating func readData<T: StreamTransport & ~Copyable>(
    _ id: StreamID, on transport: inout T, _ body: (_ bytes: UnsafeRawBufferPointer, _ finished: Bool) -> Int
  ) -> StreamRead {
    while let index = streams.index(forKey: id) {
      switch streams.values[index].phase {
      case .headers: return .blocked
      case .ended: return .ended
      case .endPending:
        streams.values[index].phase = .ended
        removeIfOver(id)
        _ = body(UnsafeRawBufferPointer(start: nil, count: 0), true)
        return .ended
      case .trailers: break
      case .content:
        var delivery = Delivery(cursor: streams.values[index].cursor, content: streams.values[index].content)
        let outcome = transport.read(id) { bytes, finished in delivery.deliver(bytes, finished, body) }
        streams.values[index].cursor = delivery.cursor
        streams.values[index].content = delivery.content
        switch delivery.verdict {
        case .more:
          if case .progressed = outcome {
            if delivery.called { return .progressed }
            continue
          }
          if !delivery.refused { streams.values[index].saidReadable = false }
          return delivery.called && !delivery.refused ? .progressed : .blocked
        case .otherFrame:
          // Its payload may be empty, or a long time coming.
          var judgement = RequestStream.Progress()
          guard !streams.values[index].admitsFrame(role, limit: limits.fieldSection, &judgement) else { break }
          if let error = judgement.connectionError {
            fail(error, on: &transport)
          } else if let error = judgement.streamError {
            giveUp(id, error, on: &transport)
          }
          return .blocked
        case .ended:
          streams.values[index].phase = .ended
          removeIfOver(id)
          return .ended
        case .mismatch:
          giveUp(id, Self.contentLengthMismatch, on: &transport)
          return .blocked
        case .truncated:
          fail(RequestStream.truncated, on: &transport)
          return .blocked
        }
      }
      let reading = readFrames(id, on: &transport)
      sendDecoderInstructions(on: &transport)
      switch reading {
      case .data, .ended: continue
      case .blocked:
        if let index = streams.index(forKey: id) { streams.values[index].saidReadable = false }
        return .blocked
      case .finishedWithHeaders: return .ended
      case .failed: return .blocked
      }
    }
    return .ended
  }

  /// One piece of a stream on its way to the owner. Trivial: it is copied out of the stream and back.
  private struct Delivery {
    enum Verdict {
      case more
      /// A frame other than DATA has begun.
      case otherFrame
      case ended
      /// Content-Length was not kept to.
      case mismatch
      case truncated
    }
    var cursor: FrameCursor
    var content: RequestStream.Content
    var verdict = Verdict.more
    /// `body` got something.
    var called = false
    /// `body` left something.
    var refused = false

    init(cursor: FrameCursor, content: RequestStream.Content) {
      self.cursor = cursor
      self.content = content
    }

    mutating func deliver(
      _ bytes: UnsafeRawBufferPointer, _ finished: Bool, _ body: (UnsafeRawBufferPointer, Bool) -> Int
    ) -> Int {
      var offset = 0
      while true {
        if !cursor.isInPayload {
          var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
          let complete = cursor.readHeader(&reader)
          offset += reader.offset
          guard complete else {
            if finished { finish(body) }
            return offset
          }
        }
        guard cursor.type == FrameType.data.rawValue else {
          verdict = .otherFrame
          return offset
        }
        if cursor.remaining == 0 {
          cursor.advance(0)
          continue
        }
        let count = cursor.payload(of: bytes.count - offset)
        let isLast = finished && offset + count == bytes.count
        if isLast && UInt64(count) < cursor.remaining {
          verdict = .truncated
          return offset
        }
        guard count > 0 else { return offset }
        guard content.allows(count, isLast: isLast) else {
          verdict = .mismatch
          return offset
        }
        called = true
        let piece = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
        let consumed = min(max(body(piece, isLast), 0), count)
        cursor.advance(consumed)
        content.received += UInt64(consumed)
        offset += consumed
        if consumed < count {
          refused = true
          return offset
        }
        if isLast {
          verdict = .ended
          return offset
        }
      }
    }

    /// The stream ends, and no content came with the end.
    private mutating func finish(_ body: (UnsafeRawBufferPointer, Bool) -> Int) {
      guard cursor.isAtBoundary else {
        verdict = .truncated
        return
      }
      guard content.allows(0, isLast: true) else {
        verdict = .mismatch
        return
      }
      verdict = .ended
      called = true
      _ = body(UnsafeRawBufferPointer(start: nil, count: 0), true)
    }
  }
}
