import Testing
import Wire

@testable import QUIC

/// Streams without a connection around them, and the packets that they fill.
struct StreamsFixture: ~Copyable {
  var streams: Streams
  var events = EventQueue()
  var now = Instant(nanoseconds: 1_000_000_000)

  init(
    _ role: Role = .server, peerWindow: UInt64 = 1 << 40, peerData: UInt64 = 1 << 40, window: UInt64 = 10_000,
    connectionWindow: UInt64 = 1 << 30, sendBuffers: Int = 1 << 30
  ) {
    streams = Streams(
      role: role,
      settings: Streams.Settings(
        windowBidiLocal: window, windowBidiRemote: window, windowUni: window, maximumStreamWindow: window * 16,
        connectionWindow: connectionWindow, maximumConnectionWindow: connectionWindow * 16, maxStreamsBidi: 2_000,
        maxStreamsUni: 100, sendBufferLimit: 1 << 22, connectionSendBufferLimit: sendBuffers),
      pool: ChunkPool())
    var peer = TransportParameters()
    peer.initialMaxData = peerData
    peer.initialMaxStreamDataBidiLocal = peerWindow
    peer.initialMaxStreamDataBidiRemote = peerWindow
    peer.initialMaxStreamDataUni = peerWindow
    peer.initialMaxStreamsBidi = 2_000
    peer.initialMaxStreamsUni = 100
    streams.setPeerLimits(peer, events: &events)
  }

  mutating func open(_ priority: StreamPriority = .shared, bytes: Int, finish: Bool = false) -> StreamID {
    let id = streams.open(.bidirectional)!
    streams.setPriority(id, priority)
    write(id, bytes, finish: finish)
    return id
  }

  mutating func write(_ id: StreamID, _ count: Int, finish: Bool = false) {
    let taken = offer(id, count, finish: finish)
    precondition(taken == count)
  }

  /// Bytes taken of `count`.
  mutating func offer(_ id: StreamID, _ count: Int, finish: Bool = false) -> Int {
    let bytes = [UInt8](repeating: 0x5a, count: count)
    return bytes.withUnsafeBytes { streams.write(id, $0, finish: finish) }
  }

  /// What one packet of `size` bytes carries.
  mutating func packet(_ size: Int = 1_200) -> [SentFrame] {
    var memory = [UInt8](repeating: 0, count: size)
    var sent: [SentFrame] = []
    memory.withUnsafeMutableBytes { buffer in
      var writer = ByteWriter(buffer)
      streams.writeControlFrames(to: &writer, sent: &sent, now: now, roundTrip: .milliseconds(10))
      streams.writeStreamFrames(to: &writer, sent: &sent)
    }
    return sent
  }

  mutating func drained() -> [Event] {
    var all: [Event] = []
    while let event = events.next() { all.append(event) }
    return all
  }

  /// The stream that has most of the packet.
  mutating func served() -> StreamID? {
    packet().compactMap { frame -> (StreamID, UInt16)? in
      if case .stream(let id, _, let length, _) = frame { (id, length) } else { nil }
    }.max { $0.1 < $1.1 }?.0
  }

  mutating func serve(_ packets: Int) -> [StreamID: Int] {
    var counts: [StreamID: Int] = [:]
    for _ in 0..<packets { if let id = served() { counts[id, default: 0] += 1 } }
    return counts
  }
}

extension StreamPriority {
  static func ordered(_ urgency: UInt8 = 3) -> StreamPriority { StreamPriority(urgency: urgency, isIncremental: false) }
  static func incremental(_ urgency: UInt8 = 3) -> StreamPriority {
    StreamPriority(urgency: urgency, isIncremental: true)
  }
}

