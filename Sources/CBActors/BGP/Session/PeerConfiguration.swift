public import Wire

/// What is configured of a peering.
public struct PeerConfiguration: Hashable, Sendable {
  public var localAS: UInt32
  /// Our BGP Identifier, not 0.0.0.0 (RFC 6286 §2.1).
  public var identifier: IPv4Address
  public var peerAS: UInt32
  /// Seconds to offer; 0 for no hold timer, else 3 or more (RFC 4271 §4.2).
  public var holdTime: UInt16 = 90
  /// The shortest hold time that is accepted of the peer, in seconds; 0 is accepted always.
  public var minimumHoldTime: UInt16 = 3
  /// Whether the peer alone opens connections (PassiveTcpEstablishment).
  public var isPassive = false
  /// ConnectRetryTime, before jitter.
  public var connectRetryTime = Interval.seconds(30)
  /// DelayOpenTime; nil leaves DelayOpen off.
  public var delayOpenTime: Interval?
  /// IdleHoldTime after the first fall; it doubles with each that follows soon.
  public var idleHoldTime = Interval.seconds(1)
  /// As far as IdleHoldTime grows. A session that held for so long is no flap.
  public var maximumIdleHoldTime = Interval.seconds(120)
  /// SendHoldTime (RFC 9687); nil is the greater of 8 minutes and twice the hold time.
  public var sendHoldTime: Interval?
  /// Offered to the peer.
  public var families: AddressFamilies = .ipv4Unicast
  /// Families in which several paths for a prefix are welcome (RFC 7911).
  public var addPathFamilies: AddressFamilies = []
  public var offersExtendedMessages = true
  /// What we are to the peer (RFC 9234); nil offers no role.
  public var role: Capability.Role?
  /// Whether a peer that offers no role is refused (RFC 9234 §4.2).
  public var requiresRole = false
  /// Whether an external peer's paths must begin with its AS.
  public var enforcesFirstAS = true

  /// RFC 4724; nil offers none, and keeps no routes of a peer that is lost.
  public var gracefulRestart: GracefulRestartConfiguration?

  public init(localAS: UInt32, identifier: IPv4Address, peerAS: UInt32) {
    self.localAS = localAS
    self.identifier = identifier
    self.peerAS = peerAS
  }

  public var isInternal: Bool { localAS == peerAS }

  /// The OPEN that we send, but after a restart.
  public var open: OpenMessage { open(afterRestartPreserving: nil) }

  /// - Parameter preserved: families whose forwarding went on through a restart of ours; nil where there was none.
  func open(afterRestartPreserving preserved: AddressFamilies?) -> OpenMessage {
    var capabilities: [Capability] = families.members.map { .multiprotocol($0) }
    capabilities += [.routeRefresh, .enhancedRouteRefresh]
    if offersExtendedMessages { capabilities.append(.extendedMessage) }
    if let role, !isInternal { capabilities.append(.role(role)) }
    if let gracefulRestart {
      capabilities += gracefulRestart.capabilities(
        for: families, preserved: preserved ?? families, hasRestarted: preserved != nil)
    }
    let several = addPathFamilies.intersection(families).intersection(.unicast)
    if !several.isEmpty {
      capabilities.append(.addPath(several.members.map { .init($0, receives: true, sends: false) }))
    }
    return OpenMessage(
      autonomousSystem: localAS, holdTime: holdTime, identifier: identifier, capabilities: capabilities)
  }
}
