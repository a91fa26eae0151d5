public import Wire

/// The state machine of one connection (RFC 4271 §8), with the events and states under the RFC's own names.
///
/// It decides; its owner acts: an event goes in, and out comes what is to be done, in the order of ``Outcome``.
public struct FiniteStateMachine {
  public struct Configuration: Hashable, Sendable {
    public var connectRetryTime: Interval
    /// Nil leaves DelayOpen off.
    public var delayOpenTime: Interval?
    public var isPassive: Bool
    /// Nil for RFC 9687's default.
    public var sendHoldTime: Interval?
    /// SendNOTIFICATIONwithoutOPEN.
    public var sendsNotificationWithoutOpen = true
    /// RFC 4271 §8.2.2: "A HoldTimer value of 4 minutes is suggested."
    public var largeHoldTime = Interval.seconds(240)

    public init(
      connectRetryTime: Interval, delayOpenTime: Interval? = nil, isPassive: Bool = false, sendHoldTime: Interval? = nil
    ) {
      self.connectRetryTime = connectRetryTime
      self.delayOpenTime = delayOpenTime
      self.isPassive = isPassive
      self.sendHoldTime = sendHoldTime
    }
  }

  /// When each timer expires; `distantFuture` while it does not run.
  public struct Timers: Hashable, Sendable {
    public var connectRetry = Instant.distantFuture
    public var hold = Instant.distantFuture
    public var keepalive = Instant.distantFuture
    public var delayOpen = Instant.distantFuture
    public var idleHold = Instant.distantFuture
    public var sendHold = Instant.distantFuture

    public var earliest: Instant { min(min(connectRetry, hold, keepalive), min(delayOpen, idleHold, sendHold)) }
  }

  public let configuration: Configuration
  public private(set) var state = State.idle
  public private(set) var timers = Timers()
  public private(set) var connectRetryCounter = 0
  /// As negotiated; zero for none.
  private(set) var holdTime = Interval.zero
  private let entropy: any EntropySource

  public init(_ configuration: Configuration, entropy: any EntropySource) {
    self.configuration = configuration
    self.entropy = entropy
  }

  // MARK: Timers

  /// The event of a timer that has expired, which stops it; nil when none has.
  public mutating func nextExpiry(now: Instant) -> Event? {
    func isDue(_ timer: inout Instant) -> Bool {
      guard timer <= now else { return false }
      timer = .distantFuture
      return true
    }
    if isDue(&timers.hold) { return .holdTimerExpires }
    if isDue(&timers.sendHold) { return .sendHoldTimerExpires }
    if isDue(&timers.keepalive) { return .keepaliveTimerExpires }
    if isDue(&timers.connectRetry) { return .connectRetryTimerExpires }
    if isDue(&timers.delayOpen) { return .delayOpenTimerExpires }
    return isDue(&timers.idleHold) ? .idleHoldTimerExpires : nil
  }

  /// Starts the IdleHoldTimer of a machine in Idle.
  mutating func holdIdle(for time: Interval, now: Instant) {
    if state == .idle { timers.idleHold = now + time }
  }

  /// A message of ours has left, whatever its type.
  mutating func sentMessage(now: Instant) {
    // RFC 4271 §8.2.2: "Each time the local system sends a KEEPALIVE or UPDATE message, it restarts its
    // KeepaliveTimer, unless the negotiated HoldTime value is zero."
    if timers.keepalive != .distantFuture { restartKeepalive(now) }
  }

  /// The transport has taken all that we had for it (RFC 9687 §3.1).
  mutating func transportTookAll(now: Instant) {
    if timers.sendHold != .distantFuture { restartSendHold(now) }
  }

  // RFC 4271 §10: "multiplying the base value of the appropriate timer by a random factor, which is uniformly
  // distributed in the range from 0.75 to 1.0"
  private func jittered(_ time: Interval) -> Interval {
    let quarter = time.nanoseconds / 4
    guard quarter > 0 else { return time }
    return time - .nanoseconds(Int64(truncatingIfNeeded: entropy.nextUInt64() % UInt64(quarter + 1)))
  }

  private mutating func restartConnectRetry(_ now: Instant) {
    timers.connectRetry = now + jittered(configuration.connectRetryTime)
  }

  private mutating func restartKeepalive(_ now: Instant) {
    // RFC 4271 §4.4: "KEEPALIVE messages MUST NOT be sent more frequently than one per second."
    timers.keepalive = holdTime == .zero ? .distantFuture : now + max(.seconds(1), jittered(holdTime / 3))
  }

  private mutating func restartHold(_ now: Instant) {
    timers.hold = holdTime == .zero ? .distantFuture : now + holdTime
  }

  private mutating func restartSendHold(_ now: Instant) {
    // RFC 9687 §3.1: the greater of 8 minutes and twice the hold time; none without a hold time.
    timers.sendHold =
      holdTime == .zero
      ? .distantFuture : now + (configuration.sendHoldTime ?? max(.seconds(480), holdTime * 2))
  }

