import Wire

/// The Restarting Speaker's side (RFC 4724 §4.1): until every peer has told what it knows, and our own routes are there,
/// nobody is told anything, and least of all the End-of-RIB, which would have the peers forget what is still to come.
struct SelectionDeferral {
  /// Selection_Deferral_Timer.
  let deadline: Instant
  private var peers: Set<PeerID>
  private var families: [PeerID: AddressFamilies] = [:]
  private var awaitsOwnRoutes: Bool
  private let excuses: Bool

  /// - Parameter excuses: takes out the peers that may never send an End-of-RIB, or that wait themselves.
  init(peers: some Sequence<PeerID>, ownRoutes: Bool, excuses: Bool = true, until deadline: Instant) {
    self.peers = Set(peers)
    awaitsOwnRoutes = ownRoutes
    self.excuses = excuses
    self.deadline = deadline
  }

  func isOver(now: Instant) -> Bool { isComplete || deadline <= now }
  var isComplete: Bool { peers.isEmpty && !awaitsOwnRoutes }

  mutating func sessionUp(_ peer: PeerID, _ parameters: SessionParameters) {
    guard peers.contains(peer) else { return }
    // RFC 4724 §4.1 takes out those that have the Restart State bit set, which wait themselves, and those without the
    // capability, whose End-of-RIB may never come. Of the others, only families that the session has.
    if excuses, parameters.peerGracefulRestart?.hasRestarted ?? true {
      peers.remove(peer)
      return
    }
    families[peer] = parameters.families
  }

  mutating func endOfRIB(_ family: AddressFamily, from peer: PeerID) {
    guard let left = families[peer]?.subtracting(AddressFamilies(family)) else { return }
    families[peer] = left
    if left.isEmpty { peers.remove(peer) }
  }

  /// What it would say is not to be had: it is not waited for until it is back.
  mutating func sessionDown(_ peer: PeerID) {
    families[peer] = nil
  }

  mutating func ownRoutesAreComplete() { awaitsOwnRoutes = false }
}
