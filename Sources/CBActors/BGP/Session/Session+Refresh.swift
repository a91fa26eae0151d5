/// Asking a peer for its routes again (RFC 2918).
extension Session {
  public enum RefreshRefusal: Error, Hashable, Sendable {
    case notEstablished(FiniteStateMachine.State)
    /// RFC 2918 §3: only a peer that has advertised the capability may be asked.
    case noCapability
  }

  /// Asks for all routes of each family that the session has. What is not named again goes, where the peer marks the
  /// beginning and the end (RFC 7313 §4); where it does not, what it names again takes the place of the old.
  ///
  /// - Returns: the families.
  public mutating func requestRefresh() throws(RefreshRefusal) -> AddressFamilies {
    guard let parameters, let id = main.connection else { throw .notEstablished(state) }
    guard parameters.peerRefreshesRoutes else { throw .noCapability }
    for family in parameters.families.members {
      events.append(.send(id, RouteRefreshMessage(family).serialized))
    }
    return parameters.families
  }
}

extension Session.RefreshRefusal: CustomStringConvertible {
  public var description: String {
    switch self {
    case .notEstablished(let state): "there is no session to ask on: its state is \(state)"
    case .noCapability: "it has not offered route refresh (RFC 2918): its routes come anew with a new session alone"
    }
  }
}
