import PacketCrypto
import QUIC
import QUICTLS
import Synchronization
import Testing

/// Session tickets: who opens them and for how long, and whose early data is let in.
struct TicketTests {
  /// Seconds that a test sets.
  private final class Clock: Sendable {
    private let value: Mutex<Int64>
    init(_ seconds: Int64) { value = Mutex(seconds) }
    var seconds: Int64 { value.withLock { $0 } }
    func advance(by seconds: Int64) { value.withLock { $0 += seconds } }
  }

  private static let secret = AuthenticationKey([UInt8](repeating: 0x5a, count: 32))

  private func handshake(_ client: ClientTLSContext, _ server: ServerTLSContext) throws -> HandshakePair {
    var pair = try HandshakePair(client, server)
    try pair.run()
    #expect(pair.client.isComplete && pair.server.isComplete)
    return pair
  }

  /// A client's first message by its ticket, early data offered.
  private func hello(_ client: ClientTLSContext, _ server: ServerTLSContext) throws -> [UInt8] {
    let pair = try HandshakePair(client, server)
    try pair.client.advance()
    var hello: [UInt8] = []
    while let output = pair.client.nextOutput() {
      if case .handshakeData(.initial, let bytes) = output { hello += bytes }
    }
    #expect(pair.client.earlyData == .offered)
    return hello
  }

  private func answer(_ hello: [UInt8], _ server: ServerTLSContext) throws -> EarlyDataState {
    let session = server.makeSession()
    session.setTransportParameters([1, 1, 40])
    try hello.withUnsafeBytes { try session.receive($0, at: .initial) }
    try session.advance()
    try session.advance()
    return session.earlyData
  }

