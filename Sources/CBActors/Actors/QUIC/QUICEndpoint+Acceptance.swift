public import HTTP3
public import QUIC
public import Ring
internal import Synchronization
public import Wire

extension QUICEndpoint {
  /// What a server needs to take new connections.
  public struct Acceptance: Sendable {
    public var settings: HTTP3.Settings
    /// Makes the owner of a connection, on the ring that serves it.
    public var makeDelegate: @Sendable (RingExecutor, SocketAddress) throws -> any HTTP3SessionDelegate
    /// Makes the server's side of a handshake.
    public var makeTLS: @Sendable () -> any TLSSession
    /// How many connections there may be, over all endpoints that this value, or a copy of it, is given to.
    let connections: ConnectionCount
    public var retry: QUIC.Endpoint<HTTP3Session>.RetryPolicy

    /// - Parameter maximumConnections: beyond so many connections new ones are not answered.
    public init(
      settings: HTTP3.Settings = .tunnel, maximumConnections: Int,
      retry: QUIC.Endpoint<HTTP3Session>.RetryPolicy = .underLoad(halfOpen: 1_000),
      makeDelegate: @escaping @Sendable (RingExecutor, SocketAddress) throws -> any HTTP3SessionDelegate,
      makeTLS: @escaping @Sendable () -> any TLSSession
    ) {
      self.settings = settings
      connections = ConnectionCount(limit: maximumConnections)
      self.retry = retry
      self.makeDelegate = makeDelegate
      self.makeTLS = makeTLS
    }
  }
}

/// Connections of the endpoints that share a limit.
final class ConnectionCount: Sendable {
  private let limit: Int
  private let count = Atomic(0)

  init(limit: Int) { self.limit = limit }

  /// Counts one more. Every success is to be followed by one ``release()``.
  func acquire() -> Bool {
    if count.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
    release()
    return false
  }

  func release() { count.wrappingSubtract(1, ordering: .relaxed) }
}
