import Wire

/// The Receiving Speaker's side of a peer's restart (RFC 4724 §4.2, RFC 9494 §4): what the stale routes of each family
/// wait for, and until when.
struct StaleRoutes {
  enum Phase: Hashable {
    /// For the peer to be back.
    case restart
    /// For the peer to be back, as routes of the last resort.
    case longLived
    /// The peer is back; for its End-of-RIB.
    case endOfRIB
  }

  /// What is to be done with the stale routes of a family.
  enum Action: Hashable {
    case delete(AddressFamily)
    /// Mark them with LLGR_STALE, and delete those that do not want it.
    case makeLongLived(AddressFamily)
  }

  private struct Waiting {
    var phase: Phase
    var until: Instant
  }

  private var waiting: [AddressFamily: Waiting] = [:]
  private var retention: StaleRetention?

  var isEmpty: Bool { waiting.isEmpty }
  var deadline: Instant { waiting.values.map(\.until).min() ?? .distantFuture }
  func phase(_ family: AddressFamily) -> Phase? { waiting[family]?.phase }

  /// The session is lost, and the routes of these families are stale now.
  mutating func begin(_ retention: StaleRetention, now: Instant) {
    self.retention = retention
    waiting = [:]
    for family in retention.families.members {
      waiting[family] = Waiting(phase: .restart, until: now + retention.restartTime)
    }
  }

  mutating func end() { waiting = [:] }

  /// The peer is back.
  mutating func sessionUp(_ parameters: SessionParameters) -> [Action] {
    var actions: [Action] = []
    for (family, wait) in ordered {
      // RFC 4724 §4.2: "if the Forwarding State bit for a specific address family is not set, or if a specific address
      // family is not included", or there is no such capability at all, its stale routes go at once. RFC 9494 §4.4 says
      // the same of the capability of its own.
      let isPreserved =
        parameters.families.contains(family)
        && (wait.phase == .longLived
          ? parameters.peerLongLived.contains { $0.family == family && $0.isForwardingPreserved }
          : parameters.peerGracefulRestart?.families.contains { $0.family == family && $0.isForwardingPreserved }
            ?? false)
      if isPreserved {
        waiting[family] = Waiting(phase: .endOfRIB, until: wait.until + (retention?.staleTime ?? .zero))
      } else {
        waiting[family] = nil
        actions.append(.delete(family))
      }
    }
    return actions
  }

  /// RFC 4724 §4.2: upon the End-of-RIB, what is still stale goes.
  mutating func endOfRIB(_ family: AddressFamily) -> Action? {
    guard waiting[family]?.phase == .endOfRIB else { return nil }
    waiting[family] = nil
    return .delete(family)
  }

  mutating func handleTimeout(now: Instant) -> [Action] {
    var actions: [Action] = []
    for (family, wait) in ordered where wait.until <= now {
      if wait.phase == .restart, let time = retention?.longLived[family] {
        waiting[family] = Waiting(phase: .longLived, until: wait.until + time)
        actions.append(.makeLongLived(family))
      } else {
        waiting[family] = nil
        actions.append(.delete(family))
      }
    }
    return actions
  }

  /// In an order that does not change from run to run.
  private var ordered: [(AddressFamily, Waiting)] {
    waiting.sorted { ($0.key.afi, $0.key.safi) < ($1.key.afi, $1.key.safi) }.map { ($0.key, $0.value) }
  }
}