  @Test func earlyDataIsOfferedAndAccepted() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let server = try Contexts.server(earlyDataContext: [1])
    let first = try handshake(client, server)
    #expect(first.client.earlyData == .notOffered)
    let second = try handshake(client, server)
    #expect(second.client.earlyData == .accepted)
    #expect(second.server.earlyData == .accepted)
    #expect(second.clientSecrets["zeroRTT write"] != nil)
    #expect(second.clientSecrets["zeroRTT write"] == second.serverSecrets["zeroRTT read"])
  }

  @Test func earlyDataIsRejectedWhenItsContextChanged() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let tickets = TicketKeys { 0 }
    _ = try handshake(client, Contexts.server(earlyDataContext: [1], tickets: tickets))
    let second = try handshake(client, Contexts.server(earlyDataContext: [2], tickets: tickets))
    #expect(second.client.isResumed)
    #expect(second.client.earlyData == .rejected)
    #expect(second.server.earlyData != .accepted)
  }

  // MARK: Keys

  @Test func aTicketIsWorthNothingWithoutItsSecret() throws {
    let client = try Contexts.client(offersEarlyData: true)
    _ = try handshake(client, Contexts.server(earlyDataContext: [1]))
    let second = try handshake(client, Contexts.server(earlyDataContext: [1]))
    #expect(!second.client.isResumed)
    #expect(second.client.earlyData == .rejected)
  }

  /// A key seals for a period, and opens for one more.
  @Test func keysRotate() throws {
    let clock = Clock(10_000_000)
    let server = try Contexts.server(tickets: TicketKeys(lifetime: 1_000) { clock.seconds })
    for (wait, resumes) in [(Int64(999), true), (1_000, true), (2_000, false), (86_400, false)] {
      let client = try Contexts.client()
      _ = try handshake(client, server)
      clock.advance(by: wait)
      #expect(try handshake(client, server).client.isResumed == resumes, "after \(wait) seconds")
      // The clocks that count periods are at the beginning of one again.
      clock.advance(by: 1_000 - clock.seconds % 1_000)
    }
  }

  @Test func aClockThatGoesBackLosesNoTicket() throws {
    let clock = Clock(10_000_000)
    let server = try Contexts.server(tickets: TicketKeys(lifetime: 1_000) { clock.seconds })
    let client = try Contexts.client()
    _ = try handshake(client, server)
    clock.advance(by: -5_000)
    #expect(try handshake(client, server).client.isResumed)
    #expect(try handshake(client, server).client.isResumed)
  }

  /// Two rings of a process share the keys; a process that begins later, and another PoP, have only the secret.
  @Test func whatEarlyDataNeedsIsTheIssuerOfTheTicket() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let tickets = TicketKeys(secret: Self.secret) { 1_000_000 }
    let replays = ReplayRegister { 0 }
    let rings = try (0..<2).map { _ in
      try Contexts.server(earlyDataContext: [1], tickets: tickets, replays: replays)
    }
    _ = try handshake(client, rings[0])
    #expect(try handshake(client, rings[1]).client.earlyData == .accepted)

    let later = try Contexts.server(
      earlyDataContext: [1], tickets: TicketKeys(secret: Self.secret) { 1_000_100 }, replays: ReplayRegister { 0 })
    let resumed = try handshake(client, later)
    #expect(resumed.client.isResumed && resumed.server.isResumed)
    #expect(resumed.client.earlyData == .rejected)
    // The ticket that it gives allows early data again.
    #expect(try handshake(client, later).client.earlyData == .accepted)
  }

  /// A PoP that is being restarted refuses, or is silent: that must not cost the client what it will resume by.
  @Test func aTicketThatNobodyAnsweredToComesBack() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let server = try Contexts.server(earlyDataContext: [1])
    _ = try handshake(client, server)
    for _ in 0..<5 {
      let refused = try client.makeSession(serverName: "pop.example")
      refused.setTransportParameters([1, 1, 30])
      try refused.advance()
      #expect(refused.earlyData == .offered)
      refused.giveBackTicket()
    }
    let second = try handshake(client, server)
    #expect(second.client.earlyData == .accepted)
    // One that was answered to does not.
    second.client.giveBackTicket()
    for resumes in [true, true, true, false] {
      #expect((try client.makeSession(serverName: "pop.example").rememberedTransportParameters != nil) == resumes)
    }
  }

  // MARK: Replays

  /// Someone sends again, to another ring of the server, what a client sent in its first flight.
  @Test func aReplayedClientHelloGetsNoEarlyData() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let clock = Clock(1_000)
    let register = ReplayRegister { clock.seconds }
    let server = try Contexts.server(earlyDataContext: [1], replays: register)
    _ = try handshake(client, server)
    let hello = try hello(client, server)
    #expect(try answer(hello, server) == .accepted)
    #expect(try answer(hello, server) != .accepted)
    #expect(register.refused == 1)
    // What is remembered outlives the minute for which BoringSSL takes a ticket's age.
    clock.advance(by: 130)
    #expect(try answer(hello, server) != .accepted)
    #expect(register.refused == 2)
  }

  /// The same to a process that began after the first one died, with nothing of it but the secret.
  @Test func aReplayAcrossARestartGetsNoEarlyData() throws {
    let client = try Contexts.client(offersEarlyData: true)
    func start() throws -> ServerTLSContext {
      try Contexts.server(
        earlyDataContext: [1], tickets: TicketKeys(secret: Self.secret) { 1_000_000 }, replays: ReplayRegister { 0 })
    }
    let first = try start()
    _ = try handshake(client, first)
    let hello = try hello(client, first)
    #expect(try answer(hello, first) == .accepted)
    for _ in 0..<3 { #expect(try answer(hello, start()) != .accepted) }
  }

  @Test func aFullRegisterRefusesEarlyDataAndNothingElse() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let server = try Contexts.server(earlyDataContext: [1], replays: ReplayRegister(limit: 0) { 0 })
    _ = try handshake(client, server)
    let second = try handshake(client, server)
    #expect(second.client.isResumed)
    #expect(second.client.earlyData == .rejected)
  }

  /// Tickets that the server never gave out take no room from those that it did.
  @Test func inventedTicketsDoNotFillTheRegister() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let register = ReplayRegister(limit: 1) { 0 }
    let server = try Contexts.server(earlyDataContext: [1], replays: register)
    _ = try handshake(client, server)
    let genuine = try hello(client, server)
    for bit in 0..<100 {
      // Inside of the ticket: after it come its age (4 bytes) and the binder (at most 2 + 1 + 48).
      var invented = genuine
      invented[invented.count - 60 - bit / 8] ^= 1 << (bit % 8)
      #expect(try answer(invented, server) != .accepted)
    }
    #expect(register.refused == 0)
    #expect(try answer(genuine, server) == .accepted)
  }
}
