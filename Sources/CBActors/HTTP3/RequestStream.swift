internal import QUIC
internal import Wire

/// One request stream: where its reading and its writing stand.
struct RequestStream {
  /// What the receiving side waits for.
  enum Phase: UInt8 {
    /// The header section of a request, or of a final response.
    case headers
    /// DATA frames, or trailers, or the end.
    case content
    /// The end alone: the trailer section has come.
    case trailers
    /// Nothing: the end has come, but the owner has not been told yet.
    case endPending
    case ended
  }

  /// How much content was announced and how much has come. Trivial, for the path that bytes take.
  struct Content {
    var received: UInt64 = 0
    /// Content-Length, where the message is defined as having content.
    var expected: UInt64?

    /// Whether `count` more bytes, the last if `isLast`, keep to Content-Length.
    func allows(_ count: Int, isLast: Bool) -> Bool {
      guard let expected else { return true }
      let total = received + UInt64(count)
      return isLast ? total == expected : total <= expected
    }
  }

  // Receiving.
  var phase = Phase.headers
  var cursor = FrameCursor()
  var content = Content()
  var kind = MessageRules.RequestKind.ordinary
  /// The stream is a tunnel: RFC 9114 §4.4 allows DATA alone.
  var isTunnel = false
  var interimResponses = 0
  /// The part of a HEADERS frame that has come. At most `Limits.fieldSection` bytes.
  var fieldSection: [UInt8] = []
  /// `.dataReadable` has been said and no read has come up empty since.
  var saidReadable = false

  // What was said of its priority, by the request, by PRIORITY_UPDATE and by the response.
  var requestPriority = PriorityParameters()
  var priorityUpdate: PriorityParameters?
  var responsePriority = PriorityParameters()

  // Sending.
  var sentFinalHeaders = false
  var sentTrailers = false
  var isSendingOver = false
  /// Encoded frames that the transport had no room for, from ``unsentOffset`` on.
  var unsent: [UInt8] = []
  var unsentOffset = 0
  /// The end follows ``unsent``.
  var finishAfterUnsent = false
  /// Bytes of the DATA frame whose header has gone out.
  var owed = 0
  /// The owner was told that there is no room and waits for `.dataWritable`.
  var awaitsRoom = false

  var isReceivingOver: Bool { phase == .ended }
  var isOver: Bool { isReceivingOver && isSendingOver && unsent.isEmpty }

  /// What reading frames other than DATA came to.
  struct Progress {
    var consumed = 0
    var section: FieldSectionDecoder.Section?
    /// The field section that comes next needs this many insertions; its last bytes stay with the transport.
    var blockedUntil: UInt64?
    var connectionError: ConnectionError?
    var streamError: StreamError?
    /// A DATA frame with a payload has begun: its bytes are for the owner.
    var isAtData = false
    /// The stream's end was consumed.
    var ended = false
  }

