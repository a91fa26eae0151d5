import PacketCrypto
import QUIC
import QUICTLS
import Testing
import Wire

/// One client connection, and a server endpoint with whatever connections it accepts.
final class EndpointPair {
  var now = Instant(nanoseconds: 5_000_000_000)
  var client: Connection
  var endpoint: Endpoint<Int>
  var server: Connection?
  var clientEvents: [Event] = []
  var replies = 0
  let serverConfiguration: Configuration
  let tls: ServerTLSContext
  private var buffer = [UInt8](repeating: 0, count: 65_536)
  private var reply = [UInt8](repeating: 0, count: 1_500)

  init(_ configuration: Endpoint<Int>.Configuration, server: Configuration = Configuration()) throws {
    client = try Self.makeClient(now: now, token: [])
    var configuration = configuration
    var server = server
    configuration.addressTokens = AddressTokens(entropy: SeededEntropy(seed: 5))
    server.addressTokens = configuration.addressTokens
    endpoint = Endpoint(configuration, entropy: SeededEntropy(seed: 4))
    serverConfiguration = server
    tls = try ConnectionFixture.server()
  }

  private static func makeClient(now: Instant, token: [UInt8]) throws -> Connection {
    Connection(
      client: Configuration(), tls: try ConnectionFixture.client().makeSession(serverName: "pop.example"),
      path: ConnectionPair.clientPath, now: now, entropy: SeededEntropy(seed: UInt64(now.nanoseconds)), token: token)
  }

  /// The client connects anew to the same endpoint.
  func connectAgain(token: [UInt8]) throws {
    client = try Self.makeClient(now: now, token: token)
    server = nil
    clientEvents = []
    replies = 0
  }

  /// The token that the server gave the client.
  var token: [UInt8]? {
    for case .tokenReceived(let token) in clientEvents { return token }
    return nil
  }

  /// What the client has to send, datagram by datagram.
  func fromClient() -> [[UInt8]] {
    var datagrams: [[UInt8]] = []
    while let sent = buffer.withUnsafeMutableBytes({ client.transmit(into: $0, maxSegments: 1, now: now) }) {
      datagrams.append([UInt8](buffer[..<sent.byteCount]))
    }
    return datagrams
  }

  /// Routes one datagram; returns what the endpoint decided and its reply.
  func route(_ datagram: [UInt8]) -> (Endpoint<Int>.Route, [UInt8]) {
    let outcome = datagram.withUnsafeBytes { bytes in
      reply.withUnsafeMutableBytes {
        endpoint.route(bytes, from: ConnectionPair.reversed(ConnectionPair.clientPath), now: now, reply: $0)
      }
    }
    if case .reply(let count) = outcome { return (outcome, [UInt8](reply[..<count])) }
    return (outcome, [])
  }

  func toClient(_ datagram: [UInt8]) {
    var datagram = datagram
    datagram.withUnsafeMutableBytes {
      client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: now)
    }
    while let event = client.nextEvent() { clientEvents.append(event) }
  }

  /// Exchanges datagrams until both are silent.
  func run() {
    for _ in 0..<50 {
      var moved = false
      for datagram in fromClient() {
        moved = true
        now += .milliseconds(1)
        let (route, answer) = route(datagram)
        switch route {
        case .reply:
          replies += 1
          toClient(answer)
        case .accept(let request):
          var accepted = Connection(
            server: serverConfiguration, tls: tls.makeSession(),
            path: ConnectionPair.reversed(ConnectionPair.clientPath), initial: request, now: now,
            entropy: SeededEntropy(seed: 6))
          deliver(datagram, &accepted)
          server = .some(consume accepted)
        case .connection:
          guard var connection = server.take() else { continue }
          deliver(datagram, &connection)
          server = .some(consume connection)
        case .drop, .ring: break
        }
      }
      if var connection = server.take() {
        while let sent = buffer.withUnsafeMutableBytes({ connection.transmit(into: $0, maxSegments: 1, now: now) }) {
          moved = true
          toClient([UInt8](buffer[..<sent.byteCount]))
        }
        server = .some(consume connection)
      }
      if !moved { return }
    }
  }

  private func deliver(_ datagram: [UInt8], _ connection: inout Connection) {
    var datagram = datagram
    datagram.withUnsafeMutableBytes {
      connection.receive($0, path: ConnectionPair.reversed(ConnectionPair.clientPath), ecn: .notECT, now: now)
    }
    while let event = connection.nextEvent() {
      switch event {
      case .connectionIDIssued(let id): endpoint.add(id, 1)
      case .connectionIDRetired(let id): endpoint.remove(id)
      default: break
      }
    }
  }
}

