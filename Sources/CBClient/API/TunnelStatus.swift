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
