import Testing
import Wire

@testable import QUIC

/// Both directions of flow control against a model of RFC 9000 §4: no byte beyond a limit is sent, every limit is told
/// of when it holds something back, and what was taken is given again.
@Suite struct FlowControlModelTests {
  /// A sender under limits that rise when chance says so.
  @Test(arguments: 0..<30)
  func noByteGoesBeyondALimit(seed: Int) throws {
    let dice = SeededEntropy(seed: UInt64(seed))
    func pick(_ count: Int) -> Int { Int(dice.nextUInt64() % UInt64(count)) }
    var fixture = StreamsFixture(.client, peerWindow: 3_000, peerData: 8_000)
    var dataLimit: UInt64 = 8_000
    var streamLimits: [StreamID: UInt64] = [:]
    var ends: [StreamID: UInt64] = [:]
    var inFlight: [(id: StreamID, offset: UInt64, length: UInt16, fin: Bool)] = []
    let ids = (0..<4).map { _ in fixture.open(bytes: 40_000, finish: true) }
    for id in ids { streamLimits[id] = 3_000 }
    var saidBlocked = 0
    var arrived: Set<StreamID> = []
    for _ in 0..<20_000 where arrived.count < ids.count {
      switch pick(6) {
      case 0:
        dataLimit += UInt64(pick(4_000))
        // A limit that does not rise changes nothing.
        fixture.streams.receiveMaxData(pick(3) == 0 ? dataLimit / 2 : dataLimit)
        fixture.streams.receiveMaxData(dataLimit)
      case 1:
        let id = ids[pick(ids.count)]
        streamLimits[id]! += UInt64(pick(4_000))
        try fixture.streams.receiveMaxStreamData(
          id, limit: streamLimits[id]!, frameType: 0x11, events: &fixture.events)
        try fixture.streams.receiveMaxStreamData(id, limit: 10, frameType: 0x11, events: &fixture.events)
      case 2 where !inFlight.isEmpty:
        let one = inFlight.remove(at: pick(inFlight.count))
        fixture.streams.lost(one.id, offset: one.offset, length: one.length, fin: one.fin)
      case 3 where !inFlight.isEmpty:
        let one = inFlight.remove(at: pick(inFlight.count))
        fixture.streams.acknowledged(
          one.id, offset: one.offset, length: one.length, fin: one.fin, events: &fixture.events)
      default:
        for frame in fixture.packet(400) {
          switch frame {
          case .stream(let id, let offset, let length, let fin):
            ends[id] = max(ends[id] ?? 0, offset + UInt64(length))
            inFlight.append((id, offset, length, fin))
          case .dataBlocked, .streamDataBlocked: saidBlocked += 1
          default: break
          }
        }
        for (id, end) in ends { #expect(end <= streamLimits[id]!) }
        #expect(ends.values.reduce(0, +) <= dataLimit)
        let isWaiting = fixture.streams.hasFrames
        // With nothing to send and nothing in flight, a limit holds the rest back, and the peer was told.
        if !isWaiting, inFlight.isEmpty, arrived.count < ids.count { #expect(saidBlocked > 0) }
      }
      for case .streamFinished(let id) in fixture.drained() { arrived.insert(id) }
    }
    #expect(arrived == Set(ids))
    #expect(ends.values.allSatisfy { $0 == 40_000 })
  }

  /// A receiver: the peer may use all that it was told of, and one byte more ends the connection.
  @Test(arguments: [false, true])
  func oneByteBeyondTheLimitIsAnError(ofTheConnection: Bool) throws {
    let id = StreamID(.client, .bidirectional, sequence: 0)
    for excess in [0, 1] {
      var fixture = StreamsFixture(
        window: ofTheConnection ? 50_000 : 10_000, connectionWindow: ofTheConnection ? 10_000 : 50_000)
      let bytes = [UInt8](repeating: 0, count: 10_000 + excess)
      var failure: TransportError?
      bytes.withUnsafeBytes { buffer in
        do throws(TransportError) {
          try fixture.streams.receiveStream(
            id, offset: 0, data: buffer, fin: false, frameType: 8, events: &fixture.events)
        } catch { failure = error }
      }
      #expect(failure?.code == (excess == 0 ? nil : .flowControlError))
    }
  }

  /// What RESET_STREAM says was sent counts, though it never comes.
  @Test func aResetCountsItsFinalSize() throws {
    for size in [UInt64(10_000), 10_001] {
      var fixture = StreamsFixture(window: 50_000, connectionWindow: 10_000)
      var failure: TransportError?
      do throws(TransportError) {
        try fixture.streams.receiveReset(
          StreamID(.client, .bidirectional, sequence: 0), code: 0, finalSize: size, frameType: 4,
          events: &fixture.events)
      } catch { failure = error }
      #expect(failure?.code == (size > 10_000 ? .flowControlError : nil))
      // Nobody will read it, so the credit returns at once.
      if size == 10_000 { #expect(fixture.packet().contains(.maxData)) }
    }
  }

  /// A reader that empties its window within two round trips finds it doubled, up to the cap; a slow one does not.
  @Test func theWindowFollowsTheReader() {
    for (pause, expected) in [(Interval.milliseconds(15), UInt64(160_000)), (.milliseconds(25), 10_000)] {
      var window = ReceiveWindow(initial: 10_000, maximum: 160_000)
      var now = Instant(nanoseconds: 0)
      for _ in 0..<10 {
        let rest = window.advertised - window.received
        let isWithin = window.receive(rest)
        let isBeyond = window.receive(1)
        #expect(isWithin && !isBeyond)
        window.consume(rest)
        #expect(window.isUpdateDue)
        now = now + pause
        #expect(window.update(now: now, roundTrip: .milliseconds(10)) == window.consumed + window.size)
        #expect(!window.isUpdateDue)
      }
      #expect(window.size == expected)
    }
  }

  /// Streams come back to the peer as they end, in batches, and STREAMS_BLOCKED is said once for each limit.
  @Test func streamsAreReplenishedAsTheyEnd() throws {
    var server = StreamsFixture()
    for sequence in UInt64(0)..<2_000 {
      let id = StreamID(.client, .bidirectional, sequence: sequence)
      try server.streams.receiveReset(id, code: 0, finalSize: 0, frameType: 4, events: &server.events)
      server.streams.reset(id, code: 0)
      _ = server.packet(200)
      server.streams.resetAcknowledged(id)
    }
    while !server.packet().isEmpty {}
    #expect(server.streams.remote.bidirectional.advertised >= 3_000)
    let live = server.streams.table.count
    #expect(live == 0)

    var client = StreamsFixture(.client)
    for _ in 0..<2_000 { _ = client.open(bytes: 0) }
    for _ in 0..<3 {
      let none = client.streams.open(.bidirectional)
      #expect(none == nil)
    }
    var blocked = 0
    for _ in 0..<3 { blocked += client.packet().count { $0 == .streamsBlocked(.bidirectional) } }
    #expect(blocked == 1)
    client.streams.raiseStreamLimit(.bidirectional, to: 2_001, events: &client.events)
    #expect(client.drained().last == .streamsAvailable(.bidirectional))
    let more = client.streams.open(.bidirectional)
    #expect(more != nil)
  }

  /// An end without bytes, alone or behind data that has long been acknowledged.
  @Test(arguments: [0, 500])
  func anEndMayComeAlone(before: Int) {
    var fixture = StreamsFixture(.client)
    let id = fixture.open(bytes: before)
    for case .stream(_, let offset, let length, let fin) in fixture.packet() {
      fixture.streams.acknowledged(id, offset: offset, length: length, fin: fin, events: &fixture.events)
    }
    fixture.write(id, 0, finish: true)
    let end = SentFrame.stream(id, offset: UInt64(before), length: 0, fin: true)
    #expect(fixture.packet() == [end])
    // Lost, it goes again.
    fixture.streams.lost(id, offset: UInt64(before), length: 0, fin: true)
    #expect(fixture.packet() == [end])
    fixture.streams.acknowledged(id, offset: UInt64(before), length: 0, fin: true, events: &fixture.events)
    #expect(fixture.drained().last == .streamFinished(id))
  }
}