@Suite struct EndpointTests {
  private func configuration(_ retry: Endpoint<Int>.RetryPolicy) -> Endpoint<Int>.Configuration {
    var configuration = Endpoint<Int>.Configuration(acceptsConnections: true)
    configuration.retry = retry
    return configuration
  }

  @Test func routesAHandshakeAndItsConnectionIDs() throws {
    let pair = try EndpointPair(configuration(.never))
    pair.run()
    #expect(pair.clientEvents.contains(.handshakeConfirmed))
    #expect(pair.replies == 0)
    // The handshake's ID, and those issued beside it; the client's invention is no longer routed.
    #expect(pair.endpoint.count == 4)
  }

  @Test func retryProvesTheAddressAndCompletes() throws {
    let pair = try EndpointPair(configuration(.always))
    pair.run()
    // The ClientHello fills two datagrams, and an endpoint that keeps no state answers both.
    #expect(pair.replies == 2)
    #expect(pair.clientEvents.contains(.handshakeConfirmed))
  }

  @Test func retryBeginsUnderLoad() throws {
    let pair = try EndpointPair(configuration(.underLoad(halfOpen: 2)))
    pair.endpoint.halfOpen = 2
    pair.run()
    #expect(pair.endpoint.retriesSent == 2)
    #expect(pair.clientEvents.contains(.handshakeConfirmed))
  }

  @Test func anExpiredRetryTokenEndsTheAttempt() throws {
    var settings = configuration(.always)
    settings.retryTokenLifetime = .seconds(1)
    let pair = try EndpointPair(settings)
    let first = try #require(pair.fromClient().first)
    let (_, retry) = pair.route(first)
    pair.toClient(retry)
    pair.now += .seconds(2)
    for datagram in pair.fromClient() { pair.toClient(pair.route(datagram).1) }
    guard case .closed(.peerTransport(let error))? = pair.clientEvents.last else {
      Issue.record("\(pair.clientEvents)")
      return
    }
    #expect(error.code == .invalidToken)
    #expect(pair.endpoint.tokensRefused > 0)
  }

  @Test func aServerThatEndsRefusesNewConnectionsAndKeepsTheOthers() throws {
    let pair = try EndpointPair(configuration(.underLoad(halfOpen: 0)))
    pair.endpoint.refusesConnections = true
    for datagram in pair.fromClient() { pair.toClient(pair.route(datagram).1) }
    guard case .closed(.peerTransport(let error))? = pair.clientEvents.last else {
      Issue.record("\(pair.clientEvents)")
      return
    }
    #expect(error.code == .connectionRefused)
    #expect(pair.endpoint.count == 0)

    let other = try EndpointPair(configuration(.never))
    other.run()
    other.endpoint.refusesConnections = true
    let routed = other.endpoint.count
    other.now += .seconds(1)
    other.run()
    #expect(other.endpoint.count == routed)
    #expect(other.replies == 0)
  }

