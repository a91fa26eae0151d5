import PacketCrypto
import Testing
import Wire

/// Bytes from hexadecimal text.
func hex(_ text: String) -> [UInt8] {
  let digits = text.utf8.map { UInt8(String(UnicodeScalar($0)), radix: 16)! }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

private func bytes(_ secret: TrafficSecret) -> [UInt8] { secret.withUnsafeBytes { [UInt8]($0) } }

private func expand(_ secret: TrafficSecret, _ label: StaticString, _ count: Int) -> [UInt8] {
  var output = [UInt8](repeating: 0, count: count)
  secret.withUnsafeBytes { secret in
    output.withUnsafeMutableBytes { KeyDerivation.expandLabel(secret, label, hash: .sha256, into: $0) }
  }
  return output
}

struct KeyDerivationTests {
  private let initial = hex("8394c8f03e515708").withUnsafeBytes { InitialSecrets(destinationConnectionID: $0) }
  private let chaCha20 = hex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b").withUnsafeBytes {
    TrafficSecret($0)
  }

  @Test("RFC 9001 A.1: Initial secrets and the keys made of them")
  func initialSecrets() {
    #expect(bytes(initial.client) == hex("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"))
    #expect(bytes(initial.server) == hex("3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"))
    #expect(expand(initial.client, "quic key", 16) == hex("1f369613dd76d5467730efcbe3b1a22d"))
    #expect(expand(initial.client, "quic iv", 12) == hex("fa044b2f42a3fd3b46fb255c"))
    #expect(expand(initial.client, "quic hp", 16) == hex("9f50449e04a0e810283a1e9933adedd2"))
    #expect(expand(initial.server, "quic key", 16) == hex("cf3a5331653c364c88f0f379b6067e37"))
    #expect(expand(initial.server, "quic iv", 12) == hex("0ac1493ca1905853b0bba03e"))
    #expect(expand(initial.server, "quic hp", 16) == hex("c206b8d9b9f0f37644430b490eeaa314"))
  }

  @Test("RFC 9001 A.5: the next generation of a secret")
  func keyUpdate() {
    #expect(
      bytes(chaCha20.nextGeneration(suite: .chaCha20Poly1305))
        == hex("1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"))
  }

  @Test("Header-protection masks of RFC 9001 A.2, A.3 and A.5")
  func masks() {
    let samples: [(CipherSuite, TrafficSecret, String, UInt8, UInt32)] = [
      (.aes128GCM, initial.client, "d1b1c98dd7689fb8ec11d242b123dc9b", 0x43, 0x7b9a_ec36),
      (.aes128GCM, initial.server, "2cd0991cd25b0aac406a5816b6394100", 0x2e, 0xc0d8_356a),
      (.chaCha20Poly1305, chaCha20, "5e5cd55c41f69080575d7999c25a5bfb", 0xae, 0xfefe_7d03),
    ]
    for (suite, secret, sample, first, number) in samples {
      let key = HeaderProtectionKey(suite: suite, secret: secret)
      let mask = hex(sample).withUnsafeBytes { key.mask(sample: $0.baseAddress!) }
      #expect(mask.first == first)
      #expect(mask.packetNumber == number)
    }
  }
}
