import QUIC
import QUICTLS
import Testing
import Wire

@Suite struct ConnectionStreamTests {
  @Test func manyStreamsShareAndAreForgotten() throws {
    let pair = try ConnectionPair()
    pair.serverApplication.reply = TestApplication.Outgoing(total: 3_000, finish: true)
    #expect(pair.connect())
    var opened = 0
    var ids: Set<StreamID> = []
    #expect(
      pair.run { pair in
        while opened < 1_000, let id = pair.open(.client) {
          opened += 1
          ids.insert(id)
          pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 1_000, finish: true)
        }
        return opened == 1_000 && pair.clientApplication.finished.count == 1_000
      })
    #expect(ids.isSubset(of: pair.serverApplication.finished))
    #expect(pair.serverApplication.corrupt + pair.clientApplication.corrupt == 0)
    #expect(pair.clientApplication.has(.streamsAvailable(.bidirectional)))
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.liveStreamCount } == 0)
    #expect(pair.see { $0.server.liveStreamCount } == 0)
  }

  @Test func opensNoMoreThanThePeerAllows() throws {
    var limited = Configuration()
    limited.maxStreamsBidi = 3
    limited.maxStreamsUni = 0
    let pair = try ConnectionPair(Configuration(), limited)
    #expect(pair.connect())
    for _ in 0..<3 { #expect(pair.open(.client) != nil) }
    #expect(pair.open(.client) == nil)
    #expect(pair.open(.client, .unidirectional) == nil)
  }

  @Test func streamsBeginInNumericalOrderOnBothEnds() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    _ = pair.open(.client)
    _ = pair.open(.client)
    let third = try #require(pair.open(.client))
    pair.clientApplication.outgoing[third] = TestApplication.Outgoing(total: 10, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(third) })
    let openings = pair.serverApplication.events.compactMap { if case .streamOpened(let id) = $0 { id } else { nil } }
    #expect(openings.map(\.rawValue) == [0, 4, 8])
  }

  @Test func aPausedReaderStopsTheWriterAndResumes() throws {
    var small = Configuration()
    small.initialMaxStreamDataBidiRemote = 50_000
    small.maximumStreamWindow = 50_000
    let pair = try ConnectionPair(Configuration(), small)
    pair.serverApplication.isPaused = true
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 400_000, finish: true)
    pair.run(for: .seconds(3))
    #expect(pair.serverApplication.received[id] == nil)
    #expect(pair.see { $0.client.statistics.bytesSent } < 70_000)
    pair.serverApplication.isPaused = false
    pair.serverApplication.read(id, &pair.server)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.received[id] == 400_000)
    #expect(pair.serverApplication.corrupt == 0)
  }

  @Test func theConnectionLimitHoldsManyStreams() throws {
    var small = Configuration()
    small.initialMaxData = 60_000
    small.maximumConnectionWindow = 60_000
    let pair = try ConnectionPair(Configuration(), small)
    pair.serverApplication.isPaused = true
    #expect(pair.connect())
    var ids: [StreamID] = []
    for _ in 0..<4 {
      let id = try #require(pair.open(.client))
      ids.append(id)
      pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
    }
    pair.run(for: .seconds(3))
    #expect(pair.see { $0.client.statistics.bytesSent } < 90_000)
    pair.serverApplication.isPaused = false
    for id in ids { pair.serverApplication.read(id, &pair.server) }
    #expect(pair.run { $0.serverApplication.finished.count == 4 })
    #expect(pair.serverApplication.corrupt == 0)
  }

  @Test func aWriterThatFellShortIsToldWhenThereIsRoom() throws {
    var small = Configuration()
    small.sendBufferLimit = 20_000
    let pair = try ConnectionPair(small)
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 200_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.clientApplication.has(.streamWritable(id)))
  }

  @Test func resetEndsOneDirection() throws {
    let pair = try ConnectionPair()
    pair.serverApplication.reply = TestApplication.Outgoing(total: 500, finish: true)
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 1_000, finish: false)
    #expect(pair.run { $0.serverApplication.received[id] == 1_000 })
    pair.client.reset(id, code: 77)
    #expect(
      pair.run { $0.serverApplication.has(.streamReset(id, code: 77)) && $0.clientApplication.finished.contains(id) })
    #expect(pair.clientApplication.received[id] == 500)
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.liveStreamCount } == 0)
    #expect(pair.see { $0.server.liveStreamCount } == 0)
  }

  @Test func stopSendingMakesThePeerReset() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let id = try #require(pair.open(.client, .unidirectional))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 3_000_000, finish: true)
    #expect(pair.run { ($0.serverApplication.received[id] ?? 0) > 50_000 })
    pair.server.stopReading(id, code: 9)
    #expect(pair.run { $0.clientApplication.has(.streamStopped(id, code: 9)) })
    pair.run(for: .seconds(2))
    #expect(pair.see { $0.client.liveStreamCount } == 0)
    #expect(pair.see { $0.server.liveStreamCount } == 0)
    // What the stream took from the connection's credit has come back.
    let next = try #require(pair.open(.client, .unidirectional))
    pair.clientApplication.outgoing[next] = TestApplication.Outgoing(total: 3_000_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(next) })
  }

  @Test func anEmptyStreamEnds() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    _ = pair.client.write(id, UnsafeRawBufferPointer(start: nil, count: 0), finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) && $0.clientApplication.has(.streamFinished(id)) })
  }

  @Test func windowsGrowWithAReaderThatKeepsUp() throws {
    let pair = try ConnectionPair()
    pair.delay = .milliseconds(50)
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 20_000_000, finish: true)
    #expect(pair.run(steps: 1_000_000) { $0.serverApplication.finished.contains(id) })
    // With windows fixed at 1 MiB it would take over two seconds of round trips.
    #expect(pair.see { $0.client.statistics.bytesSent } > 20_000_000)
  }
}
