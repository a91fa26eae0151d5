/// A frame of RFC 9000 §19 or RFC 9221 §4, as it stands in a packet.
///
/// Byte payloads are slices of that packet: they live as long as its memory does.
public enum Frame {
  /// A run of PADDING frames.
  case padding(count: Int)
  case ping
  case ack(AckFrame)
  case resetStream(StreamID, code: UInt64, finalSize: UInt64)
  case stopSending(StreamID, code: UInt64)
  case crypto(offset: UInt64, data: UnsafeRawBufferPointer)
  case newToken(UnsafeRawBufferPointer)
  case stream(StreamFrame)
  case maxData(UInt64)
  case maxStreamData(StreamID, maximum: UInt64)
  case maxStreams(StreamDirection, maximum: UInt64)
  case dataBlocked(limit: UInt64)
  case streamDataBlocked(StreamID, limit: UInt64)
  case streamsBlocked(StreamDirection, limit: UInt64)
  case newConnectionID(NewConnectionIDFrame)
  case retireConnectionID(sequence: UInt64)
  case pathChallenge(UInt64)
  case pathResponse(UInt64)
  case connectionClose(ConnectionCloseFrame)
  case handshakeDone
  case datagram(UnsafeRawBufferPointer)
  case ackFrequency(AckFrequencyFrame)
  case immediateAck
}

extension Frame {
  /// RFC 9000 §13.2: every frame but ACK, PADDING and CONNECTION_CLOSE asks for an acknowledgement.
  public var isAckEliciting: Bool {
    switch self {
    case .ack, .padding, .connectionClose: false
    default: true
    }
  }

  /// RFC 9000 §9.1: frames that probe a path without migrating to it.
  public var isProbing: Bool {
    switch self {
    case .pathChallenge, .pathResponse, .newConnectionID, .padding: true
    default: false
    }
  }
}

/// ACK_FREQUENCY (draft-ietf-quic-ack-frequency §4): how the sender of data would have it acknowledged.
public struct AckFrequencyFrame: Hashable, Sendable {
  public var sequence: UInt64
  /// Ack-eliciting packets that may come without an acknowledgement.
  public var ackElicitingThreshold: UInt64
  /// Microseconds.
  public var requestedMaxAckDelay: UInt64
  /// How far a packet may be overtaken before an acknowledgement is due at once; 0 is any distance.
  public var reorderingThreshold: UInt64

  public init(
    sequence: UInt64, ackElicitingThreshold: UInt64, requestedMaxAckDelay: UInt64, reorderingThreshold: UInt64
  ) {
    self.sequence = sequence
    self.ackElicitingThreshold = ackElicitingThreshold
    self.requestedMaxAckDelay = requestedMaxAckDelay
    self.reorderingThreshold = reorderingThreshold
  }
}

/// STREAM (RFC 9000 §19.8). `offset + data.count` is at most 2^62 − 1.
public struct StreamFrame {
  public let id: StreamID
  public let offset: UInt64
  public let isFin: Bool
  public let data: UnsafeRawBufferPointer
}

/// NEW_CONNECTION_ID (RFC 9000 §19.15). `retirePriorTo` is at most `sequence`.
public struct NewConnectionIDFrame {
  public let sequence: UInt64
  public let retirePriorTo: UInt64
  public let connectionID: ConnectionID
  public let resetToken: StatelessResetToken
}

/// CONNECTION_CLOSE (RFC 9000 §19.19).
public struct ConnectionCloseFrame {
  /// True for type 0x1d: the code is the application's.
  public let isApplication: Bool
  public let code: UInt64
  /// The type of the frame that provoked it, 0 when unknown or in type 0x1d.
  public let frameType: UInt64
  /// Text of the peer's choosing, not necessarily UTF-8.
  public let reason: UnsafeRawBufferPointer
}

extension ConnectionCloseFrame {
  /// The reason phrase as text, cut at 256 bytes, with what is not UTF-8 replaced.
  public var reasonText: String { String(decoding: reason.prefix(256), as: UTF8.self) }
}
