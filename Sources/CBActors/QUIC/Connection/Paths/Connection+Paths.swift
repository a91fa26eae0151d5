public import Wire

/// Path validation and migration (RFC 9000 §8.2, §9).
extension Connection {
  /// Paths kept beside the active one, at most.
  private static let mostOtherPaths = 3

  /// After how long without an answer a challenge is sent again.
  var challengePeriod: Interval { max(recovery.probeTimeout, .milliseconds(50)) }

  /// RFC 9000 §8.2.4: three times the larger of the present PTO and that of a path not yet measured.
  var validationPeriod: Interval { max(recovery.probeTimeout, RTTEstimator.defaultInitial * 3) * 3 }

  /// What an authentic 1-RTT packet says about the path that it came on.
  mutating func settlePath(_ context: inout PacketContext) {
    if context.path == active.path {
      activeDestinationID = context.destinationID
      if context.isNonProbing { largestNonProbing = max(largestNonProbing ?? 0, context.packetNumber) }
      for data in context.challenges { active.queueResponse(data) }
      return
    }
    let index: Int
    if let known = others.firstIndex(where: { $0.path == context.path }) {
      index = known
    } else if role == .server {
      guard let added = addPath(context) else { return }
      index = added
    } else {
      return
    }
    for data in context.challenges { others[index].queueResponse(data) }
    let isNewest = largestNonProbing.map { context.packetNumber > $0 } ?? true
    // RFC 9000 §9.3: "An endpoint only changes the address to which it sends packets in response to the highest-numbered
    // non-probing packet."
    if role == .server, context.isNonProbing, isNewest {
      largestNonProbing = context.packetNumber
      activeDestinationID = context.destinationID
      // RFC 9000 §9.6.2: "The server MUST send non-probing packets from its original address until it receives a
      // non-probing packet from the client at its preferred address and until the server has validated the new path."
      if isOtherLocalAddress(context.path), !others[index].isValidated {
        others[index].isClaimed = true
      } else {
        follow(index)
      }
    }
  }

  /// The client sends to another address of this server's: the preferred one.
  private mutating func isOtherLocalAddress(_ path: Path) -> Bool { path.local != active.path.local }

  /// Nil when there is no connection ID to answer with.
  private mutating func addPath(_ context: PacketContext) -> Int? {
    let isOtherLocal = isOtherLocalAddress(context.path)
    // RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local address".
    if isOtherLocal, !peerIDs.hasUnused { return nil }
    if others.count >= Self.mostOtherPaths {
      // The oldest that proved nothing goes first.
      let index = others.firstIndex { !$0.isValidated } ?? 0
      release(others.remove(at: index))
    }
    // RFC 9000 §9.5: a peer that changed the ID it sends to wants not to be linked; we change ours too, if it left us any.
    var sequence = active.peerIDSequence
    if isOtherLocal || context.destinationID != activeDestinationID, let fresh = peerIDs.takeUnused() {
      sequence = fresh.sequence
    }
    others.append(PathState(context.path, role: role, isValidated: false, peerIDSequence: sequence))
    others[others.count - 1].bytesReceived = UInt64(context.datagramSize)
    // RFC 9000 §9.6.2: "The server MUST probe on the path toward the client from its preferred address."
    if isOtherLocal { others[others.count - 1].beginValidation(until: clock + validationPeriod) }
    return others.count - 1
  }

  /// The peer has moved: packets go to its new address, which must prove itself (RFC 9000 §9.3).
  private mutating func follow(_ index: Int) {
    var old = active
    active = others.remove(at: index)
    switchPath(from: old)
    // RFC 9000 §9: "An endpoint MUST perform path validation" of an address that it has not validated.
    if !active.isValidated { active.beginValidation(until: clock + validationPeriod) }
    if old.isValidated {
      // RFC 9000 §9.3.3: "In response to an apparent migration, endpoints MUST validate the previously active path using
      // a PATH_CHALLENGE frame."
      old.beginValidation(until: clock + validationPeriod)
      others.append(old)
    } else {
      release(old)
    }
  }

