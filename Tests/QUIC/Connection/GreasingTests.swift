import PacketCrypto
import QUIC
import Testing
import Wire

/// What is sent so that peers and the network do not come to rely on it, and the latency spin bit.
@Suite struct GreasingTests {
  /// First bytes of the short headers that one end sent.
  private func shortHeaders(_ pair: ConnectionPair, from end: ConnectionPair.End) -> [UInt8] {
    pair.log.filter { $0.from == end }.compactMap { $0.bytes.first }.filter { $0 & 0x80 == 0 }
  }

  private func transferred(
    _ client: Configuration = Configuration(), _ server: Configuration = Configuration(), seed: UInt64 = 1
  ) throws -> ConnectionPair {
    let pair = try ConnectionPair(client, server, seed: seed)
    pair.keepsLog = true
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 200_000, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 200_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
    #expect(pair.clientApplication.corrupt == 0 && pair.serverApplication.corrupt == 0)
    return pair
  }

  @Test("RFC 9287 §3.1: both ends clear the Fixed Bit now and then")
  func fixedBit() throws {
    let pair = try transferred()
    for end in [ConnectionPair.End.client, .server] {
      let set = shortHeaders(pair, from: end).filter { $0 & 0x40 != 0 }.count
      let all = shortHeaders(pair, from: end).count
      #expect(set > all / 4 && set < all * 3 / 4, "\(end): \(set) of \(all)")
    }
    // Before the parameters have come it is set.
    #expect(pair.log.prefix(1).allSatisfy { $0.bytes[0] & 0x40 != 0 })
  }

  @Test("RFC 9287 §3.1: the Fixed Bit stays set for a peer that did not ask for less")
  func fixedBitOfOthers() throws {
    var plain = Configuration()
    plain.greases = false
    let pair = try transferred(Configuration(), plain)
    #expect(pair.log.allSatisfy { $0.bytes[0] & 0x40 != 0 })
    #expect(pair.see { $0.client.statistics.drops.malformed } == 0)
  }

  @Test("RFC 9000 §18.1: a reserved parameter is written, and ignored")
  func reservedParameter() throws {
    var parameters = TransportParameters()
    let plain = parameters.encoded()
    for seed: UInt64 in [0, 7, 0x1234_5678_9abc_def3, .max] {
      parameters.reservedSeed = seed
      let greased = parameters.encoded()
      #expect(greased.count > plain.count)
      var expected = parameters
      expected.reservedSeed = nil
      #expect(try TransportParameters(greased, from: .client) == expected)
    }
  }

  @Test("RFC 9000 §17.4: the spin bit turns once in a round trip where both ends let it")
  func spinBit() throws {
    var spinning = Configuration()
    spinning.spins = true
    let pair = try transferred(spinning, spinning, seed: 2)
    let bits = shortHeaders(pair, from: .client).map { $0 & 0x20 != 0 }
    let turns = zip(bits, bits.dropFirst()).filter { $0 != $1 }.count
    // Ten milliseconds each way: the round trips that the transfer took, about.
    #expect(turns >= 3 && turns < bits.count / 4, "\(turns) turns in \(bits.count) packets")
  }

  @Test("RFC 9000 §17.4: a spin bit that is off says nothing")
  func noSpinBit() throws {
    let bits = shortHeaders(try transferred(), from: .client).map { $0 & 0x20 != 0 }
    let set = bits.filter { $0 }.count
    #expect(set > bits.count / 4 && set < bits.count * 3 / 4)
  }

  // MARK: AEAD limits (RFC 9001 §6.6)

  @Test("RFC 9001 §6.6: keys are updated before the confidentiality limit")
  func confidentialityLimit() throws {
    var limited = Configuration()
    limited.confidentialityLimit = 400
    let pair = try transferred(limited, limited)
    for _ in 0..<3 {
      // An update is not begun before packets of the keys before last are no longer expected.
      pair.run(for: .milliseconds(500))
      let id = try #require(pair.open(.client))
      pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 250_000, finish: true)
      #expect(pair.run { $0.serverApplication.finished.contains(id) })
    }
    #expect(pair.see { $0.client.statistics.keyUpdates } >= 3)
    #expect(pair.see { $0.client.isClosed } == false)
  }

  @Test("RFC 9001 §6.6: a connection whose keys cannot be updated in time ends")
  func confidentialityLimitReached() throws {
    var limited = Configuration()
    limited.confidentialityLimit = 12
    let pair = try ConnectionPair(limited)
    #expect(pair.connect())
    // Nothing of the server's arrives any more: no update can be begun twice.
    pair.filter = { $0.from == .server ? nil : $0 }
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 200_000, finish: true)
    pair.run(steps: 10_000) { $0.clientApplication.closeReason != nil }
    guard case .localTransport(let error)? = pair.clientApplication.closeReason else {
      Issue.record("\(String(describing: pair.clientApplication.closeReason))")
      return
    }
    #expect(error.code == .aeadLimitReached)
  }

  @Test("RFC 9001 §6.6: too many packets that are not authentic end the connection", arguments: [5, 6])
  func integrityLimit(forged: Int) throws {
    var limited = Configuration()
    limited.integrityLimit = 5
    let pair = try ConnectionPair(limited)
    #expect(pair.connect())
    pair.run(for: .milliseconds(100))
    pair.keepsLog = true
    pair.server.keepAlive(now: pair.now)
    pair.flush()
    let genuine = try #require(pair.log.last { $0.from == .server && $0.bytes[0] & 0x80 == 0 })
    for index in 0..<forged {
      var bytes = genuine.bytes
      bytes[bytes.count - 1 - index % 8] ^= 0x55
      bytes.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
    }
    pair.flush()
    #expect(pair.see { $0.client.isClosed } == (forged > 5))
    #expect(pair.see { $0.client.statistics.drops.undecryptable } == UInt64(forged))
  }
}
