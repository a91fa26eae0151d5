import PacketCrypto
import Testing
import Wire

@testable import QUIC

/// What someone who has no keys can find out by sending packets (RFC 9001 §9.5, §6.3).
@Suite struct ForgedPacketTests {
  /// A pair whose client has moved on to its second pair of keys and has given up the first, and a packet of the
  /// server's that was sealed with the second.
  private func updated() throws -> (ConnectionPair, genuine: [UInt8]) {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    for round in 0..<4 {
      pair.run(for: .seconds(1))
      if round == 1 { pair.client.initiateKeyUpdate() }
      pair.client.keepAlive(now: pair.now)
      pair.server.keepAlive(now: pair.now)
    }
    pair.run(for: .seconds(2))
    #expect(pair.see { $0.client.oneRTT?.readGeneration } == 1)
    #expect(pair.see { $0.client.oneRTT?.readKey(.previous)?.isKept } == false)
    pair.keepsLog = true
    pair.server.keepAlive(now: pair.now)
    pair.run(for: .milliseconds(100))
    return (pair, try #require(pair.log.first { $0.from == .server }).bytes)
  }

  /// Whatever a forged header claims once its protection is off (its length of packet number, its key phase, its reserved
  /// bits, a number that is new, old or has been received), it meets with the same: counted, and no answer.
  @Test func allForgeriesAreAlike() throws {
    let (pair, genuine) = try updated()
    pair.run(for: .seconds(2))
    let sent = pair.sent[.client]
    let received = pair.see { $0.client.statistics.packetsReceived }
    var count = pair.see { $0.client.statistics.drops }
    func forge(_ change: (inout [UInt8]) -> Void, _ about: String) {
      var bytes = genuine
      change(&bytes)
      bytes.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
      pair.flush()
      count.undecryptable += 1
      #expect(pair.see { $0.client.statistics.drops } == count, "\(about)")
      #expect(pair.sent[.client] == sent, "\(about)")
    }
    let last = genuine.count - 1
    // The tag is wrong, of a number that was received already.
    forge({ $0[last] ^= 1 }, "the tag")
    for bits in UInt8(1)..<32 {
      // Five bits of the first byte are protected; the number behind the ID (of eight bytes) may be anything.
      forge({ $0[0] ^= bits }, "first byte \(bits)")
      for position in 9..<13 { forge({ ($0[0], $0[position]) = ($0[0] ^ bits, $0[position] ^ 0x80) }, "\(bits)") }
    }
    #expect(pair.see { $0.client.statistics.packetsReceived } == received)
    #expect(pair.see { $0.client.isClosed } == false)
    #expect(pair.see { $0.client.oneRTT?.readGeneration } == 1)
    // A packet that is genuine and was received before is opened too before it is dropped: only then is it a duplicate.
    var again = genuine
    again.withUnsafeMutableBytes {
      pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    count.duplicate += 1
    #expect(pair.see { $0.client.statistics.drops } == count)
  }

  /// Each packet number and phase has a key that it is opened with, though not all are believed.
  @Test func everyForgeryIsTriedWithSomeKey() throws {
    let (pair, _) = try updated()
    let keys = try #require(pair.see { $0.client.oneRTT })
    let newest = try #require(pair.see { $0.client.spaces[2].received.largest })
    for number in [0, 1, newest, newest + 1, PacketNumber.max] {
      for phase in [false, true] {
        let tried = try #require(keys.readKey(keys.which(phase: phase, packetNumber: number)))
        // The keys of the first phase are gone: what claims to be of it costs as much and opens nothing.
        #expect(tried.isKept == (phase || number > 1))
      }
    }
  }

  /// The arithmetic that has no branches gives what RFC 9000 §A.3 says.
  @Test func packetNumbersAreRestoredAsTheRFCDoes() {
    func reference(_ truncated: UInt64, bits: UInt64, expected: UInt64) -> UInt64 {
      let window: UInt64 = 1 << bits
      let candidate = expected & ~(window - 1) | truncated
      if candidate + window / 2 <= expected, candidate < 1 << 62 - window { return candidate + window }
      if candidate > expected + window / 2, candidate >= window { return candidate - window }
      return candidate
    }
    let entropy = SeededEntropy(seed: 90)
    for round in 0..<200_000 {
      let length = round % 4 + 1
      let bits = UInt64(length * 8)
      // Numbers of every magnitude, up to the largest.
      let largest = entropy.nextUInt64() >> (2 + entropy.nextUInt64() % 62)
      let truncated = entropy.nextUInt64() & (1 << bits - 1)
      let number = PacketNumber.decode(UInt32(truncated), length: length, largestReceived: largest)
      let expected = reference(truncated, bits: bits, expected: largest + 1)
      #expect(number == (expected > PacketNumber.max ? expected - 1 << bits : expected))
    }
    #expect(PacketNumber.decode(0x9b32, length: 2, largestReceived: 0xa82f_30ea) == 0xa82f_9b32)
    #expect(PacketNumber.decode(5, length: 1, largestReceived: nil) == 5)
  }
}
