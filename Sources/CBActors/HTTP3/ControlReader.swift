internal import QUIC
internal import Wire

/// Reads the peer's control stream (RFC 9114 §6.2.1): SETTINGS first, then what §7.2 allows there.
struct ControlReader {
  private var cursor = FrameCursor()
  private var payload: [UInt8] = []
  private var hasSettings = false
  private var maximumPushID: UInt64?
  private var goAway: UInt64?

  /// SETTINGS that came and were not taken yet.
  var newSettings: Settings?
  /// The last GOAWAY that came and was not taken yet; several in one piece count as one.
  var newGoAway: UInt64?

  /// What PRIORITY_UPDATE frames said and was not taken yet.
  var priorityUpdates: [(StreamID, PriorityParameters)] = []

  /// Frames of one identifier: GOAWAY, CANCEL_PUSH and MAX_PUSH_ID are no longer than a varint.
  private static let identifierLimit = 8
  /// The payload of PRIORITY_UPDATE, in bytes: parameters that we know take a dozen.
  private static let priorityUpdateLimit = 512

  mutating func read(_ bytes: UnsafeRawBufferPointer, role: Role, limit: Int) throws(ConnectionError) {
    var reader = ByteReader(bytes)
    while true {
      if !cursor.isInPayload {
        guard cursor.readHeader(&reader) else { return }
        try start(FrameType(rawValue: cursor.type), role, limit)
      }
      let keeps = Self.isKept(FrameType(rawValue: cursor.type))
      let count = cursor.payload(of: reader.remaining)
      guard let piece = reader.readBytes(count) else { return }
      cursor.advance(count)
      if keeps { payload.append(contentsOf: piece) }
      if cursor.isInPayload { return }
      if keeps {
        let whole = payload
        payload.removeAll(keepingCapacity: true)
        try finish(FrameType(rawValue: cursor.type), whole, role)
      }
    }
  }

  private static func isKept(_ type: FrameType) -> Bool {
    switch type {
    case .settings, .goAway, .cancelPush, .maxPushID, .priorityUpdateRequest, .priorityUpdatePush: true
    default: false
    }
  }

  private func start(_ type: FrameType, _ role: Role, _ limit: Int) throws(ConnectionError) {
    guard hasSettings || type == .settings else {
      // RFC 9114 §6.2.1: "If the first frame of the control stream is any other frame type, this MUST be treated as a
      // connection error of type H3_MISSING_SETTINGS."
      throw ConnectionError(.missingSettings, "the control stream begins with frame type \(type.rawValue)")
    }
    switch type {
    case .settings:
      // RFC 9114 §7.2.4: "If an endpoint receives a second SETTINGS frame on the control stream, the endpoint MUST
      // respond with a connection error of type H3_FRAME_UNEXPECTED."
      guard !hasSettings else { throw ConnectionError(.frameUnexpected, "second SETTINGS") }
      guard cursor.remaining <= UInt64(limit) else {
        throw ConnectionError(.excessiveLoad, "SETTINGS of \(cursor.remaining) bytes")
      }
    case .goAway, .cancelPush, .maxPushID:
      // RFC 9114 §7.2.7: "A client MUST treat the receipt of a MAX_PUSH_ID frame as a connection error of type
      // H3_FRAME_UNEXPECTED."
      guard type != .maxPushID || role == .server else { throw ConnectionError(.frameUnexpected, "MAX_PUSH_ID") }
      guard cursor.remaining <= UInt64(Self.identifierLimit) else {
        throw ConnectionError(.frameError, "an identifier of \(cursor.remaining) bytes")
      }
    case .priorityUpdateRequest, .priorityUpdatePush:
      // RFC 9218 §7.2: only servers receive this frame.
      guard role == .server else { throw ConnectionError(.frameUnexpected, "PRIORITY_UPDATE") }
      guard cursor.remaining <= UInt64(Self.priorityUpdateLimit) else {
        throw ConnectionError(.excessiveLoad, "PRIORITY_UPDATE of \(cursor.remaining) bytes")
      }
    // RFC 9114 §7.2.1: "the recipient MUST respond with a connection error of type H3_FRAME_UNEXPECTED"
    case .data, .headers, .pushPromise:
      throw ConnectionError(.frameUnexpected, "frame type \(type.rawValue) on the control stream")
    default:
      // RFC 9114 §7.2.8: "their receipt MUST be treated as a connection error of type H3_FRAME_UNEXPECTED."
      guard !type.isReservedFromHTTP2 else {
        throw ConnectionError(.frameUnexpected, "frame type \(type.rawValue) of HTTP/2")
      }
    }
  }

