public import BGP
public import Wire

/// Policies and origins that change while sessions go on.
extension BGPSpeaker {
  /// What came of another policy for a neighbor.
  public enum PolicyChange: Hashable, Sendable {
    /// It is what it was.
    case unchanged
    /// Its routes are judged anew, as they were kept.
    case judgedAnew
    /// It is asked for its routes, as none of them were kept.
    case askedAgain
    /// The same, but it cannot be asked.
    case cannotBeAsked(BGP.Session.RefreshRefusal)
  }

  public enum NeighborError: Error, Hashable, Sendable {
    case unknown
    case refused(BGP.Session.RefreshRefusal)
  }

  /// Another policy for the neighbor of this name.
  public func setPolicy(_ policy: PeerPolicy, of name: String) throws(NeighborError) -> PolicyChange {
    guard let index = sessions.firstIndex(where: { $0.neighbor.name == name }) else { throw .unknown }
    guard tables.value.rib.policy(of: peers[index]) != policy else { return .unchanged }
    let mustAsk = tables.value.rib.setPolicy(policy, for: peers[index])
    tables.value.changed()
    guard mustAsk else { return .judgedAnew }
    do throws(NeighborError) {
      _ = try refresh(name)
      return .askedAgain
    } catch .refused(.notEstablished) {
      // Whatever it sends when it comes is judged by the new one.
      return .judgedAnew
    } catch .refused(let refusal) {
      return .cannotBeAsked(refusal)
    }
  }

  /// Other payloads to validate origins by: see ``BGP/RIB/setOrigins(_:changed:)``.
  public func setOrigins(_ table: OriginTable, changed: [IPPrefix]?) {
    tables.value.rib.setOrigins(table, changed: changed)
    tables.value.changed()
  }

  /// Asks the neighbor of this name for its routes again (RFC 2918); of which families.
  public func refresh(_ name: String) throws(NeighborError) -> AddressFamilies {
    guard let session = sessions.first(where: { $0.neighbor.name == name }) else { throw .unknown }
    let result: Result<AddressFamilies, BGP.Session.RefreshRefusal> = session.assumeIsolated { session in
      do throws(BGP.Session.RefreshRefusal) { return .success(try session.refresh()) } catch { return .failure(error) }
    }
    switch result {
    case .success(let families): return families
    case .failure(let refusal): throw .refused(refusal)
    }
  }
}
