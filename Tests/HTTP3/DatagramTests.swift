import QUIC
import Testing
import Wire

@testable import HTTP3

@Suite struct DatagramTests {
  private func received(_ end: inout End) -> [String] {
    var all: [String] = []
    end.http.readDatagrams(on: &end.quic) { id, payload in all.append("\(id) \(Array(payload))") }
    while let event = end.http.nextEvent() { end.events.append(event) }
    return all
  }

  private func send(_ end: inout End, _ id: StreamID, _ payload: [UInt8], context: UInt64? = 0) -> Bool {
    payload.withUnsafeBytes { end.http.sendDatagram(id, contextID: context, $0, on: &end.quic) }
  }

  @Test func datagramsCrossBothWays() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectUDP, finish: false, on: &pair.client.quic))
    pair.carry()
    #expect(send(&pair.client, id, [1, 2]))
    #expect(send(&pair.client, id, [3], context: nil))
    #expect(pair.client.quic.datagramsOut == [[0, 0, 1, 2], [0, 3]])
    pair.carry()
    #expect(pair.server.events.last == .datagramsReceived)
    #expect(received(&pair.server) == ["0 [0, 1, 2]", "0 [3]"])
    #expect(send(&pair.server, id, []))
    pair.carry()
    #expect(received(&pair.client) == ["0 [0]"])
    #expect(pair.client.http.maximumDatagramPayload(id, on: pair.client.quic) == 1199)
    #expect(!send(&pair.client, id, [UInt8](repeating: 0, count: 1199)))
    #expect(send(&pair.client, id, [UInt8](repeating: 0, count: 1198)))
  }

  @Test func bothSidesMustWantThem() throws {
    for (ours, theirs) in [(true, false), (false, true), (false, false)] {
      var settings = Settings.tunnel
      settings.h3Datagram = ours
      var peers = Settings.tunnel
      peers.h3Datagram = theirs
      var pair = Pair(client: settings, server: peers)
      pair.client.start()
      pair.server.start()
      pair.carry()
      let id = try #require(try pair.client.http.sendRequest(connectUDP, finish: false, on: &pair.client.quic))
      #expect(!send(&pair.client, id, [1]))
      #expect(pair.client.http.maximumDatagramPayload(id, on: pair.client.quic) == nil)
    }
  }

  @Test func datagramsBeforeTheirRequestAreTheOwnersToKeep() throws {
    var pair = Pair.started()
    pair.server.receiveDatagram([1, 0, 9])
    #expect(received(&pair.server) == ["4 [0, 9]"])
  }

  @Test func datagramsAfterTheEndAreDropped() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectUDP, finish: false, on: &pair.client.quic))
    pair.carry()
    pair.client.http.cancel(id, code: .requestCancelled, on: &pair.client.quic)
    #expect(!send(&pair.client, id, [1]))
    pair.carry()
    pair.server.receiveDatagram([0, 0, 9])
    pair.client.receiveDatagram([7, 0, 9])
    #expect(received(&pair.server).isEmpty)
    #expect(received(&pair.client).isEmpty)
    #expect(pair.server.http.counters.droppedDatagrams == 1)
    #expect(pair.client.http.counters.droppedDatagrams == 1)
  }

  @Test func requestsWithoutDatagramsAreAborted() throws {
    var pair = Pair.started()
    let id = try #require(try pair.client.http.sendRequest(connectTCP, finish: false, on: &pair.client.quic))
    pair.carry()
    #expect(!send(&pair.client, id, [1]))
    pair.server.receiveDatagram([0, 9])
    #expect(received(&pair.server).isEmpty)
    #expect(pair.server.quic.resets[id] == ErrorCode.datagramError.rawValue)
    guard case .streamFailed(id, let error) = pair.server.events.last else {
      Issue.record("no event")
      return
    }
    #expect(error.code == .datagramError)
  }

  @Test(arguments: ["", "40", "d000000000000000 00", "ffffffffffffffff"])
  func badQuarterStreamIDsEndTheConnection(hex: String) throws {
    var pair = Pair.started()
    pair.server.receiveDatagram([UInt8](hex: hex))
    #expect(received(&pair.server).isEmpty)
    #expect(pair.server.quic.closed?.code == ErrorCode.datagramError.rawValue)
  }

  @Test func theLargestQuarterStreamIDIsLegal() throws {
    var pair = Pair.started()
    pair.server.receiveDatagram([UInt8](hex: "cfffffffffffffff 01"))
    #expect(received(&pair.server) == ["4611686018427387900 [1]"])
    #expect(pair.server.quic.closed == nil)
  }
}

@Suite struct CapsuleTests {
  private func read(_ bytes: [UInt8], piece: Int, maximum: Int = 100) -> (all: [[UInt8]], reader: CapsuleReader) {
    var reader = CapsuleReader(maximumValue: maximum)
    var all: [[UInt8]] = []
    for start in stride(from: 0, to: bytes.count, by: piece) {
      bytes[start..<min(start + piece, bytes.count)].withUnsafeBytes {
        reader.read($0) { type, value in
          #expect(type == .datagram)
          all.append(Array(value))
        }
      }
    }
    return (all, reader)
  }

  @Test(arguments: [1, 2, 3, 5, 1000])
  func capsulesInAnyPieces(piece: Int) throws {
    let capsules: [[UInt8]] = [
      .frame(0, [0, 1, 2]), .frame(0x2575, [9, 9]), .frame(0, []), .frame(0x17, [UInt8](repeating: 1, count: 300)),
      .frame(0, [UInt8](repeating: 2, count: 101)), .frame(0, [UInt8](repeating: 3, count: 100)),
    ]
    let bytes = Array(capsules.joined())
    let (all, reader) = read(bytes, piece: piece)
    #expect(all == [[0, 1, 2], [], [UInt8](repeating: 3, count: 100)])
    #expect(reader.oversized == 1)
    try reader.finish()
    let cut = read(Array(bytes.dropLast()), piece: piece)
    #expect(throws: StreamError.self) { try cut.reader.finish() }
  }

  @Test func hugeLengthsAreSkippedWithoutBeingKept() throws {
    let (all, reader) = read([UInt8](hex: "00 ffffffffffffffff 01 02 03"), piece: 4)
    #expect(all.isEmpty)
    #expect(reader.oversized == 1)
    #expect(throws: StreamError.self) { try reader.finish() }
  }

  @Test func writtenCapsulesComeBack() throws {
    var storage = [UInt8](repeating: 0, count: 200)
    let payload = [UInt8](repeating: 5, count: 70)
    let count = storage.withUnsafeMutableBytes { buffer in
      payload.withUnsafeBytes { payload in
        var writer = ByteWriter(buffer)
        CapsuleWriter.writeDatagram(contextID: 0, payload, to: &writer)
        return writer.overflowed ? 0 : writer.count
      }
    }
    #expect(count == CapsuleWriter.headerLength(.datagram, valueLength: 71) + 71)
    #expect(read(Array(storage[..<count]), piece: 7).all == [[0] + payload])
  }

  @Test func mutatedCapsulesNeverTrap() {
    let entropy = SeededEntropy(seed: 9297)
    let capsules: [[UInt8]] = [
      .frame(0, [0, 1, 2]), .frame(0x2575, [9, 9]), .frame(0, [UInt8](repeating: 2, count: 70)),
    ]
    let seed = Array(capsules.joined())
    for round in 0..<3000 { _ = read(mutate(seed, entropy), piece: 1 + round % 9) }
  }
}