  private mutating func finish(_ type: FrameType, _ payload: [UInt8], _ role: Role) throws(ConnectionError) {
    if type == .settings {
      let parsed = payload.withUnsafeBytes { bytes -> Result<Settings, ConnectionError> in
        do throws(ConnectionError) { return .success(try Settings(payload: bytes)) } catch { return .failure(error) }
      }
      newSettings = try parsed.get()
      hasSettings = true
      return
    }
    if type == .priorityUpdateRequest || type == .priorityUpdatePush {
      return try receivePriorityUpdate(type, payload)
    }
    let identifier = payload.withUnsafeBytes { bytes -> UInt64? in
      var reader = ByteReader(bytes)
      let value = reader.readVarint()
      return reader.isAtEnd ? value : nil
    }
    guard let identifier else {
      // RFC 9114 §7.1: "MUST be treated as a connection error of type H3_FRAME_ERROR"
      throw ConnectionError(.frameError, "frame type \(type.rawValue) holds more or less than an identifier")
    }
    switch type {
    case .goAway: try receiveGoAway(identifier, role)
    case .maxPushID:
      // RFC 9114 §7.2.7: "receipt of a MAX_PUSH_ID frame that contains a smaller value than previously received MUST
      // be treated as a connection error of type H3_ID_ERROR."
      guard identifier >= maximumPushID ?? 0 else { throw ConnectionError(.idError, "MAX_PUSH_ID went down") }
      maximumPushID = identifier
    default:
      // RFC 9114 §7.2.3: we push nothing and allow nothing to be pushed, so every push ID is one "that has not yet
      // been mentioned by a PUSH_PROMISE frame" or is "greater than currently allowed".
      throw ConnectionError(.idError, "CANCEL_PUSH of a push that is not")
    }
  }

  /// RFC 9218 §7.2.
  private mutating func receivePriorityUpdate(_ type: FrameType, _ payload: [UInt8]) throws(ConnectionError) {
    let (identifier, length) = payload.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      return (reader.readVarint(), reader.offset)
    }
    guard let identifier else { throw ConnectionError(.frameError, "PRIORITY_UPDATE without an identifier") }
    guard type == .priorityUpdateRequest, identifier & 3 == 0 else {
      // A push ID would have to be one that we promised, and we promise none.
      throw ConnectionError(.idError, "PRIORITY_UPDATE names no request stream")
    }
    let parameters = PriorityParameters(fieldValue: String(decoding: payload[length...], as: UTF8.self))
    priorityUpdates.append((StreamID(rawValue: identifier), parameters))
  }

  private mutating func receiveGoAway(_ identifier: UInt64, _ role: Role) throws(ConnectionError) {
    // RFC 9114 §7.2.6: "A client MUST treat receipt of a GOAWAY frame containing a stream ID of any other type as a
    // connection error of type H3_ID_ERROR."
    guard role == .server || identifier & 3 == 0 else {
      throw ConnectionError(.idError, "GOAWAY names no request stream")
    }
    // RFC 9114 §5.2: "Receiving a GOAWAY containing a larger identifier than previously received MUST be treated as a
    // connection error of type H3_ID_ERROR."
    guard identifier <= goAway ?? .max else { throw ConnectionError(.idError, "GOAWAY went up") }
    if identifier != goAway { newGoAway = identifier }
    goAway = identifier
  }
}
