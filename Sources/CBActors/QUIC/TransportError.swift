public import PacketCrypto

/// Why a connection ends or an operation fails, with the code that goes on the wire (RFC 9000 §20.1).
public struct TransportError: Error, Hashable, Sendable {
  public let code: Code
  /// What was wrong, for a log and for CONNECTION_CLOSE's reason phrase; never a secret.
  public let reason: String
  /// The type of the frame that provoked it, 0 when unknown (RFC 9000 §19.19).
  public let frameType: UInt64

  public init(_ code: Code, _ reason: String, frameType: UInt64 = 0) {
    self.code = code
    self.reason = reason
    self.frameType = frameType
  }

  /// RFC 9000 §20.1.
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public static let noError = Code(rawValue: 0x00)
    public static let internalError = Code(rawValue: 0x01)
    public static let connectionRefused = Code(rawValue: 0x02)
    public static let flowControlError = Code(rawValue: 0x03)
    public static let streamLimitError = Code(rawValue: 0x04)
    public static let streamStateError = Code(rawValue: 0x05)
    public static let finalSizeError = Code(rawValue: 0x06)
    public static let frameEncodingError = Code(rawValue: 0x07)
    public static let transportParameterError = Code(rawValue: 0x08)
    public static let connectionIDLimitError = Code(rawValue: 0x09)
    public static let protocolViolation = Code(rawValue: 0x0a)
    public static let invalidToken = Code(rawValue: 0x0b)
    public static let applicationError = Code(rawValue: 0x0c)
    public static let cryptoBufferExceeded = Code(rawValue: 0x0d)
    public static let keyUpdateError = Code(rawValue: 0x0e)
    public static let aeadLimitReached = Code(rawValue: 0x0f)
    public static let noViablePath = Code(rawValue: 0x10)
    /// RFC 9368 §4.
    public static let versionNegotiationError = Code(rawValue: 0x11)

    /// A TLS alert as an error code: 0x0100 plus the alert (RFC 9001 §4.8).
    public static func crypto(alert: UInt8) -> Code { Code(rawValue: 0x100 | UInt64(alert)) }

    /// The TLS alert inside, if it is one.
    public var alert: UInt8? { rawValue >> 8 == 1 ? UInt8(truncatingIfNeeded: rawValue) : nil }
  }
}

extension TransportError.Code: CustomStringConvertible {
  public var description: String {
    let names = [
      "NO_ERROR", "INTERNAL_ERROR", "CONNECTION_REFUSED", "FLOW_CONTROL_ERROR", "STREAM_LIMIT_ERROR",
      "STREAM_STATE_ERROR", "FINAL_SIZE_ERROR", "FRAME_ENCODING_ERROR", "TRANSPORT_PARAMETER_ERROR",
      "CONNECTION_ID_LIMIT_ERROR", "PROTOCOL_VIOLATION", "INVALID_TOKEN", "APPLICATION_ERROR",
      "CRYPTO_BUFFER_EXCEEDED", "KEY_UPDATE_ERROR", "AEAD_LIMIT_REACHED", "NO_VIABLE_PATH",
      "VERSION_NEGOTIATION_ERROR",
    ]
    if rawValue < UInt64(names.count) { return names[Int(rawValue)] }
    if let alert { return "CRYPTO_ERROR(\(alert))" }
    return "0x" + String(rawValue, radix: 16)
  }
}

extension TransportError: CustomStringConvertible {
  public var description: String { reason.isEmpty ? code.description : "\(code): \(reason)" }
}

/// Why a connection is no more. One value is delivered per connection, as its last event.
public enum CloseReason: Error, Hashable, Sendable {
  /// We closed it with a transport error, or the peer broke the protocol.
  case localTransport(TransportError)
  /// The peer sent CONNECTION_CLOSE of type 0x1c.
  case peerTransport(TransportError)
  /// Our application closed it.
  case localApplication(code: UInt64, reason: String)
  /// The peer's application closed it (CONNECTION_CLOSE of type 0x1d).
  case peerApplication(code: UInt64, reason: String)
  /// Nothing was heard for the idle time-out (RFC 9000 §10.1).
  case idleTimeout
  /// The handshake did not end in the configured time.
  case handshakeTimeout
  /// The peer lost its state and said so with a stateless reset (RFC 9000 §10.3).
  case statelessReset
  /// The peer does not speak the version that we began with (RFC 9000 §6.2). One of those that it offers may do:
  /// ``Configuration/following(_:)``.
  case versionMismatch(offered: [Version])
}
