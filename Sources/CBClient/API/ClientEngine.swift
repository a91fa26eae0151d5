/// What a front end asks of the client: the one seam between `cbterm` and the engine.
///
/// Every method may be called from any task. A method that waits honours the cancellation of the task
/// that called it: it undoes what it began and throws ``ClientError/Kind/cancelled``. The engine outlives
/// its calls; ``shutdown()`` ends it.
public protocol ClientEngine: Sendable {
  /// Signs in by the device flow (RFC 8628) and stores the tokens.
  ///
  /// - Parameter progress: called from any thread, in order, until the method returns.
  func login(progress: @escaping @Sendable (LoginProgress) -> Void) async throws(ClientError) -> Account

  /// Revokes and forgets the stored tokens. Being signed out already is no error.
  func logout() async throws(ClientError) -> LogoutResult

  /// The account that the stored tokens stand for. Throws ``ClientError/Kind/notSignedIn`` without one.
  func whoami() async throws(ClientError) -> Account

  /// Resolves the profile's PoP and measures each candidate; the nearest reachable one comes first.
  func discover() async throws(ClientError) -> [PoPCandidate]

  /// Connects to the PoP named, or to the nearest. Also starts the profile's proxies and tunnels.
  ///
  /// - Parameter pop: a name or address as ``discover()`` reports it; nil chooses by handshake RTT.
  func connect(pop: String?) async throws(ClientError) -> ConnectionStatus

  /// Closes the connection and every tunnel. Being disconnected already is no error.
  func disconnect() async throws(ClientError)

  func status() async -> ClientStatus

  /// Opens a forwarded port. Throws ``ClientError/Kind/usage`` when the name is taken.
  func addTunnel(_ tunnel: TunnelRequest) async throws(ClientError) -> TunnelStatus
  func listTunnels() async -> [TunnelStatus]

  /// Closes a forwarded port and returns its last figures. An unknown name throws ``ClientError/Kind/usage``.
  func removeTunnel(named name: String) async throws(ClientError) -> TunnelStatus

  /// One probe; the caller paces a series of them.
  ///
  /// - Parameters:
  ///   - host: nil measures an HTTP/3 request that the PoP answers itself;
  ///     `host` or `host:port` measures the opening of a tunnel to there and back.
  ///   - sequence: counts from 1, and comes back in the reply.
  func ping(host: String?, sequence: Int) async throws(ClientError) -> PingReply

  /// Requests a URL (`http` or `https`) by HTTP/1.1 through a CONNECT tunnel; returns when its head has arrived.
  /// Redirects are not followed.
  func get(_ request: GetRequest) async throws(ClientError) -> GetResponse

  /// The engine's log: the last `tail` lines, then, if `follow`, each line as it is written.
  /// Without `follow` the stream ends after the tail. A reader that falls behind loses the oldest lines.
  func log(tail: Int, follow: Bool) -> AsyncStream<LogLine>

  /// Changes from now on. Each call gives an independent stream; a slow reader loses the oldest events.
  func events() -> AsyncStream<ClientEvent>

  /// Disconnects, stops the listeners and ends every stream. Nothing else may be called afterwards.
  func shutdown() async
}
