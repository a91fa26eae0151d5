import QUIC
import Wire

@testable import HTTP3

/// A QUIC connection that keeps its bytes in memory. Two of them, joined by ``Pair``, are a connection.
///
/// It hands out what it has in pieces of at most ``pieceSize`` bytes and has ``room`` bytes for each stream, so
/// that every way of cutting a stream can be tried.
struct MemoryTransport: StreamTransport, ~Copyable {
  struct Incoming {
    var bytes: [UInt8] = []
    var isFinished = false
    var ended = false
    /// The owner is to be told of what comes next.
    var tells = true
  }
  struct Outgoing {
    var bytes: [UInt8] = []
    var isFinished = false
    var wasRefused = false
    var isDropped = false
  }

  let role: Role
  var pieceSize = Int.max
  var room = Int.max
  var streamLimit: [StreamDirection: UInt64] = [.unidirectional: 100, .bidirectional: 100]
  var maximumDatagramSize: Int? = 1200

  var incoming: [StreamID: Incoming] = [:]
  var outgoing: [StreamID: Outgoing] = [:]
  var opened: [StreamDirection: UInt64] = [:]
  var newStreams: [StreamID] = []
  var resets: [StreamID: UInt64] = [:]
  var stops: [StreamID: UInt64] = [:]
  var datagramsOut: [[UInt8]] = []
  var datagramsIn: [[UInt8]] = []
  var closed: (code: UInt64, reason: String)?
  var writes = 0
  var priorities: [StreamID: StreamPriority] = [:]

  init(_ role: Role) { self.role = role }

  mutating func openStream(_ direction: StreamDirection) -> StreamID? {
    let sequence = opened[direction] ?? 0
    guard sequence < streamLimit[direction]! else { return nil }
    opened[direction] = sequence + 1
    let id = StreamID(role, direction, sequence: sequence)
    outgoing[id] = Outgoing()
    if direction == .bidirectional { incoming[id] = Incoming() }
    newStreams.append(id)
    return id
  }

  func writableBytes(_ stream: StreamID) -> Int {
    outgoing[stream].map { max(0, room == .max ? 1 << 30 : room - $0.bytes.count) } ?? 1 << 30
  }

  mutating func write(_ stream: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool) -> Int {
    writes += 1
    guard let state = outgoing[stream], !state.isDropped, !state.isFinished else { return bytes.count }
    let taken = min(bytes.count, writableBytes(stream))
    outgoing[stream]!.bytes += bytes[..<taken]
    if taken < bytes.count {
      outgoing[stream]!.wasRefused = true
    } else if finish {
      outgoing[stream]!.isFinished = true
    }
    return taken
  }

  mutating func read(
    _ stream: StreamID, _ body: (_ bytes: UnsafeRawBufferPointer, _ finished: Bool) -> Int
  ) -> StreamRead {
    guard let state = incoming[stream], !state.ended else { return .ended }
    let count = min(state.bytes.count, pieceSize)
    let isLast = state.isFinished && count == state.bytes.count
    guard count > 0 || isLast else {
      incoming[stream]!.tells = true
      return .blocked
    }
    let consumed = state.bytes[..<count].withUnsafeBytes { body($0, isLast) }
    precondition(consumed >= 0 && consumed <= count)
    incoming[stream]?.bytes.removeFirst(consumed)
    if isLast && consumed == count {
      incoming[stream]?.ended = true
      return .ended
    }
    return consumed == 0 ? .blocked : .progressed
  }

  mutating func setPriority(_ stream: StreamID, _ priority: StreamPriority) { priorities[stream] = priority }

  mutating func reset(_ stream: StreamID, code: UInt64) {
    resets[stream] = code
    outgoing[stream]?.isDropped = true
  }

  mutating func stopReading(_ stream: StreamID, code: UInt64) {
    stops[stream] = code
    incoming[stream]?.ended = true
  }

  mutating func sendDatagram(_ header: UnsafeRawBufferPointer, _ payload: UnsafeRawBufferPointer) -> Bool {
    guard let maximumDatagramSize, header.count + payload.count <= maximumDatagramSize else { return false }
    datagramsOut.append(Array(header) + Array(payload))
    return true
  }

  mutating func readDatagram(_ body: (UnsafeRawBufferPointer) -> Void) -> Bool {
    guard !datagramsIn.isEmpty else { return false }
    let datagram = datagramsIn.removeFirst()
    datagram.withUnsafeBytes(body)
    return true
  }

  mutating func close(code: UInt64, reason: String) {
    if closed == nil { closed = (code, reason) }
  }
}

