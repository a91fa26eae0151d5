public import Foundation

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

// MARK: - Errors

/// What went wrong, as a user should read it.
public struct ClientError: Error, Hashable, Codable, Sendable {
  /// Decides the exit code of a command (see ``exitCode``).
  public enum Kind: String, Codable, Sendable, CaseIterable {
    /// None of the others.
    case failure
    /// The request made no sense: an unknown name, a malformed address, a name already taken.
    case usage
    /// No stored tokens, or tokens that the issuer or the PoP no longer accepts.
    case notSignedIn
    /// Discovery found no PoP, or none that answered.
    case noPoPReachable
    /// The connection was lost, or an answer did not come in time.
    case connectionLost
    /// The PoP's policy, or the identity provider, said no.
    case refused
    /// A profile or setting is wrong.
    case configuration
    /// The calling task was cancelled.
    case cancelled
  }

  public var kind: Kind
  /// One sentence without a full stop, naming what failed and why. Never holds a secret.
  public var message: String
  /// What the user may do about it.
  public var hint: String?

  public init(_ kind: Kind, _ message: String, hint: String? = nil) {
    self.kind = kind
    self.message = message
    self.hint = hint
  }

  /// The process exit status of a command that ended so.
  public var exitCode: Int32 {
    switch kind {
    case .failure: 1
    case .usage: 2
    case .notSignedIn: 3
    case .noPoPReachable: 4
    case .connectionLost: 5
    case .refused: 6
    case .configuration: 7
    case .cancelled: 130
    }
  }
}

extension ClientError: CustomStringConvertible {
  public var description: String { hint.map { "\(message) (\($0))" } ?? message }
}

// MARK: - Signing in

/// The steps of a device-flow sign-in, as they happen.
public enum LoginProgress: Hashable, Codable, Sendable {
  case contactingIssuer(String)
  /// Show these to the user; the engine is polling from now on.
  case userCode(DeviceCode)
  /// The issuer asked for slower polling (RFC 8628 §3.5), or a poll failed and is tried again.
  case waiting(reason: String)
}

/// What the user needs to approve a sign-in on another device (RFC 8628 §3.2).
public struct DeviceCode: Hashable, Codable, Sendable {
  public var userCode: String
  public var verificationURI: String
  /// The same with the code inside: what a QR code should carry.
  public var verificationURIComplete: String?
  public var expiresAt: Date

  public init(userCode: String, verificationURI: String, verificationURIComplete: String?, expiresAt: Date) {
    self.userCode = userCode
    self.verificationURI = verificationURI
    self.verificationURIComplete = verificationURIComplete
    self.expiresAt = expiresAt
  }
}

public struct Account: Hashable, Codable, Sendable {
  public var subject: String
  public var name: String?
  public var email: String?
  public var organisation: String?
  public var roles: [String]
  public var issuer: String
  /// When the access token ends; the engine renews it before that where the issuer allows.
  public var expiresAt: Date
  /// Whether a refresh token is stored.
  public var renewable: Bool

  public init(
    subject: String, name: String? = nil, email: String? = nil, organisation: String? = nil, roles: [String] = [],
    issuer: String, expiresAt: Date, renewable: Bool
  ) {
    self.subject = subject
    self.name = name
    self.email = email
    self.organisation = organisation
    self.roles = roles
    self.issuer = issuer
    self.expiresAt = expiresAt
    self.renewable = renewable
  }
}

public struct LogoutResult: Hashable, Codable, Sendable {
  /// Whether there was anything to forget.
  public var wasSignedIn: Bool
  /// Whether the issuer confirmed the revocation (RFC 7009). The local tokens are gone in any case.
  public var revoked: Bool

  public init(wasSignedIn: Bool, revoked: Bool) {
    self.wasSignedIn = wasSignedIn
    self.revoked = revoked
  }
}

// MARK: - PoPs and the connection

/// One address of one PoP, as discovery sees it.
public struct PoPCandidate: Hashable, Codable, Sendable {
  /// The PoP's name, such as `fra1`, or its host name where it has no shorter one.
  public var name: String
  /// `192.0.2.1:443` or `[2001:db8::1]:443`.
  public var address: String
  /// Where the address came from.
  public var source: Source
  /// The measured QUIC handshake round trip in milliseconds; nil when it did not answer.
  public var rttMilliseconds: Double?
  /// Why it did not answer.
  public var failure: String?

