import Testing
import Wire

@testable import BFD

/// Two ends and what is between them, under a clock of its own.
struct TwoEnds {
  var sessions: [Session]
  var now = Instant.zero
  var flying: [(at: Instant, to: Int, packet: ControlPacket)] = []
  var sent: [[(at: Instant, packet: ControlPacket)]] = [[], []]
  var events: [[(at: Instant, event: Session.Event)]] = [[], []]
  var delay = Interval.milliseconds(2)
  /// Of a thousand packets.
  var lossPerMille = 0
  var isCut = [false, false]
  var isFrozen = [false, false]
  let entropy: SeededEntropy

  init(_ left: Session.Configuration = .init(), _ right: Session.Configuration = .init(), seed: UInt64 = 1) {
    let entropy = SeededEntropy(seed: seed)
    self.entropy = entropy
    sessions = [left, right].enumerated().map { index, configuration in
      Session(configuration, localDiscriminator: UInt32(10 + index), entropy: entropy, now: .zero)
    }
  }

  mutating func run(for time: Interval) {
    let end = now + time
    while true {
      for side in 0...1 where !isFrozen[side] { pump(side) }
      var next = flying.map(\.at).min() ?? .distantFuture
      for side in 0...1 where !isFrozen[side] { next = min(next, sessions[side].deadline) }
      guard next <= end else { break }
      now = max(now, next)
      while let place = flying.firstIndex(where: { $0.at <= now }) {
        let (_, side, packet) = flying.remove(at: place)
        if !isFrozen[side] { sessions[side].receive(packet, now: now) }
        if !isFrozen[side] { pump(side) }
      }
      for side in 0...1 where !isFrozen[side] { sessions[side].handleTimeout(now: now) }
    }
    now = end
  }

  private mutating func pump(_ side: Int) {
    while let packet = sessions[side].nextTransmission(now: now) {
      sent[side].append((now, packet))
      guard !isCut[side], Int(entropy.nextUInt64() % 1_000) >= lossPerMille else { continue }
      flying.append((now + delay, 1 - side, packet))
    }
    while let event = sessions[side].nextEvent() { events[side].append((now, event)) }
  }
}

