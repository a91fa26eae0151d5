import Testing
import Wire

@testable import QUIC

/// Every event in every state of RFC 9000 §3, each by one row.
@Suite struct StreamStateTests {
  static let id = StreamID(.server, .bidirectional, sequence: 0)
  static let remote = StreamID(.client, .bidirectional, sequence: 0)

  // MARK: The sending part (RFC 9000 §3.1)

  enum SendingState: CaseIterable, Sendable { case ready, send, dataSent, dataRecvd, resetSent, resetRecvd }
  enum SendingEvent: CaseIterable, Sendable { case write, finish, reset, stopSending, lose, acknowledge }

  struct SendingRow: Sendable {
    var state: SendingState
    var event: SendingEvent
    /// What goes out in the next packet: S for STREAM, F for one with FIN, R for RESET_STREAM.
    var sends: String
    /// The application hears that the peer stopped reading, or that all has arrived.
    var says: String = ""
    init(_ state: SendingState, _ event: SendingEvent, _ sends: String, says: String = "") {
      self.state = state
      self.event = event
      self.sends = sends
      self.says = says
    }
  }

  static let sendingRows: [SendingRow] = [
    SendingRow(.ready, .write, "S"), SendingRow(.ready, .finish, "F"), SendingRow(.ready, .reset, "R"),
    SendingRow(.ready, .stopSending, "R", says: "stopped"), SendingRow(.ready, .lose, ""),
    SendingRow(.ready, .acknowledge, ""),
    SendingRow(.send, .write, "S"), SendingRow(.send, .finish, "F"), SendingRow(.send, .reset, "R"),
    SendingRow(.send, .stopSending, "R", says: "stopped"), SendingRow(.send, .lose, "S"),
    SendingRow(.send, .acknowledge, ""),
    // After the end nothing more is taken; a reset is still allowed until all is acknowledged.
    SendingRow(.dataSent, .write, ""), SendingRow(.dataSent, .finish, ""), SendingRow(.dataSent, .reset, "R"),
    SendingRow(.dataSent, .stopSending, "R", says: "stopped"), SendingRow(.dataSent, .lose, "F"),
    SendingRow(.dataSent, .acknowledge, "", says: "finished"),
    SendingRow(.dataRecvd, .write, ""), SendingRow(.dataRecvd, .finish, ""), SendingRow(.dataRecvd, .reset, ""),
    SendingRow(.dataRecvd, .stopSending, ""), SendingRow(.dataRecvd, .lose, ""),
    SendingRow(.dataRecvd, .acknowledge, ""),
    SendingRow(.resetSent, .write, ""), SendingRow(.resetSent, .finish, ""), SendingRow(.resetSent, .reset, ""),
    SendingRow(.resetSent, .stopSending, ""), SendingRow(.resetSent, .lose, "R"),
    SendingRow(.resetSent, .acknowledge, ""),
    SendingRow(.resetRecvd, .write, ""), SendingRow(.resetRecvd, .finish, ""), SendingRow(.resetRecvd, .reset, ""),
    SendingRow(.resetRecvd, .stopSending, ""), SendingRow(.resetRecvd, .lose, ""),
    SendingRow(.resetRecvd, .acknowledge, ""),
  ]

  @Test func everySendingStateMeetsEveryEvent() {
    #expect(Self.sendingRows.count == SendingState.allCases.count * SendingEvent.allCases.count)
  }

  @Test(arguments: sendingRows)
  func sending(row: SendingRow) throws {
    var fixture = StreamsFixture()
    _ = fixture.streams.open(.bidirectional)
    let hasData = row.state != .ready
    if hasData { fixture.write(Self.id, 100, finish: row.state == .dataSent || row.state == .dataRecvd) }
    _ = fixture.packet()
    if row.state == .dataRecvd { acknowledge(&fixture, 100, fin: true) }
    if row.state == .resetSent || row.state == .resetRecvd {
      fixture.streams.reset(Self.id, code: 7)
      _ = fixture.packet()
    }
    if row.state == .resetRecvd { fixture.streams.resetAcknowledged(Self.id) }
    _ = fixture.drained()

    switch row.event {
    case .write: write(&fixture, finish: false)
    case .finish: write(&fixture, finish: true)
    case .reset: fixture.streams.reset(Self.id, code: 9)
    case .stopSending:
      try fixture.streams.receiveStopSending(Self.id, code: 8, frameType: 5, events: &fixture.events)
    case .lose:
      if hasData { fixture.streams.lost(Self.id, offset: 0, length: 100, fin: row.state == .dataSent) }
      if row.state == .resetSent || row.state == .resetRecvd { fixture.streams.resetLost(Self.id) }
    case .acknowledge: acknowledge(&fixture, hasData ? 100 : 0, fin: row.state == .dataSent)
    }

    let sent = fixture.packet().map { frame in
      switch frame {
      case .stream(_, _, _, let fin): fin ? "F" : "S"
      case .resetStream: "R"
      default: "?"
      }
    }
    #expect(sent.joined() == row.sends)
    let said = fixture.drained().map { event in
      switch event {
      case .streamStopped(_, 8): "stopped"
      case .streamFinished: "finished"
      default: "\(event)"
      }
    }
    #expect(said.joined() == row.says)
  }

