import Testing
import Wire

@testable import BGP

private typealias Machine = FiniteStateMachine
private typealias State = FiniteStateMachine.State

/// The rows of RFC 4271 §8.2.2: in a state, upon an event, what is done, and which state follows.
@Suite("The state machine, row by row")
struct FiniteStateMachineTests {
  private static let start = Instant.zero + .seconds(1_000)
  private static let cease = NotificationMessage.cease(.administrativeShutdown)
  private static let openError = NotificationMessage.badPeerAS
  private static let updateError = NotificationMessage.malformedASPath
  private static let headerError = NotificationMessage.connectionNotSynchronized

  private static func machine(in state: FiniteStateMachine.State, delayOpen: Bool = false) -> FiniteStateMachine {
    var machine = FiniteStateMachine(
      .init(connectRetryTime: .seconds(120), delayOpenTime: delayOpen ? .seconds(5) : nil),
      entropy: SeededEntropy(seed: 7))
    func put(_ events: FiniteStateMachine.Event...) {
      for event in events { _ = machine.handle(event, now: start) }
    }
    switch state {
    case .idle: break
    case .connect: put(.manualStart)
    case .active: put(.manualStartPassive)
    case .openSent: put(.manualStart, .tcpCRAcked)
    case .openConfirm: put(.manualStart, .tcpCRAcked, .bgpOpen(holdTime: .seconds(90)))
    case .established: put(.manualStart, .tcpCRAcked, .bgpOpen(holdTime: .seconds(90)), .keepAliveMsg)
    }
    // With DelayOpen, Connect and Active have the connection and wait.
    if delayOpen, state == .connect || state == .active { put(.tcpConnectionConfirmed) }
    #expect(machine.state == state)
    return machine
  }

  struct Row: Sendable, CustomTestStringConvertible {
    var state: FiniteStateMachine.State
    var number: Int
    var event: FiniteStateMachine.Event
    var next: FiniteStateMachine.State
    var outcome: FiniteStateMachine.Outcome
    /// How far ConnectRetryCounter goes up; nil sets it to zero.
    var counter: Int? = 0
    var delayOpen = false
    var testDescription: String { "\(state), event \(number)\(delayOpen ? " with DelayOpen" : "")" }
  }

  private static func does(
    open: Bool = false, keepalive: Bool = false, _ notification: NotificationMessage? = nil, drops: Bool = false,
    deletes: Bool = false, damps: Bool = false, connects: Bool = false
  ) -> FiniteStateMachine.Outcome {
    var outcome = FiniteStateMachine.Outcome()
    outcome.sendsOpen = open
    outcome.sendsKeepalive = keepalive
    outcome.notification = notification
    outcome.dropsConnection = drops
    outcome.deletesRoutes = deletes
    outcome.damps = damps
    outcome.initiatesConnection = connects
    return outcome
  }

  private static func fall(
    _ state: FiniteStateMachine.State, _ number: Int, _ event: FiniteStateMachine.Event,
    _ notification: NotificationMessage? = nil, counter: Int? = 1, damps: Bool = true, delayOpen: Bool = false
  ) -> Row {
    Row(
      state: state, number: number, event: event, next: .idle,
      outcome: does(notification, drops: true, deletes: state == .established, damps: damps), counter: counter,
      delayOpen: delayOpen)
  }

  private static let starts: [(Int, FiniteStateMachine.Event)] = [
    (1, .manualStart), (3, .automaticStart), (4, .manualStartPassive), (5, .automaticStartPassive),
    (6, .automaticStartDamped), (7, .automaticStartDampedPassive),
  ]

