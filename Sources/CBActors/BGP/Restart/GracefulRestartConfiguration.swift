public import Wire

/// What is offered of graceful restart (RFC 4724, RFC 8538) and its long-lived kind (RFC 9494).
public struct GracefulRestartConfiguration: Hashable, Sendable {
  /// Seconds, at most 4,095, that the peer is to wait for us to be back.
  public var restartTime: UInt16 = 120
  /// N: a NOTIFICATION does not end the grace, but for a Hard Reset (RFC 8538 §2).
  public var survivesNotification = true
  /// How long a peer that is back may take to its End-of-RIB.
  public var staleTime = Interval.seconds(360)
  /// Seconds, 24 bits, that the peer may keep our routes after its restart timer, and the longest that we keep the peer's
  /// (RFC 9494); nil for neither.
  public var longLivedTime: UInt32?

  public init() {}

  /// The capabilities for an OPEN.
  ///
  /// - Parameters:
  ///   - preserved: families whose forwarding has gone on.
  ///   - hasRestarted: this speaker has, and the peer may know its routes from before.
  func capabilities(
    for families: AddressFamilies, preserved: AddressFamilies, hasRestarted: Bool
  ) -> [Capability] {
    var offered: [Capability] = [
      .gracefulRestart(
        .init(
          restartTime: restartTime,
          families: families.members.map { .init($0, isForwardingPreserved: preserved.contains($0)) },
          hasRestarted: hasRestarted, survivesNotification: survivesNotification))
    ]
    if let longLivedTime {
      offered.append(
        .longLivedGracefulRestart(
          families.intersection(.unicast).members.map {
            .init($0, isForwardingPreserved: preserved.contains($0), staleTime: longLivedTime)
          }))
    }
    return offered
  }
}

/// What becomes of a peer's routes when its session is lost: which are kept, and how long.
public struct StaleRetention: Hashable, Sendable {
  public var families: AddressFamilies
  /// The peer's Restart Time (RFC 4724 §3).
  public var restartTime: Interval
  /// How long the peer may take, once back, to its End-of-RIB.
  public var staleTime: Interval
  /// Long-lived stale time by family (RFC 9494 §4.2).
  public var longLived: [AddressFamily: Interval] = [:]
}

extension SessionParameters {
  /// What both ends' OPEN messages make of graceful restart; nil where either has not offered it.
  static func retention(
    _ local: PeerConfiguration, _ restart: Capability.GracefulRestart?, _ longLived: [Capability.LongLived],
    _ families: AddressFamilies
  ) -> StaleRetention? {
    guard let own = local.gracefulRestart, let restart else { return nil }
    var kept: AddressFamilies = []
    for family in restart.families { kept.formUnion(AddressFamilies(family.family)) }
    var result = StaleRetention(
      families: kept.intersection(families), restartTime: .seconds(Int64(restart.restartTime)),
      staleTime: own.staleTime)
    if let longest = own.longLivedTime {
      for offer in longLived where result.families.intersection(.unicast).contains(offer.family) && offer.staleTime > 0
      {
        result.longLived[offer.family] = .seconds(Int64(min(offer.staleTime, longest)))
      }
    }
    return result
  }
}

extension Session.EndCause {
  /// Whether the peer's routes outlive a session that ended so.
  ///
  /// RFC 4724 §4.2 keeps them when the TCP connection ends; RFC 8538 §2 after a NOTIFICATION too, unless it is a Hard
  /// Reset.
  func retains(survivingNotification: Bool) -> Bool {
    switch self {
    case .transport: true
    case .collision: false
    case .sent(let notification), .received(let notification):
      survivingNotification && !notification.isHardReset
    }
  }
}
