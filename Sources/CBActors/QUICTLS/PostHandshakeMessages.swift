/// Finds where the messages that follow a handshake begin (RFC 8446 §4): each has a byte of type and three of length. They
/// may come in any pieces.
struct PostHandshakeMessages {
  static let certificateRequest: UInt8 = 13

  /// Bytes of the present message's header that have come, and of its body that have not.
  private var headerCount = 0
  private var bodyLeft = 0

  /// Whether a message of a type begins in these bytes, which follow those of the last call.
  mutating func begins(_ type: UInt8, in bytes: UnsafeRawBufferPointer) -> Bool {
    var found = false
    var index = 0
    while index < bytes.count {
      if headerCount == 4, bodyLeft > 0 {
        let count = min(bodyLeft, bytes.count - index)
        bodyLeft -= count
        index += count
        continue
      }
      if headerCount == 4 { headerCount = 0 }
      if headerCount == 0 {
        found = found || bytes[index] == type
        bodyLeft = 0
      } else {
        bodyLeft = bodyLeft << 8 | Int(bytes[index])
      }
      headerCount += 1
      index += 1
    }
    return found
  }
}
