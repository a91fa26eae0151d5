internal import Wire

/// The SETTINGS of one side (RFC 9114 §7.2.4). A new value holds the defaults that count until SETTINGS arrives.
public struct Settings: Hashable, Sendable {
  /// SETTINGS_MAX_FIELD_SECTION_SIZE in bytes as RFC 9114 §4.2.2 counts them; nil is unlimited.
  public var maximumFieldSectionSize: UInt64?
  /// SETTINGS_QPACK_MAX_TABLE_CAPACITY in bytes (RFC 9204 §5).
  public var qpackMaximumTableCapacity: UInt64
  /// SETTINGS_QPACK_BLOCKED_STREAMS (RFC 9204 §5).
  public var qpackBlockedStreams: UInt64
  /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3, RFC 9220 §3).
  public var enableConnectProtocol: Bool
  /// SETTINGS_H3_DATAGRAM (RFC 9297 §2.1.1).
  public var h3Datagram: Bool

  public init(
    maximumFieldSectionSize: UInt64? = nil, qpackMaximumTableCapacity: UInt64 = 0, qpackBlockedStreams: UInt64 = 0,
    enableConnectProtocol: Bool = false, h3Datagram: Bool = false
  ) {
    self.maximumFieldSectionSize = maximumFieldSectionSize
    self.qpackMaximumTableCapacity = qpackMaximumTableCapacity
    self.qpackBlockedStreams = qpackBlockedStreams
    self.enableConnectProtocol = enableConnectProtocol
    self.h3Datagram = h3Datagram
  }

  /// What a tunnel's end announces: 64 KiB field sections, a QPACK table of 4 KiB that 16 streams may wait for,
  /// extended CONNECT, HTTP datagrams.
  public static let tunnel = Settings(
    maximumFieldSectionSize: 65536, qpackMaximumTableCapacity: 4096, qpackBlockedStreams: 16,
    enableConnectProtocol: true, h3Datagram: true)

  enum Identifier {
    static let qpackMaximumTableCapacity: UInt64 = 0x01
    static let maximumFieldSectionSize: UInt64 = 0x06
    static let qpackBlockedStreams: UInt64 = 0x07
    static let enableConnectProtocol: UInt64 = 0x08
    static let h3Datagram: UInt64 = 0x33

    /// Identifiers of HTTP/2 that HTTP/3 has no use for (RFC 9114 §7.2.4.1, §11.2.2).
    static func isReservedFromHTTP2(_ identifier: UInt64) -> Bool {
      identifier == 0x00 || (0x02...0x05).contains(identifier)
    }
  }
}

extension Settings {
  /// Parses the payload of a SETTINGS frame. Throws H3_FRAME_ERROR or H3_SETTINGS_ERROR.
  init(payload: UnsafeRawBufferPointer) throws(ConnectionError) {
    self.init()
    var reader = ByteReader(payload)
    var seen: Set<UInt64> = []
    while !reader.isAtEnd {
      guard let identifier = reader.readVarint(), let value = reader.readVarint() else {
        throw ConnectionError(.frameError, "SETTINGS ends inside a setting")
      }
      // RFC 9114 §7.2.4: "The same setting identifier MUST NOT occur more than once in the SETTINGS frame."
      guard seen.insert(identifier).inserted else {
        throw ConnectionError(.settingsError, "setting \(identifier) occurs twice")
      }
      // RFC 9114 §7.2.4.1: "their receipt MUST be treated as a connection error of type H3_SETTINGS_ERROR"
      if Identifier.isReservedFromHTTP2(identifier) {
        throw ConnectionError(.settingsError, "setting \(identifier) belongs to HTTP/2")
      }
      switch identifier {
      case Identifier.qpackMaximumTableCapacity: qpackMaximumTableCapacity = value
      case Identifier.maximumFieldSectionSize: maximumFieldSectionSize = value
      case Identifier.qpackBlockedStreams: qpackBlockedStreams = value
      case Identifier.enableConnectProtocol:
        enableConnectProtocol = try Self.flag(value, "SETTINGS_ENABLE_CONNECT_PROTOCOL")
      // RFC 9297 §2.1.1: "the receiver MUST terminate the connection with error H3_SETTINGS_ERROR"
      case Identifier.h3Datagram: h3Datagram = try Self.flag(value, "SETTINGS_H3_DATAGRAM")
      // RFC 9114 §7.2.4: "An implementation MUST ignore any parameter with an identifier it does not understand."
      default: break
      }
    }
  }

