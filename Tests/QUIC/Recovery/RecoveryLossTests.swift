import Testing
import Wire

@testable import QUIC

private func ms(_ value: Int64) -> Interval { .milliseconds(value) }
private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

/// Sends numbered packets with one stream frame each, whose offset is the packet number.
struct Sender {
  var recovery: LossRecovery

  init(_ role: Role = .client, _ algorithm: CongestionAlgorithm = .newReno, confirmed: Bool = true) {
    recovery = LossRecovery(role: role, algorithm: algorithm)
    recovery.isHandshakeConfirmed = confirmed
  }

  mutating func send(
    _ numbers: ClosedRange<UInt64>, _ space: PacketNumberSpace = .applicationData, size: Int = 1200,
    eliciting: Bool = true, probe: Bool = false, ecn: ECN = .notECT, at now: Instant
  ) {
    for number in numbers {
      recovery.record(.stream(StreamID(rawValue: 0), offset: number, length: 1, fin: false), in: space)
      recovery.onPacketSent(
        space, number: number, size: size, isAckEliciting: eliciting, isInFlight: eliciting, isPMTUProbe: probe,
        ecn: ecn, now: now)
    }
  }

  @discardableResult
  mutating func ack(
    _ ranges: ClosedRange<UInt64>..., in space: PacketNumberSpace = .applicationData, delay: Interval = .zero,
    ecn: ECNCounts? = nil, at now: Instant
  ) throws -> AckOutcome {
    try recovery.onAckReceived(
      space, largest: ranges[0].upperBound, delay: delay, ecnCounts: ecn, ranges: ranges, now: now)
  }

  var acked: [UInt64] { recovery.ackedFrames.compactMap(Self.offset) }
  var lost: [UInt64] { recovery.lostFrames.compactMap(Self.offset) }

  static func offset(_ frame: SentFrame) -> UInt64? {
    if case .stream(_, let offset, _, _) = frame { offset } else { nil }
  }
}

@Suite struct LossDetectionTests {
  @Test func framesOfAcknowledgedPacketsComeBack() throws {
    var sender = Sender()
    sender.send(0...4, at: at(0))
    #expect(sender.recovery.bytesInFlight == 6000)
    let outcome = try sender.ack(0...2, at: at(50))
    #expect(outcome.newlyAckedPackets == 3)
    #expect(sender.acked.sorted() == [0, 1, 2])
    #expect(sender.recovery.bytesInFlight == 2400)
    #expect(sender.recovery.rtt.latest == ms(50))
    // The same again settles nothing.
    #expect(try whole { try sender.ack(0...2, at: at(60)) } == AckOutcome())
    #expect(sender.acked.isEmpty)
  }

  @Test func threePacketsLaterIsLost() throws {
    var sender = Sender()
    sender.send(0...9, at: at(0))
    try sender.ack(2...2, at: at(10))
    #expect(sender.lost.isEmpty)
    try sender.ack(4...4, 2...2, at: at(10))
    #expect(sender.lost == [0, 1])
    #expect(sender.recovery.bytesInFlight == 6 * 1200)
    #expect(sender.recovery.statistics.packetsLost == 2)
  }

  @Test func timeThresholdArmsTheLossTimer() throws {
    var sender = Sender()
    sender.send(0...0, at: at(0))
    sender.send(1...1, at: at(5))
    try sender.ack(1...1, at: at(85))
    // 9/8 of 80 ms after packet 0 was sent.
    #expect(sender.recovery.deadline == at(90))
    #expect(whole { sender.recovery.onTimeout(at(89)) } == .none)
    #expect(whole { sender.recovery.onTimeout(at(90)) } == .lost(.applicationData))
    #expect(sender.lost == [0])
    #expect(sender.recovery.deadline == nil)
    #expect(sender.recovery.bytesInFlight == 0)
  }

  @Test func packetsNeverSentCannotBeAcknowledged() throws {
    var sender = Sender()
    sender.send(0...3, at: at(0))
    #expect(throws: TransportError.self) { try sender.ack(4...4, at: at(1)) }
    #expect(throws: TransportError.self) { try sender.ack(UInt64.max...UInt64.max, at: at(1)) }
    sender.send(6...6, at: at(0))
    #expect(throws: TransportError.self) { try sender.ack(4...4, at: at(1)) }
    var fresh = Sender()
    #expect(throws: TransportError.self) { try fresh.ack(0...0, at: at(1)) }
    #expect(throws: TransportError.self) { try fresh.ack(0...0, in: .initial, at: at(1)) }
  }

  @Test func holesInTheNumbersAreHarmless() throws {
    var sender = Sender()
    sender.send(0...0, at: at(0))
    sender.send(3...4, at: at(0))
    sender.send(9...9, at: at(0))
    try sender.ack(9...9, 3...4, at: at(10))
    #expect(sender.acked.sorted() == [3, 4, 9])
    #expect(sender.lost == [0])
    #expect(sender.recovery.bytesInFlight == 0)
  }

