public import QUIC

/// What an HTTP/3 connection tells its owner. Drained with ``Connection/nextEvent()`` after each call that feeds it.
public enum Event: Hashable, Sendable {
  /// The peer's SETTINGS are known. Extended CONNECT and datagrams may be used if they say so.
  case settingsReceived(Settings)
  /// A server got a request. When `finished`, neither content nor trailers follow.
  case requestReceived(StreamID, HeaderList, finished: Bool)
  /// A client got the final response. When `finished`, neither content nor trailers follow.
  case responseReceived(StreamID, HeaderList, finished: Bool)
  /// A client got a 1xx response; another response follows.
  case interimResponseReceived(StreamID, HeaderList)
  /// The trailer section; the end follows through ``Connection/readData(_:on:_:)``.
  case trailersReceived(StreamID, HeaderList)
  /// There is content, or its end, to read. Said again only after a read returned `.blocked`.
  case dataReadable(StreamID)
  /// ``Connection/sendData(_:_:finish:on:)`` took too little, and there is room again.
  case dataWritable(StreamID)
  /// The peer gave up sending; what it sent may be incomplete. Also said, with H3_REQUEST_REJECTED, of a
  /// request that a GOAWAY or refused early data made void: it may be sent again elsewhere.
  case streamReset(StreamID, ErrorCode)
  /// The peer reads no more: our sending on the stream is over.
  case streamStopped(StreamID, ErrorCode)
  /// We gave up the stream, both ways, over what the peer sent.
  case streamFailed(StreamID, StreamError)
  /// A request that found no stream can be sent now.
  case requestsAvailable
  /// Datagrams wait for ``Connection/readDatagrams(on:_:)``.
  case datagramsReceived
  /// The datagram queue was full and has room again.
  case datagramsSendable
  /// The peer goes away (RFC 9114 §5.2). To a client: requests on this stream ID and above are void.
  case goAway(identifier: UInt64)
  /// We closed the connection over what the peer sent. `.closed` follows from the transport.
  case connectionError(ConnectionError)
  /// The transport has ended; nothing follows.
  case closed(CloseReason)
}
