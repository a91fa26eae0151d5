import Wire

/// Names a peer in the tables. 0 is ourselves.
public struct PeerID: Hashable, Sendable {
  let raw: UInt16
  static let local = PeerID(raw: 0)
  var index: Int { Int(raw) }
}

/// What the tables know of a peer.
struct PeerState {
  var isLocal = false
  var isInternal = false
  var autonomousSystem: UInt32
  var identifier: UInt32 = 0
  var address: IPAddress
  var role: Capability.Role?
  /// Of its routes in the Adj-RIB-In, but for those that policy has denied.
  var pathCount = 0
  /// Of those.
  var deniedCount = 0
  /// Its flow specifications count only where RFC 8955 §6 has them count.
  var validatesFlows = true
  /// More routes than this end the session; nil for no bound.
  var maximumPrefixes: Int?

  mutating func add(_ counts: RouteCounts) {
    pathCount += counts.accepted
    deniedCount += counts.denied
  }

  /// The peer's routes carry its AS as OTC even where it sent none (RFC 9234 §5, ingress).
  var marksOnlyToCustomer: Bool { role == .provider || role == .peer || role == .routeServer }
}

/// How many routes have come into the tables, or with a minus gone from them.
struct RouteCounts {
  var accepted = 0
  /// By policy.
  var denied = 0

  init() {}
  init(_ change: RouteChange) { note(change) }

  mutating func note(_ change: RouteChange) {
    switch change {
    case .added: accepted += 1
    case .removed: accepted -= 1
    case .removedDenied: denied -= 1
    case .replaced, .unchanged, .absent: break
    }
  }
}
