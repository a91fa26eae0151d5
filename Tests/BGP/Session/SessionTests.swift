import Testing
import Wire

@testable import BGP

@Suite("Two sessions face each other")
struct SessionTests {
  private func pair(
    seed: UInt64 = 1, _ change: (inout PeerConfiguration, inout PeerConfiguration) -> Void = { _, _ in }
  ) -> SessionPair {
    var a = SessionPair.configuration(.a)
    var b = SessionPair.configuration(.b)
    change(&a, &b)
    return SessionPair(a, b, seed: seed)
  }

  @Test func oneActiveAndOnePassiveComeUp() throws {
    let pair = pair { _, b in b.isPassive = true }
    pair.start(.b)
    pair.start(.a)
    #expect(pair.run(for: .seconds(1)) { $0.isEstablished })
    #expect(pair.states(.a) == [.connect, .openSent, .openConfirm, .established])
    #expect(pair.states(.b) == [.active, .openSent, .openConfirm, .established])
    let parameters = try #require(pair[.a].parameters)
    #expect(parameters.peerAS == 65_001 && parameters.peerIdentifier == IPv4Address(10, 0, 0, 2))
    #expect(parameters.holdTime == .seconds(90) && parameters.usesFourOctetAS && !parameters.isInternal)
    #expect(parameters.maximumMessageLength == 65_535 && parameters.marksRefresh)
  }

  /// Both connect at the same moment: one connection is left, the one of the higher identifier (RFC 4271 §6.8).
  @Test(arguments: [1, 7, 10, 23], [1, 5, 4_096]) func aCollisionLeavesOneConnection(milliseconds: Int64, piece: Int) {
    for seed in 1...20 as ClosedRange<UInt64> {
      let pair = pair(seed: seed)
      pair.delay = .milliseconds(milliseconds)
      pair.pieceSize = piece
      pair.start(.a)
      pair.start(.b)
      #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
      pair.run(for: .seconds(300))
      #expect(pair.isEstablished)
      #expect(pair.causes(.a).isEmpty && pair.causes(.b).isEmpty)
      #expect(pair[.b].main.isOurs && !pair[.a].main.isOurs, "b has the higher identifier")
      #expect(pair[.a].second == nil && pair[.b].second == nil)
      let opens = [SessionPair.configuration(.a), SessionPair.configuration(.b)].map(\.open.serialized)
      #expect(pair[.a].opens == .init(sent: opens[0], received: opens[1]))
      #expect(pair[.b].opens == .init(sent: opens[1], received: opens[0]))
    }
  }

