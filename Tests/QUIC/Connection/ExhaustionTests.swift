import PacketCrypto
import QUICTLS
import Testing
import Wire

@testable import QUIC

/// What a connection may use up: packet numbers (RFC 9000 §12.3) and the use of its keys (RFC 9001 §6.6).
@Suite struct ExhaustionTests {
  private static func settled(_ suite: CipherSuite = .aes128GCM) throws -> ConnectionPair {
    let client = try ConnectionFixture.client(cipherSuites: [suite])
    let pair = try ConnectionPair(clientTLS: client)
    #expect(pair.connect())
    // Packets of the first phase are acknowledged both ways.
    for _ in 0..<2 {
      pair.run(for: .seconds(1))
      pair.client.keepAlive(now: pair.now)
      pair.server.keepAlive(now: pair.now)
    }
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.oneRTT?.suite } == suite)
    return pair
  }

  private static func code(_ reason: CloseReason?) -> TransportError.Code? {
    if case .localTransport(let error) = reason { return error.code }
    return nil
  }

  // MARK: Packet numbers

  /// Sets what the client sends next, and what the server takes for the newest, so that it decodes what follows.
  private static func skip(_ pair: ConnectionPair, to number: UInt64) {
    pair.client.spaces[2].nextPacketNumber = number
    pair.client.spaces[2].skippedNumber = .max
    pair.client.spaces[2].largestAcknowledged = number - 1
    pair.client.recovery.discard(.applicationData, now: pair.now)
    pair.server.spaces[2].received.received(number - 1, ackEliciting: false, ecn: .notECT, now: pair.now)
  }

  @Test func theLastPacketNumberIsNeverUsed() throws {
    let pair = try Self.settled()
    Self.skip(pair, to: PacketNumber.max - 2)
    for used: UInt64 in 1...2 {
      let received = pair.see { $0.server.statistics.packetsReceived }
      pair.client.keepAlive(now: pair.now)
      pair.run(for: .milliseconds(200))
      #expect(pair.see { $0.server.statistics.packetsReceived } == received + 1)
      #expect(pair.see { $0.client.spaces[2].nextPacketNumber } == PacketNumber.max - 2 + used)
      #expect(pair.clientApplication.closeReason == nil)
    }
    // 2^62-1 comes next.
    let sent = pair.sent[.client]
    pair.client.keepAlive(now: pair.now)
    pair.flush()
    #expect(Self.code(pair.clientApplication.closeReason) == .internalError)
    #expect(pair.see { $0.client.isDrained })
    // Neither CONNECTION_CLOSE nor anything else, whatever comes.
    pair.inject(from: .server) { $0.writePing() }
    pair.client.close(code: 1, reason: "")
    pair.run(for: .seconds(5))
    #expect(pair.sent[.client] == sent)
  }

  /// A connection that is being closed has no right to more numbers either.
  @Test func closingStopsAtTheLastPacketNumber() throws {
    let pair = try Self.settled()
    Self.skip(pair, to: PacketNumber.max - 1)
    pair.client.close(code: 1, reason: "")
    pair.flush()
    #expect(pair.see { $0.client.spaces[2].nextPacketNumber } == PacketNumber.max)
    let sent = pair.sent[.client]
    pair.filter = { $0.from == .client ? nil : $0 }
    for _ in 0..<20 { pair.inject(from: .server) { $0.writePing() } }
    pair.run(for: .seconds(5))
    #expect(pair.sent[.client] == sent)
  }

  // MARK: The confidentiality limit

  @Test func theLimitsAreThoseOfTheRFC() {
    for suite in [CipherSuite.aes128GCM, .aes256GCM] {
      #expect(suite.confidentialityLimit == 8_388_608)
      #expect(suite.integrityLimit == 4_503_599_627_370_496)
    }
    #expect(CipherSuite.chaCha20Poly1305.integrityLimit == 68_719_476_736)
    #expect(CipherSuite.chaCha20Poly1305.confidentialityLimit >= 1 << 62)
  }

  /// Half of 2^23 packets make an update due, which is begun at once where it may be.
  @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM])
  func keysAreUpdatedAtHalfTheirLimit(suite: CipherSuite) throws {
    let pair = try Self.settled(suite)
    let keys = try #require(pair.see { $0.client.oneRTT })
    keys.sealed = 1 << 22 - 3
    for expected: UInt64 in [0, 1] {
      let before = keys.sealed
      pair.client.keepAlive(now: pair.now)
      pair.run(for: .milliseconds(200))
      #expect(keys.writeGeneration == expected, "\(before) sealed")
      if expected == 0 { keys.sealed = 1 << 22 - 1 }
    }
    // The new key counts for itself.
    #expect(keys.sealed < 10)
  }

  /// An update that is not possible, since nothing of the last phase was acknowledged: the connection ends in time, and
  /// no key seals more than 2^23 packets, not even to say so.
  @Test func noKeySealsMoreThanItsLimit() throws {
    let pair = try Self.settled()
    let keys = try #require(pair.see { $0.client.oneRTT })
    let limit: UInt64 = 1 << 23
    #expect(keys.initiate())
    pair.filter = { $0.from == .server ? nil : $0 }
    keys.sealed = limit - 20
    for _ in 0..<10 where pair.clientApplication.closeReason == nil {
      pair.client.keepAlive(now: pair.now)
      pair.run(for: .milliseconds(1))
    }
    #expect(Self.code(pair.clientApplication.closeReason) == .aeadLimitReached)
    #expect(keys.sealed < limit)
    // What was kept back says so, now and again to a peer that goes on sending; then there is silence.
    keys.sealed = limit - 2
    let sent = try #require(pair.sent[.client])
    for _ in 0..<1_000 {
      var datagram = [UInt8](repeating: 0x41, count: 1_000)
      datagram.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
      pair.flush()
    }
    #expect(pair.sent[.client] == sent + 2)
    #expect(keys.sealed == limit)
  }

  // MARK: The integrity limit

  /// Gives the client a packet of the server's with a bit turned over.
  private static func forge(_ pair: ConnectionPair, _ genuine: [UInt8]) {
    var bytes = genuine
    bytes[bytes.count - 3] ^= 0x10
    bytes.withUnsafeMutableBytes {
      pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    pair.flush()
  }

  @Test(arguments: [CipherSuite.aes128GCM, .aes256GCM, .chaCha20Poly1305])
  func tooManyForgeriesEndTheConnection(suite: CipherSuite) throws {
    let pair = try Self.settled(suite)
    pair.keepsLog = true
    pair.server.keepAlive(now: pair.now)
    pair.flush()
    let genuine = try #require(pair.log.last { $0.from == .server }).bytes
    let limit: UInt64 = suite == .chaCha20Poly1305 ? 1 << 36 : 1 << 52
    pair.client.counts.drops.undecryptable = limit - 2
    for count in limit - 1...limit {
      Self.forge(pair, genuine)
      #expect(pair.see { $0.client.statistics.drops.undecryptable } == count)
      #expect(pair.clientApplication.closeReason == nil)
    }
    let received = pair.see { $0.client.statistics.packetsReceived }
    Self.forge(pair, genuine)
    #expect(Self.code(pair.clientApplication.closeReason) == .aeadLimitReached)
    // Nothing more is processed, however authentic.
    pair.run(for: .milliseconds(5))
    var bytes = genuine
    bytes.withUnsafeMutableBytes {
      pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    #expect(pair.see { $0.client.statistics.packetsReceived } == received)
    // And the server is told.
    #expect(pair.run { $0.serverApplication.closeReason != nil })
    guard case .peerTransport(let error) = pair.serverApplication.closeReason else { return }
    #expect(error.code == .aeadLimitReached)
  }

  /// Packets of every level count: before a suite is agreed on, to the least of all limits.
  @Test func forgeriesOfTheHandshakeCount() throws {
    let pair = try ConnectionPair()
    pair.keepsLog = true
    pair.filter = { $0.from == .server ? nil : $0 }
    pair.run { pair in pair.log.contains { $0.from == .server } }
    let genuine = try #require(pair.log.first { $0.from == .server }).bytes
    pair.client.counts.drops.undecryptable = 1 << 36 - 1
    var bytes = genuine
    // In the payload of the first packet: the header says how long it is, and of what follows the keys are not there.
    bytes[60] ^= 1
    for isLast in [false, true] {
      var copy = bytes
      copy.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
      pair.flush()
      #expect(Self.code(pair.clientApplication.closeReason) == (isLast ? .aeadLimitReached : nil))
    }
  }
}