@Suite struct StreamSchedulerTests {
  @Test func theMostUrgentGoFirst() {
    var fixture = StreamsFixture()
    let late = fixture.open(.ordered(5), bytes: 11_000)
    let middle = fixture.open(.ordered(3), bytes: 11_000)
    let first = fixture.open(.ordered(1), bytes: 11_000)
    var order: [StreamID] = []
    while let id = fixture.served() { order.append(id) }
    #expect(order.prefix(9).allSatisfy { $0 == first })
    #expect(order.firstIndex(of: middle)! < order.firstIndex(of: late)!)
    #expect(order.last == late)
  }

  @Test func streamsThatAreNotIncrementalGoInOrderOfTheirIDs() {
    var fixture = StreamsFixture()
    let ids = (0..<5).map { _ in fixture.open(.ordered(), bytes: 0) }
    // Data comes in another order than the streams.
    for id in [ids[3], ids[1], ids[4], ids[0], ids[2]] { fixture.write(id, 6_000) }
    var order: [StreamID] = []
    while let id = fixture.served() { if order.last != id { order.append(id) } }
    #expect(order == ids)
  }

  @Test func incrementalStreamsShare() {
    var fixture = StreamsFixture()
    let ids = (0..<10).map { _ in fixture.open(.incremental(), bytes: 60_000) }
    for round in 1...20 {
      let counts = fixture.serve(10)
      #expect(ids.allSatisfy { counts[$0] == 1 }, "round \(round)")
    }
  }

  @Test func bothKindsHaveEveryOtherPacket() {
    var fixture = StreamsFixture()
    let ordered = (0..<3).map { _ in fixture.open(.ordered(), bytes: 100_000) }
    let incremental = (0..<3).map { _ in fixture.open(.incremental(), bytes: 100_000) }
    let counts = fixture.serve(60)
    #expect(counts[ordered[0]] == 30)
    #expect(incremental.allSatisfy { counts[$0] == 10 })
  }

  /// Tunnels at the least urgency live beside a download that never ends.
  @Test func nothingStarves() {
    var fixture = StreamsFixture()
    let endless = fixture.open(.ordered(0), bytes: 2_000_000)
    let tunnels = [3, 5, 7].map { fixture.open(.incremental($0), bytes: 100_000) }
    let counts = fixture.serve(960)
    #expect(counts[endless] == 900)
    #expect(tunnels.allSatisfy { counts[$0] == 20 })
  }

  /// A peer that asks for much on many streams and acknowledges nothing costs little a stream, and once it does
  /// acknowledge, every writer goes on.
  @Test func allStreamsTogetherHoldNoMoreThanTheConnectionMay() throws {
    let bound = 10 * ChunkPool.chunkSize
    var fixture = StreamsFixture(sendBuffers: bound)
    let ids = (0..<30).map { _ in fixture.streams.open(.bidirectional)! }
    #expect(fixture.offer(ids[0], 1 << 18, finish: true) == 1 << 18)
    for id in ids.dropFirst() {
      #expect(fixture.streams.writableBytes(id) == ChunkPool.chunkSize)
      #expect(fixture.offer(id, 1 << 18, finish: true) == ChunkPool.chunkSize)
      #expect(fixture.streams.writableBytes(id) == 0)
    }
    #expect(fixture.streams.pool.sending == 16 + 29)
    var written = Dictionary(uniqueKeysWithValues: ids.map { ($0, $0 == ids[0] ? 1 << 18 : ChunkPool.chunkSize) })
    var finished: Set<StreamID> = []
    var mostChunks = 0
    while finished.count < ids.count {
      let sent = fixture.packet()
      try #require(!sent.isEmpty, "a writer was not told of room")
      for case .stream(let id, let offset, let length, let fin) in sent {
        fixture.streams.acknowledged(id, offset: offset, length: length, fin: fin, events: &fixture.events)
      }
      for event in fixture.drained() {
        if case .streamFinished(let id) = event { finished.insert(id) }
        guard case .streamWritable(let id) = event else { continue }
        written[id]! += fixture.offer(id, (1 << 18) - written[id]!, finish: true)
      }
      mostChunks = max(mostChunks, fixture.streams.pool.sending)
    }
    // As many bytes as a chunk has may lie in two.
    #expect(mostChunks <= 16 + 2 * 30)
    #expect(written.values.allSatisfy { $0 == 1 << 18 })
    #expect(fixture.streams.pool.sending == 0)
  }

