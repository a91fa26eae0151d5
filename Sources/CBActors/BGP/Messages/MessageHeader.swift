import Wire

/// The type of a message (RFC 4271 §4.1, RFC 2918 §3).
public enum MessageType: UInt8, Sendable {
  case open = 1
  case update
  case notification
  case keepalive
  case routeRefresh

  /// Octets of the shortest message of this type, header included (RFC 4271 §4.2 to §4.5, RFC 2918 §3).
  var minimumLength: Int {
    switch self {
    case .open: 29
    case .update: 23
    case .notification: 21
    case .keepalive: 19
    case .routeRefresh: 23
    }
  }
}

/// The header of a message (RFC 4271 §4.1).
public struct MessageHeader: Hashable, Sendable {
  /// Octets of the header itself.
  public static let length = 19
  /// The longest message where nothing else was negotiated.
  public static let maximumLength = 4_096
  /// The longest message between speakers of RFC 8654.
  public static let extendedMaximumLength = 65_535

  public let type: MessageType
  /// Octets of the message, header included.
  public let messageLength: Int

  /// Reads and checks the header; nil when its 19 octets are not there yet.
  ///
  /// - Parameter maximumLength: of a message, as negotiated.
  /// - Throws: a Message Header Error (RFC 4271 §6.1).
  public init?(_ bytes: UnsafeRawBufferPointer, maximumLength: Int) throws(NotificationMessage) {
    guard bytes.count >= Self.length else { return nil }
    // RFC 4271 §6.1: "The expected value of the Marker field of the message header is all ones."
    guard bytes.loadUnaligned(as: UInt64.self) == .max, bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == .max
    else { throw .connectionNotSynchronized }
    let length = UInt16(bytes[16]) << 8 | UInt16(bytes[17])
    guard length >= Self.length, length <= maximumLength else { throw .badMessageLength(length) }
    guard let type = MessageType(rawValue: bytes[18]) else { throw .badMessageType(bytes[18]) }
    switch type {
    case .keepalive:
      // RFC 4271 §6.1: "if the Length field of a KEEPALIVE message is not equal to 19"
      guard length == Self.length else { throw .badMessageLength(length) }
    case .routeRefresh:
      // Its length has an error of its own (RFC 7313 §5); here only that the body is read without it.
      break
    case .open:
      // RFC 8654 §3: OPEN and KEEPALIVE stay within 4,096 octets whatever was negotiated.
      guard length >= type.minimumLength, length <= Self.maximumLength else { throw .badMessageLength(length) }
    case .update, .notification:
      guard length >= type.minimumLength else { throw .badMessageLength(length) }
    }
    self.type = type
    messageLength = Int(length)
  }

  /// A header for a body of so many octets, at most what fits a message.
  static func bytes(_ type: MessageType, bodyLength: Int) -> [UInt8] {
    let length = UInt16(clamping: length + bodyLength)
    return [UInt8](repeating: 0xff, count: 16) + [UInt8(length >> 8), UInt8(length & 0xff), type.rawValue]
  }

  /// A KEEPALIVE message (RFC 4271 §4.4).
  public static let keepalive = bytes(.keepalive, bodyLength: 0)
}