  /// Reads frames until one asks for attention: DATA, a whole field section, an error, the end.
  mutating func readFrames(
    _ bytes: UnsafeRawBufferPointer, finished: Bool, role: Role, decoder: FieldSectionDecoder
  ) -> Progress {
    let limit = decoder.maximumSize
    var progress = Progress()
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[progress.consumed...])
      if !cursor.isInPayload {
        var reader = ByteReader(rest)
        let complete = cursor.readHeader(&reader)
        progress.consumed += reader.offset
        guard complete else { break }
        guard admitsFrame(role, limit: limit, &progress) else { return progress }
        continue
      }
      switch FrameType(rawValue: cursor.type) {
      case .data:
        if cursor.remaining == 0 {
          cursor.advance(0)
          continue
        }
        progress.isAtData = true
        // Bytes that are not consumed are not the end yet; a header that ends the stream is a truncated frame.
        if finished && rest.isEmpty { progress.connectionError = Self.truncated }
        return progress
      case .headers:
        let count = cursor.payload(of: rest.count)
        let piece = UnsafeRawBufferPointer(rebasing: rest[..<count])
        guard UInt64(count) == cursor.remaining else {
          cursor.advance(count)
          progress.consumed += count
          fieldSection.append(contentsOf: piece)
          if finished { progress.connectionError = Self.truncated }
          return progress
        }
        decode(piece, decoder, &progress)
        guard progress.blockedUntil == nil else { return progress }
        cursor.advance(count)
        progress.consumed += count
        progress.ended = finished && progress.consumed == bytes.count
        return progress
      default:
        let count = cursor.payload(of: rest.count)
        cursor.advance(count)
        progress.consumed += count
        if count == rest.count, cursor.isInPayload { break }
        continue
      }
      break
    }
    if finished {
      if cursor.isAtBoundary { progress.ended = true } else { progress.connectionError = Self.truncated }
    }
    return progress
  }

  /// Whether the frame whose header has just been read may stand here, and is no larger than it may be.
  func admitsFrame(_ role: Role, limit: Int, _ progress: inout Progress) -> Bool {
    progress.connectionError = check(FrameType(rawValue: cursor.type), role)
    if cursor.type == FrameType.headers.rawValue, cursor.remaining > UInt64(limit) {
      progress.streamError = StreamError(.excessiveLoad, "HEADERS of \(cursor.remaining) bytes")
    }
    return progress.connectionError == nil && progress.streamError == nil
  }

  // RFC 9114 §7.1: "When a stream terminates cleanly, if the last frame on the stream was truncated, this MUST be
  // treated as a connection error of type H3_FRAME_ERROR."
  static let truncated = ConnectionError(.frameError, "the stream ends inside a frame")

  /// Decodes a field section whose last bytes are `piece`.
  private mutating func decode(
    _ piece: UnsafeRawBufferPointer, _ decoder: FieldSectionDecoder, _ progress: inout Progress
  ) {
    do throws(FieldSectionDecoder.Failure) {
      progress.section = try fieldSection.isEmpty ? decoder.decode(piece) : decoder.decode(fieldSection + piece)
      fieldSection = []
    } catch {
      switch error {
      // RFC 9204 §2.2.1: "While blocked, encoded field section data SHOULD remain in the blocked stream's flow-control
      // window."
      case .blocked(let requiredInsertCount): progress.blockedUntil = requiredInsertCount
      case .decompressionFailed(let reason):
        progress.connectionError = ConnectionError(.qpackDecompressionFailed, reason)
      case .tooLarge:
        progress.streamError = StreamError(
          .excessiveLoad, "field section of more than \(decoder.maximumSize) bytes")
      }
    }
  }

  /// Whether a frame may stand here (RFC 9114 §4.1, §4.4, §7.2).
  private func check(_ type: FrameType, _ role: Role) -> ConnectionError? {
    switch type {
    case .data:
      // RFC 9114 §4.1: "a DATA frame before any HEADERS frame, or a HEADERS or DATA frame after the trailing
      // HEADERS frame, is considered invalid."
      phase == .content ? nil : ConnectionError(.frameUnexpected, "DATA before the headers or after the trailers")
    case .headers:
      if phase == .trailers {
        ConnectionError(.frameUnexpected, "HEADERS after the trailers")
      } else if phase == .content && isTunnel {
        // RFC 9114 §4.4: "Receipt of any other known frame type MUST be treated as a connection error of type
        // H3_FRAME_UNEXPECTED."
        ConnectionError(.frameUnexpected, "HEADERS in a tunnel")
      } else {
        nil
      }
    case .pushPromise:
      if role == .server || isTunnel {
        // RFC 9114 §7.2.5: "A server MUST treat the receipt of a PUSH_PROMISE frame as a connection error of type
        // H3_FRAME_UNEXPECTED."
        ConnectionError(.frameUnexpected, "PUSH_PROMISE")
      } else {
        // RFC 9114 §7.2.5: "A client MUST treat receipt of a PUSH_PROMISE frame that contains a larger push ID than
        // the client has advertised as a connection error of H3_ID_ERROR." We advertise none.
        ConnectionError(.idError, "PUSH_PROMISE though no push ID was allowed")
      }
    case .cancelPush, .settings, .goAway, .maxPushID, .priorityUpdateRequest, .priorityUpdatePush:
      ConnectionError(.frameUnexpected, "frame of type \(type.rawValue) belongs on the control stream")
    default:
      // RFC 9114 §7.2.8: "their receipt MUST be treated as a connection error of type H3_FRAME_UNEXPECTED."
      type.isReservedFromHTTP2 ? ConnectionError(.frameUnexpected, "frame type \(type.rawValue) of HTTP/2") : nil
    }
  }
}

extension FieldSectionDecoder {
  fileprivate func decode(_ bytes: [UInt8]) throws(Failure) -> Section {
    let result = bytes.withUnsafeBytes { buffer -> Result<Section, Failure> in
      do throws(Failure) { return .success(try decode(buffer)) } catch { return .failure(error) }
    }
    return try result.get()
  }
}
