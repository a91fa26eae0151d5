public import HTTP3
public import QUIC

/// What a request stream of an ``HTTP3Session`` is bound to: a tunnel, or a page being fetched.
///
/// The session calls these synchronously on its ring: an implementation is an actor of the same ring
/// that enters itself with `assumeIsolated`. From ``receive(data:)`` and ``receive(datagram:)``, which
/// are handed bytes inside the session's own buffers, it may call nothing of the session but
/// ``HTTP3Session/cancelSoon(_:code:)``.
public protocol RequestStreamHandler: AnyObject, Sendable {
  /// Response fields at a client, interim ones included; trailers at either end come the same way.
  nonisolated func receive(fields: HeaderList, finished: Bool)

  /// The next bytes of the body; returns how many were consumed. What is not consumed stays in the
  /// stream, holds the sender back by flow control, and is offered again after
  /// ``HTTP3Session/resumeReading(_:)``.
  nonisolated func receive(data: UnsafeRawBufferPointer) -> Int

  /// The peer has ended its side, and everything before that has been consumed.
  nonisolated func receiveEnd()

  /// An HTTP datagram's payload, context ID included (RFC 9297 §2.1).
  nonisolated func receive(datagram: UnsafeRawBufferPointer)

  /// A short send may be continued.
  nonisolated func writable()

  /// The peer reads no more of what we send; a response may still come.
  nonisolated func peerStoppedReading(code: UInt64)

  /// The stream is over in both directions, or broken; nothing follows.
  nonisolated func ended(_ reason: RequestStreamEnd)
}

extension RequestStreamHandler {
  public nonisolated func receive(datagram: UnsafeRawBufferPointer) {}
  public nonisolated func peerStoppedReading(code: UInt64) {}
}

/// Why a request stream ended.
public enum RequestStreamEnd: Error, Hashable, Sendable {
  /// The peer reset its side, or asked us to stop (RFC 9114 §8.1 codes).
  case reset(code: UInt64)
  /// The connection below is gone.
  case connectionClosed(CloseReason)
}

extension Error {
  /// The request that ended so was certainly not processed, and belongs on another connection: the server has rejected it
  /// (RFC 9114 §4.1.1: "The client can treat requests rejected by the server as though they had never been sent at all"),
  /// by its code or by the identifier of its GOAWAY, or it was never sent.
  public var leavesRequestUnprocessed: Bool {
    switch self as any Error {
    case SendError.goingAway, SendError.closed: true
    case RequestStreamEnd.reset(let code): HTTP3.ErrorCode(rawValue: code) == .requestRejected
    default: false
    }
  }
}
