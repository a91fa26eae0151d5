public import Wire

/// One BFD session in asynchronous mode, without echo and authentication (RFC 5880 §6.8). Names of variables are the
/// RFC's without their `bfd.`.
///
/// Packets and instants go in; ``nextTransmission(now:)`` and ``nextEvent()`` say what to send and what has happened.
/// After each input the owner takes both until there is nothing, then sets its timer to ``deadline``.
public struct Session {
  public struct Configuration: Hashable, Sendable {
    /// While the session is up; otherwise it sends once a second (§6.8.3).
    public var desiredMinTxInterval = Interval.milliseconds(50)
    /// The peer sends no faster than this.
    public var requiredMinRxInterval = Interval.milliseconds(50)
    /// Packets that the peer must miss before it takes the session for down.
    public var detectMultiplier: UInt8 = 3
    /// Says nothing before the peer has (§6.1).
    public var isPassive = false

    public init() {}
  }

  public enum Event: Hashable, Sendable {
    case stateChanged(from: SessionState, to: SessionState, Diagnostic)
  }

  public private(set) var configuration: Configuration
  public let localDiscriminator: UInt32
  public private(set) var state = SessionState.down
  public private(set) var localDiagnostic = Diagnostic.none
  public private(set) var remoteState = SessionState.down
  public private(set) var remoteDiagnostic = Diagnostic.none
  public private(set) var remoteDiscriminator: UInt32 = 0
  public private(set) var remoteMinRxInterval = Interval.microseconds(1)
  private var remoteMinTxInterval = Interval.zero
  private var remoteDetectMultiplier: UInt8 = 0
  private var remoteDemands = false

  /// As announced.
  private var desiredMinTxInterval = Self.slowInterval
  private var requiredMinRxInterval: Interval
  /// As in use: §6.8.3 holds some changes back until the peer has heard of them.
  private var activeMinTxInterval = Self.slowInterval
  private var activeMinRxInterval: Interval
  private var poll = Poll.none

  private let entropy: any EntropySource
  private var lastSent: Instant?
  private var nextPeriodic: Instant
  private var detectionDeadline = Instant.distantFuture
  private var owesFinal = false
  private var owesPacket = false
  private var events: [Event] = []

  private enum Poll {
    case none
    case running
    /// Something changed after the first packet of a Poll Sequence: another follows it.
    case runningAndStale
    /// It begins when a packet without the bit has set it apart from the one before.
    case next
  }

  // RFC 5880 §6.8.3: a DesiredMinTxInterval of not less than one second while the session is not Up.
  static let slowInterval = Interval.seconds(1)

  /// - Parameters:
  ///   - localDiscriminator: not zero, and unlike that of every other session of the system (§6.8.1).
  ///   - entropy: for the jitter.
  public init(_ configuration: Configuration, localDiscriminator: UInt32, entropy: any EntropySource, now: Instant) {
    precondition(localDiscriminator != 0, "a discriminator is not zero")
    self.configuration = configuration
    self.localDiscriminator = localDiscriminator
    self.entropy = entropy
    requiredMinRxInterval = configuration.requiredMinRxInterval
    activeMinRxInterval = configuration.requiredMinRxInterval
    nextPeriodic = now
  }

  // MARK: What follows from the variables

  /// §6.8.2 and §6.8.7: the greater of what we want and what the peer can take, before jitter.
  public var transmitInterval: Interval { max(activeMinTxInterval, remoteMinRxInterval) }

  /// §6.8.4: the peer's multiplier times the agreed interval of its packets; zero before it has been heard.
  public var detectionTime: Interval {
    max(activeMinRxInterval, remoteMinTxInterval) * Int64(remoteDetectMultiplier)
  }

  /// §6.8.7: says whether packets may be sent at regular intervals.
  private var sendsPeriodically: Bool {
    // "MUST NOT transmit" of a passive system that has not heard its peer.
    if configuration.isPassive, remoteDiscriminator == 0 { return false }
    // nor where the peer wants none
    if remoteMinRxInterval == .zero { return false }
    // nor where the peer is in Demand mode, both are up, and nothing is polled.
    if remoteDemands, state == .up, remoteState == .up, case .none = poll { return false }
    return true
  }

  /// When to call ``handleTimeout(now:)``.
  public var deadline: Instant { min(sendsPeriodically ? nextPeriodic : .distantFuture, detectionDeadline) }

  public mutating func nextEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  // MARK: Receiving

  /// Takes a packet that was found to be this session's (§6.8.6). False where it is discarded.
  @discardableResult
  public mutating func receive(_ packet: ControlPacket, now: Instant) -> Bool {
    // "If the A bit is set and no authentication is in use", which it never is here, the packet is discarded.
    guard !packet.hasAuthentication else { return false }
    let intervalBefore = transmitInterval
    remoteDiscriminator = packet.myDiscriminator
    remoteState = packet.state
    remoteDiagnostic = packet.diagnostic
    remoteDemands = packet.isDemand
    remoteMinRxInterval = .microseconds(Int64(packet.requiredMinRxInterval))
    remoteMinTxInterval = .microseconds(Int64(packet.desiredMinTxInterval))
    remoteDetectMultiplier = packet.detectMultiplier
    if packet.isFinal { endPoll() }
    detectionDeadline = now + detectionTime
    if state != .adminDown { judge(packet.state, now) }
    if packet.isPoll, state != .adminDown { owesFinal = true }
    if transmitInterval != intervalBefore { transmitIntervalChanged(now) }
    return state != .adminDown
  }

