import PacketCrypto
import QUIC
import QUICTLS
import Testing

/// A peer whose TLS messages break what RFC 9001 asks of them.
@Suite struct MisbehavingPeerTests {
  /// Two sessions, and what the server answers to the ClientHello: nothing has reached the client yet.
  private struct Answered {
    let client: TLSClientSession
    let server: TLSServerSession
    let hello: [UInt8]
    var serverHello: [UInt8]
    var flight: [HandshakeMessage]

    init(earlyDataContext: [UInt8]? = nil, _ change: (inout HandshakeMessage) -> Void = { _ in }) throws {
      client = try Contexts.client().makeSession(serverName: "pop.example")
      server = try Contexts.server(earlyDataContext: earlyDataContext).makeSession()
      client.setTransportParameters([1, 1, 30])
      server.setTransportParameters([1, 1, 40])
      try client.advance()
      var message = HandshakeMessage.split(try #require(client.said()[.initial]))[0]
      change(&message)
      hello = message.encoded
      try server.take(hello, at: .initial)
      let answer = server.said()
      serverHello = try #require(answer[.initial])
      flight = HandshakeMessage.split(try #require(answer[.handshake]))
    }

    func deliver() throws {
      try client.take(serverHello, at: .initial)
      try client.take(flight.flatMap(\.encoded), at: .handshake)
    }

    /// The handshake completes; yields what the server says after it.
    func complete() throws -> [HandshakeMessage] {
      try deliver()
      try server.take(try #require(client.said()[.handshake]), at: .handshake)
      #expect(client.isComplete && server.isComplete)
      return HandshakeMessage.split(server.said()[.oneRTT] ?? [])
    }

    mutating func changeEncryptedExtensions(_ change: (inout [HandshakeMessage.Extension]) -> Void) {
      #expect(flight[0].type == HandshakeMessage.encryptedExtensions)
      change(&flight[0].extensions)
    }
  }

  private func code(_ body: () throws -> Void) -> TransportError.Code? {
    do {
      try body()
      return nil
    } catch { return (error as? TransportError)?.code }
  }

  // MARK: Versions of TLS

  @Test func aServerOfTLS12IsRefused() throws {
    let client = try Contexts.client().makeSession(serverName: "pop.example")
    client.setTransportParameters([1, 1, 30])
    try client.advance()
    // TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, and no word of another version than this.
    let answer = HandshakeMessage(
      type: HandshakeMessage.serverHello,
      body: [3, 3] + [UInt8](repeating: 7, count: 32) + [0, 0xc0, 0x2f, 0, 0, 5, 0xff, 1, 0, 1, 0])
    #expect(code { try client.take(answer.encoded, at: .initial) } == .crypto(alert: 70))
  }

  @Test func aClientOfTLS12IsRefused() {
    let refused = code {
      _ = try Answered { hello in
        hello.extensions.removeAll { $0.type == HandshakeMessage.Extension.supportedVersions }
      }
    }
    #expect(refused == .crypto(alert: 70))
  }

  // MARK: Data that is left over

  @Test func dataBeyondAFlightIsAViolation() throws {
    let more = HandshakeMessage(type: 99, body: [1, 2, 3]).encoded
    let first = try Answered()
    #expect(code { try first.client.take(first.serverHello + more, at: .initial) } == .protocolViolation)
    let second = try Answered()
    try second.client.take(second.serverHello, at: .initial)
    let flight = second.flight.flatMap(\.encoded)
    #expect(code { try second.client.take(flight + more, at: .handshake) } == .protocolViolation)
    let third = try Answered()
    try third.deliver()
    let finished = try #require(third.client.said()[.handshake])
    #expect(code { try third.server.take(finished + [20], at: .handshake) } == .protocolViolation)
    let hello = try Answered().hello
    let server = try Contexts.server().makeSession()
    server.setTransportParameters([1, 1, 40])
    #expect(code { try server.take(hello + [1], at: .initial) } == .protocolViolation)
  }

  // MARK: Extensions

  @Test func aProtocolThatWasNotOfferedIsRefused() throws {
    var pair = try Answered()
    pair.changeEncryptedExtensions { extensions in
      for index in extensions.indices where extensions[index].type == HandshakeMessage.Extension.alpn {
        #expect(extensions[index].content == [0, 3, 2] + Array("h3".utf8))
        extensions[index].content = [0, 3, 2] + Array("h4".utf8)
      }
    }
    #expect(code { try pair.deliver() } == TransportError.Code(rawValue: 0x0178))
  }

  @Test func aServerThatChoosesNoProtocolIsRefused() throws {
    var pair = try Answered()
    pair.changeEncryptedExtensions { $0.removeAll { $0.type == HandshakeMessage.Extension.alpn } }
    #expect(code { try pair.deliver() } == TransportError.Code(rawValue: 0x0178))
    // And a client that offers none.
    let withoutALPN = code {
      _ = try Answered { $0.extensions.removeAll { $0.type == HandshakeMessage.Extension.alpn } }
    }
    #expect(withoutALPN == TransportError.Code(rawValue: 0x0178))
  }

  @Test func transportParametersAreSentAndDemanded() throws {
    let intact = try Answered()
    let type = HandshakeMessage.Extension.transportParameters
    #expect(
      HandshakeMessage.split(intact.hello)[0].extensions.first { $0.type == type }?.content == [1, 1, 30])
    #expect(intact.flight[0].extensions.first { $0.type == type }?.content == [1, 1, 40])
    var pair = try Answered()
    pair.changeEncryptedExtensions { $0.removeAll { $0.type == type } }
    #expect(code { try pair.deliver() } == TransportError.Code(rawValue: 0x016d))
    let withoutParameters = code { _ = try Answered { $0.extensions.removeAll { $0.type == type } } }
    #expect(withoutParameters == TransportError.Code(rawValue: 0x016d))
  }

  // MARK: After the handshake

  @Test(arguments: [1, 2, 1_000]) func aLateCertificateRequestIsAViolation(pieceSize: Int) throws {
    let pair = try Answered()
    // A ticket before it hides nothing, and what stands in its body is no message.
    let tickets = try pair.complete()
    #expect(tickets.first?.type == HandshakeMessage.newSessionTicket)
    let request = HandshakeMessage(type: HandshakeMessage.certificateRequest, body: [0, 0, 0])
    let bytes = tickets.flatMap(\.encoded) + request.encoded
    var failed: TransportError.Code?
    for start in stride(from: 0, to: bytes.count, by: pieceSize) where failed == nil {
      let piece = Array(bytes[start..<min(start + pieceSize, bytes.count)])
      failed = code { try pair.client.take(piece, at: .oneRTT) }
      #expect(failed == nil || start + piece.count > bytes.count - request.encoded.count)
    }
    #expect(failed == .protocolViolation)
  }

  @Test func keyUpdateMessagesAreRefused() throws {
    for body: [UInt8] in [[0], [1]] {
      let update = HandshakeMessage(type: HandshakeMessage.keyUpdate, body: body).encoded
      let pair = try Answered()
      _ = try pair.complete()
      #expect(code { try pair.client.take(update, at: .oneRTT) } == TransportError.Code(rawValue: 0x010a))
      #expect(code { try pair.server.take(update, at: .oneRTT) } == TransportError.Code(rawValue: 0x010a))
    }
  }

  @Test func ticketsBoundEarlyDataByNothing() throws {
    for context: [UInt8]? in [nil, [1]] {
      let tickets = try Answered(earlyDataContext: context).complete()
      #expect(!tickets.isEmpty)
      for ticket in tickets {
        #expect(ticket.type == HandshakeMessage.newSessionTicket)
        let size = ticket.extensions.first { $0.type == HandshakeMessage.Extension.earlyData }?.content
        #expect(size == (context == nil ? nil : [0xff, 0xff, 0xff, 0xff]))
      }
    }
  }

  @Test(arguments: [UInt32(0), 1, 0x4000, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff])
  func ticketsThatBoundEarlyDataAreAViolation(size: UInt32) throws {
    let pair = try Answered(earlyDataContext: [1])
    var ticket = try #require(try pair.complete().first)
    for index in ticket.extensions.indices where ticket.extensions[index].type == HandshakeMessage.Extension.earlyData {
      ticket.extensions[index].content = withUnsafeBytes(of: size.bigEndian) { [UInt8]($0) }
    }
    let expected: TransportError.Code? = size == .max ? nil : .protocolViolation
    #expect(code { try pair.client.take(ticket.encoded, at: .oneRTT) } == expected)
  }
}
