import QUICTLS
import Testing
import Wire

@testable import QUIC

/// draft-ietf-quic-ack-frequency.
@Suite struct AckFrequencyTests {
  private func following(threshold: UInt64, reordering: UInt64, delay: UInt64 = 25_000) -> ReceivedPackets {
    var received = ReceivedPackets(.applicationData)
    received.follow(
      AckFrequencyFrame(
        sequence: 0, ackElicitingThreshold: threshold, requestedMaxAckDelay: delay, reorderingThreshold: reordering))
    return received
  }

  /// The numbers whose arrival makes an ACK due at once; each such ACK is sent.
  private func immediate(_ received: inout ReceivedPackets, _ numbers: [UInt64], ecn: ECN = .notECT) -> [UInt64] {
    numbers.filter { number in
      received.received(number, ackEliciting: true, ecn: ecn, now: .zero)
      guard received.isAckDue(.zero) else { return false }
      received.ackSent()
      return true
    }
  }

  @Test("ack-frequency §6.2.1: the examples' tables")
  func reorderingExamples() {
    var three = following(threshold: 1_000, reordering: 3)
    #expect(immediate(&three, [0, 1, 3, 4, 5, 8, 9, 10]) == [5, 9, 10])
    var five = following(threshold: 1_000, reordering: 5)
    #expect(immediate(&five, [0, 1, 3, 5, 6, 7, 8, 9]) == [7, 9])
  }

  @Test("A packet that was reported lost is reported when it comes after all")
  func lateArrival() {
    var received = following(threshold: 1_000, reordering: 3)
    #expect(immediate(&received, [0, 1, 3, 4, 5, 2]) == [5, 2])
    var never = following(threshold: 1_000, reordering: 0)
    #expect(immediate(&never, [0, 9, 5, 20, 3]) == [])
  }

  @Test func threshold() {
    var received = following(threshold: 3, reordering: 3)
    #expect(immediate(&received, Array(0..<12)) == [3, 7, 11])
    var each = following(threshold: 0, reordering: 3)
    #expect(immediate(&each, [0, 1, 2]) == [0, 1, 2])
    received.received(12, ackEliciting: true, ecn: .notECT, now: .zero)
    #expect(received.ackDeadline == .zero + .milliseconds(25))
    received.acknowledgeAtOnce()
    #expect(received.isAckDue(.zero))
  }

  @Test("ack-frequency §6.3: the first mark is reported at once, those that follow are not")
  func marks() {
    var received = following(threshold: 100, reordering: 3)
    #expect(immediate(&received, [0], ecn: .ect0) == [])
    #expect(immediate(&received, [1, 2, 3], ecn: .ce) == [1])
    #expect(immediate(&received, [4], ecn: .ect0) == [])
    #expect(immediate(&received, [5], ecn: .ce) == [5])
  }

  // MARK: Between two ends

  private func download(_ configuration: Configuration) throws -> (pair: ConnectionPair, acks: Int, data: Int) {
    let pair = try ConnectionPair(configuration, configuration)
    #expect(pair.connect())
    pair.keepsLog = true
    // One loss ends slow start.
    var dropped = false
    pair.filter = { datagram in
      guard datagram.from == .server, !dropped, datagram.index > 200 else { return datagram }
      dropped = true
      return nil
    }
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 1, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 8_000_000, finish: true)
    #expect(pair.run(steps: 1_000_000) { $0.clientApplication.finished.contains(id) })
    #expect(pair.clientApplication.received[id] == 8_000_000 && pair.clientApplication.corrupt == 0)
    return (
      pair, pair.log.filter { $0.from == .client }.count, pair.log.filter { $0.from == .server }.count
    )
  }

  @Test("A bulk transfer is acknowledged far less often, and no slower")
  func fewerAcks() throws {
    var plain = Configuration()
    plain.minAckDelay = nil
    let without = try download(plain)
    let with = try download(Configuration())
    #expect(with.acks * 3 < without.acks, "\(with.acks) of \(without.acks)")
    #expect(with.data < without.data * 11 / 10)
    #expect(with.pair.now < without.pair.now + .milliseconds(300))
  }

  @Test("ccwg-bbr, ACK Frequency: in ProbeRTT the last packet of each flight asks for a prompt acknowledgment")
  func promptInProbeRTT() throws {
    let collector = QLogTests.Collector()
    let configuration = collector.configuration {
      $0.congestion = .bbrV3
      // The link has no rate: the receiver's window makes one.
      $0.initialMaxStreamDataBidiLocal = 64_000
      $0.maximumStreamWindow = 64_000
    }
    let pair = try ConnectionPair(configuration, configuration)
    pair.delay = .milliseconds(50)
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 1, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 40_000_000, finish: true)
    func asked() throws -> Int {
      try collector.records(.server).count { record in
        let frames = (record["data"] as? [String: Any])?["frames"] as? [[String: Any]] ?? []
        return record["name"] as? String == "quic:packet_sent"
          && frames.contains { $0["frame_type_bytes"] as? UInt64 == FrameType.immediateAck }
      }
    }
    #expect(pair.run { $0.server.recovery.controller.bbr?.state == .probeRTT })
    #expect(try asked() == 0)
    #expect(pair.run { $0.server.recovery.controller.bbr?.state != .probeRTT })
    let count = try asked()
    #expect(count >= 2)
    #expect(pair.see { $0.server.recovery.controller.bbr?.minRTT } == .milliseconds(100))
    pair.run(for: .seconds(1))
    #expect(try asked() == count, "and only there")
  }

  @Test("ack-frequency §3: only a peer that offers it is asked")
  func notAsked() throws {
    var plain = Configuration()
    plain.minAckDelay = nil
    let pair = try ConnectionPair(Configuration(), plain)
    #expect(pair.connect())
    #expect(pair.see { $0.client.ackRequests == nil } && pair.see { $0.server.ackRequests == nil })
  }

  @Test("ack-frequency §3: a min_ack_delay above max_ack_delay")
  func wrongParameter() throws {
    var parameters = TransportParameters()
    parameters.minAckDelay = 25_001
    let error = #expect(throws: TransportError.self) { try TransportParameters(parameters.encoded(), from: .client) }
    #expect(error?.code == .transportParameterError)
    parameters.minAckDelay = 25_000
    #expect(try TransportParameters(parameters.encoded(), from: .client).minAckDelay == 25_000)
  }

  @Test("ack-frequency §4: delays that cannot be, and frames that are old", arguments: [999, 1_000, 16_384_000])
  func requests(delay: UInt64) throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let frame = AckFrequencyFrame(
      sequence: 4, ackElicitingThreshold: 9, requestedMaxAckDelay: delay, reorderingThreshold: 3)
    guard delay == 1_000 else {
      #expect(throws: TransportError.self) { try pair.client.receiveAckFrequency(frame) }
      return
    }
    try pair.client.receiveAckFrequency(frame)
    #expect(pair.see { $0.client.spaces[2].received.ackElicitingThreshold } == 10)
    var older = frame
    older.ackElicitingThreshold = 20
    try pair.client.receiveAckFrequency(older)
    #expect(pair.see { $0.client.spaces[2].received.ackElicitingThreshold } == 10)
    older.sequence = 5
    try pair.client.receiveAckFrequency(older)
    #expect(pair.see { $0.client.spaces[2].received.ackElicitingThreshold } == 21)
  }
}
