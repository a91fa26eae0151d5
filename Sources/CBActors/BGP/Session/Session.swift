public import Wire

/// One configured peering: the state machine of its connection, of a second one while two collide (RFC 4271 §6.8), and
/// what makes messages of octets and events of messages.
///
/// Octets, instants and what befalls connections go in; ``nextEvent()`` says what to do and what has happened, in
/// order. After each input the owner takes all events, then sets its timer to ``deadline``.
public struct Session {
  /// Names a TCP connection between the session and its owner.
  public struct ConnectionID: Hashable, Sendable {
    let number: UInt64
  }

  public enum Event: Hashable, Sendable {
    /// Open a connection to the peer, then say ``Session/connectionOpened(_:now:)`` or
    /// ``Session/connectionFailed(_:now:)``.
    case connect(ConnectionID)
    case send(ConnectionID, [UInt8])
    /// Close it, open or not, once what was sent has left. Nothing more is to be said of it.
    case close(ConnectionID)
    case stateChanged(from: FiniteStateMachine.State, to: FiniteStateMachine.State, EndCause?)
    /// UPDATE messages may be sent on this connection.
    case established(ConnectionID, SessionParameters)
    /// The session is over, and so are the peer's routes.
    case ended(EndCause)
    /// The peer wants the routes of a family again, or begins or ends its own refresh (RFC 7313).
    case routeRefresh(RouteRefreshMessage)
  }

  /// The OPEN messages of a connection, as they were on the wire.
  public struct Opens: Hashable, Sendable {
    public var sent: [UInt8] = []
    public var received: [UInt8] = []
  }

  /// What a piece of the received octets was.
  public enum Received {
    /// Its memory is valid until the next call.
    case update(UpdateMessage)
    /// Another message; there may be events.
    case other
    /// There is no whole message left; all octets are taken.
    case nothing
  }

  public let configuration: PeerConfiguration
  let entropy: any EntropySource
  var main: Track
  /// A connection of the peer's beside the main one, until one of them sends an OPEN that settles it.
  var second: Track?
  /// Reads UPDATE messages while Established.
  public var reader: UpdateReader
  /// What ``receive(from:on:now:)`` took last, header and all; valid until the next call. Nil behind a faulty header.
  public internal(set) var message: UnsafeRawBufferPointer?
  /// Of the connections that there are, and perhaps of some that were.
  var opensByConnection: [ConnectionID: Opens] = [:]
  var events: [Event] = []
  private var reportedState = FiniteStateMachine.State.idle
  private var nextNumber: UInt64 = 0
  /// The operator wants the session.
  private var isWanted = false
  private var establishedAt: Instant?
  private var nextIdleHoldTime: Interval
  /// Our own end of the connection, once known: no route has it as next hop.
  public var localAddress: IPAddress?
  /// This speaker has restarted, and the forwarding of these families went on (RFC 4724 §4.1). Said before the start, it
  /// holds for the first session; nil for a speaker that has not.
  public var preservedThroughRestart: AddressFamilies?
  /// Behind ``Event/ended(_:)``: what is kept of the peer's routes, for ``RIB/sessionLost(_:retaining:now:)``; nil when
  /// they are gone.
  public private(set) var retention: StaleRetention?
  /// Why the session is not, or no longer, established.
  public private(set) var lastCause: EndCause?

  /// - Parameter entropy: for the jitter of timers.
  public init(_ configuration: PeerConfiguration, entropy: any EntropySource) {
    self.configuration = configuration
    self.entropy = entropy
    main = Track(configuration, entropy)
    nextIdleHoldTime = configuration.idleHoldTime
    reader = UpdateReader(.init(families: [], localAS: configuration.localAS, peerAS: configuration.peerAS))
  }

  public var state: FiniteStateMachine.State { main.machine.state }
  /// Of the session as established; nil in any other state.
  public var parameters: SessionParameters? { state == .established ? main.parameters : nil }
  /// Both OPEN messages of the established session, whole; empty in any other state.
  public var opens: Opens {
    guard state == .established, let id = main.connection else { return Opens() }
    return opensByConnection[id] ?? Opens()
  }
  public var connectRetryCounter: Int { main.machine.connectRetryCounter }

  /// When to call ``handleTimeout(now:)``.
  public var deadline: Instant {
    min(main.machine.timers.earliest, second?.machine.timers.earliest ?? .distantFuture)
  }

  public mutating func nextEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  // MARK: The operator

  /// ManualStart (event 1, or 4 of a passive peering).
  public mutating func start(now: Instant) {
    isWanted = true
    handle(configuration.isPassive ? .manualStartPassive : .manualStart, on: .main, now)
  }