  mutating func switchPath(from old: PathState) {
    counts.migrations += 1
    // RFC 9000 §9.4: "an endpoint MUST immediately reset the congestion controller and round-trip time estimator for the
    // new path to initial values" "unless the only change in the peer's address is its port number"; here already before
    // the address is confirmed.
    let keeps = old.path.remote.ip == active.path.remote.ip && old.path.local == active.path.local
    recovery.onPathChanged(keepingState: keeps, now: clock)
    if !keeps {
      mtu.reset()
    }
    applyMTU()
    events.append(.pathChanged(active.path))
  }

  /// Moves the connection to another local address (RFC 9000 §9.2). False, with nothing changed, when it may not: this
  /// is a server, the handshake is not confirmed, the server asked not to, or it has left us no unused connection ID.
  public mutating func migrate(to path: Path, now: Instant) -> Bool {
    clock = now
    guard let fresh = beginPath(path) else { return false }
    let old = active
    active = fresh
    spin.reset()
    switchPath(from: old)
    active.beginValidation(until: clock + validationPeriod)
    others.append(old)
    // RFC 9000 §9.6.3: "the client SHOULD perform path validation to both the original and preferred server address from the
    // client's new address concurrently."
    if let index = others.firstIndex(where: \.isPreferred) {
      release(others.remove(at: index))
      probePreferredAddress()
    }
    while others.count > Self.mostOtherPaths { release(others.removeFirst()) }
    // Something that is no probe makes the server follow.
    isPingDue = true
    return true
  }

  /// Tries a path from another local address while the present one goes on, and moves there when it is validated (RFC 9000
  /// §9.1, §9.2). False, with nothing changed, as for ``migrate(to:now:)``.
  public mutating func probe(_ path: Path, now: Instant) -> Bool {
    clock = now
    guard var fresh = beginPath(path) else { return false }
    fresh.isPreferred = true
    fresh.beginValidation(until: clock + validationPeriod)
    while others.count >= Self.mostOtherPaths { release(others.removeFirst()) }
    others.append(fresh)
    return true
  }

  /// What ``probe(_:now:)`` began has not ended yet.
  public func isProbing(_ path: Path) -> Bool { others.contains { $0.path == path && $0.isPreferred } }

  /// Nil when the connection may not go to that path.
  private mutating func beginPath(_ path: Path) -> PathState? {
    // RFC 9000 §9: "An endpoint MUST NOT initiate connection migration before the handshake is confirmed".
    guard case .open = lifecycle, role == .client, isHandshakeConfirmed, path != active.path,
      // RFC 9000 §5.2.3: disable_active_migration "does not prohibit connection migration after a client has acted on a
      // preferred_address transport parameter."
      peerTransportParameters?.disableActiveMigration != true || isAtPreferredAddress,
      // RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local address".
      let fresh = peerIDs.takeUnused()
    else { return nil }
    if let index = others.firstIndex(where: { $0.path == path }) { release(others.remove(at: index)) }
    return PathState(path, role: role, isValidated: false, peerIDSequence: fresh.sequence)
  }

  mutating func receivePathResponse(_ data: UInt64) {
    if active.challenges.contains(data) {
      let wasValidated = active.isValidated
      active.endValidation(nextUntil: clock + validationPeriod)
      if !wasValidated {
        retireFormerPaths()
        isNewTokenDue = role == .server && configuration.addressTokens != nil
      }
    } else if let index = others.firstIndex(where: { $0.challenges.contains(data) }) {
      others[index].endValidation(nextUntil: clock + validationPeriod)
      if others[index].isPreferred {
        moveToPreferredAddress(index)
      } else if others[index].isClaimed {
        others[index].isClaimed = false
        follow(index)
      }
    }
  }

  /// The active path is good: the ones left behind need no IDs any more.
  private mutating func retireFormerPaths() {
    let former = others
    others = others.filter { !$0.isValidated && $0.validationDeadline != nil }
    for path in former where path.isValidated || path.validationDeadline == nil { release(path) }
  }

  /// Gives back the connection ID of a path that is left, if no other uses it (RFC 9000 §5.1.2).
  private mutating func release(_ path: PathState) {
    let sequence = path.peerIDSequence
    guard sequence != active.peerIDSequence, !others.contains(where: { $0.peerIDSequence == sequence }) else { return }
    peerIDs.retire(sequence)
  }