  @Test func aSessionHoldsForDaysOnKeepalives() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    pair.run(for: .seconds(3 * 86_400))
    #expect(pair.isEstablished)
    #expect(pair.states(.a).count { $0 == .established } == 1)
  }

  @Test func aHoldTimeOfZeroNeedsNoKeepalives() {
    let pair = pair { a, _ in a.holdTime = 0 }
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    let messages = pair.log[0].count
    pair.run(for: .seconds(86_400))
    #expect(pair.isEstablished && pair.log[0].count == messages)
  }

  // MARK: The transport

  @Test func aLostConnectionIsMadeAgain() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.run(for: .seconds(1_000))
    pair.breakConnections()
    pair.run(for: .milliseconds(20))
    #expect(pair.causes(.a) == [.transport] && pair.causes(.b) == [.transport])
    // It held long enough not to be a flap: again at once.
    #expect(pair.run(for: .seconds(1)) { $0.isEstablished })
  }

  @Test func aSilentPathEndsWithTheHoldTimer() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.isBlackHole = true
    let began = pair.now
    #expect(pair.run(for: .seconds(200)) { $0[.a].state != .established })
    #expect(pair.now - began <= .seconds(90) && pair.now - began >= .seconds(60))
    #expect(pair.causes(.a).first == .sent(.holdTimerExpired))
    #expect(pair.run(for: .seconds(60)) { $0[.b].state != .established })
    pair.isBlackHole = false
    #expect(pair.run(for: .seconds(300)) { $0.isEstablished })
  }

  @Test func aPeerThatStartsAgainIsTakenBack() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.run(for: .seconds(500))
    pair.restart(.b, seed: 77)
    pair.run(for: .milliseconds(1))
    #expect(pair.run(for: .seconds(120)) { $0.isEstablished })
  }

  /// Whatever breaks, and whenever: in the end they talk.
  @Test(arguments: 1...60 as ClosedRange<UInt64>) func throughLossesOfAllKinds(seed: UInt64) {
    let pair = pair(seed: seed) { a, b in
      a.holdTime = 9
      b.isPassive = seed % 3 == 0
      if seed % 4 == 0 { a.delayOpenTime = .milliseconds(300) }
      if seed % 5 == 0 { b.delayOpenTime = .milliseconds(200) }
    }
    let entropy = SeededEntropy(seed: seed &* 31)
    pair.start(.a)
    pair.start(.b)
    for _ in 0..<40 {
      pair.run(for: .milliseconds(Int64(entropy.nextUInt64() % 20_000)))
      switch entropy.nextUInt64() % 5 {
      case 0: pair.breakConnections()
      case 1: pair.restart(.a, seed: entropy.nextUInt64())
      case 2: pair.restart(.b, seed: entropy.nextUInt64())
      case 3: pair.isBlackHole.toggle()
      default:
        pair.delay = .milliseconds(Int64(1 + entropy.nextUInt64() % 400))
        pair.pieceSize = Int(1 + entropy.nextUInt64() % 40)
      }
    }
    pair.isBlackHole = false
    pair.delay = .milliseconds(20)
    #expect(pair.run(for: .seconds(600)) { $0.isEstablished })
    pair.run(for: .seconds(100))
    #expect(pair.isEstablished)
    #expect(pair[.a].second == nil && pair[.b].second == nil)
  }

  // MARK: Errors

  @Test func aPeerOfAnotherASIsRefused() {
    let pair = SessionPair(SessionPair.configuration(.a, number: 65_002), SessionPair.configuration(.b))
    pair.start(.b)
    pair.start(.a)
    pair.run(for: .seconds(3))
    #expect(pair.notificationsSent(.a).contains(.badPeerAS))
    #expect(!pair.states(.a).contains(.established))
    #expect(pair[.b].lastCause == .received(.badPeerAS))
  }

  @Test func openMessagesThatDoNotDo() throws {
    let local = SessionPair.configuration(.a)
    func judge(_ change: (inout OpenMessage) -> Void, _ own: PeerConfiguration? = nil) -> NotificationMessage? {
      var open = SessionPair.configuration(.b).open
      change(&open)
      return notification { () throws(NotificationMessage) in try SessionParameters(own ?? local, peer: open) }
    }
    #expect(judge { _ in } == nil)
    #expect(judge { $0.capabilities = [.fourOctetAS(0)] } == .badPeerAS)
    #expect(judge { $0.identifier = .any } == .badBGPIdentifier)
    #expect(judge { $0.identifier = local.identifier } == nil, "an external peer may have ours (RFC 6286)")
    var internalPeer = local
    internalPeer.peerAS = local.localAS
    #expect(
      judge({ $0 = local.open }, internalPeer) == .badBGPIdentifier)
    for seconds in [1, 2] as [UInt16] { #expect(judge { $0.holdTime = seconds } == .unacceptableHoldTime) }
    var strict = local
    strict.minimumHoldTime = 30
    #expect(judge({ $0.holdTime = 20 }, strict) == .unacceptableHoldTime)
    #expect(judge({ $0.holdTime = 0 }, strict) == nil)
    #expect(
      judge { $0.capabilities = [.fourOctetAS(65_001), .multiprotocol(.ipv6Unicast)] }
        == .unsupportedCapability([1, 4, 0, 1, 0, 1]))
  }

  @Test func aPeerWithoutCapabilitiesIsOneOfOldTimes() throws {
    var open = SessionPair.configuration(.b).open
    open.capabilities = []
    let parameters = try SessionParameters(SessionPair.configuration(.a), peer: open)
    #expect(parameters.families == .ipv4Unicast && !parameters.usesFourOctetAS && !parameters.peerRefreshesRoutes)
    #expect(parameters.maximumMessageLength == 4_096)
  }

  /// RFC 9234 §4.2.
  @Test func rolesMustFit() {
    func judge(_ own: Capability.Role?, _ peer: [Capability.Role], strict: Bool = false) -> NotificationMessage? {
      var local = SessionPair.configuration(.a)
      local.role = own
      local.requiresRole = strict
      var open = SessionPair.configuration(.b).open
      open.capabilities += peer.map { .role($0) }
      return notification { () throws(NotificationMessage) in try SessionParameters(local, peer: open) }
    }
    #expect(judge(.provider, [.customer]) == nil && judge(.customer, [.provider]) == nil)
    #expect(judge(.peer, [.peer]) == nil && judge(.routeServer, [.routeServerClient]) == nil)
    #expect(judge(.provider, [.provider]) == .roleMismatch && judge(.peer, [.customer]) == .roleMismatch)
    #expect(judge(.provider, [.init(rawValue: 9)]) == .roleMismatch)
    #expect(judge(.provider, [.customer, .peer]) == .roleMismatch)
    #expect(judge(.provider, []) == nil && judge(.provider, [], strict: true) == .roleMismatch)
    #expect(judge(nil, [.provider]) == nil)
  }

  @Test func aSecondOpenIsUnexpected() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.inject(SessionPair.configuration(.b).open.serialized, from: .b)
    pair.run(for: .milliseconds(50))
    #expect(pair.causes(.a) == [.sent(.finiteStateMachineError(.inEstablished))])
  }

  @Test(arguments: [
    (message(77, []), NotificationMessage.badMessageType(77)), (message(0, []), .badMessageType(0)),
    (message(4, [1]), .badMessageLength(20)),
    ([UInt8](repeating: 0, count: 19), .connectionNotSynchronized),
    (message(2, [0, 9, 0, 0]), .malformedAttributeList),
    (message(5, [0, 1, 0]), .invalidRouteRefreshLength(message(5, [0, 1, 0]))),
  ])
  func garbageEndsTheSessionWithItsError(octets: [UInt8], error: NotificationMessage) {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.inject(octets, from: .b)
    pair.run(for: .milliseconds(100))
    #expect(pair.causes(.a) == [.sent(error)])
    #expect(pair.causes(.b) == [.received(error)])
    #expect(pair.run(for: .seconds(60)) { $0.isEstablished }, "and it comes back")
  }

  /// DampPeerOscillations: who falls again and again is held in Idle longer and longer.
  @Test func flapsAreDamped() {
    let pair = pair { a, _ in a.maximumIdleHoldTime = .seconds(60) }
    pair.start(.a)
    pair.start(.b)
    var downTimes: [Interval] = []
    for _ in 0..<8 {
      #expect(pair.run(for: .seconds(600)) { $0.isEstablished })
      pair.inject(message(77, []), from: .b)
      #expect(pair.run(for: .seconds(1)) { $0[.a].state == .idle })
      let began = pair.now
      #expect(pair.run(for: .seconds(600)) { $0[.a].state != .idle })
      downTimes.append(pair.now - began)
    }
    #expect(downTimes == [1, 2, 4, 8, 16, 32, 60, 60].map { Interval.seconds($0) })
    // A session that holds makes it forget.
    #expect(pair.run(for: .seconds(600)) { $0.isEstablished })
    pair.run(for: .seconds(120))
    pair.inject(message(77, []), from: .b)
    #expect(pair.run(for: .seconds(1)) { $0[.a].state == .idle })
    let began = pair.now
    #expect(pair.run(for: .seconds(60)) { $0[.a].state != .idle })
    #expect(pair.now - began == .seconds(1))
  }

  /// What was meant is no oscillation, however often: the neighbor's operator resets it, or BFD finds the path dead.
  @Test(arguments: [
    NotificationMessage.cease(.administrativeShutdown, "maintenance"), .cease(.administrativeReset),
    .cease(.peerDeconfigured), .cease(.otherConfigurationChange), .hardReset(.cease(.administrativeReset)),
    .cease(.bfdDown),
  ])
  func whatIsMeantIsNotDamped(_ cease: NotificationMessage) {
    // For the other side the connection has been lost, and that is forgotten soon.
    let pair = pair { _, b in b.maximumIdleHoldTime = .seconds(1) }
    pair.start(.a)
    pair.start(.b)
    for _ in 0..<8 {
      #expect(pair.run(for: .seconds(60)) { $0.isEstablished })
      pair.run(for: .seconds(3))
      pair.inject(cease.serialized, from: .b)
      #expect(pair.run(for: .seconds(1)) { $0[.a].lastCause == .received(cease) && $0[.a].state != .established })
      #expect(pair[.a].state == .connect)
      #expect(pair.run(for: .seconds(2)) { $0.isEstablished })
    }
  }

  @Test func aPathThatFailedIsTriedAgainAtOnce() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    for _ in 0..<8 {
      #expect(pair.run(for: .seconds(60)) { $0.isEstablished })
      pair.run(for: .seconds(3))
      let began = pair.now
      pair.stopAutomatically(.a, .cease(.bfdDown))
      #expect(pair[.a].state == .connect && pair[.a].lastCause == .sent(.cease(.bfdDown)))
      #expect(pair.run(for: .seconds(5)) { $0.isEstablished && $0.now > began })
    }
  }

  /// RFC 4271 §8.1.1's damping is for errors; but two ends do not chase each other either.
  @Test func aSessionThatIsResetAsSoonAsItIsThereWaits() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.stopAutomatically(.a, .cease(.bfdDown))
    #expect(pair[.a].state == .active)
    // And an error after many resets is the first one.
    #expect(pair.run(for: .seconds(60)) { $0.isEstablished })
    pair.inject(message(77, []), from: .b)
    #expect(pair.run(for: .seconds(1)) { $0[.a].state == .idle })
    let began = pair.now
    #expect(pair.run(for: .seconds(60)) { $0[.a].state != .idle })
    #expect(pair.now - began == .seconds(1))
  }

  // MARK: The operator

  @Test func aStopTellsThePeerWhy() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.stop(.a, "moving house")
    pair.run(for: .seconds(1))
    #expect(pair.causes(.b) == [.received(.cease(.administrativeShutdown, "moving house"))])
    pair.run(for: .seconds(3_600))
    #expect(pair[.a].state == .idle && pair[.a].deadline == .distantFuture)
    pair.start(.a)
    #expect(pair.run(for: .seconds(200)) { $0.isEstablished })
  }

  @Test func anIdlePeeringRefusesConnections() {
    var session = Session(SessionPair.configuration(.a), entropy: SeededEntropy(seed: 1))
    #expect(session.accept(now: .zero) == nil)
  }

  // MARK: Messages while Established

  @Test func routeRefreshIsHandedOn() {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    for message in [RouteRefreshMessage(.ipv4Unicast), .init(.ipv4Unicast, .beginning), .init(.ipv6Unicast)] {
      pair.inject(message.serialized, from: .b)
    }
    pair.run(for: .seconds(1))
    let requests = pair.log[0].compactMap { if case .routeRefresh(let message) = $0 { message } else { nil } }
    #expect(requests == [.init(.ipv4Unicast), .init(.ipv4Unicast, .beginning)], "IPv6 was not negotiated")
  }

  /// The event of coming up stands before the routes that came with it in one piece.
  @Test func updatesComeAfterTheSession() throws {
    let pair = pair()
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0[.b].state == .established })
    let attributes =
      attribute(0x40, 1, [0]) + attribute(0x40, 2, [2, 1, 0, 0, 0xfd, 0xe9]) + attribute(0x40, 3, [10, 0, 0, 2])
    pair.inject(message(2, updateBody(attributes, nlri: [24, 203, 0, 113])), from: .b)
    pair.run(for: .seconds(1))
    #expect(pair.updates[0] == [try prefix("203.0.113.0/24")])
    #expect(pair.isEstablished)
  }
}
