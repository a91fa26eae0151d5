public import BFD
public import BGP
public import Ring
public import Wire

extension BGPSession {
  /// What is configured of a neighbor.
  public struct Neighbor: Sendable {
    public var name: String
    public var peer: PeerConfiguration
    /// Where the neighbor listens.
    public var address: SocketAddress
    /// By name, of a link-local address; it need not be there yet.
    public var interface: String?
    /// What we connect from; nil leaves it to the kernel.
    public var localAddress: IPAddress?
    public var protection = TCPProtection()
    /// Watches the way to it; nil leaves that to the hold timer.
    public var bfd: BFD.Session.Configuration?
    /// Named to the neighbor as next hops; nil is the session's own address, where it is of the family.
    public var nextHopIPv4: IPv4Address?
    public var nextHopIPv6: IPv6Address?
    /// Whether routes of other neighbors go on to this one, besides our own.
    public var passesOn = true
    /// More routes than this end the session, also of those that policy denies; nil for no bound.
    public var maximumPrefixes: Int?
    /// To begin with.
    public var policy = PeerPolicy()
    /// Its flow specifications count only for traffic to where it leads (RFC 8955 §6).
    public var validatesFlowspec = true

    public init(name: String, address: SocketAddress, peer: PeerConfiguration) {
      self.name = name
      self.address = address
      self.peer = peer
    }

    /// With its interface as it is now; nil where there is none of that name.
    var currentAddress: SocketAddress? { interface.map { address.on(interface: $0) } ?? address }

    /// Whether a connection from there is the neighbor's.
    func isReached(at remote: SocketAddress) -> Bool {
      address.ip == remote.ip && (interface == nil || currentAddress?.scopeID == remote.scopeID)
    }
  }

  /// What a looking glass shows of a session.
  public struct Status: Sendable {
    public var name: String
    public var address: IPAddress
    /// Our end of the established session.
    public var localAddress: IPAddress?
    public var remoteAS: UInt32
    public var state: FiniteStateMachine.State
    /// Since when it is in this state.
    public var since: Instant
    /// Routes in its Adj-RIB-In.
    public var received: Int
    /// Those of them that its policy denies.
    public var denied: Int
    public var policy: PeerPolicy
    /// Routes that it has been told.
    public var advertised: Int
    /// UPDATE messages since it was configured.
    public var updatesReceived: UInt64
    public var lastCause: BGP.Session.EndCause?
    public var parameters: SessionParameters?
    /// How long the neighbor has agreed to keep our routes when we are gone without a goodbye (RFC 4724 §3); nil for not.
    public var keepsOurRoutesFor: Interval?
    /// UPDATE messages that counted as withdrawals for their errors (RFC 7606).
    public var faultyUpdates: UInt64
    /// Families whose End-of-RIB has come in this session (RFC 4724 §2).
    public var complete: AddressFamilies
  }
}
