public import QUIC

/// An application error code of HTTP/3 and its extensions, as it stands in RESET_STREAM, STOP_SENDING
/// and CONNECTION_CLOSE (RFC 9114 §8.1, RFC 9204 §6, RFC 9297 §5.2).
public struct ErrorCode: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  public static let datagramError = ErrorCode(rawValue: 0x33)
  public static let noError = ErrorCode(rawValue: 0x100)
  public static let generalProtocolError = ErrorCode(rawValue: 0x101)
  public static let internalError = ErrorCode(rawValue: 0x102)
  public static let streamCreationError = ErrorCode(rawValue: 0x103)
  public static let closedCriticalStream = ErrorCode(rawValue: 0x104)
  public static let frameUnexpected = ErrorCode(rawValue: 0x105)
  public static let frameError = ErrorCode(rawValue: 0x106)
  public static let excessiveLoad = ErrorCode(rawValue: 0x107)
  public static let idError = ErrorCode(rawValue: 0x108)
  public static let settingsError = ErrorCode(rawValue: 0x109)
  public static let missingSettings = ErrorCode(rawValue: 0x10a)
  public static let requestRejected = ErrorCode(rawValue: 0x10b)
  public static let requestCancelled = ErrorCode(rawValue: 0x10c)
  public static let requestIncomplete = ErrorCode(rawValue: 0x10d)
  public static let messageError = ErrorCode(rawValue: 0x10e)
  public static let connectError = ErrorCode(rawValue: 0x10f)
  public static let versionFallback = ErrorCode(rawValue: 0x110)
  public static let qpackDecompressionFailed = ErrorCode(rawValue: 0x200)
  public static let qpackEncoderStreamError = ErrorCode(rawValue: 0x201)
  public static let qpackDecoderStreamError = ErrorCode(rawValue: 0x202)

  private static let names: [ErrorCode: String] = [
    .datagramError: "H3_DATAGRAM_ERROR",
    .noError: "H3_NO_ERROR",
    .generalProtocolError: "H3_GENERAL_PROTOCOL_ERROR",
    .internalError: "H3_INTERNAL_ERROR",
    .streamCreationError: "H3_STREAM_CREATION_ERROR",
    .closedCriticalStream: "H3_CLOSED_CRITICAL_STREAM",
    .frameUnexpected: "H3_FRAME_UNEXPECTED",
    .frameError: "H3_FRAME_ERROR",
    .excessiveLoad: "H3_EXCESSIVE_LOAD",
    .idError: "H3_ID_ERROR",
    .settingsError: "H3_SETTINGS_ERROR",
    .missingSettings: "H3_MISSING_SETTINGS",
    .requestRejected: "H3_REQUEST_REJECTED",
    .requestCancelled: "H3_REQUEST_CANCELLED",
    .requestIncomplete: "H3_REQUEST_INCOMPLETE",
    .messageError: "H3_MESSAGE_ERROR",
    .connectError: "H3_CONNECT_ERROR",
    .versionFallback: "H3_VERSION_FALLBACK",
    .qpackDecompressionFailed: "QPACK_DECOMPRESSION_FAILED",
    .qpackEncoderStreamError: "QPACK_ENCODER_STREAM_ERROR",
    .qpackDecoderStreamError: "QPACK_DECODER_STREAM_ERROR",
  ]

  /// What a received code means here.
  // RFC 9114 §8: "receipt of an unknown error code MUST be treated as equivalent to H3_NO_ERROR"
  public var meaning: ErrorCode { Self.names[self] == nil ? .noError : self }
}

extension ErrorCode: CustomStringConvertible {
  public var description: String { Self.names[self] ?? "0x" + String(rawValue, radix: 16) }
}

/// Why the whole connection must end (RFC 9114 §8). Its code goes into CONNECTION_CLOSE.
public struct ConnectionError: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: ErrorCode
  /// What was wrong, for a log and the reason phrase; never a field's value.
  public let reason: String

  public init(_ code: ErrorCode, _ reason: String) {
    self.code = code
    self.reason = reason
  }

  public var description: String { "\(code): \(reason)" }
}

/// Why one stream is given up while the connection goes on (RFC 9114 §8).
public struct StreamError: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: ErrorCode
  /// What was wrong, for a log; never a field's value.
  public let reason: String

  public init(_ code: ErrorCode, _ reason: String) {
    self.code = code
    self.reason = reason
  }

  public var description: String { "\(code): \(reason)" }
}

/// Why a message was not sent. Nothing has gone out.
public enum SendError: Error, Hashable, Sendable {
  /// The connection has ended or is not started.
  case closed
  /// RFC 9114 §5.2: the peer sent GOAWAY, or we did; requests belong on another connection.
  case goingAway
  /// The stream is unknown, or its sending side is over.
  case streamClosed(StreamID)
  /// RFC 8441 §3 by way of RFC 9220: the server has not said that it takes `:protocol`.
  case extendedConnectNotEnabled
  /// The message breaks a rule of RFC 9114 §4, or comes where none is due.
  case malformed(String)
  /// RFC 9114 §4.2.2: larger than the peer takes, or than our own bound. In bytes, as counted there.
  case fieldSectionTooLarge(size: Int, limit: UInt64)
}