  public enum Source: String, Codable, Sendable { case profile, https, srv, address }

  public init(name: String, address: String, source: Source, rttMilliseconds: Double? = nil, failure: String? = nil) {
    self.name = name
    self.address = address
    self.source = source
    self.rttMilliseconds = rttMilliseconds
    self.failure = failure
  }
}

public enum ConnectionState: String, Codable, Sendable, CaseIterable {
  case disconnected, connecting, connected
  /// The connection was lost and comes back by itself; the local listeners stay.
  case reconnecting
  case disconnecting
}

public struct ConnectionStatus: Hashable, Codable, Sendable {
  public var pop: String
  public var address: String
  public var connectedAt: Date
  /// `X25519MLKEM768`, `X25519` and the like; nil when unknown.
  public var keyExchange: String?
  /// The AEAD in use, such as `AES-128-GCM`.
  public var cipher: String?
  public var resumption: Resumption
  public var congestion: String
  /// Smoothed and least round-trip times in milliseconds (RFC 9002 §5).
  public var smoothedRTTMilliseconds: Double
  public var minimumRTTMilliseconds: Double
  public var congestionWindowBytes: Int
  public var mtuBytes: Int
  public var bytesSent: UInt64
  public var bytesReceived: UInt64
  public var packetsLost: UInt64

  /// How the handshake was shortened (RFC 8446 §2.2, §2.3).
  public enum Resumption: String, Codable, Sendable {
    case none
    /// The certificate was not shown again.
    case resumed
    /// And the first request left with the first packet.
    case earlyData = "early data"
  }

  public init(
    pop: String, address: String, connectedAt: Date, keyExchange: String? = nil, cipher: String? = nil,
    resumption: Resumption = .none, congestion: String, smoothedRTTMilliseconds: Double, minimumRTTMilliseconds: Double,
    congestionWindowBytes: Int,
    mtuBytes: Int, bytesSent: UInt64, bytesReceived: UInt64, packetsLost: UInt64
  ) {
    self.pop = pop
    self.address = address
    self.connectedAt = connectedAt
    self.keyExchange = keyExchange
    self.cipher = cipher
    self.resumption = resumption
    self.congestion = congestion
    self.smoothedRTTMilliseconds = smoothedRTTMilliseconds
    self.minimumRTTMilliseconds = minimumRTTMilliseconds
    self.congestionWindowBytes = congestionWindowBytes
    self.mtuBytes = mtuBytes
    self.bytesSent = bytesSent
    self.bytesReceived = bytesReceived
    self.packetsLost = packetsLost
  }
}

public struct ClientStatus: Hashable, Codable, Sendable {
  public var profile: String
  public var state: ConnectionState
  /// Present while connected.
  public var connection: ConnectionStatus?
  /// The signed-in user's name or subject; nil when signed out.
  public var account: String?
  public var tokenExpiresAt: Date?
  /// Local listeners that are up, such as `socks` on `127.0.0.1:1080`.
  public var listeners: [Listener]
  public var tunnels: [TunnelStatus]
  /// Why the last connection ended.
  public var lastError: String?

  public struct Listener: Hashable, Codable, Sendable {
    /// `socks`, `http`.
    public var name: String
    public var address: String
    public var openConnections: Int
    public init(name: String, address: String, openConnections: Int) {
      self.name = name
      self.address = address
      self.openConnections = openConnections
    }
  }

  public init(
    profile: String, state: ConnectionState, connection: ConnectionStatus? = nil, account: String? = nil,
    tokenExpiresAt: Date? = nil, listeners: [Listener] = [], tunnels: [TunnelStatus] = [], lastError: String? = nil
  ) {
    self.profile = profile
    self.state = state
    self.connection = connection
    self.account = account
    self.tokenExpiresAt = tokenExpiresAt
    self.listeners = listeners
    self.tunnels = tunnels
    self.lastError = lastError
  }
}

// MARK: - Tunnels

public enum TunnelTransport: String, Codable, Sendable, CaseIterable {
  /// CONNECT-UDP (RFC 9298).
  case udp
  /// CONNECT (RFC 9114 §4.4).
  case tcp
}

