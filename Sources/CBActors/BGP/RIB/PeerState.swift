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
  /// Of its routes in the Adj-RIB-In.
  var pathCount = 0
  /// Its flow specifications count only where RFC 8955 §6 has them count.
  var validatesFlows = true
  /// More routes than this end the session; nil for no bound.
  var maximumPrefixes: Int?

  /// The peer's routes carry its AS as OTC even where it sent none (RFC 9234 §5, ingress).
  var marksOnlyToCustomer: Bool { role == .provider || role == .peer || role == .routeServer }
}