  @Test func aChangeOfPriorityTakesEffectAtOnce() {
    var fixture = StreamsFixture()
    let first = fixture.open(.ordered(3), bytes: 50_000)
    let second = fixture.open(.ordered(3), bytes: 50_000)
    #expect(fixture.served() == first)
    fixture.streams.setPriority(second, .ordered(0))
    #expect(fixture.served() == second)
    fixture.streams.setPriority(second, .incremental(7))
    #expect(fixture.served() == first)
    fixture.streams.setPriority(first, .incremental(7))
    let counts = fixture.serve(10)
    #expect(counts == [first: 5, second: 5])
  }

  /// With a thousand streams each has its turn before any has a second, and small ones share packets.
  @Test(arguments: [StreamPriority.ordered(), .incremental()])
  func aThousandStreams(priority: StreamPriority) {
    var fixture = StreamsFixture()
    let ids = (0..<1_000).map { _ in fixture.open(priority, bytes: 2_000, finish: true) }
    var ended: [StreamID] = []
    var packets = 0
    var frames = 0
    while true {
      let sent = fixture.packet()
      if sent.isEmpty { break }
      packets += 1
      frames += sent.count
      for case .stream(let id, _, _, true) in sent { ended.append(id) }
    }
    // Those that share end in no order.
    #expect((priority.isIncremental ? ended.sorted() : ended) == ids)
    // 2,000,000 bytes in packets of 1,200: hardly more than there must be, with a frame or two in each.
    #expect(packets <= 1_800)
    #expect(frames <= 3_600)
    let isMore = fixture.streams.hasFrames
    #expect(!isMore)
  }

  /// Whatever happens to streams, each that can send is found, and no other.
  @Test(arguments: 0..<20)
  func agreesWithAModel(seed: Int) {
    let dice = SeededEntropy(seed: UInt64(seed))
    func pick(_ count: Int) -> Int { Int(dice.nextUInt64() % UInt64(count)) }
    var fixture = StreamsFixture()
    var left: [StreamID: Int] = [:]
    var priorities: [StreamID: StreamPriority] = [:]
    var ids: [StreamID] = []
    for _ in 0..<600 {
      switch pick(6) {
      case 0:
        let priority = StreamPriority(urgency: UInt8(pick(8)), isIncremental: pick(2) == 0)
        let id = fixture.open(priority, bytes: 0)
        ids.append(id)
        priorities[id] = priority
      case 1:
        guard let id = ids.isEmpty ? nil : ids[pick(ids.count)] else { break }
        let count = pick(5_000)
        fixture.write(id, count)
        left[id, default: 0] += count
      case 2:
        guard let id = ids.isEmpty ? nil : ids[pick(ids.count)] else { break }
        let priority = StreamPriority(urgency: UInt8(pick(8)), isIncremental: pick(2) == 0)
        fixture.streams.setPriority(id, priority)
        priorities[id] = priority
      case 3:
        guard !ids.isEmpty else { break }
        let id = ids.remove(at: pick(ids.count))
        fixture.streams.reset(id, code: 0)
        left[id] = nil
      default:
        for case .stream(let id, _, let length, _) in fixture.packet() {
          #expect(left[id, default: 0] >= Int(length))
          left[id, default: 0] -= Int(length)
        }
      }
      let isIdle = fixture.streams.ready.isEmpty
      #expect(isIdle == left.values.allSatisfy { $0 == 0 })
    }
    while true {
      let sent = fixture.packet()
      if sent.isEmpty { break }
      for case .stream(let id, _, let length, _) in sent { left[id, default: 0] -= Int(length) }
    }
    #expect(left.values.allSatisfy { $0 == 0 })
  }
}