  @Test func hugeRangesCostNothing() throws {
    var sender = Sender()
    sender.send(1_000_000_000...1_000_000_001, at: at(0))
    try sender.ack(0...1_000_000_001, at: at(10))
    #expect(sender.acked.count == 2)
  }

  @Test func bareAcksDoNotCountAsLossAndStayBounded() throws {
    var sender = Sender()
    sender.send(0...9999, eliciting: false, at: at(0))
    #expect(sender.recovery.bytesInFlight == 0)
    #expect(sender.recovery.spaces[2].sent.count <= LossRecovery.unelicitedLimit)
    #expect(sender.recovery.deadline == nil)
    sender.send(10_000...10_000, at: at(0))
    let outcome = try sender.ack(10_000...10_000, at: at(10))
    #expect(outcome.lostPackets == 0)
    #expect(sender.recovery.lostFrames.isEmpty)
  }

  @Test func probesOfThePathSizeAreNoCongestion() throws {
    var sender = Sender()
    let window = sender.recovery.controller.congestionWindow
    sender.send(0...0, size: 1500, probe: true, at: at(0))
    sender.send(1...5, at: at(0))
    let outcome = try sender.ack(1...5, at: at(10))
    #expect(outcome.isProbeLost)
    #expect(sender.recovery.controller.congestionWindow >= window)
    sender.send(6...6, size: 1400, probe: true, at: at(20))
    #expect(try whole { try sender.ack(6...6, at: at(30)).ackedProbeSize } == 1400)
  }

  @Test func abandonedFramesBelongToNoPacket() throws {
    var sender = Sender()
    sender.send(0...0, at: at(0))
    sender.recovery.record(.handshakeDone, in: .applicationData)
    sender.recovery.abandonRecorded(in: .applicationData)
    sender.send(1...1, at: at(0))
    try sender.ack(0...1, at: at(10))
    #expect(sender.recovery.ackedFrames.count == 2)
    #expect(sender.acked.sorted() == [0, 1])
  }
}

@Suite struct ProbeTimeoutTests {
  /// What a flight of three needs, each time-out with its two packets must get through in turn.
  @Test func consecutiveProbesGoOnWithWhatWasNotSentAgain() {
    var sender = Sender()
    sender.send(0...2, at: at(0))
    var probed: [[UInt64]] = []
    for next: UInt64 in [3, 5, 7] {
      sender.recovery.collectProbeFrames(.applicationData, packets: 2)
      probed.append(sender.recovery.probeFrames.compactMap(Sender.offset))
      sender.send(next...next + 1, at: at(Int64(next)))
    }
    #expect(probed == [[0, 1], [2, 3], [4, 5]])
  }

  @Test func backsOffExponentiallyAndResetsOnAnAck() throws {
    var sender = Sender()
    sender.send(0...0, at: at(0))
    // 333 + 4 * 166.5 + 25
    #expect(sender.recovery.deadline == at(1024))
    #expect(whole { sender.recovery.onTimeout(at(1023)) } == .none)
    #expect(whole { sender.recovery.onTimeout(at(1024)) } == .probe(.applicationData, count: 2))
    #expect(sender.recovery.lostFrames.isEmpty)
    #expect(sender.recovery.bytesInFlight == 1200)
    sender.recovery.collectProbeFrames(.applicationData, packets: 2)
    #expect(sender.recovery.probeFrames.count == 1)
    sender.send(1...1, at: at(1024))
    #expect(sender.recovery.deadline == at(1024 + 2 * 1024))
    #expect(whole { sender.recovery.onTimeout(at(3072)) } == .probe(.applicationData, count: 2))
    #expect(sender.recovery.deadline == at(1024 + 4 * 1024))
    try sender.ack(1...1, at: at(3100))
    #expect(sender.recovery.probeTimeoutCount == 0)
  }

  @Test func backoffEndsWhereToldOnceTheHandshakeIsConfirmed() throws {
    var sender = Sender()
    sender.recovery.probeTimeoutLimit = .milliseconds(3_000)
    sender.send(0...0, at: at(0))
    for _ in 0..<100 { _ = sender.recovery.onTimeout(at(1_000_000)) }
    sender.send(1...1, at: at(1_000_000))
    #expect(sender.recovery.deadline == at(1_000_000 + 3_000))
    // A limit below the round trip's own period ends the doubling, and shortens nothing.
    sender.recovery.probeTimeoutLimit = .milliseconds(100)
    #expect(sender.recovery.deadline == at(1_000_000 + 1024))
    sender.recovery.isHandshakeConfirmed = false
    sender.recovery.probeTimeoutLimit = .milliseconds(3_000)
    sender.recovery.hasHandshakeKeys = true
    let deadline = try #require(sender.recovery.deadline)
    #expect(deadline > at(1_000_000 + 100_000))
  }

  @Test func backoffSaturates() {
    var sender = Sender()
    sender.send(0...0, at: at(0))
    for _ in 0..<200 {
      guard let deadline = sender.recovery.deadline, deadline < .distantFuture else { break }
      _ = sender.recovery.onTimeout(deadline)
    }
    #expect(sender.recovery.deadline != nil)
  }