  // MARK: Events

  public mutating func handle(_ event: Event, now: Instant) -> Outcome {
    // RFC 4271 §8.2.2 says so of each state but Idle: "The start events (Events 1, 3-7) are ignored"
    if state != .idle, event.isAttempt(besides: state) { return Outcome() }
    return switch state {
    case .idle: handleInIdle(event, now)
    case .connect: handleInConnect(event, now)
    case .active: handleInActive(event, now)
    case .openSent: handleInOpenSent(event, now)
    case .openConfirm: handleInOpenConfirm(event, now)
    case .established: handleInEstablished(event, now)
    }
  }

  private mutating func handleInIdle(_ event: Event, _ now: Instant) -> Outcome {
    var outcome = Outcome()
    switch event {
    case .manualStart, .automaticStart: outcome = start(passive: configuration.isPassive, resets: true, now)
    case .manualStartPassive, .automaticStartPassive: outcome = start(passive: true, resets: true, now)
    case .automaticStartDamped, .idleHoldTimerExpires:
      outcome = start(passive: configuration.isPassive, resets: false, now)
    case .automaticStartDampedPassive: outcome = start(passive: true, resets: false, now)
    case .manualStop: timers.idleHold = .distantFuture
    case .tcpConnectionValid, .tcpCRAcked, .tcpConnectionConfirmed:
      // "In this state, BGP FSM refuses all incoming BGP connections for this peer."
      outcome.dropsConnection = true
    default: break
    }
    return outcome
  }

  private mutating func start(passive: Bool, resets: Bool, _ now: Instant) -> Outcome {
    if resets { connectRetryCounter = 0 }
    timers = Timers()
    restartConnectRetry(now)
    state = passive ? .active : .connect
    var outcome = Outcome()
    outcome.initiatesConnection = !passive
    return outcome
  }

  private mutating func handleInConnect(_ event: Event, _ now: Instant) -> Outcome {
    var outcome = Outcome()
    switch event {
    case .manualStop: outcome = stop(nil)
    case .connectRetryTimerExpires:
      outcome.dropsConnection = true
      timers.delayOpen = .distantFuture
      restartConnectRetry(now)
      outcome.initiatesConnection = true
    case .delayOpenTimerExpires: outcome = sendOpen(now)
    case .tcpCRAcked, .tcpConnectionConfirmed: outcome = connected(now)
    case .tcpConnectionFails:
      if timers.delayOpen != .distantFuture {
        restartConnectRetry(now)
        timers.delayOpen = .distantFuture
        state = .active
      } else {
        outcome = fall(counts: false, damps: false)
      }
    default: outcome = handleBeforeOpen(event, now)
    }
    return outcome
  }

  private mutating func handleInActive(_ event: Event, _ now: Instant) -> Outcome {
    var outcome = Outcome()
    switch event {
    case .manualStop(let cease):
      let isDelaying = timers.delayOpen != .distantFuture && configuration.sendsNotificationWithoutOpen
      outcome = stop(isDelaying ? cease : nil)
    case .connectRetryTimerExpires:
      // A passive peering goes on waiting.
      restartConnectRetry(now)
      if !configuration.isPassive {
        state = .connect
        outcome.initiatesConnection = true
      }
    case .delayOpenTimerExpires: outcome = sendOpen(now)
    case .tcpCRAcked, .tcpConnectionConfirmed: outcome = connected(now)
    case .tcpConnectionFails: outcome = fall(counts: true, damps: true)
    default: outcome = handleBeforeOpen(event, now)
    }
    return outcome
  }

  /// What Connect and Active have in common.
  private mutating func handleBeforeOpen(_ event: Event, _ now: Instant) -> Outcome {
    let isDelaying = timers.delayOpen != .distantFuture
    switch event {
    case .bgpOpen(let holdTime) where isDelaying:  // Event 20
      var outcome = sendOpen(now)
      outcome.sendsKeepalive = true
      confirm(holdTime, now)
      return outcome
    case .bgpHeaderErr(let error), .bgpOpenMsgErr(let error):
      return fall(
        counts: true, damps: true, notification: configuration.sendsNotificationWithoutOpen ? error : nil)
    case .notifMsgVerErr: return fall(counts: !isDelaying, damps: !isDelaying)
    default: return fall(counts: true, damps: true)
    }
  }

  private mutating func handleInOpenSent(_ event: Event, _ now: Instant) -> Outcome {
    switch event {
    case .tcpConnectionFails:
      var outcome = Outcome()
      outcome.dropsConnection = true
      timers = Timers()
      restartConnectRetry(now)
      state = .active
      return outcome
    case .bgpOpen(let holdTime):
      var outcome = Outcome()
      outcome.sendsKeepalive = true
      confirm(holdTime, now)
      return outcome
    case .bgpOpenMsgErr(let error): return fall(counts: true, damps: true, notification: error)
    case .notifMsgVerErr: return fall(counts: false, damps: false)
    default: return handleSinceOpen(event, .inOpenSent)
    }
  }

