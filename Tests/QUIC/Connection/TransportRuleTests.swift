import PacketCrypto
import Testing
import Wire

@testable import QUIC

/// Rules of a connection that a peer does not enforce, each seen from outside or by its own state.
@Suite struct TransportRuleTests {
  private func settled(
    _ client: Configuration = Configuration(), _ server: Configuration = Configuration()
  ) throws -> ConnectionPair {
    let pair = try ConnectionPair(client, server)
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    return pair
  }

  // MARK: Time

  /// RFC 9000 §10.1: however short the idle time-out, three probe timeouts pass before it ends the connection.
  @Test func theIdleTimeoutLeavesTimeForProbes() throws {
    var hasty = Configuration()
    // The test's server waits for its first datagram from the beginning.
    hasty.maxIdleTimeout = .milliseconds(250)
    hasty.keepAliveInterval = .milliseconds(100)
    let pair = try ConnectionPair(hasty, hasty)
    pair.delay = .milliseconds(200)
    #expect(pair.connect())
    pair.run(for: .seconds(2))
    #expect(pair.see { !$0.client.isClosed })
    pair.filter = { $0.from == .server ? nil : $0 }
    // The last that the client hears, and what it sends next, both begin the period anew.
    pair.run(for: .milliseconds(500))
    let timeout = pair.see { $0.client.recovery.probeTimeout }
    #expect(timeout > .milliseconds(400))
    let begun = try #require(pair.see { $0.client.idleDeadline }) - timeout * 3
    #expect(pair.run { $0.clientApplication.closeReason == .idleTimeout })
    #expect(pair.now - begun >= timeout * 3 && pair.now - begun > .milliseconds(1_200))
  }

  // MARK: Stateless resets

  /// RFC 9000 §10.3: what ends in a token is a reset, whatever it looks like otherwise: a long header of this or
  /// another version, known or unknown IDs, a packet for keys that are gone.
  @Test(arguments: 0..<6) func anythingThatEndsInATokenIsAReset(form: Int) throws {
    var server = Configuration()
    server.statelessResetKey = [UInt8](repeating: 5, count: 32)
    let pair = try settled(Configuration(), server)
    let ids = pair.see { ($0.client.localIDs.first, $0.server.localIDs.first) }
    let token = StatelessResetKey([UInt8](repeating: 5, count: 32)).token(for: ids.1)
    func long(_ first: UInt8, _ version: [UInt8], _ destination: ConnectionID, body: [UInt8]) -> [UInt8] {
      var bytes = [first] + version + [UInt8(destination.length)]
      destination.withUnsafeBytes { bytes += $0 }
      return bytes + [0] + body
    }
    let noise = [UInt8](repeating: 0x77, count: 40)
    let other = ConnectionID([UInt8](repeating: 6, count: 8))!
    var datagram: [UInt8]
    switch form {
    case 0: datagram = [0x43] + noise
    case 1: datagram = long(0xc0, [0xff, 0, 0, 0x1d], other, body: noise)
    // Handshake packets of version 1: 0x40 0x38 is a length of 56, the token's sixteen bytes included.
    case 2: datagram = long(0xe0, [0, 0, 0, 1], ids.0, body: [0x40, 0x38] + noise)
    case 3: datagram = long(0xe0, [0, 0, 0, 1], other, body: [0x40, 0x38] + noise)
    // One whose length says that another packet follows.
    case 4: datagram = long(0xe0, [0, 0, 0, 1], ids.0, body: [0x40, 0x20] + noise)
    default: datagram = [0x43] + ids.0.withUnsafeBytes { [UInt8]($0) } + noise
    }
    token.withUnsafeBytes { datagram += $0 }
    for isTrue in [false, true] {
      var bytes = datagram
      if !isTrue { bytes[bytes.count - 1] ^= 1 }
      bytes.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
      pair.flush()
      #expect(pair.clientApplication.closeReason == (isTrue ? .statelessReset : nil))
    }
  }

