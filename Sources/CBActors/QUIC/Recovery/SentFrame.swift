/// What a packet carried that must be repaired if the packet is lost, or settled when it is
/// acknowledged (RFC 9000 §13.3). Trivial and of 24 bytes: a log of them costs no reference counting.
///
/// Values that can have changed since (limits, blocked offsets) are left out: the repair sends what holds then.
package enum SentFrame: Hashable, Sendable {
  case crypto(offset: UInt64, length: UInt16)
  case stream(StreamID, offset: UInt64, length: UInt16, fin: Bool)
  /// An ACK frame whose Largest Acknowledged was this.
  case ack(largest: UInt64)
  case maxData
  case maxStreamData(StreamID)
  case maxStreams(StreamDirection)
  case dataBlocked
  case streamDataBlocked(StreamID)
  case streamsBlocked(StreamDirection)
  case resetStream(StreamID)
  case stopSending(StreamID)
  case newConnectionID(sequence: UInt64)
  case retireConnectionID(sequence: UInt64)
  case newToken
  case handshakeDone
  case pathChallenge
  case pathResponse
  case datagram
  case ping
  case ackFrequency(sequence: UInt64)
  /// A PING that, padded, probes the path for a larger datagram (RFC 9000 §14.4).
  case mtuProbe(size: UInt16)
}