  static let rows: [Row] = {
    var rows: [Row] = []
    func add(
      _ state: FiniteStateMachine.State, _ number: Int, _ event: FiniteStateMachine.Event,
      _ next: FiniteStateMachine.State, _ outcome: FiniteStateMachine.Outcome = does(), delayOpen: Bool = false
    ) {
      rows.append(Row(state: state, number: number, event: event, next: next, outcome: outcome, delayOpen: delayOpen))
    }
    let open = FiniteStateMachine.Event.bgpOpen(holdTime: .seconds(90))
    let fsmError = NotificationMessage.finiteStateMachineError

    // Idle.
    for (number, event) in starts {
      let isPassive = [4, 5, 7].contains(number)
      add(.idle, number, event, isPassive ? .active : .connect, does(connects: !isPassive))
    }
    add(.idle, 13, .idleHoldTimerExpires, .connect, does(connects: true))
    add(.idle, 2, .manualStop(cease), .idle)
    add(.idle, 8, .automaticStop(cease), .idle)
    for (number, event): (Int, FiniteStateMachine.Event) in [
      (9, .connectRetryTimerExpires), (10, .holdTimerExpires), (11, .keepaliveTimerExpires),
      (12, .delayOpenTimerExpires), (15, .tcpCRInvalid), (18, .tcpConnectionFails), (19, open),
      (21, .bgpHeaderErr(headerError)), (22, .bgpOpenMsgErr(openError)), (23, .openCollisionDump),
      (24, .notifMsgVerErr), (25, .notifMsg), (26, .keepAliveMsg), (27, .updateMsg), (28, .updateMsgErr(updateError)),
    ] {
      add(.idle, number, event, .idle)
    }
    for (number, event): (Int, FiniteStateMachine.Event) in [
      (14, .tcpConnectionValid), (16, .tcpCRAcked), (17, .tcpConnectionConfirmed),
    ] {
      add(.idle, number, event, .idle, does(drops: true))
    }

    // Start events change nothing later; nor do 14 and 15.
    for state in [FiniteStateMachine.State.connect, .active, .openSent, .openConfirm, .established] {
      for (number, event) in starts { add(state, number, event, state) }
      add(state, 14, .tcpConnectionValid, state)
      add(state, 15, .tcpCRInvalid, state)
    }

    // Connect and Active.
    for state in [FiniteStateMachine.State.connect, .active] {
      rows.append(fall(state, 2, .manualStop(cease), counter: nil, damps: false))
      add(state, 12, .delayOpenTimerExpires, .openSent, does(open: true), delayOpen: true)
      for (number, event): (Int, FiniteStateMachine.Event) in [(16, .tcpCRAcked), (17, .tcpConnectionConfirmed)] {
        add(state, number, event, .openSent, does(open: true))
      }
      add(state, 20, open, .openConfirm, does(open: true, keepalive: true), delayOpen: true)
      rows.append(fall(state, 21, .bgpHeaderErr(headerError), headerError))
      rows.append(fall(state, 22, .bgpOpenMsgErr(openError), openError))
      rows.append(fall(state, 24, .notifMsgVerErr))
      rows.append(fall(state, 24, .notifMsgVerErr, counter: 0, damps: false, delayOpen: true))
      for (number, event): (Int, FiniteStateMachine.Event) in [
        (8, .automaticStop(cease)), (10, .holdTimerExpires), (11, .keepaliveTimerExpires),
        (13, .idleHoldTimerExpires), (19, open), (23, .openCollisionDump), (25, .notifMsg), (26, .keepAliveMsg),
        (27, .updateMsg), (28, .updateMsgErr(updateError)),
      ] {
        rows.append(fall(state, number, event))
      }
    }
    add(.connect, 9, .connectRetryTimerExpires, .connect, does(drops: true, connects: true))
    rows.append(fall(.connect, 18, .tcpConnectionFails, counter: 0, damps: false))
    add(.connect, 18, .tcpConnectionFails, .active, delayOpen: true)
    add(.active, 9, .connectRetryTimerExpires, .connect, does(connects: true))
    rows.append(fall(.active, 18, .tcpConnectionFails))
    rows.append(fall(.active, 2, .manualStop(cease), cease, counter: nil, damps: false, delayOpen: true))

    // OpenSent, OpenConfirm and Established.
    for state in [FiniteStateMachine.State.openSent, .openConfirm, .established] {
      rows.append(fall(state, 2, .manualStop(cease), cease, counter: nil, damps: false))
      rows.append(fall(state, 8, .automaticStop(cease), cease))
      rows.append(fall(state, 10, .holdTimerExpires, .holdTimerExpired))
      add(state, 16, .tcpCRAcked, state)
      add(state, 17, .tcpConnectionConfirmed, state)
      rows.append(fall(state, 21, .bgpHeaderErr(headerError), headerError))
      rows.append(fall(state, 23, .openCollisionDump, .cease(.collisionResolution)))
      for (number, event): (Int, FiniteStateMachine.Event) in [
        (9, .connectRetryTimerExpires), (12, .delayOpenTimerExpires), (13, .idleHoldTimerExpires),
      ] {
        rows.append(fall(state, number, event, fsmError(nil)))
      }
    }
    add(.openSent, 18, .tcpConnectionFails, .active, does(drops: true))
    add(.openSent, 19, open, .openConfirm, does(keepalive: true))
    rows.append(fall(.openSent, 22, .bgpOpenMsgErr(openError), openError))
    rows.append(fall(.openSent, 24, .notifMsgVerErr, counter: 0, damps: false))
    rows.append(fall(.openSent, 11, .keepaliveTimerExpires, fsmError(nil)))
    for (number, event): (Int, FiniteStateMachine.Event) in [
      (25, .notifMsg), (26, .keepAliveMsg), (27, .updateMsg), (28, .updateMsgErr(updateError)),
    ] {
      rows.append(fall(.openSent, number, event, fsmError(.inOpenSent)))
    }

    add(.openConfirm, 11, .keepaliveTimerExpires, .openConfirm, does(keepalive: true))
    rows.append(fall(.openConfirm, 18, .tcpConnectionFails))
    rows.append(fall(.openConfirm, 22, .bgpOpenMsgErr(openError), openError))
    rows.append(fall(.openConfirm, 24, .notifMsgVerErr, counter: 0, damps: false))
    rows.append(fall(.openConfirm, 25, .notifMsg))
    add(.openConfirm, 26, .keepAliveMsg, .established)
    for (number, event): (Int, FiniteStateMachine.Event) in [
      (19, open), (27, .updateMsg), (28, .updateMsgErr(updateError)),
    ] {
      rows.append(fall(.openConfirm, number, event, fsmError(.inOpenConfirm)))
    }

    add(.established, 11, .keepaliveTimerExpires, .established, does(keepalive: true))
    for (number, event): (Int, FiniteStateMachine.Event) in [
      (18, .tcpConnectionFails), (24, .notifMsgVerErr), (25, .notifMsg),
    ] {
      rows.append(fall(.established, number, event, damps: false))
    }
    add(.established, 26, .keepAliveMsg, .established)
    add(.established, 27, .updateMsg, .established)
    rows.append(fall(.established, 28, .updateMsgErr(updateError), updateError))
    rows.append(fall(.established, 19, open, fsmError(.inEstablished)))
    rows.append(fall(.established, 22, .bgpOpenMsgErr(openError), fsmError(.inEstablished)))
    rows.append(fall(.established, 29, .sendHoldTimerExpires, .sendHoldTimerExpired))
    return rows
  }()

