import PacketCrypto
import QUIC
import QUICTLS
import Testing

/// What our handshake messages say, and what they do not (RFC 9001 §4.2, §4.4, §5.3, §6, §8.3, §8.4).
@Suite struct OfferTests {
  private static func hello(_ client: TLSClientSession) throws -> HandshakeMessage {
    client.setTransportParameters([1, 1, 30])
    try client.advance()
    let flight = try #require(client.said()[.initial])
    return try #require(HandshakeMessage.split(flight).first)
  }

  @Test func onlyTLS13IsOffered() throws {
    let hello = try Self.hello(try Contexts.client().makeSession(serverName: "pop.example"))
    let versions = try #require(
      hello.extensions.first { $0.type == HandshakeMessage.Extension.supportedVersions }?.content)
    // A length, and of what may be reserved values (RFC 8701) 0x0304 alone means anything.
    let offered = stride(from: 1, to: versions.count, by: 2).map { Int(versions[$0]) << 8 | Int(versions[$0 + 1]) }
    #expect(offered.filter { $0 & 0x0f0f != 0x0a0a } == [0x0304])
  }

  /// The compatibility mode of TLS 1.3 shows in a session ID that is not empty (RFC 8446 §D.4).
  @Test func compatibilityModeIsNotAskedFor() throws {
    let hello = try Self.hello(try Contexts.client().makeSession(serverName: "pop.example"))
    #expect(hello.body[34] == 0)
  }

  /// A ClientHello may offer cipher suites that nobody here knows.
  @Test func unknownCipherSuitesArePassedOver() throws {
    let client = try Contexts.client().makeSession(serverName: "pop.example")
    let hello = try Self.hello(client)
    // Behind version, random and an empty session ID: two bytes of length, then two a suite.
    let count = Int(hello.body[35]) << 8 | Int(hello.body[36])
    let suites = Array(hello.body[37..<37 + count])
    for unknown: [UInt8] in [[0x13, 0x05], [0xfa, 0xfa], [0x13, 0x04, 0x00, 0x2f]] {
      var changed = hello
      let list = unknown + suites
      changed.body.replaceSubrange(35..<37 + count, with: [UInt8(list.count >> 8), UInt8(list.count & 0xff)] + list)
      let server = try Contexts.server().makeSession()
      server.setTransportParameters([1, 1, 40])
      try server.take(changed.encoded, at: .initial)
      let flight = server.said()[.initial] ?? []
      let answer = try #require(HandshakeMessage.split(flight).first)
      #expect(answer.type == HandshakeMessage.serverHello)
    }
  }

  /// After the handshake a server says nothing but tickets, even where it may ask for certificates; and nobody ever says
  /// KeyUpdate or EndOfEarlyData.
  @Test(arguments: [false, true]) func whatIsSaidAfterTheHandshake(asksForCertificates: Bool) throws {
    let contexts = try (
      client: Contexts.client(offersEarlyData: true),
      server: Contexts.server(
        clients: asksForCertificates ? .optional(Contexts.authority) : .none, earlyDataContext: [1])
    )
    for round in 0..<2 {
      let client = try contexts.client.makeSession(serverName: "pop.example")
      let server = contexts.server.makeSession()
      client.setTransportParameters([1, 1, 30])
      server.setTransportParameters([1, 1, 40])
      var said: [(EncryptionLevel, [HandshakeMessage])] = []
      try client.advance()
      for _ in 0..<6 {
        for (level, bytes) in client.said().sorted(by: { $0.key < $1.key }) {
          said.append((level, HandshakeMessage.split(bytes)))
          try server.take(bytes, at: level)
        }
        for (level, bytes) in server.said().sorted(by: { $0.key < $1.key }) {
          said.append((level, HandshakeMessage.split(bytes)))
          try client.take(bytes, at: level)
        }
      }
      #expect(client.isComplete && server.isComplete)
      if round == 1, !asksForCertificates { #expect(client.earlyData == .accepted) }
      let endOfEarlyData: UInt8 = 5
      for (level, messages) in said {
        for message in messages {
          #expect(message.type != endOfEarlyData && message.type != HandshakeMessage.keyUpdate)
          if level == .oneRTT { #expect(message.type == HandshakeMessage.newSessionTicket) }
          #expect(level != .zeroRTT)
        }
      }
    }
  }
}