  /// A pair that has met once, with the token that the server gave.
  private func acquainted() throws -> (EndpointPair, [UInt8]) {
    let pair = try EndpointPair(configuration(.always))
    pair.run()
    return (pair, try #require(pair.token))
  }

  @Test func aTokenSparesTheNextConnectionTheRetryAndIsGoodOnce() throws {
    let (pair, token) = try acquainted()
    try pair.connectAgain(token: token)
    pair.run()
    #expect(pair.replies == 0)
    #expect(pair.clientEvents.contains(.handshakeConfirmed))
    let another = try #require(pair.token)
    #expect(another != token)
    pair.now += .seconds(1)
    try pair.connectAgain(token: token)
    pair.run()
    #expect(pair.replies == 2)
    #expect(pair.clientEvents.contains(.handshakeConfirmed))
  }

  @Test func aTokenOutlivesItsKeyAndIsGoodOnceAllTheSame() throws {
    let (pair, token) = try acquainted()
    pair.now += .seconds(47 * 3_600)
    try pair.connectAgain(token: token)
    pair.run()
    #expect(pair.replies == 0)
    pair.now += .seconds(1_800)
    try pair.connectAgain(token: token)
    pair.run()
    #expect(pair.replies == 2)
  }

  @Test func aDamagedTokenMeansARetryAndNoMore() throws {
    let (pair, token) = try acquainted()
    for index in [0, 12, token.count - 1] {
      var damaged = token
      damaged[index] ^= 1
      pair.now += .seconds(1)
      try pair.connectAgain(token: damaged)
      pair.run()
      #expect(pair.replies == 2)
      #expect(pair.clientEvents.contains(.handshakeConfirmed))
    }
  }

  @Test func aTokenIsGoodForTwoDays() throws {
    let (pair, token) = try acquainted()
    pair.now += .seconds(49 * 3_600)
    try pair.connectAgain(token: token)
    pair.run()
    #expect(pair.replies == 2)
  }

  @Test func aRetryWithAWrongTagIsIgnored() throws {
    let pair = try EndpointPair(configuration(.always))
    let first = try #require(pair.fromClient().first)
    var (_, retry) = pair.route(first)
    retry[retry.count - 1] ^= 1
    pair.toClient(retry)
    #expect(pair.fromClient().isEmpty)
  }

  @Test func unknownVersionsAreNegotiated() throws {
    let pair = try EndpointPair(configuration(.never))
    var first = try #require(pair.fromClient().first)
    first.replaceSubrange(1..<5, with: [0x1a, 0x2a, 0x3a, 0x4a])
    let (route, answer) = pair.route(first)
    guard case .reply = route else {
      Issue.record("\(route)")
      return
    }
    let header = try answer.withUnsafeBytes { try PacketHeader($0, shortIDLength: 8) }
    #expect(header.type == .versionNegotiation)
    // It lists the version that the client does speak: a forgery that the client must ignore.
    pair.toClient(answer)
    #expect(!pair.clientEvents.contains { if case .closed = $0 { true } else { false } })
    // The same answer with another version only ends the attempt.
    let listed = try answer.withUnsafeBytes { try #require(VersionNegotiation.versions($0, header: header)) }
    #expect(listed.filter { !$0.isReserved } == [.v1, .v2] && listed.count == 3)
    let foreign = answer.dropLast(4 * listed.count) + [0x0a, 0x0a, 0x0a, 0x0a]
    pair.toClient(Array(foreign))
    #expect(pair.clientEvents.contains(.closed(.versionMismatch(offered: [Version(rawValue: 0x0a0a_0a0a)]))))
  }

  @Test func dropsWhatCanBeginNothing() throws {
    let pair = try EndpointPair(configuration(.never))
    let first = try #require(pair.fromClient().first)
    var results: [Endpoint<Int>.DropReason] = []
    func note(_ datagram: [UInt8]) {
      if case .drop(let reason) = pair.route(datagram).0 { results.append(reason) }
    }
    note([])
    note([0xc0, 0, 0, 0, 1, 8])
    note(Array(first[..<1_100]))
    note([0x40] + [UInt8](repeating: 3, count: 60))
    #expect(results == [.malformed, .malformed, .malformed, .unknownConnection])
  }

  @Test func aLostServerResetsItsClient() throws {
    let key = [UInt8](repeating: 9, count: 32)
    var server = Configuration()
    server.statelessResetKey = key
    var settings = configuration(.never)
    settings.statelessResetKey = key
    let pair = try EndpointPair(settings, server: server)
    pair.run()
    #expect(pair.clientEvents.contains(.handshakeConfirmed))
    // The server forgets everything.
    pair.server = nil
    pair.endpoint = Endpoint(settings, entropy: SeededEntropy(seed: 99))
    pair.client.keepAlive(now: pair.now)
    pair.run()
    #expect(pair.endpoint.resetsSent == 1)
    #expect(pair.clientEvents.contains(.closed(.statelessReset)))
    #expect(pair.fromClient().isEmpty)
  }

  @Test func resetsFindTheConnectionByItsPeersAddress() throws {
    var endpoint = Endpoint<Int>(
      Endpoint<Int>.Configuration(acceptsConnections: false), entropy: SeededEntropy(seed: 1))
    let datagram = [0x41] + [UInt8](repeating: 5, count: 40)
    func route() -> Endpoint<Int>.Route {
      var reply = [UInt8](repeating: 0, count: 1_200)
      return datagram.withUnsafeBytes { bytes in
        reply.withUnsafeMutableBytes {
          endpoint.route(bytes, from: ConnectionPair.clientPath, now: .zero, reply: $0)
        }
      }
    }
    guard case .drop(.unknownConnection) = route() else {
      Issue.record("a stranger was routed")
      return
    }
    endpoint.add(peer: ConnectionPair.clientPath.remote, 7)
    guard case .connection(7) = route() else {
      Issue.record("not routed")
      return
    }
    endpoint.removePeers { $0 == 7 }
    guard case .drop(.unknownConnection) = route() else {
      Issue.record("routed after removal")
      return
    }
  }

  @Test func answersAreBounded() throws {
    var settings = configuration(.always)
    settings.repliesPerSecond = 10
    let pair = try EndpointPair(settings)
    let first = try #require(pair.fromClient().first)
    var replies = 0
    for _ in 0..<100 { if case .reply = pair.route(first).0 { replies += 1 } }
    #expect(replies == 10)
    pair.now += .seconds(1)
    if case .reply = pair.route(first).0 { replies += 1 }
    #expect(replies == 11)
  }
}
