/// What a protocol above QUIC asks of a connection: streams and datagrams.
///
/// ``Connection`` is one; a test of HTTP/3 passes another that keeps bytes in memory. Passed `inout`
/// and generic, never as an existential.
public protocol StreamTransport: ~Copyable {
  var role: Role { get }

  /// Opens a stream. Nil when the peer's limit is reached: `.streamsAvailable` says when to try again.
  mutating func openStream(_ direction: StreamDirection) -> StreamID?

  /// Queues a copy of as many of `bytes` as fit and returns how many; after a short count
  /// `.streamWritable` follows when there is room. `finish` ends the stream after the last byte and
  /// takes effect only if all of `bytes` was taken. A stream that is gone or stopped takes everything and drops it.
  mutating func write(_ stream: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool) -> Int

  /// How many bytes ``write(_:_:finish:)`` would take now.
  func writableBytes(_ stream: StreamID) -> Int

  /// Hands the next contiguous bytes to `body`, which returns how many it consumed; they are freed
  /// and flow-control credit for them is granted. `finished` is true when these bytes are the last.
  /// Called again until it returns `.blocked`, since bytes may lie in several pieces.
  mutating func read(
    _ stream: StreamID, _ body: (_ bytes: UnsafeRawBufferPointer, _ finished: Bool) -> Int
  ) -> StreamRead

  /// Says how urgent what we send on a stream is (RFC 9218 §10); until then it is ``StreamPriority/shared``.
  mutating func setPriority(_ stream: StreamID, _ priority: StreamPriority)

  /// Abandons our side with RESET_STREAM.
  mutating func reset(_ stream: StreamID, code: UInt64)

  /// Asks the peer to stop with STOP_SENDING, and drops what has come.
  mutating func stopReading(_ stream: StreamID, code: UInt64)

  /// Largest datagram payload that can be sent now; nil when the peer takes none (RFC 9221 §3).
  var maximumDatagramSize: Int? { get }

  /// Queues a datagram made of two parts put together (a header and a payload). False when it is
  /// too large or there is no support; when the queue is full the oldest is dropped and counted.
  mutating func sendDatagram(_ header: UnsafeRawBufferPointer, _ payload: UnsafeRawBufferPointer) -> Bool

  /// Hands the oldest datagram received to `body`; false when there is none.
  mutating func readDatagram(_ body: (UnsafeRawBufferPointer) -> Void) -> Bool

  /// Ends the connection with an application's code (CONNECTION_CLOSE of type 0x1d).
  mutating func close(code: UInt64, reason: String)
}

/// The outcome of one ``StreamTransport/read(_:_:)``.
public enum StreamRead: Sendable {
  /// `body` was called and there may be more.
  case progressed
  /// There is nothing to read now, or `body` consumed nothing.
  case blocked
  /// The end was delivered and consumed, or the stream is gone.
  case ended
}
