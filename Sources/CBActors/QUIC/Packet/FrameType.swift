/// The frame types of RFC 9000 §19, RFC 9221 §4 and draft-ietf-quic-ack-frequency.
public enum FrameType {
  public static let padding: UInt64 = 0x00
  public static let ping: UInt64 = 0x01
  public static let ack: UInt64 = 0x02
  public static let ackECN: UInt64 = 0x03
  public static let resetStream: UInt64 = 0x04
  public static let stopSending: UInt64 = 0x05
  public static let crypto: UInt64 = 0x06
  public static let newToken: UInt64 = 0x07
  /// STREAM is 0x08 to 0x0f: the three low bits are OFF, LEN and FIN (RFC 9000 §19.8).
  public static let stream: UInt64 = 0x08
  public static let maxData: UInt64 = 0x10
  public static let maxStreamData: UInt64 = 0x11
  public static let maxStreamsBidirectional: UInt64 = 0x12
  public static let maxStreamsUnidirectional: UInt64 = 0x13
  public static let dataBlocked: UInt64 = 0x14
  public static let streamDataBlocked: UInt64 = 0x15
  public static let streamsBlockedBidirectional: UInt64 = 0x16
  public static let streamsBlockedUnidirectional: UInt64 = 0x17
  public static let newConnectionID: UInt64 = 0x18
  public static let retireConnectionID: UInt64 = 0x19
  public static let pathChallenge: UInt64 = 0x1a
  public static let pathResponse: UInt64 = 0x1b
  public static let connectionClose: UInt64 = 0x1c
  public static let connectionCloseApplication: UInt64 = 0x1d
  public static let handshakeDone: UInt64 = 0x1e
  public static let immediateAck: UInt64 = 0x1f
  /// DATAGRAM is 0x30 and 0x31: the low bit is LEN (RFC 9221 §4).
  public static let datagram: UInt64 = 0x30
  /// The only type known that takes two bytes.
  public static let ackFrequency: UInt64 = 0xaf

  static let streamFin: UInt64 = 0x01
  static let streamLength: UInt64 = 0x02
  static let streamOffset: UInt64 = 0x04

  /// The largest stream count, above which a stream ID would not fit a varint (RFC 9000 §19.11).
  static let maximumStreamCount: UInt64 = 1 << 60

  /// Whether a packet of `level` may carry the type: the "Pkts" column of RFC 9000 §12.4 table 3, less what
  /// §12.5 says is impossible in 0-RTT. True for types that are unknown.
  static func isPermitted(_ type: UInt64, at level: EncryptionLevel) -> Bool {
    switch level {
    case .oneRTT:
      return true
    case .initial, .handshake:
      switch type {
      case padding, ping, ack, ackECN, crypto, connectionClose: return true
      case ...immediateAck, datagram...(datagram + 1), ackFrequency: return false
      default: return true
      }
    case .zeroRTT:
      switch type {
      case ack, ackECN, crypto, newToken, retireConnectionID, pathResponse, handshakeDone: return false
      // ack-frequency §3: "ACK_FREQUENCY and IMMEDIATE_ACK frames cannot be sent in 0-RTT packets"
      case immediateAck, ackFrequency: return false
      default: return true
      }
    }
  }
}