/// One end: a connection and its transport, and the events that came of them.
struct End: ~Copyable {
  var http: HTTP3.Connection
  var quic: MemoryTransport
  var events: [HTTP3.Event] = []

  init(_ role: Role, settings: Settings = .tunnel, limits: Limits = Limits(), remembered: Settings? = nil) {
    http = Connection(role: role, settings: settings, limits: limits, remembered: remembered)
    quic = MemoryTransport(role)
  }

  mutating func start() { http.start(on: &quic) }

  mutating func handle(_ event: QUIC.Event) {
    http.handle(event, on: &quic)
    while let event = http.nextEvent() { events.append(event) }
  }

  /// Bytes of a stream as the peer would have sent them.
  mutating func receive(_ id: StreamID, _ bytes: [UInt8], finish: Bool = false) {
    let isNew = quic.incoming[id] == nil
    quic.incoming[id, default: .init()].bytes += bytes
    if finish { quic.incoming[id]!.isFinished = true }
    if isNew {
      if id.direction == .bidirectional { quic.outgoing[id] = .init() }
      handle(.streamOpened(id))
    }
    if quic.incoming[id]!.tells {
      quic.incoming[id]!.tells = false
      handle(.streamReadable(id))
    }
  }

  mutating func receiveDatagram(_ bytes: [UInt8]) {
    quic.datagramsIn.append(bytes)
    handle(.datagramsReceived)
  }

  /// All the content there is now, and whether the end came.
  mutating func content(_ id: StreamID) -> (bytes: [UInt8], finished: Bool) {
    var all: [UInt8] = []
    var ended = false
    loop: while true {
      let outcome = http.readData(id, on: &quic) { bytes, finished in
        all += bytes
        if finished { ended = true }
        return bytes.count
      }
      switch outcome {
      case .progressed: continue
      case .blocked, .ended: break loop
      }
    }
    while let event = http.nextEvent() { events.append(event) }
    return (all, ended)
  }

  mutating func send(_ id: StreamID, _ bytes: [UInt8], finish: Bool = false) -> Int {
    bytes.withUnsafeBytes { http.sendData(id, $0, finish: finish, on: &quic) }
  }

  /// What was written to a stream and not carried over yet.
  func written(_ id: StreamID) -> [UInt8] { quic.outgoing[id]?.bytes ?? [] }
}

/// Two ends and the wire between them.
struct Pair: ~Copyable {
  var client: End
  var server: End

  init(client settings: Settings = .tunnel, server serverSettings: Settings = .tunnel) {
    client = End(.client, settings: settings)
    server = End(.server, settings: serverSettings)
  }

  static func started() -> Pair {
    var pair = Pair()
    pair.client.start()
    pair.server.start()
    pair.carry()
    return pair
  }

  /// Carries everything both ways until nothing moves.
  mutating func carry() {
    while Self.carry(&client, &server) || Self.carry(&server, &client) {}
  }

  private static func carry(_ from: inout End, _ to: inout End) -> Bool {
    var moved = false
    for id in from.quic.outgoing.keys.sorted() {
      let state = from.quic.outgoing[id]!
      if let code = from.quic.resets.removeValue(forKey: id) {
        to.quic.incoming[id, default: .init()].ended = true
        to.handle(.streamReset(id, code: code))
        moved = true
        continue
      }
      let isEnd = state.isFinished && to.quic.incoming[id]?.isFinished != true
      guard !state.isDropped, !state.bytes.isEmpty || isEnd else { continue }
      moved = true
      from.quic.outgoing[id]!.bytes = []
      from.quic.outgoing[id]!.wasRefused = false
      to.receive(id, state.bytes, finish: state.isFinished)
      if state.wasRefused { from.handle(.streamWritable(id)) }
    }
    for (id, code) in from.quic.stops {
      from.quic.stops[id] = nil
      to.quic.outgoing[id]?.isDropped = true
      to.handle(.streamStopped(id, code: code))
      moved = true
    }
    while !from.quic.datagramsOut.isEmpty {
      to.receiveDatagram(from.quic.datagramsOut.removeFirst())
      moved = true
    }
    return moved
  }
}

extension [UInt8] {
  /// Hexadecimal digits; spaces are passed over.
  init(hex: String) {
    let digits = hex.filter { !$0.isWhitespace }.map { UInt8($0.hexDigitValue!) }
    self = stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  static func frame(_ type: UInt64, _ payload: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendVarint(type)
    bytes.appendVarint(UInt64(payload.count))
    return bytes + payload
  }

  static func headers(_ list: HeaderList) -> [UInt8] {
    var section: [UInt8] = []
    FieldSectionEncoder.encode(list, to: &section)
    return frame(0x01, section)
  }
}