@Suite("BFD sessions") struct SessionTests {
  @Test func bothEndsComeUpAndSendAtTheAgreedPace() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    #expect(wire.sessions.allSatisfy { $0.state == .up })
    #expect(wire.sessions[0].detectionTime == .milliseconds(150))
    let from = wire.now
    wire.run(for: .seconds(10))
    for side in 0...1 {
      let times = wire.sent[side].filter { $0.at > from }.map(\.at)
      let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
      // RFC 5880 §6.8.7: 75 to 100 per cent of the interval.
      #expect(gaps.allSatisfy { $0 >= .microseconds(37_500) && $0 <= .milliseconds(50) })
      #expect(gaps.min()! < .milliseconds(39) && gaps.max()! > .microseconds(48_500))
    }
    #expect(wire.events.allSatisfy { $0.count == 2 })
  }

  @Test func aMultiplierOfOneLeavesRoomForJitter() {
    var configuration = Session.Configuration()
    configuration.detectMultiplier = 1
    var wire = TwoEnds(configuration, configuration)
    wire.run(for: .seconds(3))
    let from = wire.now
    wire.run(for: .seconds(10))
    let times = wire.sent[0].filter { $0.at > from }.map(\.at)
    let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
    // RFC 5880 §6.8.7: "no more than 90% and no less than 75%"
    #expect(gaps.allSatisfy { $0 >= .microseconds(37_500) && $0 <= .milliseconds(45) })
    #expect(wire.sessions.allSatisfy { $0.state == .up })
  }

  @Test func aFrozenPeerIsFoundOutWithinTheDetectionTime() {
    for seed in 1...50 {
      var wire = TwoEnds(seed: UInt64(seed))
      wire.run(for: .milliseconds(3_000 + Int64(seed) * 7))
      wire.isFrozen[1] = true
      let at = wire.now
      wire.run(for: .seconds(1))
      let down = wire.events[0].last!
      #expect(down.event == .stateChanged(from: .up, to: .down, .detectionTimeExpired))
      // From its last packet on, which is up to 50 ms and the delay old.
      #expect(down.at - at <= .milliseconds(152) && down.at - at >= .milliseconds(98))
      #expect(wire.sessions[0].remoteDiscriminator == 0)
      // It goes on asking, once a second, and comes up again when the peer does.
      wire.isFrozen[1] = false
      wire.run(for: .seconds(4))
      #expect(wire.sessions.allSatisfy { $0.state == .up })
    }
  }

  /// Cut in one direction, the side that still hears learns it from the other.
  @Test func aPathThatIsCutOneWayIsDownAtBothEnds() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    wire.isCut[0] = true
    let at = wire.now
    wire.run(for: .milliseconds(400))
    #expect(wire.events[1].last!.event == .stateChanged(from: .up, to: .down, .detectionTimeExpired))
    // Told at once, not a second later.
    let told = wire.events[0].last!
    #expect(told.event == .stateChanged(from: .up, to: .down, .neighborSignaledDown))
    #expect(told.at - at < .milliseconds(160))
  }

  @Test(arguments: 1...20) func someLossDoesNotEndASession(seed: Int) {
    var wire = TwoEnds(seed: UInt64(seed))
    wire.lossPerMille = 20
    wire.run(for: .seconds(5))
    #expect(wire.sessions.allSatisfy { $0.state == .up })
    let before = wire.events.map(\.count)
    wire.run(for: .seconds(5))
    // Three in a row of 2 per cent: 1 in 125,000 a packet.
    #expect(wire.events.map(\.count) == before)
  }

  /// Whatever the loss, when it ends both ends agree again.
  @Test(arguments: 1...40) func bothEndsAgreeWhenTheLossEnds(seed: Int) {
    var wire = TwoEnds(seed: UInt64(seed))
    for _ in 0..<10 {
      wire.lossPerMille = Int(wire.entropy.nextUInt64() % 1_000)
      wire.isCut = [wire.entropy.nextUInt64() % 3 == 0, wire.entropy.nextUInt64() % 3 == 0]
      wire.run(for: .milliseconds(Int64(wire.entropy.nextUInt64() % 2_000)))
    }
    wire.lossPerMille = 0
    wire.isCut = [false, false]
    wire.run(for: .seconds(4))
    #expect(wire.sessions.allSatisfy { $0.state == .up && $0.remoteState == .up })
    #expect(wire.sessions.allSatisfy { $0.transmitInterval == .milliseconds(50) })
  }

  @Test func aSlowerIntervalWaitsForThePeer() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    #expect(wire.sent[0].last!.packet.isPoll == false)
    var slower = Session.Configuration()
    slower.desiredMinTxInterval = .milliseconds(300)
    slower.requiredMinRxInterval = .milliseconds(20)
    // What it says does not arrive: it keeps to the old pace, or the peer would take it for dead.
    wire.isCut[1] = true
    wire.sessions[0].reconfigure(slower, now: wire.now)
    wire.run(for: .milliseconds(100))
    #expect(wire.sessions[0].transmitInterval == .milliseconds(50))
    #expect(wire.sessions[0].detectionTime == .milliseconds(150))
    #expect(wire.sent[0].suffix(2).allSatisfy { $0.packet.isPoll && $0.packet.desiredMinTxInterval == 300_000 })
    wire.isCut[1] = false
    wire.run(for: .milliseconds(100))
    #expect(wire.sessions[0].transmitInterval == .milliseconds(300))
    #expect(wire.sessions[1].detectionTime == .milliseconds(900))
    wire.run(for: .seconds(5))
    #expect(wire.sessions.allSatisfy { $0.state == .up })
    #expect(wire.sent[0].last!.packet.isPoll == false)
  }

  @Test func aPollIsAnsweredAtOnce() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    var poll = ControlPacket(
      state: .up, myDiscriminator: 11, yourDiscriminator: 10, desiredMinTxInterval: 50_000,
      requiredMinRxInterval: 50_000)
    poll.isPoll = true
    wire.sessions[0].receive(poll, now: wire.now)
    let answer = wire.sessions[0].nextTransmission(now: wire.now)
    #expect(answer?.isFinal == true && answer?.isPoll == false)
    #expect(wire.sessions[0].nextTransmission(now: wire.now) == nil)
  }

  @Test func twoChangesAreTwoPollSequences() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    wire.sent = [[], []]
    var slower = Session.Configuration()
    slower.desiredMinTxInterval = .milliseconds(100)
    wire.sessions[0].reconfigure(slower, now: wire.now)
    wire.run(for: .milliseconds(1))
    slower.desiredMinTxInterval = .milliseconds(200)
    wire.sessions[0].reconfigure(slower, now: wire.now)
    wire.run(for: .seconds(2))
    let polls = wire.sent[0].map(\.packet.isPoll)
    #expect(polls.prefix(3) == [true, false, true] || polls.prefix(4) == [true, true, false, true])
    #expect(wire.sessions[0].transmitInterval == .milliseconds(200) && polls.last == false)
  }

  @Test func aSessionSwitchedOffIsToldToBeSo() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    wire.sessions[0].disable(now: wire.now)
    let at = wire.now
    wire.run(for: .milliseconds(10))
    #expect(wire.events[1].last!.event == .stateChanged(from: .up, to: .down, .neighborSignaledDown))
    #expect(wire.events[1].last!.at - at <= .milliseconds(2))
    #expect(wire.sessions[1].remoteState == .adminDown)
    #expect(wire.sessions[1].remoteDiagnostic == .administrativelyDown)
    wire.run(for: .seconds(5))
    #expect(wire.sessions[0].state == .adminDown && wire.sessions[1].state == .down)
    wire.sessions[0].enable(now: wire.now)
    wire.run(for: .seconds(3))
    #expect(wire.sessions.allSatisfy { $0.state == .up })
  }

  @Test func aPathKnownToBeBrokenIsDownWithoutWaiting() {
    var wire = TwoEnds()
    wire.run(for: .seconds(3))
    wire.sessions[0].pathFailed(now: wire.now)
    wire.run(for: .milliseconds(3))
    #expect(wire.events[0].last!.event == .stateChanged(from: .up, to: .down, .pathDown))
    #expect(wire.sessions[1].state == .down)
  }

  @Test func aPeerThatWantsNoneIsSentNone() {
    var session = Session(.init(), localDiscriminator: 5, entropy: SeededEntropy(seed: 1), now: .zero)
    session.receive(
      ControlPacket(
        state: .down, myDiscriminator: 7, yourDiscriminator: 0, desiredMinTxInterval: 1_000_000,
        requiredMinRxInterval: 0), now: .zero)
    #expect(session.nextTransmission(now: .zero) == nil)
    #expect(session.deadline == Instant.zero + .seconds(3))
  }

  @Test func aPassiveEndWaitsToBeSpokenTo() {
    var passive = Session.Configuration()
    passive.isPassive = true
    var wire = TwoEnds(passive, passive)
    wire.run(for: .seconds(5))
    #expect(wire.sent.allSatisfy { $0.isEmpty })
    var half = TwoEnds(passive)
    half.run(for: .seconds(5))
    #expect(half.sessions.allSatisfy { $0.state == .up })
  }

  /// RFC 5880 §6.8.3: once a second while it is not up, whatever was asked for.
  @Test func aPeerThatIsNotThereCostsOnePacketASecond() {
    var wire = TwoEnds()
    wire.isFrozen[1] = true
    wire.run(for: .seconds(60))
    #expect(wire.sent[0].count >= 60 && wire.sent[0].count <= 81)
    #expect(wire.sent[0].allSatisfy { $0.packet.desiredMinTxInterval == 1_000_000 && $0.packet.state == .down })
  }
}