  @Test(arguments: rows) func doesWhatTheTableSays(_ row: Row) {
    var machine = Self.machine(in: row.state, delayOpen: row.delayOpen)
    let before = machine.connectRetryCounter
    let outcome = machine.handle(row.event, now: Self.start)
    #expect(machine.state == row.next)
    #expect(outcome == row.outcome)
    #expect(machine.connectRetryCounter == row.counter.map { before + $0 } ?? 0)
    if row.next == .idle { #expect(machine.timers == .init(), "released: no timer runs") }
  }

  /// RFC 4271 §8.2.2: upon a ManualStop the local system "sets ConnectRetryCounter to zero".
  @Test func theOperatorsStopForgetsFailures() {
    var machine = Self.machine(in: .established)
    _ = machine.handle(.tcpConnectionFails, now: Self.start)
    _ = machine.handle(.automaticStartDamped, now: Self.start)
    #expect(machine.state == .connect && machine.connectRetryCounter == 1)
    _ = machine.handle(.manualStop(Self.cease), now: Self.start)
    #expect(machine.state == .idle && machine.connectRetryCounter == 0)
  }

  // MARK: Timers

  @Test func theConnectRetryTimerHasJitter() {
    var seen: Set<Instant> = []
    for seed in 0..<200 as Range<UInt64> {
      var machine = FiniteStateMachine(.init(connectRetryTime: .seconds(120)), entropy: SeededEntropy(seed: seed))
      _ = machine.handle(.manualStart, now: Self.start)
      let wait = machine.timers.connectRetry - Self.start
      #expect(wait >= .seconds(90) && wait <= .seconds(120))
      seen.insert(machine.timers.connectRetry)
    }
    #expect(seen.count > 150)
  }

  @Test func openSentWaitsFourMinutes() {
    #expect(Self.machine(in: .openSent).timers.hold == Self.start + .seconds(240))
  }

  @Test func theHoldTimeIsTheNegotiatedOne() {
    var machine = Self.machine(in: .established)
    #expect(machine.timers.hold == Self.start + .seconds(90))
    let keepalive = machine.timers.keepalive - Self.start
    #expect(keepalive >= .milliseconds(22_500) && keepalive <= .seconds(30))
    _ = machine.handle(.updateMsg, now: Self.start + .seconds(50))
    #expect(machine.timers.hold == Self.start + .seconds(140))
  }

  @Test func aHoldTimeOfZeroStartsNoTimer() {
    var machine = Self.machine(in: .openSent)
    _ = machine.handle(.bgpOpen(holdTime: .zero), now: Self.start)
    #expect(machine.timers == .init())
    _ = machine.handle(.keepAliveMsg, now: Self.start)
    #expect(machine.state == .established && machine.timers == .init())
    machine.sentMessage(now: Self.start)
    machine.transportTookAll(now: Self.start)
    #expect(machine.timers == .init())
  }

  @Test func sendingPutsTheKeepaliveOff() {
    var machine = Self.machine(in: .established)
    machine.sentMessage(now: Self.start + .seconds(20))
    #expect(machine.timers.keepalive >= Self.start + .milliseconds(42_500))
  }

  /// RFC 9687 §3.1.
  @Test func theSendHoldTimerRunsWhileNothingLeaves() {
    var machine = Self.machine(in: .established)
    #expect(machine.timers.sendHold == Self.start + .seconds(480))
    machine.transportTookAll(now: Self.start + .seconds(100))
    #expect(machine.timers.sendHold == Self.start + .seconds(580))
    // However many KEEPALIVE messages come in.
    var now = Self.start + .seconds(100)
    while machine.state == .established, now < Self.start + .seconds(2_000) {
      now += .seconds(10)
      _ = machine.handle(.keepAliveMsg, now: now)
      while let event = machine.nextExpiry(now: now) { _ = machine.handle(event, now: now) }
    }
    #expect(machine.state == .idle && now == Self.start + .seconds(580))
  }

  @Test func timersFireOnce() {
    var machine = Self.machine(in: .connect)
    let late = Self.start + .seconds(1_000)
    guard case .connectRetryTimerExpires? = machine.nextExpiry(now: late) else {
      Issue.record("the ConnectRetryTimer runs")
      return
    }
    #expect(machine.nextExpiry(now: late) == nil)
  }
}