  private mutating func handleInOpenConfirm(_ event: Event, _ now: Instant) -> Outcome {
    switch event {
    case .keepaliveTimerExpires: return keepalive(now)
    case .tcpConnectionFails, .notifMsg: return fall(counts: true, damps: true)
    case .notifMsgVerErr: return fall(counts: false, damps: false)
    case .bgpOpenMsgErr(let error): return fall(counts: true, damps: true, notification: error)
    case .keepAliveMsg:
      restartHold(now)
      restartSendHold(now)
      state = .established
      return Outcome()
    default: return handleSinceOpen(event, .inOpenConfirm)
    }
  }

  private mutating func handleInEstablished(_ event: Event, _ now: Instant) -> Outcome {
    switch event {
    case .updateMsg, .keepAliveMsg:
      // RFC 4271 §8.2.2: "restarts its HoldTimer, if the negotiated HoldTime value is non-zero"
      restartHold(now)
      return Outcome()
    case .sendHoldTimerExpires:
      // RFC 9687 §3.1. The NOTIFICATION has little hope of leaving, but nothing is lost by it.
      return fall(counts: true, damps: true, notification: .sendHoldTimerExpired)
    case .keepaliveTimerExpires: return keepalive(now)
    case .tcpConnectionFails, .notifMsgVerErr, .notifMsg: return fall(counts: true, damps: false)
    case .updateMsgErr(let error): return fall(counts: true, damps: true, notification: error)
    default: return handleSinceOpen(event, .inEstablished)
    }
  }

  /// What OpenSent, OpenConfirm and Established have in common.
  private mutating func handleSinceOpen(
    _ event: Event, _ unexpected: NotificationMessage.UnexpectedMessage
  ) -> Outcome {
    switch event {
    case .manualStop(let cease): stop(cease)
    case .automaticStop(let cease): fall(counts: true, damps: true, notification: cease)
    case .holdTimerExpires: fall(counts: true, damps: true, notification: .holdTimerExpired)
    case .openCollisionDump: fall(counts: true, damps: true, notification: .cease(.collisionResolution))
    // RFC 4271 §8.2.2 counts event 21 to those answered with a Finite State Machine Error in Established, but §6.1 says:
    // "All errors detected while processing the Message Header MUST be indicated by sending the NOTIFICATION message
    // with the Error Code Message Header Error."
    case .bgpHeaderErr(let error): fall(counts: true, damps: true, notification: error)
    default: self.unexpected(event, unexpected)
    }
  }

  // MARK: What the states have in common

  /// The connection is there (events 16 and 17).
  private mutating func connected(_ now: Instant) -> Outcome {
    guard let delay = configuration.delayOpenTime else { return sendOpen(now) }
    timers.connectRetry = .distantFuture
    timers.delayOpen = now + delay
    return Outcome()
  }

  private mutating func sendOpen(_ now: Instant) -> Outcome {
    timers = Timers()
    timers.hold = now + configuration.largeHoldTime
    state = .openSent
    var outcome = Outcome()
    outcome.sendsOpen = true
    return outcome
  }

  /// RFC 4271 §8.2.2: "If the negotiated hold time value is zero, then the HoldTimer and KeepaliveTimer are not started."
  private mutating func confirm(_ holdTime: Interval, _ now: Instant) {
    self.holdTime = holdTime
    timers = Timers()
    restartKeepalive(now)
    restartHold(now)
    state = .openConfirm
  }

  private mutating func keepalive(_ now: Instant) -> Outcome {
    restartKeepalive(now)
    var outcome = Outcome()
    outcome.sendsKeepalive = true
    return outcome
  }

  /// To Idle by the operator.
  private mutating func stop(_ notification: NotificationMessage?) -> Outcome {
    let outcome = fall(counts: false, damps: false, notification: notification)
    connectRetryCounter = 0
    return outcome
  }

  /// To Idle, with all resources released.
  private mutating func fall(counts: Bool, damps: Bool, notification: NotificationMessage? = nil) -> Outcome {
    var outcome = Outcome()
    outcome.notification = notification
    outcome.dropsConnection = true
    outcome.deletesRoutes = state == .established
    outcome.damps = damps
    if counts { connectRetryCounter += 1 }
    timers = Timers()
    state = .idle
    return outcome
  }

  /// Any event that the state has no word for: a Finite State Machine Error (RFC 4271 §6.6, RFC 6608 §3).
  private mutating func unexpected(_ event: Event, _ message: NotificationMessage.UnexpectedMessage) -> Outcome {
    let isMessage =
      switch event {
      case .bgpOpen, .bgpOpenMsgErr, .notifMsg, .keepAliveMsg, .updateMsg, .updateMsgErr: true
      default: false
      }
    return fall(counts: true, damps: true, notification: .finiteStateMachineError(isMessage ? message : nil))
  }
}