  private static func flag(_ value: UInt64, _ name: String) throws(ConnectionError) -> Bool {
    guard value <= 1 else { throw ConnectionError(.settingsError, "\(name) is \(value)") }
    return value == 1
  }

  /// The settings as a SETTINGS frame's payload has them: what a client keeps with a server's ticket, and what a
  /// server's early data depends on (RFC 9114 §7.2.4.2).
  public var encoded: [UInt8] {
    var payload: [UInt8] = []
    func append(_ identifier: UInt64, _ value: UInt64) {
      payload.appendVarint(identifier)
      payload.appendVarint(value)
    }
    if qpackMaximumTableCapacity > 0 { append(Identifier.qpackMaximumTableCapacity, qpackMaximumTableCapacity) }
    if let maximumFieldSectionSize { append(Identifier.maximumFieldSectionSize, maximumFieldSectionSize) }
    if qpackBlockedStreams > 0 { append(Identifier.qpackBlockedStreams, qpackBlockedStreams) }
    if enableConnectProtocol { append(Identifier.enableConnectProtocol, 1) }
    if h3Datagram { append(Identifier.h3Datagram, 1) }
    return payload
  }

  /// Nil for what ``encoded`` never gives.
  public init?(encoded: [UInt8]) {
    guard let settings = try? encoded.withUnsafeBytes({ try Settings(payload: $0) }) else { return nil }
    self = settings
  }

  /// The SETTINGS frame, with one reserved setting that the peer must ignore (RFC 9114 §7.2.4.1).
  func encodedFrame(greaseSeed: UInt64) -> [UInt8] {
    var payload = encoded
    // RFC 9114 §7.2.4.1: reserved identifiers have the form 0x1f * N + 0x21. 16 bits of N keep it in four bytes.
    payload.appendVarint(0x1f * (greaseSeed & 0xffff) + 0x21)
    payload.appendVarint(greaseSeed >> 16 & 0x3fff)

    var frame: [UInt8] = []
    frame.appendVarint(FrameType.settings.rawValue)
    frame.appendVarint(UInt64(payload.count))
    return frame + payload
  }

  /// The first setting of `self` that went below what `remembered` promised to a client in 0-RTT, or nil.
  func downgrade(from remembered: Settings) -> String? {
    if remembered.h3Datagram && !h3Datagram { return "SETTINGS_H3_DATAGRAM" }
    if remembered.enableConnectProtocol && !enableConnectProtocol { return "SETTINGS_ENABLE_CONNECT_PROTOCOL" }
    // RFC 9114 §7.2.4.2: "If a server accepts 0-RTT but then sends a SETTINGS frame that omits a setting value that the client
    // understands (apart from reserved setting identifiers) that was previously specified to have a non-default value, this
    // MUST be treated as a connection error of type H3_SETTINGS_ERROR." Of this one alone the default is the most.
    if let former = remembered.maximumFieldSectionSize, maximumFieldSectionSize.map({ $0 < former }) ?? true {
      return "SETTINGS_MAX_FIELD_SECTION_SIZE"
    }
    if remembered.maximumFieldSectionSize == nil, maximumFieldSectionSize != nil {
      return "SETTINGS_MAX_FIELD_SECTION_SIZE"
    }
    if qpackBlockedStreams < remembered.qpackBlockedStreams { return "SETTINGS_QPACK_BLOCKED_STREAMS" }
    return nil
  }
}
