public import Wire

extension FiniteStateMachine {
  public enum State: String, Hashable, Sendable {
    case idle = "Idle"
    case connect = "Connect"
    case active = "Active"
    case openSent = "OpenSent"
    case openConfirm = "OpenConfirm"
    case established = "Established"
  }

  /// RFC 4271 §8.1, in its order; behind each its number there.
  public enum Event: Sendable {
    case manualStart  // 1
    /// With the Cease to send.
    case manualStop(NotificationMessage)  // 2
    case automaticStart  // 3
    case manualStartPassive  // 4
    case automaticStartPassive  // 5
    case automaticStartDamped  // 6
    case automaticStartDampedPassive  // 7
    /// With the Cease to send.
    case automaticStop(NotificationMessage)  // 8
    case connectRetryTimerExpires  // 9
    case holdTimerExpires  // 10
    case keepaliveTimerExpires  // 11
    case delayOpenTimerExpires  // 12
    case idleHoldTimerExpires  // 13
    case tcpConnectionValid  // 14
    case tcpCRInvalid  // 15
    /// A connection of ours is there.
    case tcpCRAcked  // 16
    /// A connection of the peer's is there.
    case tcpConnectionConfirmed  // 17
    case tcpConnectionFails  // 18
    /// A valid OPEN; with the negotiated hold time. While the DelayOpenTimer runs it is event 20.
    case bgpOpen(holdTime: Interval)  // 19, 20
    case bgpHeaderErr(NotificationMessage)  // 21
    case bgpOpenMsgErr(NotificationMessage)  // 22
    case openCollisionDump  // 23
    case notifMsgVerErr  // 24
    case notifMsg  // 25
    case keepAliveMsg  // 26
    case updateMsg  // 27
    case updateMsgErr(NotificationMessage)  // 28
    /// RFC 9687 §3.1.
    case sendHoldTimerExpires  // 29
  }

  /// What is to be done, first to last: send, then drop, then connect.
  public struct Outcome: Equatable, Sendable {
    public var sendsOpen = false
    public var sendsKeepalive = false
    public var notification: NotificationMessage?
    /// Drop the TCP connection, or refuse the one that has just come.
    public var dropsConnection = false
    /// Delete all routes of the peer.
    public var deletesRoutes = false
    /// Hold the peer in Idle for a while (DampPeerOscillations).
    public var damps = false
    public var initiatesConnection = false
    public init() {}
  }
}

extension FiniteStateMachine.Event {
  /// Whether it begins, or tries to, what a state other than Idle has begun already.
  func isAttempt(besides state: FiniteStateMachine.State) -> Bool {
    switch self {
    case .manualStart, .automaticStart, .manualStartPassive, .automaticStartPassive, .automaticStartDamped,
      .automaticStartDampedPassive, .tcpConnectionValid, .tcpCRInvalid:
      true
    // A second connection is tracked by a machine of its own.
    case .tcpCRAcked, .tcpConnectionConfirmed: state != .connect && state != .active
    default: false
    }
  }
}

extension FiniteStateMachine.State {
  /// As dumps number the states (RFC 6396 §4.4.1).
  public var number: UInt16 {
    switch self {
    case .idle: 1
    case .connect: 2
    case .active: 3
    case .openSent: 4
    case .openConfirm: 5
    case .established: 6
    }
  }
}

extension FiniteStateMachine.State: CustomStringConvertible {
  public var description: String { rawValue }
}