  @Test func applicationDataWaitsForConfirmation() {
    var sender = Sender(.server, confirmed: false)
    sender.send(0...0, at: at(0))
    #expect(sender.recovery.deadline == nil)
    sender.recovery.isHandshakeConfirmed = true
    #expect(sender.recovery.deadline == at(1024))
  }

  @Test func earlierSpacesGoFirst() {
    var sender = Sender(.server, confirmed: false)
    sender.send(0...0, .initial, at: at(0))
    sender.send(0...0, .handshake, at: at(5))
    #expect(sender.recovery.deadline == at(999))
    #expect(whole { sender.recovery.onTimeout(at(999)) } == .probe(.initial, count: 2))
    sender.recovery.discard(.initial, now: at(1000))
    #expect(sender.recovery.probeTimeoutCount == 0)
    #expect(sender.recovery.bytesInFlight == 1200)
    #expect(sender.recovery.deadline == at(1004))
    #expect(whole { sender.recovery.onTimeout(at(1004)) } == .probe(.handshake, count: 2))
  }

  @Test func clientKeepsProbingUntilTheServerHasValidatedIt() throws {
    var sender = Sender(.client, confirmed: false)
    sender.send(0...0, .initial, at: at(0))
    #expect(whole { sender.recovery.onTimeout(at(999)) } == .probe(.initial, count: 2))
    try sender.ack(0...0, in: .initial, at: at(1000))
    // The backoff stays, and the timer runs with nothing in flight.
    #expect(sender.recovery.probeTimeoutCount == 1)
    let first = try #require(sender.recovery.deadline)
    #expect(whole { sender.recovery.onTimeout(first) } == .probe(.initial, count: 1))
    sender.recovery.hasHandshakeKeys = true
    let second = try #require(sender.recovery.deadline)
    #expect(whole { sender.recovery.onTimeout(second) } == .probe(.handshake, count: 1))
    sender.send(0...0, .handshake, at: second)
    try sender.ack(0...0, in: .handshake, at: second + ms(100))
    #expect(sender.recovery.probeTimeoutCount == 0)
    #expect(sender.recovery.deadline == nil)
  }

  @Test func discardingASpaceResetsItsTimers() throws {
    var sender = Sender(.server, confirmed: false)
    sender.send(0...3, .handshake, at: at(0))
    #expect(whole { sender.recovery.onTimeout(at(5000)) } == .probe(.handshake, count: 2))
    #expect(sender.recovery.probeTimeoutCount == 1)
    #expect(sender.recovery.deadline != nil)
    sender.recovery.discard(.handshake, now: at(5001))
    #expect(sender.recovery.probeTimeoutCount == 0)
    #expect(sender.recovery.deadline == nil)
    #expect(sender.recovery.bytesInFlight == 0)
  }

  @Test func serverAtTheAmplificationLimitSetsNoTimer() {
    var sender = Sender(.server, confirmed: false)
    sender.send(0...0, .initial, at: at(0))
    sender.recovery.isAmplificationLimited = true
    #expect(sender.recovery.deadline == nil)
    #expect(whole { sender.recovery.onTimeout(at(5000)) } == .none)
    sender.recovery.isAmplificationLimited = false
    #expect(whole { sender.recovery.onTimeout(at(5000)) } == .probe(.initial, count: 2))
  }

  /// The client's Finished was lost, and its window is full of 1-RTT packets that the server has no keys for.
  @Test func anUnconfirmedHandshakeIsProbedForWhileDataFlies() throws {
    var sender = Sender(.client, confirmed: false)
    sender.recovery.hasHandshakeKeys = true
    sender.send(0...3, .handshake, at: at(0))
    sender.send(0...9, at: at(0))
    try sender.ack(3...3, in: .handshake, at: at(100))
    #expect(sender.lost == [0])
    #expect(whole { sender.recovery.onTimeout(at(113)) } == .lost(.handshake))
    #expect(sender.lost == [1, 2])
    // Entering recovery lets one packet out; let it be something else.
    #expect(whole { sender.recovery.sendBudget(at(113)) } == .bytes(1200))
    sender.send(10...10, at: at(113))
    #expect(whole { sender.recovery.sendBudget(at(113)) } == .congestionLimited)
    let deadline = try #require(sender.recovery.deadline)
    #expect(whole { sender.recovery.onTimeout(deadline) } == .probe(.handshake, count: 1))
  }

  @Test func retryStartsAgain() throws {
    var sender = Sender(.client, confirmed: false)
    sender.send(0...0, .initial, at: at(0))
    sender.recovery.onRetry(now: at(50))
    #expect(sender.recovery.bytesInFlight == 0)
    #expect(sender.recovery.rtt.smoothed == ms(333))
    sender.send(1...1, .initial, at: at(50))
    try sender.ack(1...1, in: .initial, at: at(80))
    #expect(sender.acked == [1])
  }
}
