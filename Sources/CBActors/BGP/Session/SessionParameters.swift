public import Wire

/// What two OPEN messages come to.
public struct SessionParameters: Hashable, Sendable {
  public let peerAS: UInt32
  public let peerIdentifier: IPv4Address
  public let isInternal: Bool
  /// The smaller of both offers; zero for no hold timer.
  public let holdTime: Interval
  public let families: AddressFamilies
  public let usesFourOctetAS: Bool
  /// Of a message but OPEN and KEEPALIVE, in octets (RFC 8654).
  public let maximumMessageLength: Int
  public let peerRefreshesRoutes: Bool
  /// Both mark where a refresh begins and ends (RFC 7313).
  public let marksRefresh: Bool
  /// Families whose prefixes come with path identifiers.
  public let addPathFamilies: AddressFamilies
  public let peerGracefulRestart: Capability.GracefulRestart?
  /// RFC 9494 §3; of no account without the capability above.
  public let peerLongLived: [Capability.LongLived]
  /// What is kept of the peer's routes when the session is lost; nil for nothing.
  public let retention: StaleRetention?
  /// Grace survives a NOTIFICATION that is no Hard Reset: both have said so (RFC 8538 §2).
  public let survivesNotification: Bool
  public let peerRole: Capability.Role?

  /// Judges the peer's OPEN.
  ///
  /// - Throws: an OPEN Message Error (RFC 4271 §6.2).
  public init(_ local: PeerConfiguration, peer open: OpenMessage) throws(NotificationMessage) {
    // RFC 4271 §6.2: "If the Autonomous System field of the OPEN message is unacceptable, then the Error Subcode MUST
    // be set to Bad Peer AS." RFC 7607 §2: nor is 0 acceptable.
    guard open.effectiveAS == local.peerAS, open.effectiveAS != 0 else { throw .badPeerAS }
    // RFC 6286 §2.2: not zero, and not ours if the peer is internal.
    guard open.identifier != .any, !local.isInternal || open.identifier != local.identifier else {
      throw .badBGPIdentifier
    }
    // RFC 4271 §6.2: "An implementation MUST reject Hold Time values of one or two seconds."
    guard open.holdTime == 0 || open.holdTime >= max(3, local.minimumHoldTime) else { throw .unacceptableHoldTime }

    var peerFamilies: AddressFamilies = []
    var hasFamilies = false
    var fourOctet = false
    var refreshes = false
    var marks = false
    var extended = false
    var several: AddressFamilies = []
    var restart: Capability.GracefulRestart?
    var longLived: [Capability.LongLived] = []
    var roles: Set<Capability.Role> = []
    for capability in open.capabilities {
      switch capability {
      case .multiprotocol(let family):
        hasFamilies = true
        peerFamilies.formUnion(AddressFamilies(family))
      case .routeRefresh: refreshes = true
      case .extendedMessage: extended = true
      case .role(let role): roles.insert(role)
      case .gracefulRestart(let value): restart = value
      case .longLivedGracefulRestart(let value): longLived = value
      case .fourOctetAS: fourOctet = true
      case .addPath(let offers):
        for offer in offers where offer.sends { several.formUnion(AddressFamilies(offer.family)) }
      case .enhancedRouteRefresh: marks = true
      case .unknown: break
      }
    }
    // A speaker that names no family speaks of IPv4 unicast alone, as before there were others.
    families = local.families.intersection(hasFamilies ? peerFamilies : .ipv4Unicast)
    guard !families.isEmpty else {
      throw .unsupportedCapability(local.families.members.flatMap { Capability.multiprotocol($0).serialized })
    }
    peerRole = try Self.role(local, of: roles)
    peerAS = open.effectiveAS
    peerIdentifier = open.identifier
    isInternal = local.isInternal
    // RFC 4271 §4.2: "the smaller of its configured Hold Time and the Hold Time received in the OPEN message"
    holdTime = .seconds(Int64(min(local.holdTime, open.holdTime)))
    usesFourOctetAS = fourOctet
    maximumMessageLength =
      extended && local.offersExtendedMessages ? MessageHeader.extendedMaximumLength : MessageHeader.maximumLength
    peerRefreshesRoutes = refreshes
    marksRefresh = refreshes && marks
    addPathFamilies = several.intersection(local.addPathFamilies).intersection(families).intersection(.unicast)
    peerGracefulRestart = restart
    peerLongLived = restart == nil ? [] : longLived
    retention = Self.retention(local, restart, longLived, families)
    survivesNotification =
      retention != nil && local.gracefulRestart?.survivesNotification == true
      && restart?.survivesNotification == true
  }

  /// RFC 9234 §4.2.
  private static func role(
    _ local: PeerConfiguration, of roles: Set<Capability.Role>
  ) throws(NotificationMessage) -> Capability.Role? {
    guard let own = local.role, !local.isInternal else { return nil }
    guard roles.count <= 1 else { throw .roleMismatch }
    guard let peer = roles.first else {
      if local.requiresRole { throw .roleMismatch }
      return nil
    }
    guard own.counterpart == peer else { throw .roleMismatch }
    return peer
  }

  /// KeepaliveTime, before jitter: a third of the hold time (RFC 4271 §10).
  public var keepaliveTime: Interval { holdTime / 3 }
}
