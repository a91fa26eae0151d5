public import HTTP3
public import QUIC

/// Who is told of a session's life. Called synchronously on the session's ring.
public protocol HTTP3SessionDelegate: AnyObject, Sendable {
  /// The handshake is complete and the peer's SETTINGS are known: requests may be sent.
  nonisolated func sessionBecameReady(_ session: HTTP3Session)

  /// A server got a request. Returns what its stream is bound to, or nil when the delegate has
  /// answered it already with ``HTTP3Session/respond(_:on:finish:)``.
  nonisolated func session(
    _ session: HTTP3Session, request fields: HeaderList, on stream: StreamID, finished: Bool
  ) -> (any RequestStreamHandler)?

  /// The last call.
  nonisolated func session(_ session: HTTP3Session, closed reason: CloseReason)
}
