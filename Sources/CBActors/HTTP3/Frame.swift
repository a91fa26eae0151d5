internal import Wire

/// The type of an HTTP/3 frame (RFC 9114 §7.2).
struct FrameType: RawRepresentable, Hashable {
  let rawValue: UInt64

  static let data = FrameType(rawValue: 0x00)
  static let headers = FrameType(rawValue: 0x01)
  static let cancelPush = FrameType(rawValue: 0x03)
  static let settings = FrameType(rawValue: 0x04)
  static let pushPromise = FrameType(rawValue: 0x05)
  static let goAway = FrameType(rawValue: 0x07)
  static let maxPushID = FrameType(rawValue: 0x0d)
  /// PRIORITY_UPDATE for a request stream, and for a push stream (RFC 9218 §7.2).
  static let priorityUpdateRequest = FrameType(rawValue: 0xf0700)
  static let priorityUpdatePush = FrameType(rawValue: 0xf0701)

  /// Types of HTTP/2 frames that HTTP/3 does not have (RFC 9114 §7.2.8, §11.2.1).
  var isReservedFromHTTP2: Bool {
    switch rawValue {
    case 0x02, 0x06, 0x08, 0x09: true
    default: false
    }
  }
}

/// Where a reader stands in a sequence of type-length-value records whose pieces arrive one by one.
///
/// HTTP/3 frames (RFC 9114 §7.1) and capsules (RFC 9297 §3.2) share this layout. The payload is never
/// buffered here; a header cut in two is, in sixteen bytes in place. The type is trivial: copying it costs no ARC.
struct FrameCursor: Sendable {
  /// Of the record that is being read. Meaningful while ``isInPayload``.
  private(set) var type: UInt64 = 0
  /// Bytes of the payload still to come.
  private(set) var remaining: UInt64 = 0
  private(set) var isInPayload = false
  private var partial: (UInt64, UInt64) = (0, 0)
  private var partialCount = 0

  /// Nothing of a record has been read: a stream may end here.
  var isAtBoundary: Bool { !isInPayload && partialCount == 0 }

  /// Reads on in a header. True when it is complete; false when `reader` is used up.
  mutating func readHeader(_ reader: inout ByteReader) -> Bool {
    if partialCount == 0 {
      var ahead = reader
      if let type = ahead.readVarint(), let length = ahead.readVarint() {
        reader = ahead
        start(type, length)
        return true
      }
    }
    // Two varints have at most sixteen bytes, so the sixteenth always completes them.
    while let byte = reader.readUInt8() {
      withUnsafeMutableBytes(of: &partial) { $0[partialCount] = byte }
      partialCount += 1
      let header = withUnsafeBytes(of: partial) { bytes -> (UInt64, UInt64)? in
        var whole = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[..<partialCount]))
        guard let type = whole.readVarint(), let length = whole.readVarint() else { return nil }
        return (type, length)
      }
      if let header {
        partialCount = 0
        start(header.0, header.1)
        return true
      }
    }
    return false
  }

  private mutating func start(_ type: UInt64, _ length: UInt64) {
    self.type = type
    remaining = length
    isInPayload = true
  }

  /// Takes `count` bytes of the payload as read; the record ends with its last byte.
  /// A record of no payload is ended by `advance(0)`.
  mutating func advance(_ count: Int) {
    remaining -= min(remaining, UInt64(max(count, 0)))
    if remaining == 0 { isInPayload = false }
  }

  /// How many of `available` bytes belong to the payload.
  func payload(of available: Int) -> Int { remaining < UInt64(available) ? Int(remaining) : available }
}

extension [UInt8] {
  /// A variable-length integer in its shortest form (RFC 9000 §16). `value` is below 2^62.
  mutating func appendVarint(_ value: UInt64) {
    let length = Varint.length(of: value)
    let prefix: UInt64 = length == 1 ? 0 : length == 2 ? 1 : length == 4 ? 2 : 3
    let word = value | prefix << UInt64(length * 8 - 2)
    for index in (0..<length).reversed() { append(UInt8(truncatingIfNeeded: word >> UInt64(index * 8))) }
  }
}