  /// Paths whose ID the peer has taken back get another.
  mutating func replaceRetiredIDs() {
    if peerIDs.id(active.peerIDSequence) == nil {
      active.peerIDSequence =
        peerIDs.takeUnused()?.sequence ?? peerIDs.active.first?.sequence ?? active.peerIDSequence
    }
    for index in others.indices.reversed() where peerIDs.id(others[index].peerIDSequence) == nil {
      if let fresh = peerIDs.takeUnused() {
        others[index].peerIDSequence = fresh.sequence
      } else {
        others.remove(at: index)
      }
    }
    // RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local address".
    let (local, sequence) = (active.path.local, active.peerIDSequence)
    others.removeAll { $0.path.local != local && $0.peerIDSequence == sequence }
    applyMTU()
  }

  mutating func handlePathTimeouts(_ now: Instant) {
    if isDue(active.validationDeadline, now) {
      active.validationDeadline = nil
      active.challengeDeadline = nil
      if !active.isValidated {
        returnToValidatedPath()
      } else if active.isProvingSize {
        active.isProvingSize = false
        fallBackToBase()
      }
    } else if isDue(active.challengeDeadline, now) {
      active.challengeAgain()
    }
    var index = 0
    while index < others.count {
      if isDue(others[index].validationDeadline, now) {
        // One that was good once is where to return to if the active path fails.
        guard others[index].isValidated, !others[index].isLeft, !others[index].isProvingSize else {
          release(others.remove(at: index))
          continue
        }
        others[index].stopChallenging()
      }
      if isDue(others[index].challengeDeadline, now) { others[index].challengeAgain() }
      index += 1
    }
  }

  private func isDue(_ deadline: Instant?, _ now: Instant) -> Bool { deadline.map { $0 <= now } ?? false }

  /// Validation of the active path has failed.
  private mutating func returnToValidatedPath() {
    // RFC 9000 §9.3.2: "an endpoint MUST revert to using the last validated peer address when validation of a new peer
    // address fails."
    if leaveActivePath() { return }
    // RFC 9000 §9.3.2: "If an endpoint has no state about the last validated peer address, it MUST close the connection
    // silently by discarding all connection state." A client's peer has not moved: it goes on trying.
    if role == .server { finish(.localTransport(TransportError(.noViablePath, "no path could be validated"))) }
  }

  /// Goes back to the path that was good last. False when there is none.
  private mutating func leaveActivePath() -> Bool {
    guard let index = others.lastIndex(where: { $0.isValidated && !$0.isLeft }) else { return false }
    let failed = active
    active = others.remove(at: index)
    switchPath(from: failed)
    release(failed)
    return true
  }

  // MARK: Narrow paths (RFC 9000 §14)

  /// Less than 1200 bytes pass on the active path.
  ///
  /// RFC 9000 §14.2: "it MUST immediately cease sending QUIC packets, except for those in PMTU probes or those containing
  /// CONNECTION_CLOSE frames, on the affected path." "An endpoint MAY terminate the connection if an alternative path cannot
  /// be found."
  mutating func leaveNarrowPath() {
    guard case .open = lifecycle else { return }
    if leaveActivePath() {
      mtu.reset()
      return applyMTU()
    }
    let error = TransportError(.noViablePath, "the path carries less than 1200 bytes")
    // Before the handshake is confirmed the datagram that says so is no smaller.
    if isHandshakeConfirmed { fail(error) } else { finish(.localTransport(error)) }
  }

  /// The operating system refused to send a datagram because it is larger than the link allows (EMSGSIZE).
  ///
  /// - Parameter size: bytes of UDP payload.
  public mutating func datagramRefused(size: Int, on path: Path, now: Instant) {
    clock = now
    guard case .open = lifecycle else { return }
    let isTooNarrow = size <= MTUDiscovery.base
    if path == active.path {
      if isTooNarrow { return leaveNarrowPath() }
      mtu.refused(size)
      applyMTU()
    } else if isTooNarrow, let index = others.firstIndex(where: { $0.path == path }) {
      release(others.remove(at: index))
    }
  }
}
