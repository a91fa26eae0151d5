public import HTTP3
public import Logging
public import QUIC
public import Ring
public import Wire

/// One UDP socket and the connections behind it, on one ring: a PoP's front door, or a client's way out.
public actor QUICEndpoint {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private var core: QUIC.Endpoint<HTTP3Session>
  private var socket: UDPSocket?
  private var sessions: [ObjectIdentifier: HTTP3Session] = [:]
  private var dirty: [HTTP3Session] = []
  private var blocked: [HTTP3Session] = []
  private let accept: Acceptance?
  private let logger: Logger
  private var stoppedWaiters: [CheckedContinuation<Void, Never>] = []
  public private(set) var counters = Counters()

  /// What a server needs to take new connections.
  public struct Acceptance: Sendable {
    public var configuration: QUIC.Configuration
    public var settings: HTTP3.Settings
    /// Makes the server side of a handshake.
    public var makeTLS: @Sendable () -> any TLSSession
    public var delegate: any HTTP3SessionDelegate
    /// Connections beyond this are refused (CONNECTION_REFUSED).
    public var maximumConnections: Int

    public init(
      configuration: QUIC.Configuration, settings: HTTP3.Settings = .tunnel, maximumConnections: Int,
      delegate: any HTTP3SessionDelegate, makeTLS: @escaping @Sendable () -> any TLSSession
    ) {
      self.configuration = configuration
      self.settings = settings
      self.maximumConnections = maximumConnections
      self.delegate = delegate
      self.makeTLS = makeTLS
    }
  }

  /// Datagrams that reached no connection, by what became of them, and what the socket reported.
  public struct Counters: Sendable, Hashable {
    public var datagramsReceived: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    public var connectionsAccepted: UInt64 = 0
    public var connectionsRefused: UInt64 = 0
    public var repliesSent: UInt64 = 0
    public var dropped: [DropReason: UInt64] = [:]
    public var socketErrors: UInt64 = 0
  }

  public init(ring: RingExecutor, core: consuming QUIC.Endpoint<HTTP3Session>, accept: Acceptance?, logger: Logger) {
    self.ring = ring
    self.core = core
    self.accept = accept
    self.logger = logger
  }
}

// MARK: - Life

extension QUICEndpoint {
  /// Binds the socket and begins to receive. Returns the address really bound.
  ///
  /// - Parameter reusePort: lets the endpoints of several rings share the address (SO_REUSEPORT).
  @discardableResult
  public func start(on address: SocketAddress, reusePort: Bool = false) throws -> SocketAddress {
    var options = UDPSocketOptions.endpoint
    options.reusePort = reusePort
    let socket = try UDPSocket(on: ring, bind: address, options: options, delegate: self)
    self.socket = socket
    return socket.localAddress
  }

  /// Closes every connection, waits until each has said so, and closes the socket.
  public func stop() async {
    for session in sessions.values { session.assumeIsolated { $0.close() } }
    if !sessions.isEmpty { await withCheckedContinuation { stoppedWaiters.append($0) } }
    socket?.close()
    socket = nil
  }

  /// Tells every client to take its next requests elsewhere (RFC 9114 §5.2).
  public func goAway() {
    for session in sessions.values { session.assumeIsolated { $0.goAway() } }
  }

  public var localAddress: SocketAddress? { socket?.localAddress }
  public var openSessions: [HTTP3Session] { Array(sessions.values) }

  /// Opens a connection. It is usable after ``HTTP3Session/ready()``.
  ///
  /// - Throws: ``QUICEndpointError`` when the endpoint has not been started or is stopped.
  public func connect(
    to remote: SocketAddress, configuration: QUIC.Configuration, settings: HTTP3.Settings = .tunnel,
    tls: sending any TLSSession, delegate: (any HTTP3SessionDelegate)?
  ) throws -> HTTP3Session {
    guard let socket else { throw QUICEndpointError.notStarted }
    let path = Path(local: socket.localAddress, remote: remote)
    let connection = QUIC.Connection(
      client: configuration, tls: tls, path: path, now: ring.refreshNow(), entropy: SystemEntropy.shared)
    let session = HTTP3Session(
      connection: connection, settings: settings, remote: remote, endpoint: self,
      socket: RingBound(socket), delegate: delegate)
    sessions[ObjectIdentifier(session)] = session
    session.assumeIsolated { $0.markDirty() }
    return session
  }
}

public enum QUICEndpointError: Error, Hashable, Sendable {
  case notStarted
}

// MARK: - What sessions ask

extension QUICEndpoint {
  func route(_ id: ConnectionID, to session: HTTP3Session) { core.add(id, session) }
  func unroute(_ id: ConnectionID) { core.remove(id) }

  func sessionBecameDirty(_ session: HTTP3Session) {
    if dirty.isEmpty { ring.atBatchEnd(self) }
    dirty.append(session)
  }

  func sessionIsBlocked(_ session: HTTP3Session) { blocked.append(session) }

  func remove(_ session: HTTP3Session) {
    sessions[ObjectIdentifier(session)] = nil
    if sessions.isEmpty {
      for waiter in stoppedWaiters { waiter.resume() }
      stoppedWaiters = []
    }
  }

  private func flushDirty() {
    let batch = dirty
    dirty.removeAll(keepingCapacity: true)
    for session in batch { session.assumeIsolated { $0.flush() } }
  }
}

extension QUICEndpoint: BatchEndObserver {
  public nonisolated func batchEnded() { assumeIsolated { $0.flushDirty() } }
}

// MARK: - What the socket brings

extension QUICEndpoint: UDPSocketDelegate {
  public nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    assumeIsolated {
      $0.receive(
        bytes, segmentSize: segmentSize, path: Path(local: local, remote: remote), ecn: ECN(rawValue: ecn & 3)!)
    }
  }

  public nonisolated func udpSocketWritable(_ socket: UDPSocket) {
    assumeIsolated { endpoint in
      let waiting = endpoint.blocked
      endpoint.blocked.removeAll(keepingCapacity: true)
      for session in waiting { session.assumeIsolated { $0.markDirty() } }
    }
  }

  public nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {
    assumeIsolated { endpoint in
      endpoint.counters.socketErrors += 1
      endpoint.logger.debug("UDP socket: \(error)")
    }
  }
}