public struct TunnelRequest: Hashable, Codable, Sendable {
  /// Nil lets the engine name it.
  public var name: String?
  public var transport: TunnelTransport
  /// A loopback `address:port`; port 0 lets the kernel choose.
  public var listen: String
  /// `host:port`; the PoP resolves the name.
  public var target: String

  public init(name: String? = nil, transport: TunnelTransport, listen: String, target: String) {
    self.name = name
    self.transport = transport
    self.listen = listen
    self.target = target
  }
}

public struct TunnelStatus: Hashable, Codable, Sendable {
  public enum State: String, Codable, Sendable { case opening, open, waiting, closed }

  public var name: String
  public var transport: TunnelTransport
  /// The address really bound.
  public var listen: String
  public var target: String
  /// `waiting` is a tunnel whose listener is up while the connection to the PoP is not.
  public var state: State
  public var openFlows: Int
  public var bytesSent: UInt64
  public var bytesReceived: UInt64

  public init(
    name: String, transport: TunnelTransport, listen: String, target: String, state: State, openFlows: Int = 0,
    bytesSent: UInt64 = 0, bytesReceived: UInt64 = 0
  ) {
    self.name = name
    self.transport = transport
    self.listen = listen
    self.target = target
    self.state = state
    self.openFlows = openFlows
    self.bytesSent = bytesSent
    self.bytesReceived = bytesReceived
  }
}

// MARK: - Ping and get

public struct PingReply: Hashable, Codable, Sendable {
  public var sequence: Int
  /// What was measured: the PoP's name and address, or the host given.
  public var target: String
  public var rttMilliseconds: Double

  public init(sequence: Int, target: String, rttMilliseconds: Double) {
    self.sequence = sequence
    self.target = target
    self.rttMilliseconds = rttMilliseconds
  }
}

public struct GetRequest: Hashable, Codable, Sendable {
  public var url: String
  /// HEAD instead of GET.
  public var headOnly: Bool

  public init(url: String, headOnly: Bool = false) {
    self.url = url
    self.headOnly = headOnly
  }
}

/// A response whose body is pulled: the tunnel's flow control holds the sender back until the next pull.
public struct GetResponse: Sendable {
  public var head: Head
  /// The next piece of the body, or nil at its end. Not to be called again after nil or a throw. Dropping
  /// the response without reading to the end aborts the transfer.
  public var nextChunk: @Sendable () async throws(ClientError) -> [UInt8]?

  public struct Head: Hashable, Codable, Sendable {
    public var status: Int
    public var reason: String
    public var fields: [Field]
    public init(status: Int, reason: String, fields: [Field]) {
      self.status = status
      self.reason = reason
      self.fields = fields
    }
  }
  public struct Field: Hashable, Codable, Sendable {
    public var name: String
    public var value: String
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public init(head: Head, nextChunk: @escaping @Sendable () async throws(ClientError) -> [UInt8]?) {
    self.head = head
    self.nextChunk = nextChunk
  }
}

// MARK: - Log and events

public struct LogLine: Hashable, Codable, Sendable {
  public enum Level: String, Codable, Sendable, CaseIterable { case trace, debug, info, notice, warning, error }

  public var time: Date
  public var level: Level
  /// The part of the client that wrote it, such as `quic` or `proxy`.
  public var source: String
  public var message: String

  public init(time: Date, level: Level, source: String, message: String) {
    self.time = time
    self.level = level
    self.source = source
    self.message = message
  }
}

public enum ClientEvent: Hashable, Codable, Sendable {
  /// - Parameter pop: the PoP's name, where there is one.
  case stateChanged(ConnectionState, pop: String?)
  case connectionLost(reason: String)
  /// The next attempt begins after `seconds`; `attempt` counts from 1 since the loss.
  case reconnecting(seconds: Double, attempt: Int, reason: String)
  case tunnelOpened(name: String, listen: String, target: String)
  case tunnelClosed(name: String, reason: String)
  /// A flow that the PoP refused, such as a target that its policy forbids.
  case flowRefused(target: String, reason: String)
  /// The stored tokens can no longer be renewed.
  case signInNeeded(reason: String)
}
