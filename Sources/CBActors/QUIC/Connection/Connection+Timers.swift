public import Wire

/// What waits for time to pass.
extension Connection {
  /// When ``handleTimeout(now:)`` is to be called; may lie in the past. Nil when there is nothing to wait for.
  public var deadline: Instant? {
    switch lifecycle {
    case .open: break
    case .closing(let closing): return closing.until ?? clock
    case .draining(let until): return until
    case .drained: return nil
    }
    var earliest = Instant.distantFuture
    func consider(_ instant: Instant?) {
      if let instant, instant < earliest { earliest = instant }
    }
    consider(idleDeadline)
    consider(keepAliveDeadline)
    if !isHandshakeComplete { consider(handshakeDeadline) }
    consider(recovery.deadline)
    if oneRTT != nil, !recovery.isAmplificationLimited { consider(spaces[2].received.ackDeadline) }
    consider(pacedUntil)
    consider(oneRTT?.previousExpiry)
    consider(earlyKeysExpiry)
    consider(formerIDs.deadline)
    consider(mtu.raiseDeadline)
    consider(active.challengeDeadline)
    consider(active.validationDeadline)
    for path in others {
      consider(path.challengeDeadline)
      consider(path.validationDeadline)
    }
    return earliest == .distantFuture ? nil : earliest
  }

  /// Does what is due at `now`; what it leads to is sent by ``transmit(into:maxSegments:now:)``.
  public mutating func handleTimeout(now: Instant) {
    clock = now
    defer { if qlog != nil { logChanges() } }
    switch lifecycle {
    case .open: break
    case .closing(var closing):
      let until = closing.until ?? now + closingPeriod
      closing.until = until
      lifecycle = until <= now ? .drained : .closing(closing)
      return
    case .draining(let until):
      if until <= now { lifecycle = .drained }
      return
    case .drained: return
    }
    // RFC 9000 §10.1: "the connection is silently closed and its state is discarded when it remains idle for longer than
    // the minimum of the max_idle_timeout value advertised by both endpoints."
    if let idleDeadline, idleDeadline <= now {
      finish(.idleTimeout)
      return
    }
    if !isHandshakeComplete, handshakeDeadline <= now {
      finish(.handshakeTimeout)
      return
    }
    if let pacedUntil, pacedUntil <= now { self.pacedUntil = nil }
    if let keepAliveDeadline, keepAliveDeadline <= now {
      isPingDue = true
      restartKeepAlive()
    }
    if let expiry = oneRTT?.previousExpiry, expiry <= now { oneRTT!.dropPrevious() }
    if let expiry = earlyKeysExpiry, expiry <= now {
      earlyKeys = nil
      earlyKeysExpiry = nil
    }
    while let id = formerIDs.takeExpired(now) { events.append(.connectionIDRetired(id)) }
    if let deadline = recovery.deadline, deadline <= now { handleRecoveryTimeout(now) }
    if let deadline = mtu.raiseDeadline, deadline <= now { mtu.raise() }
    handlePathTimeouts(now)
  }

  private mutating func handleRecoveryTimeout(_ now: Instant) {
    switch recovery.onTimeout(now) {
    case .none: break
    case .lost(let space): settleLost(space)
    case .probe(let space, let count):
      probe(space, count: count)
      // The peer may wait for more than one space (RFC 9002 §6.2.4).
      if space == .initial, recovery.hasAckElicitingInFlight(.handshake), spaces[1].writeKeys != nil {
        probe(.handshake, count: 1)
      }
      if recovery.probeTimeoutCount >= MTUDiscovery.blackHoleThreshold { fallBackToBase() }
    }
  }

  /// Asks for probe packets, which carry again what the oldest unacknowledged ones did (RFC 9002 §6.2.4).
  private mutating func probe(_ space: PacketNumberSpace, count: Int) {
    let index = Int(space.rawValue)
    guard !spaces[index].isDiscarded else { return }
    spaces[index].probes = min(spaces[index].probes + count, 2)
    recovery.collectProbeFrames(space, packets: count)
    for position in recovery.probeFrames.indices {
      switch recovery.probeFrames[position] {
      case .datagram, .mtuProbe: break
      case let frame: repair(frame, space)
      }
    }
  }

  /// RFC 9000 §10.1.
  mutating func restartIdleTimer() {
    restartKeepAlive()
    guard let idleTimeout else {
      idleDeadline = nil
      return
    }
    // RFC 9000 §10.1: "To avoid excessively small idle timeout periods, endpoints MUST increase the idle timeout period
    // to be at least three times the current Probe Timeout (PTO)."
    let probeTimeout = recovery.rtt.probeTimeout + recovery.peerMaxAckDelay
    idleDeadline = clock + max(idleTimeout, probeTimeout * 3)
  }

  private mutating func restartKeepAlive() {
    guard let interval = configuration.keepAliveInterval, isHandshakeConfirmed else { return }
    keepAliveDeadline = clock + interval
  }

  /// Queues a PING, so that neither end nor a middlebox takes the connection for idle.
  public mutating func keepAlive(now: Instant) {
    clock = now
    isPingDue = true
  }

  /// The network below may be another one, or back after a while: says so to the peer now, with what a probe time-out would
  /// send again later.
  public mutating func networkReturned(now: Instant) {
    clock = now
    guard case .open = lifecycle, isHandshakeConfirmed else { return }
    isPingDue = true
    if recovery.hasAckElicitingInFlight(.applicationData) { probe(.applicationData, count: 1) }
  }
}