  /// A datagram of which something is authentic is none, whatever it ends in.
  @Test func anAuthenticDatagramIsNoReset() throws {
    var server = Configuration()
    server.statelessResetKey = [UInt8](repeating: 5, count: 32)
    let pair = try ConnectionPair(Configuration(), server)
    pair.keepsLog = true
    pair.filter = { $0.from == .server ? nil : $0 }
    pair.run { pair in pair.log.contains { $0.from == .server } }
    var datagram = try #require(pair.log.first { $0.from == .server }).bytes
    let token = StatelessResetKey([UInt8](repeating: 5, count: 32)).token(for: pair.see { $0.server.localIDs.first })
    pair.client.peerIDs.setFirstResetToken(token)
    token.withUnsafeBytes { datagram += $0 }
    datagram.withUnsafeMutableBytes {
      pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    #expect(pair.see { !$0.client.isClosed && $0.client.hasProcessedPacket })
  }

  // MARK: The spin bit

  /// RFC 9000 §17.4: of connections that were asked to spin one in sixteen does not, and none that was not asked.
  @Test func oneInSixteenDoesNotSpin() {
    let entropy = SeededEntropy(seed: 17)
    var still = 0
    for _ in 0..<4_000 {
      let seed = entropy.nextUInt64()
      var spin = SpinBit(isAsked: true, seed: seed)
      // One that spins shows what it received, whatever the number of its own packet.
      spin.received(true, 1, at: .server)
      let shown = (0..<40 as Range<UInt64>).map { spin.bit($0) }
      if shown.contains(false) { still += 1 }
      var off = SpinBit(isAsked: false, seed: seed)
      let before = (0..<40 as Range<UInt64>).map { off.bit($0) }
      off.received(true, 1, at: .server)
      #expect((0..<40 as Range<UInt64>).map { off.bit($0) } == before)
      #expect(Set(before).count == 2)
    }
    #expect(abs(still - 250) < 5 * 16, "\(still) of 4000")
    #expect(!Configuration().spins)
  }

  // MARK: ECN

  /// RFC 9000 §13.4.1: an end that marks nothing tells all the same of the marks that it sees.
  @Test func marksAreReportedByOneThatMarksNothing() throws {
    var plain = Configuration()
    plain.ecn = false
    let collector = QLogTests.Collector()
    let pair = try ConnectionPair(collector.configuration(), plain)
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.filter = { datagram in
      var marked = datagram
      if datagram.from == .server { #expect(datagram.ecn == .notECT) }
      if datagram.from == .client, datagram.index % 10 == 9 { marked.ecn = .ce }
      return marked
    }
    pair.clientApplication.outgoing[id] = .init(total: 200_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) && $0.clientApplication.has(.streamFinished(id)) })
    #expect(pair.see { $0.client.recovery.ecn.state } == .capable)
    let counts = pair.see { $0.server.spaces[2].received.ecnCounts }
    #expect(counts.ect0 > 20 && counts.ce > 2)
    #expect(pair.see { $0.client.recovery.statistics.congestionEvents } > 0)
    #expect(pair.see { $0.client.statistics.packetsLost } == 0)
  }

  // MARK: Streams