  private func write(_ fixture: inout StreamsFixture, finish: Bool) {
    let bytes: [UInt8] = [1, 2, 3]
    // A stream that is over takes everything and drops it.
    let taken = bytes.withUnsafeBytes { fixture.streams.write(Self.id, $0, finish: finish) }
    #expect(taken == 3)
  }

  private func acknowledge(_ fixture: inout StreamsFixture, _ count: UInt16, fin: Bool) {
    fixture.streams.acknowledged(Self.id, offset: 0, length: count, fin: fin, events: &fixture.events)
  }

  // MARK: The receiving part (RFC 9000 §3.2)

  enum ReceivingState: CaseIterable, Sendable { case recv, sizeKnown, dataRecvd, dataRead, resetRead, stopped }
  enum ReceivingEvent: CaseIterable, Sendable {
    /// STREAM with bytes 100 to 199, STREAM with FIN at 200, at 150 and at 250, one byte at 200.
    case data, fin, lowerFin, higherFin, dataBeyond
    /// RESET_STREAM with a final size of 200, and of 150.
    case reset, lowerReset
    case stopReading
  }

  /// What an event leads to: nothing, an event for the application, STOP_SENDING, or an error.
  enum Outcome: Equatable, Sendable {
    case nothing, readable, reset, stops
    case error(TransportError.Code)
  }

  struct ReceivingRow: Sendable {
    var state: ReceivingState
    var event: ReceivingEvent
    var outcome: Outcome
    init(_ state: ReceivingState, _ event: ReceivingEvent, _ outcome: Outcome) {
      self.state = state
      self.event = event
      self.outcome = outcome
    }
  }

  /// In "Recv" 100 bytes have come and were read; in "Size Known" also the end at 200, with a gap before it.
  static let receivingRows: [ReceivingRow] = [
    ReceivingRow(.recv, .data, .readable), ReceivingRow(.recv, .fin, .readable),
    ReceivingRow(.recv, .lowerFin, .readable), ReceivingRow(.recv, .higherFin, .readable),
    ReceivingRow(.recv, .dataBeyond, .nothing), ReceivingRow(.recv, .reset, .reset),
    ReceivingRow(.recv, .lowerReset, .reset), ReceivingRow(.recv, .stopReading, .stops),

    ReceivingRow(.sizeKnown, .data, .readable), ReceivingRow(.sizeKnown, .fin, .readable),
    ReceivingRow(.sizeKnown, .lowerFin, .error(.finalSizeError)),
    ReceivingRow(.sizeKnown, .higherFin, .error(.finalSizeError)),
    ReceivingRow(.sizeKnown, .dataBeyond, .error(.finalSizeError)), ReceivingRow(.sizeKnown, .reset, .reset),
    ReceivingRow(.sizeKnown, .lowerReset, .error(.finalSizeError)), ReceivingRow(.sizeKnown, .stopReading, .nothing),

    ReceivingRow(.dataRecvd, .data, .nothing), ReceivingRow(.dataRecvd, .fin, .nothing),
    ReceivingRow(.dataRecvd, .lowerFin, .error(.finalSizeError)),
    ReceivingRow(.dataRecvd, .higherFin, .error(.finalSizeError)),
    ReceivingRow(.dataRecvd, .dataBeyond, .error(.finalSizeError)), ReceivingRow(.dataRecvd, .reset, .reset),
    ReceivingRow(.dataRecvd, .lowerReset, .error(.finalSizeError)), ReceivingRow(.dataRecvd, .stopReading, .nothing),

    // What comes after the end was read, or after a reset, is a straggler: passed over.
    ReceivingRow(.dataRead, .data, .nothing), ReceivingRow(.dataRead, .fin, .nothing),
    ReceivingRow(.dataRead, .lowerFin, .nothing), ReceivingRow(.dataRead, .higherFin, .nothing),
    ReceivingRow(.dataRead, .dataBeyond, .nothing), ReceivingRow(.dataRead, .reset, .nothing),
    ReceivingRow(.dataRead, .lowerReset, .nothing), ReceivingRow(.dataRead, .stopReading, .nothing),

    ReceivingRow(.resetRead, .data, .nothing), ReceivingRow(.resetRead, .fin, .nothing),
    ReceivingRow(.resetRead, .lowerFin, .nothing), ReceivingRow(.resetRead, .higherFin, .nothing),
    ReceivingRow(.resetRead, .dataBeyond, .nothing), ReceivingRow(.resetRead, .reset, .nothing),
    ReceivingRow(.resetRead, .lowerReset, .nothing), ReceivingRow(.resetRead, .stopReading, .nothing),

    // After STOP_SENDING the peer's bytes count and are dropped.
    ReceivingRow(.stopped, .data, .nothing), ReceivingRow(.stopped, .fin, .nothing),
    ReceivingRow(.stopped, .lowerFin, .nothing), ReceivingRow(.stopped, .higherFin, .nothing),
    ReceivingRow(.stopped, .dataBeyond, .nothing), ReceivingRow(.stopped, .reset, .nothing),
    ReceivingRow(.stopped, .lowerReset, .nothing), ReceivingRow(.stopped, .stopReading, .nothing),
  ]