  /// The state machine (§6.2, §6.8.6).
  private mutating func judge(_ received: SessionState, _ now: Instant) {
    switch (state, received) {
    case (.down, .adminDown): break
    case (_, .adminDown): become(.down, .neighborSignaledDown, now)
    case (.down, .down): become(.initializing, localDiagnostic, now)
    case (.down, .initializing): become(.up, .none, now)
    case (.initializing, .initializing), (.initializing, .up): become(.up, .none, now)
    case (.up, .down): become(.down, .neighborSignaledDown, now)
    default: break
    }
  }

  private mutating func become(_ new: SessionState, _ diagnostic: Diagnostic, _ now: Instant) {
    let old = state
    state = new
    localDiagnostic = diagnostic
    events.append(.stateChanged(from: old, to: new, diagnostic))
    // §6.8.7: what differs from the packet before is sent at once.
    owesPacket = true
    if (old == .up) != (new == .up) { announceIntervals(now) }
  }

  // MARK: Parameters

  /// Changes intervals or multiplier of a session that is running (§6.8.3).
  public mutating func reconfigure(_ configuration: Configuration, now: Instant) {
    if configuration.detectMultiplier != self.configuration.detectMultiplier { owesPacket = true }
    self.configuration = configuration
    announceIntervals(now)
  }

  private mutating func announceIntervals(_ now: Instant) {
    let intervalBefore = transmitInterval
    let transmit =
      state == .up ? configuration.desiredMinTxInterval : max(configuration.desiredMinTxInterval, Self.slowInterval)
    let receive = configuration.requiredMinRxInterval
    guard transmit != desiredMinTxInterval || receive != requiredMinRxInterval else { return }
    desiredMinTxInterval = transmit
    requiredMinRxInterval = receive
    // §6.8.3: an increase of DesiredMinTxInterval, in state Up, is not acted on before the Poll Sequence has ended;
    if state != .up || transmit <= activeMinTxInterval { activeMinTxInterval = transmit }
    // nor is a decrease of RequiredMinRxInterval.
    if state != .up || receive >= activeMinRxInterval { activeMinRxInterval = receive }
    beginPoll()
    if transmitInterval != intervalBefore { transmitIntervalChanged(now) }
  }

  /// §6.8.3: "a Poll Sequence MUST be initiated" by a change of either interval.
  private mutating func beginPoll() {
    switch poll {
    case .none:
      poll = .running
      owesPacket = true
    case .running, .runningAndStale: poll = .runningAndStale
    case .next: break
    }
  }

  private mutating func endPoll() {
    switch poll {
    case .running:
      activeMinTxInterval = desiredMinTxInterval
      activeMinRxInterval = requiredMinRxInterval
      poll = .none
    case .runningAndStale: poll = .next
    case .none, .next: break
    }
  }

  /// §6.8.3: a shorter interval that has passed already means a packet as soon as practicable.
  private mutating func transmitIntervalChanged(_ now: Instant) {
    guard let lastSent else { return }
    nextPeriodic = max(now, lastSent + jittered(transmitInterval))
  }

  // MARK: The operator, and what else knows of the path

  /// §6.8.16. The peer goes on being told that this is by will.
  public mutating func disable(now: Instant) {
    guard state != .adminDown else { return }
    become(.adminDown, .administrativelyDown, now)
  }

  public mutating func enable(now: Instant) {
    guard state == .adminDown else { return }
    become(.down, .administrativelyDown, now)
    localDiagnostic = .none
  }

  /// The path is known to be broken otherwise, such as by a link that has gone down (§6.8.17).
  public mutating func pathFailed(now: Instant) {
    guard state == .up || state == .initializing else { return }
    become(.down, .pathDown, now)
  }

  // MARK: Time

  public mutating func handleTimeout(now: Instant) {
    guard detectionDeadline <= now else { return }
    detectionDeadline = .distantFuture
    // §6.8.1: RemoteDiscr is zero again when a Detection Time has passed without a packet.
    remoteDiscriminator = 0
    // §6.8.4: Down, with Control Detection Time Expired.
    if state == .initializing || state == .up { become(.down, .detectionTimeExpired, now) }
  }

  // MARK: Sending

  /// What is to be sent now; nil when there is nothing.
  public mutating func nextTransmission(now: Instant) -> ControlPacket? {
    if owesFinal {
      // §6.8.7: the answer to a poll goes "without respect to the transmission timer or any other transmission
      // limitations", and never has the Poll bit.
      owesFinal = false
      var packet = packet()
      packet.isFinal = true
      return packet
    }
    guard sendsPeriodically, owesPacket || nextPeriodic <= now else { return nil }
    owesPacket = false
    lastSent = now
    nextPeriodic = now + jittered(transmitInterval)
    var packet = packet()
    switch poll {
    case .running, .runningAndStale: packet.isPoll = true
    case .next:
      poll = .running
      owesPacket = true
    case .none: break
    }
    return packet
  }

  private func packet() -> ControlPacket {
    var packet = ControlPacket(
      state: state, detectMultiplier: configuration.detectMultiplier, myDiscriminator: localDiscriminator,
      yourDiscriminator: remoteDiscriminator,
      desiredMinTxInterval: UInt32(clamping: desiredMinTxInterval.microseconds),
      requiredMinRxInterval: UInt32(clamping: requiredMinRxInterval.microseconds))
    packet.diagnostic = localDiagnostic
    return packet
  }

  /// §6.8.7: less 0 to 25 per cent at random; with a multiplier of 1, 75 to 90 per cent.
  private func jittered(_ interval: Interval) -> Interval {
    let nanoseconds = interval.nanoseconds
    guard nanoseconds >= 100 else { return interval }
    let least: Int64 = configuration.detectMultiplier == 1 ? 10 : 0
    let span = nanoseconds / 100 * (25 - least)
    let random = Int64(truncatingIfNeeded: entropy.nextUInt64() % UInt64(span + 1))
    return .nanoseconds(nanoseconds - nanoseconds / 100 * least - random)
  }
}