  /// ManualStop (event 2). Stays in Idle until the next start. The peer is to forget our routes at once.
  public mutating func stop(_ cease: NotificationMessage = .cease(.administrativeShutdown), now: Instant) {
    isWanted = false
    handle(.manualStop(cease), on: .second, now)
    handle(.manualStop(hard(cease)), on: .main, now)
  }

  /// Stops so that the peer keeps our routes until we are back: a NOTIFICATION would end its grace (RFC 4724 §4.2), the end
  /// of the TCP connection alone does not.
  public mutating func stopForRestart(now: Instant) {
    isWanted = false
    for place in [Place.second, .main] where self[place]?.connection != nil {
      handle(.tcpConnectionFails, on: place, now, cause: .transport)
    }
    stop(now: now)
  }

  /// AutomaticStop (event 8), for what the owner finds out, such as too many prefixes. The peer is to forget our routes at
  /// once.
  public mutating func stopAutomatically(_ cease: NotificationMessage, now: Instant) {
    handle(.automaticStop(hard(cease)), on: .main, now)
  }

  /// RFC 8538 §4: a Cease that is meant goes as a Hard Reset where it would otherwise leave the grace as it is.
  private func hard(_ cease: NotificationMessage) -> NotificationMessage {
    parameters?.survivesNotification == true ? .hardReset(cease) : cease
  }

  // MARK: The transport

  /// A connection that was asked for is there.
  public mutating func connectionOpened(_ id: ConnectionID, now: Instant) {
    if let place = place(of: id) { handle(.tcpCRAcked, on: place, now) }
  }

  /// The peer has opened a connection. Nil when it is to be refused: the peering is idle, or has two already.
  public mutating func accept(now: Instant) -> ConnectionID? {
    switch state {
    case .idle: return nil
    case .active where main.connection == nil:
      let id = newID()
      main.begin(id, isOurs: false)
      handle(.tcpConnectionConfirmed, on: .main, now)
      return id
    default:
      // RFC 4271 §8.2.2: "the second connection SHALL be tracked until it sends an OPEN message". One that has kept
      // silent makes room for another.
      if let waiting = second {
        guard waiting.machine.state == .openSent else { return nil }
        handle(.openCollisionDump, on: .second, now)
      }
      let id = newID()
      var track = Track(configuration, entropy)
      track.begin(id, isOurs: false)
      _ = track.machine.handle(.automaticStartPassive, now: now)
      second = track
      handle(.tcpConnectionConfirmed, on: .second, now)
      return id
    }
  }

  /// A connection could not be opened, failed, or was closed by the peer.
  public mutating func connectionFailed(_ id: ConnectionID, now: Instant) {
    guard let place = place(of: id) else { return }
    handle(.tcpConnectionFails, on: place, now, cause: .transport)
  }

  /// All that was sent has been taken by the transport: it is not stuck (RFC 9687).
  public mutating func transportTookAll(now: Instant) { main.machine.transportTookAll(now: now) }

  /// The owner has sent UPDATE messages.
  public mutating func sentUpdate(now: Instant) { main.machine.sentMessage(now: now) }

  // MARK: Time

  public mutating func handleTimeout(now: Instant) {
    for place in [Place.main, .second] {
      while let event = self[place]?.machine.nextExpiry(now: now) { handle(event, on: place, now) }
    }
  }

  // MARK: Places

  enum Place { case main, second }

  subscript(place: Place) -> Track? {
    get { place == .main ? main : second }
    set {
      switch place {
      case .second: second = newValue
      case .main: if let newValue { main = newValue }
      }
    }
  }

  func place(of id: ConnectionID) -> Place? {
    if main.connection == id { return .main }
    return second?.connection == id ? .second : nil
  }

  private mutating func newID() -> ConnectionID {
    nextNumber += 1
    return ConnectionID(number: nextNumber)
  }

  // MARK: Acting on the machine

  /// Puts an event to a machine and does what it says.
  mutating func handle(_ event: FiniteStateMachine.Event, on place: Place, _ now: Instant, cause: EndCause? = nil) {
    guard let track = self[place] else { return }
    let wasEstablished = track.machine.state == .established
    let outcome: FiniteStateMachine.Outcome
    switch place {
    case .main: outcome = main.machine.handle(event, now: now)
    case .second: outcome = second?.machine.handle(event, now: now) ?? .init()
    }
    // What the peer has said comes before what we answer to it.
    let cause = cause ?? outcome.notification.map { .sent($0) }
    if let id = track.connection {
      if outcome.sendsOpen {
        let open = configuration.open(afterRestartPreserving: preservedThroughRestart).serialized
        opensByConnection = opensByConnection.filter { self.place(of: $0.key) != nil }
        opensByConnection[id, default: Opens()].sent = open
        events.append(.send(id, open))
      }
      if outcome.sendsKeepalive { events.append(.send(id, MessageHeader.keepalive)) }
      if let notification = outcome.notification { events.append(.send(id, notification.serialized)) }
      if outcome.dropsConnection {
        events.append(.close(id))
        self[place]?.reset()
      }
    }
    if outcome.initiatesConnection {
      let id = newID()
      main.begin(id, isOurs: true)
      events.append(.connect(id))
    }
    switch place {
    case .second:
      // Without a connection it is no use: the main one does the waiting and calling.
      if second?.connection == nil { second = nil }
      if second?.machine.state == .established { promoteSecond(now) }
    case .main:
      if wasEstablished, state != .established { ended(cause ?? .transport, track.parameters) }
      if !wasEstablished, state == .established { becameEstablished(now) }
      if state == .idle { fellToIdle(outcome, wasEstablished: wasEstablished, cause, now) }
    }
    report(cause)
  }

