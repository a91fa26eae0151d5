public import Wire

/// What a connection tells its owner. Drained with `nextEvent()` after each call that feeds it.
public enum Event: Hashable, Sendable {
  /// The TLS handshake is complete: ALPN, peer certificate and transport parameters are known.
  case handshakeCompleted
  /// RFC 9001 §4.1.2: keys below 1-RTT are gone, the connection may migrate.
  case handshakeConfirmed
  /// Streams can be used before the handshake is complete: a client may send 0-RTT packets, which someone may replay
  /// (RFC 9001 §9.2); a server may send to a client that has proved nothing yet (RFC 9001 §5.7).
  case earlyDataReady
  /// 0-RTT was offered and refused (RFC 9001 §4.6.2): every stream opened so far is void.
  case earlyDataRejected
  /// The peer opened a stream.
  case streamOpened(StreamID)
  /// There is data, or an end, to read. Said again only after a read found nothing more.
  case streamReadable(StreamID)
  /// A write fell short, and there is room again.
  case streamWritable(StreamID)
  /// The peer sent RESET_STREAM: reading is over.
  case streamReset(StreamID, code: UInt64)
  /// The peer sent STOP_SENDING: writing is over, RESET_STREAM has been queued.
  case streamStopped(StreamID, code: UInt64)
  /// Everything written, with its end, has been acknowledged.
  case streamFinished(StreamID)
  /// The peer raised its limit: a stream that could not be opened now can.
  case streamsAvailable(StreamDirection)
  /// A datagram waits to be read (RFC 9221). Said once until the queue has been emptied.
  case datagramsReceived
  /// The datagram send queue was full and has room again.
  case datagramsSendable
  /// A connection ID of ours that must be routed to this connection from now on.
  case connectionIDIssued(ConnectionID)
  /// A connection ID of ours that must no longer be routed here.
  case connectionIDRetired(ConnectionID)
  /// The server gave a token that a later connection to it may begin with, one alone (RFC 9000 §8.1.3).
  case tokenReceived([UInt8])
  /// Packets to the peer now go this way (RFC 9000 §9).
  case pathChanged(Path)
  /// The connection has ended; nothing follows. Its IDs stay routed until `isDrained`.
  case closed(CloseReason)
}

/// A local and a remote address: one path of a connection (RFC 9000 §9).
public struct Path: Hashable, Sendable {
  public var local: SocketAddress
  public var remote: SocketAddress
  public init(local: SocketAddress, remote: SocketAddress) {
    self.local = local
    self.remote = remote
  }
}

/// The two ECN bits of the IP header (RFC 3168 §5).
public enum ECN: UInt8, Sendable {
  case notECT = 0
  case ect1 = 1
  case ect0 = 2
  case ce = 3
}

/// One batch to send in one system call: `byteCount` bytes, cut by the kernel into datagrams of
/// `segmentSize`, the last of which may be shorter (UDP_SEGMENT).
public struct Transmission: Hashable, Sendable {
  public var path: Path
  public var byteCount: Int
  public var segmentSize: Int
  public var ecn: ECN
  public init(path: Path, byteCount: Int, segmentSize: Int, ecn: ECN) {
    self.path = path
    self.byteCount = byteCount
    self.segmentSize = segmentSize
    self.ecn = ecn
  }
}
