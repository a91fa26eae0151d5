import Wire

/// The HTTP datagrams of a UDP tunnel: UDP payloads behind a Context ID (RFC 9298 §4, §5).
///
/// No extension that registers contexts is spoken here, so every Context ID but zero is unknown.
public struct UDPContext: Sendable {
  /// RFC 9298 §5, by virtue of the UDP header: the longest payload, in bytes.
  public static let maximumPayload = 65527
  /// The Context ID of UDP payloads (RFC 9298 §4).
  public static let payloadContext: UInt64 = 0

  /// Datagrams dropped because nothing is registered under their Context ID.
  public private(set) var unknownContexts: UInt64 = 0
  /// Datagrams dropped because no Context ID could be read from them.
  public private(set) var malformed: UInt64 = 0

  public init() {}

  public enum Received {
    /// A UDP payload, in place.
    case payload(UnsafeRawBufferPointer)
    /// Dropped and counted.
    case dropped
    /// The stream is to be aborted.
    case tooLong
  }

  /// Reads the payload field of an HTTP datagram, however it was carried.
  public mutating func receive(_ datagram: UnsafeRawBufferPointer) -> Received {
    var reader = ByteReader(datagram)
    guard let contextID = reader.readVarint() else {
      malformed += 1
      return .dropped
    }
    // RFC 9298 §5: "the receiver SHALL either drop that datagram silently or buffer it temporarily"
    guard contextID == Self.payloadContext else {
      unknownContexts += 1
      return .dropped
    }
    // RFC 9298 §5: "whose UDP Proxying Payload field is longer than 65527 MUST abort the corresponding stream"
    guard reader.remaining <= Self.maximumPayload else { return .tooLong }
    return .payload(reader.rest)
  }

  /// The largest DATAGRAM capsule worth keeping: a payload behind its Context ID, in bytes.
  public static let maximumCapsuleValue = 1 + maximumPayload
}
