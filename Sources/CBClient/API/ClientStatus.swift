public import Foundation

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
  /// The connection was lost, or the PoP is going away, and another is being opened; the local listeners stay.
  case reconnecting
  case disconnecting
}

public struct ConnectionStatus: Hashable, Codable, Sendable {
  public var pop: String
  public var address: String
  /// Where packets leave from, and how often that, or the PoP's address, has changed since the connection began.
  public var localAddress: String?
  public var migrations: UInt64
  /// The machine has a way to the PoP. Without one tunnels wait, until the connection's idle time-out.
  public var hasNetwork: Bool
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
    pop: String, address: String, localAddress: String? = nil, migrations: UInt64 = 0, hasNetwork: Bool = true,
    connectedAt: Date,
    keyExchange: String? = nil, cipher: String? = nil,
    resumption: Resumption = .none, congestion: String, smoothedRTTMilliseconds: Double, minimumRTTMilliseconds: Double,
    congestionWindowBytes: Int,
    mtuBytes: Int, bytesSent: UInt64, bytesReceived: UInt64, packetsLost: UInt64
  ) {
    self.pop = pop
    self.address = address
    self.localAddress = localAddress
    self.migrations = migrations
    self.hasNetwork = hasNetwork
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
