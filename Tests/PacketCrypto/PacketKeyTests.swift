import PacketCrypto
import Testing
import Wire

struct PacketKeyTests {
  private func open(_ key: borrowing PacketKey, _ packet: [UInt8], _ number: UInt64) -> [UInt8]? {
    var copy = packet
    return copy.withUnsafeMutableBytes { bytes in
      let payload = key.open(bytes, headerLength: 13, packetNumber: number).map { [UInt8]($0) }
      // A stateless reset is recognised by the end of a datagram that did not open.
      #expect(bytes.suffix(PacketKey.tagLength).elementsEqual(packet.suffix(PacketKey.tagLength)))
      return payload
    }
  }

  @Test("Every suite opens what it seals, and nothing else", arguments: CipherSuite.allCases)
  func roundTrip(suite: CipherSuite) {
    let entropy = SeededEntropy(seed: UInt64(suite.rawValue))
    let secret = entropy.bytes(suite.secretLength).withUnsafeBytes { TrafficSecret($0) }
    let key = PacketKey(suite: suite, secret: secret)
    for size in [0, 1, 15, 16, 17, 1200] {
      let plaintext = entropy.bytes(size)
      let number = entropy.nextUInt64() >> 2
      var packet = entropy.bytes(13) + plaintext + [UInt8](repeating: 0, count: PacketKey.tagLength)
      let sealed = packet.withUnsafeMutableBytes { key.seal($0, headerLength: 13, packetNumber: number) }
      #expect(sealed)
      #expect(size == 0 || Array(packet[13..<13 + size]) != plaintext)
      let opened = open(key, packet, number)
      #expect(opened == plaintext)
      let otherNumber = open(key, packet, number ^ 1)
      #expect(otherNumber == nil)
      for flipped in [0, 12, 13, packet.count - 1] {
        var forged = packet
        forged[flipped] ^= 0x01
        let opened = open(key, forged, number)
        #expect(opened == nil)
      }
    }
  }

  @Test("Packets too short for header and tag are refused")
  func tooShort() {
    let secret = [UInt8](repeating: 7, count: 32).withUnsafeBytes { TrafficSecret($0) }
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    for size in 0..<20 {
      var packet = [UInt8](repeating: 0, count: size)
      let done = packet.withUnsafeMutableBytes {
        key.open($0, headerLength: 4, packetNumber: 0) != nil || key.seal($0, headerLength: 4, packetNumber: 0)
      }
      #expect(!done)
    }
  }
}

struct TokenKeyTests {
  private func open(_ key: TokenKey, _ token: [UInt8], _ context: [UInt8]) -> [UInt8]? {
    token.withUnsafeBytes { key.open($0, context: context) }
  }

  @Test func opensOnlyWithItsKeyAndContext() throws {
    let entropy = SeededEntropy(seed: 1)
    let key = TokenKey(entropy: entropy)
    let token = key.seal([1, 2, 3], context: [9], entropy: entropy)
    #expect(token.count == 3 + TokenKey.overhead)
    #expect(open(key, token, [9]) == [1, 2, 3])
    #expect(open(key, token, [8]) == nil)
    #expect(open(TokenKey(entropy: entropy), token, [9]) == nil)
    for index in token.indices {
      var forged = token
      forged[index] ^= 0x80
      #expect(open(key, forged, [9]) == nil)
      #expect(open(key, Array(token[..<index]), [9]) == nil)
    }
    #expect(TokenKey([1, 2, 3]) == nil)
  }

  @Test("HMAC-SHA256, RFC 4231 test case 2")
  func authenticationKey() {
    let key = AuthenticationKey(Array("Jefe".utf8))
    var code = [UInt8](repeating: 0, count: 32)
    Array("what do ya want for nothing?".utf8).withUnsafeBytes { message in
      code.withUnsafeMutableBytes { key.authenticate(message, into: $0) }
    }
    #expect(code == hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"))
  }

  @Test func constantTimeComparison() {
    func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
      a.withUnsafeBytes { a in b.withUnsafeBytes { b in constantTimeEqual(a, b) } }
    }
    #expect(equal([], []))
    #expect(equal([1, 2], [1, 2]))
    #expect(!equal([1, 2], [1, 3]))
    #expect(!equal([1, 2], [1]))
  }
}