  /// RFC 9000 §4.4: a reset ends one direction; in the other credit is given and kept to as before.
  @Test func theOtherDirectionOfAResetStreamFlowsOn() throws {
    var small = Configuration()
    small.initialMaxStreamDataBidiLocal = 20_000
    small.maximumStreamWindow = 20_000
    let pair = try settled(small)
    pair.serverApplication.reply = .init(total: 600_000, finish: true)
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 1_000, finish: false)
    pair.clientApplication.isPaused = true
    #expect(pair.run { $0.serverApplication.received[id] == 1_000 })
    pair.client.reset(id, code: 77)
    pair.run(for: .seconds(1))
    #expect(pair.serverApplication.has(.streamReset(id, code: 77)))
    // The server has sent what it may of its answer, and waits.
    #expect(pair.see { $0.server.streams.table.peek(id)?.pointee.send.buffer.sentEnd } == 20_000)
    pair.clientApplication.isPaused = false
    pair.clientApplication.read(id, &pair.client)
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
    #expect(pair.clientApplication.received[id] == 600_000 && pair.clientApplication.corrupt == 0)
  }

  /// RFC 9000 §4.6: more streams are allowed as streams end, without being asked for.
  @Test func streamCreditComesUnasked() throws {
    var few = Configuration()
    few.maxStreamsBidi = 4
    let pair = try settled(Configuration(), few)
    pair.serverApplication.reply = .init(total: 10, finish: true)
    let ids = (0..<3).compactMap { _ in pair.open(.client) }
    for id in ids { pair.clientApplication.outgoing[id] = .init(total: 10, finish: true) }
    #expect(pair.run { pair in ids.allSatisfy { pair.clientApplication.finished.contains($0) } })
    pair.run(for: .seconds(1))
    // The client was never at the limit, and so has never said so.
    #expect((0..<4).compactMap { _ in pair.open(.client) }.count == 4)
  }

  /// RFC 9000 §7.5: 4096 bytes of CRYPTO frames that are ahead of what has come are kept.
  @Test(arguments: [EncryptionLevel.initial, .oneRTT]) func cryptoDataAheadIsKept(level: EncryptionLevel) throws {
    let pair = try ConnectionPair()
    if level == .initial {
      #expect(pair.run { $0.server.hasProcessedPacket })
    } else {
      #expect(pair.connect())
    }
    // From the server, whose first byte at this level the client then still lacks.
    let start = pair.see { $0.client.spaces[level == .initial ? 0 : 2].cryptoReceive.readOffset }
    for piece in 0..<8 {
      pair.inject(from: .server, at: level) { writer in
        [UInt8](repeating: 1, count: 512).withUnsafeBytes {
          writer.writeCrypto(offset: start + 1 + UInt64(piece) * 512, $0)
        }
      }
    }
    #expect(pair.clientApplication.closeReason == nil && pair.see { !$0.client.isClosed })
  }

  // MARK: Congestion control

  /// RFC 9002 §7.5: a probe leaves though the window is full; it elicits an acknowledgement and counts in flight.
  @Test func probesAreNotHeldBackByTheWindow() throws {
    let pair = try settled()
    let id = try #require(pair.open(.client))
    pair.filter = { $0.from == .server ? nil : $0 }
    pair.clientApplication.outgoing[id] = .init(total: 3_000_000, finish: true)
    pair.run { $0.client.statistics.bytesInFlight + 1_452 > $0.client.statistics.congestionWindow }
    var flying = pair.see { $0.client.statistics.bytesInFlight }
    for count in 1...3 {
      let sent = try #require(pair.sent[.client])
      let elicited = pair.see { $0.client.recovery.spaces[2].ackElicitingInFlight }
      #expect(pair.run { $0.client.recovery.probeTimeoutCount == count })
      pair.flush()
      let probes = pair.sent[.client]! - sent
      #expect(probes == 1 || probes == 2)
      #expect(pair.see { $0.client.recovery.spaces[2].ackElicitingInFlight } == elicited + probes)
      let now = pair.see { $0.client.statistics.bytesInFlight }
      #expect(now > flying)
      flying = now
    }
  }

  /// RFC 9000 §19.21, RFC 9221 §5.4: DATAGRAM frames are held to the window like streams, and acknowledged.
  @Test func datagramsAreCongestionControlledAndAcknowledged() throws {
    let pair = try settled()
    let payload = [UInt8](repeating: 1, count: 1_000)
    func send() -> Bool { payload.withUnsafeBytes { pair.client.sendDatagram($0, .init(start: nil, count: 0)) } }
    pair.filter = { $0.from == .server ? nil : $0 }
    for _ in 0..<400 { #expect(send()) }
    // A round trip, and no probe yet.
    pair.run(for: .milliseconds(30))
    #expect(pair.see { $0.client.recovery.probeTimeoutCount } == 0)
    #expect(pair.see { $0.client.statistics.bytesInFlight <= $0.client.statistics.congestionWindow })
    #expect(pair.see { $0.client.statistics.datagramsSent } < 60)
    // The server acknowledges what came, and so lets the rest out.
    pair.filter = { $0 }
    pair.run(for: .seconds(5))
    #expect(pair.see { $0.client.statistics.datagramsSent } == 400)
    #expect(pair.see { $0.client.statistics.bytesInFlight } == 0)
  }

  /// RFC 9221 §3: no frame is larger than the peer takes, to the byte, and one that is ends the connection.
  @Test(arguments: [2, 3, 64, 65, 66, 100, 500]) func datagramFramesKeepToThePeersLimit(limit: Int) throws {
    var small = Configuration()
    small.maxDatagramFrameSize = UInt64(limit)
    let pair = try settled(Configuration(), small)
    let most = try #require(pair.see { $0.client.maximumDatagramSize })
    #expect(DatagramFrameSize.total(payload: most, withLength: true) <= limit)
    #expect(limit == 65 || DatagramFrameSize.total(payload: most + 1, withLength: true) > limit)
    let sent = [UInt8](repeating: 1, count: most).withUnsafeBytes {
      pair.client.sendDatagram($0, .init(start: nil, count: 0))
    }
    #expect(sent)
    #expect(pair.run { $0.serverApplication.datagrams.count == 1 })
    // The largest frames that may come: one with its length, one that goes to the end of the packet.
    // Padding before them makes the shortest packets long enough to be protected.
    pair.inject { writer in
      writer.writePadding(4)
      [UInt8](repeating: 2, count: most).withUnsafeBytes { writer.writeDatagram($0) }
    }
    pair.inject { writer in
      writer.writePadding(4)
      writer.writeDatagramHeader(length: nil)
      writer.write([UInt8](repeating: 3, count: limit - 1))
    }
    #expect(pair.serverApplication.datagrams.count == 3 && pair.serverApplication.closeReason == nil)
    pair.inject { writer in
      writer.writePadding(4)
      writer.writeDatagramHeader(length: nil)
      writer.write([UInt8](repeating: 4, count: limit))
    }
    guard case .localTransport(let error) = pair.serverApplication.closeReason else {
      Issue.record("not closed")
      return
    }
    #expect(error.code == .protocolViolation)
  }
}