  @Test func everyReceivingStateMeetsEveryEvent() {
    #expect(Self.receivingRows.count == ReceivingState.allCases.count * ReceivingEvent.allCases.count)
  }

  @Test(arguments: receivingRows)
  func receiving(row: ReceivingRow) throws {
    var fixture = StreamsFixture()
    try receive(&fixture, 0..<100)
    readAll(&fixture)
    switch row.state {
    case .recv: break
    case .sizeKnown: try receive(&fixture, 180..<200, fin: true)
    case .dataRecvd: try receive(&fixture, 100..<200, fin: true)
    case .dataRead:
      try receive(&fixture, 100..<200, fin: true)
      readAll(&fixture)
    case .resetRead:
      try fixture.streams.receiveReset(
        Self.remote, code: 3, finalSize: 200, frameType: 4, events: &fixture.events)
    case .stopped: fixture.streams.stopReading(Self.remote, code: 5)
    }
    _ = fixture.drained()
    _ = fixture.packet()

    var outcome = Outcome.nothing
    do throws(TransportError) {
      switch row.event {
      case .data: try receive(&fixture, 100..<200)
      case .fin: try receive(&fixture, 100..<200, fin: true)
      case .lowerFin: try receive(&fixture, 100..<150, fin: true)
      case .higherFin: try receive(&fixture, 100..<250, fin: true)
      case .dataBeyond: try receive(&fixture, 200..<201)
      case .reset:
        try fixture.streams.receiveReset(Self.remote, code: 3, finalSize: 200, frameType: 4, events: &fixture.events)
      case .lowerReset:
        try fixture.streams.receiveReset(Self.remote, code: 3, finalSize: 150, frameType: 4, events: &fixture.events)
      case .stopReading: fixture.streams.stopReading(Self.remote, code: 5)
      }
      for event in fixture.drained() {
        if case .streamReadable = event { outcome = .readable }
        if case .streamReset(_, 3) = event { outcome = .reset }
      }
      if fixture.packet().contains(.stopSending(Self.remote)) { outcome = .stops }
    } catch { outcome = .error(error.code) }
    #expect(outcome == row.outcome)
  }

  private func receive(_ fixture: inout StreamsFixture, _ range: Range<UInt64>, fin: Bool = false)
    throws(TransportError)
  {
    let bytes = [UInt8](repeating: 1, count: range.count)
    var failure: TransportError?
    bytes.withUnsafeBytes { buffer in
      do throws(TransportError) {
        try fixture.streams.receiveStream(
          Self.remote, offset: range.lowerBound, data: buffer, fin: fin, frameType: 8, events: &fixture.events)
      } catch { failure = error }
    }
    if let failure { throw failure }
  }

  private func readAll(_ fixture: inout StreamsFixture) {
    while fixture.streams.read(Self.remote, { bytes, _ in bytes.count }) == .progressed {}
  }
}