  private mutating func ended(_ cause: EndCause, _ parameters: SessionParameters?) {
    let isKept = cause.retains(survivingNotification: parameters?.survivesNotification ?? false)
    retention = isKept ? parameters?.retention : nil
    events.append(.ended(cause))
  }

  private mutating func report(_ cause: EndCause?) {
    guard state != reportedState else { return }
    let from = reportedState
    reportedState = state
    if state != .established, let cause { lastCause = cause }
    events.append(.stateChanged(from: from, to: state, cause))
  }

  private mutating func becameEstablished(_ now: Instant) {
    report(nil)
    // Whatever else there was lost the race.
    if second != nil { handle(.openCollisionDump, on: .second, now) }
    guard let id = main.connection, let parameters = main.parameters else { return }
    establishedAt = now
    preservedThroughRestart = nil
    var context = UpdateReader.Context(
      families: parameters.families, localAS: configuration.localAS, peerAS: parameters.peerAS)
    context.addPathFamilies = parameters.addPathFamilies
    context.usesFourOctetAS = parameters.usesFourOctetAS
    context.enforcesFirstAS = configuration.enforcesFirstAS
    context.localAddress = localAddress
    reader = UpdateReader(context)
    events.append(.established(id, parameters))
  }

  /// Puts the second connection in the place of the main one, which has none worth keeping.
  mutating func promoteSecond(_ now: Instant) {
    guard let second else { return }
    if let id = main.connection { events.append(.close(id)) }
    main = second
    self.second = nil
    if state == .established { becameEstablished(now) }
  }

  /// Starts again, at once or after a while (RFC 4271 §8.1.1, AllowAutomaticStart and DampPeerOscillations).
  private mutating func fellToIdle(
    _ outcome: FiniteStateMachine.Outcome, wasEstablished: Bool, _ cause: EndCause?, _ now: Instant
  ) {
    main.reset()
    let held = establishedAt.map { now - $0 } ?? .zero
    establishedAt = nil
    if second != nil { return promoteSecond(now) }
    guard isWanted else { return }
    let wasStable = wasEstablished && held >= configuration.maximumIdleHoldTime
    if wasStable { nextIdleHoldTime = configuration.idleHoldTime }
    if cause?.isOrderly == true {
      report(cause)
      // One that is ended as soon as it is there is left to the ConnectRetryTimer, so that two do not chase each other.
      let isAtOnce = wasEstablished && held >= configuration.idleHoldTime
      handle(isAtOnce ? .automaticStart : .automaticStartPassive, on: .main, now)
    } else if outcome.damps || wasEstablished && !wasStable {
      report(cause)
      main.machine.holdIdle(for: nextIdleHoldTime, now: now)
      nextIdleHoldTime = min(nextIdleHoldTime * 2, configuration.maximumIdleHoldTime)
    } else {
      // A peer that cannot be reached may itself come any time: listen, and try again when the ConnectRetryTimer says.
      report(cause)
      handle(wasStable ? .automaticStart : .automaticStartPassive, on: .main, now)
    }
  }
}

extension Session {
  /// A machine with the connection that it has.
  struct Track {
    var machine: FiniteStateMachine
    private(set) var connection: ConnectionID?
    /// We have opened it.
    private(set) var isOurs = false
    private(set) var stream = MessageStream()
    /// Both OPEN messages are known.
    var parameters: SessionParameters?

    init(_ configuration: PeerConfiguration, _ entropy: any EntropySource) {
      machine = FiniteStateMachine(
        .init(
          connectRetryTime: configuration.connectRetryTime, delayOpenTime: configuration.delayOpenTime,
          isPassive: configuration.isPassive, sendHoldTime: configuration.sendHoldTime),
        entropy: entropy)
    }

    mutating func begin(_ id: ConnectionID, isOurs: Bool) {
      reset()
      connection = id
      self.isOurs = isOurs
    }

    mutating func reset() {
      connection = nil
      parameters = nil
      if stream.pendingCount > 0 { stream = MessageStream() }
    }
  }
}
