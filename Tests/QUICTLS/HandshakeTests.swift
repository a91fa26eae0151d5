import Foundation
import PacketCrypto
import QUIC
import QUICTLS
import Synchronization
import Testing

/// A client and a server session joined in memory.
struct HandshakePair {
  let client: TLSClientSession
  let server: TLSServerSession
  /// What each end installed, in order, with the secrets' bytes.
  var clientSecrets: [String: [UInt8]] = [:]
  var serverSecrets: [String: [UInt8]] = [:]
  var clientOrder: [String] = []
  var serverOrder: [String] = []
  private(set) var clientSuites: Set<CipherSuite> = []

  init(_ clientContext: ClientTLSContext, _ serverContext: ServerTLSContext, name: String = "pop.example") throws {
    client = try clientContext.makeSession(serverName: name)
    server = serverContext.makeSession()
    client.setTransportParameters([1, 1, 30])
    server.setTransportParameters([1, 1, 40])
  }

  /// Carries messages until both ends fall silent.
  mutating func run() throws {
    try client.advance()
    var suites: Set<CipherSuite> = []
    while true {
      let fromClient = try Self.carry(client, server, &clientSecrets, &clientOrder, &clientSuites)
      let fromServer = try Self.carry(server, client, &serverSecrets, &serverOrder, &suites)
      if !fromClient, !fromServer { return }
    }
  }

  private static func carry(
    _ from: any TLSSession, _ to: any TLSSession, _ secrets: inout [String: [UInt8]], _ order: inout [String],
    _ suites: inout Set<CipherSuite>
  ) throws -> Bool {
    var moved = false
    while let output = from.nextOutput() {
      switch output {
      case .handshakeData(let level, let bytes):
        moved = true
        try bytes.withUnsafeBytes { try to.receive($0, at: level) }
        try to.advance()
        // A server stops once when it has seen the client's parameters.
        try to.advance()
      case .secret(let level, let direction, let suite, let secret):
        #expect(secret.count == suite.secretLength)
        suites.insert(suite)
        order.append("\(level) \(direction)")
        secrets["\(level) \(direction)"] = secret.withUnsafeBytes { [UInt8]($0) }
      }
    }
    return moved
  }
}

enum Contexts {
  static func identity() throws -> TLSIdentity {
    try TLSIdentity(certificateChain: Array(Fixture.server.utf8), privateKey: Array(Fixture.serverKey.utf8))
  }
  static func server(
    _ protocols: [String] = ["h3"], clients: ClientAuthentication = .none, earlyDataContext: [UInt8]? = nil,
    tickets: TicketKeys? = nil, replays: ReplayRegister? = nil
  ) throws -> ServerTLSContext {
    try ServerTLSContext(
      identity: identity(), applicationProtocols: protocols, clientAuthentication: clients,
      earlyDataContext: earlyDataContext, tickets: tickets, replays: replays)
  }
  static let authority = TrustPolicy.certificates(Array(Fixture.authority.utf8))
  static func client(
    _ trust: TrustPolicy = authority, _ protocols: [String] = ["h3"], offersEarlyData: Bool = false
  ) throws -> ClientTLSContext {
    try ClientTLSContext(trust: trust, applicationProtocols: protocols, offersEarlyData: offersEarlyData)
  }
}

struct HandshakeTests {
  @Test func completes() throws {
    var pair = try HandshakePair(Contexts.client(), Contexts.server(["other", "h3"]))
    #expect(!pair.client.isComplete)
    try pair.run()
    #expect(pair.client.isComplete && pair.server.isComplete)
    #expect(!pair.client.isResumed)
    #expect(pair.client.applicationProtocol == "h3")
    #expect(pair.server.applicationProtocol == "h3")
    #expect(pair.client.peerTransportParameters == [1, 1, 40])
    #expect(pair.server.peerTransportParameters == [1, 1, 30])
    #expect(pair.server.requestedServerName == "pop.example")
    #expect(pair.client.keyExchangeGroup == "X25519MLKEM768")
    #expect(pair.client.peerCertificates.count == 1)
    #expect(pair.server.peerCertificates.isEmpty)
    #expect(pair.client.earlyData == .notOffered)

    for level in [EncryptionLevel.handshake, .oneRTT] {
      #expect(pair.clientSecrets["\(level) write"] != nil)
      #expect(pair.clientSecrets["\(level) write"] == pair.serverSecrets["\(level) read"])
      #expect(pair.serverSecrets["\(level) write"] == pair.clientSecrets["\(level) read"])
    }
    #expect(Set(pair.clientSecrets.values).count == 4)
    // An end can acknowledge whatever it can read.
    for order in [pair.clientOrder, pair.serverOrder] {
      let write = try #require(order.firstIndex(of: "oneRTT write"))
      let read = try #require(order.firstIndex(of: "oneRTT read"))
      #expect(write < read)
    }
  }

  @Test func resumesOnceForEachTicket() throws {
    let client = try Contexts.client()
    let server = try Contexts.server()
    for round in 0..<3 {
      var pair = try HandshakePair(client, server)
      try pair.run()
      #expect(pair.client.isResumed == (round > 0))
      #expect(pair.server.isResumed == (round > 0))
      #expect(pair.client.peerCertificates.count == 1)
    }
    // Another name has no ticket.
    var other = try HandshakePair(client, server, name: "192.0.2.1")
    try other.run()
    #expect(!other.client.isResumed)
    #expect(other.server.requestedServerName == nil)
    // A ticket given out is not given out again; the server gives two each time, and the client keeps four.
    for _ in 0..<4 { _ = try client.makeSession(serverName: "pop.example") }
    var spent = try HandshakePair(client, server)
    try spent.run()
    #expect(!spent.client.isResumed)
  }

  @Test(arguments: ["pop.example", "POP.example", "pop.example.", "192.0.2.1", "2001:db8::1", "[2001:db8::1]"])
  func acceptsNamesOfTheCertificate(name: String) throws {
    var pair = try HandshakePair(Contexts.client(), Contexts.server(), name: name)
    try pair.run()
    #expect(pair.client.isComplete)
  }

  @Test func rememberedParametersComeWithTheTicket() throws {
    let client = try Contexts.client(offersEarlyData: true)
    let server = try Contexts.server(earlyDataContext: [1])
    var first = try HandshakePair(client, server)
    #expect(first.client.rememberedTransportParameters == nil)
    try first.run()
    first.client.rememberApplicationState([7])
    let second = try HandshakePair(client, server)
    #expect(second.client.rememberedTransportParameters == [1, 1, 40])
    #expect(second.client.rememberedApplicationState == [7])
    // A ticket is given out once; there were two.
    _ = try client.makeSession(serverName: "pop.example")
    #expect(try HandshakePair(client, server).client.rememberedTransportParameters == nil)
  }

  @Test func requiredClientCertificate() throws {
    let server = try Contexts.server(clients: .required(Contexts.authority))
    let identity = try TLSIdentity(
      certificateChain: Array(Fixture.client.utf8), privateKey: Array(Fixture.clientKey.utf8))
    let client = try ClientTLSContext(trust: Contexts.authority, applicationProtocols: ["h3"], identity: identity)
    var pair = try HandshakePair(client, server)
    try pair.run()
    #expect(pair.server.isComplete)
    #expect(pair.server.peerCertificates.count == 1)

    var without = try HandshakePair(Contexts.client(), server)
    let error = #expect(throws: TransportError.self) { try without.run() }
    #expect(error?.code == .crypto(alert: 116))
  }

  @Test func optionalClientCertificate() throws {
    let server = try Contexts.server(clients: .optional(Contexts.authority))
    var without = try HandshakePair(Contexts.client(), server)
    try without.run()
    #expect(without.server.isComplete && without.server.peerCertificates.isEmpty)
    // One that is shown counts: a certificate that leads nowhere is worse than none.
    let foreign = try TLSIdentity(
      certificateChain: Array(Fixture.expired.utf8), privateKey: Array(Fixture.expiredKey.utf8))
    let client = try ClientTLSContext(trust: Contexts.authority, applicationProtocols: ["h3"], identity: foreign)
    var refused = try HandshakePair(client, server)
    let error = #expect(throws: TransportError.self) { try refused.run() }
    #expect(error?.code.alert != nil)
  }

  @Test(arguments: CipherSuite.allCases)
  func eachCipherSuite(suite: CipherSuite) throws {
    for restrictsServer in [false, true] {
      let client = try ClientTLSContext(
        trust: Contexts.authority, applicationProtocols: ["h3"],
        cipherSuites: restrictsServer ? CipherSuite.allCases : [suite])
      let server = try ServerTLSContext(
        identity: Contexts.identity(), applicationProtocols: ["h3"],
        cipherSuites: restrictsServer ? [suite] : CipherSuite.allCases)
      var pair = try HandshakePair(client, server)
      try pair.run()
      #expect(pair.clientSuites == [suite])
    }
  }

  @Test func noCommonCipherSuite() throws {
    let client = try ClientTLSContext(
      trust: Contexts.authority, applicationProtocols: ["h3"], cipherSuites: [.chaCha20Poly1305])
    let server = try ServerTLSContext(
      identity: Contexts.identity(), applicationProtocols: ["h3"], cipherSuites: [.aes128GCM, .aes256GCM])
    var pair = try HandshakePair(client, server)
    let error = #expect(throws: TransportError.self) { try pair.run() }
    #expect(error?.code == .crypto(alert: 40))
    #expect(throws: TLSConfigurationError.self) {
      try ClientTLSContext(trust: Contexts.authority, applicationProtocols: ["h3"], cipherSuites: [])
    }
  }

  /// The hybrid key exchange comes first, by name and by key share.
  @Test func keyExchangesOffered() throws {
    let client = try Contexts.client().makeSession(serverName: "pop.example")
    client.setTransportParameters([1, 1, 30])
    try client.advance()
    guard case .handshakeData(.initial, let hello)? = client.nextOutput() else {
      Issue.record("no ClientHello")
      return
    }
    let groups = try #require(Self.extension(10, of: hello))
    #expect(groups == [0, 6, 0x11, 0xec, 0, 29, 0, 23])
    let shares = try #require(Self.extension(51, of: hello))
    #expect(Array(shares[2..<4]) == [0x11, 0xec])
    // It does not fit one packet.
    #expect(hello.count > 1_200)
  }

  /// The content of one extension of a ClientHello (RFC 8446 §4.1.2).
  private static func `extension`(_ wanted: Int, of hello: [UInt8]) -> [UInt8]? {
    var at = 4 + 2 + 32
    func length(_ size: Int) -> Int { hello[at..<at + size].reduce(0) { $0 << 8 | Int($1) } }
    at += 1 + length(1)
    at += 2 + length(2)
    at += 1 + length(1)
    at += 2
    while at + 4 <= hello.count {
      let type = length(2)
      at += 2
      let size = length(2)
      at += 2
      if type == wanted { return Array(hello[at..<at + size]) }
      at += size
    }
    return nil
  }

  @Test func keyLogIsPrivate() throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("keys-\(UInt64.random(in: 0 ... .max))")
      .path
    defer { try? FileManager.default.removeItem(atPath: path) }
    // It was there before, and readable by all.
    _ = FileManager.default.createFile(atPath: path, contents: Data(), attributes: [.posixPermissions: 0o644])
    let client = try ClientTLSContext(trust: Contexts.authority, applicationProtocols: ["h3"], keyLogFile: path)
    var pair = try HandshakePair(client, Contexts.server())
    try pair.run()
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    let text = try String(contentsOfFile: path, encoding: .utf8)
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_TRAFFIC_SECRET_0 "] { #expect(text.contains(label)) }
    #expect(throws: TLSConfigurationError.self) {
      try ClientTLSContext(trust: Contexts.authority, applicationProtocols: ["h3"], keyLogFile: "/nowhere/keys")
    }
  }
}

struct HandshakeFailureTests {
  private func failure(
    _ client: ClientTLSContext, _ server: ServerTLSContext, name: String = "pop.example"
  ) throws -> TransportError? {
    var pair = try HandshakePair(client, server, name: name)
    let error = #expect(throws: TransportError.self) { try pair.run() }
    // A failed handshake stays failed.
    let server = pair.server
    let client = pair.client
    if let error {
      #expect(throws: error) { try error.code == .crypto(alert: 120) ? server.advance() : client.advance() }
    }
    return error
  }

  @Test(arguments: ["other.example", "192.0.2.2", "example", "pop.example.org"])
  func wrongName(name: String) throws {
    let error = try failure(Contexts.client(), Contexts.server(), name: name)
    #expect(error?.code.alert != nil)
    #expect(error?.reason.contains("mismatch: wanted \(name)") == true)
  }

  @Test func untrustedAuthority() throws {
    let trust = TrustPolicy.certificates(Array(Fixture.otherAuthority.utf8))
    let error = try failure(Contexts.client(trust), Contexts.server())
    #expect(error?.code == .crypto(alert: 48))
    #expect(error?.reason.contains("issuer") == true)
  }

  @Test func expired() throws {
    let identity = try TLSIdentity(
      certificateChain: Array(Fixture.expired.utf8), privateKey: Array(Fixture.expiredKey.utf8))
    let server = try ServerTLSContext(identity: identity, applicationProtocols: ["h3"])
    let error = try failure(Contexts.client(), server)
    #expect(error?.code == .crypto(alert: 45))
    #expect(error?.reason == "certificate expired")
    // A pin without anchors asks for nothing but the key.
    var pinned = try HandshakePair(Contexts.client(.pinnedPublicKeys(identity.publicKeyPin)), server)
    try pinned.run()
    #expect(pinned.client.isComplete)
  }

  @Test func pins() throws {
    let pin = try Contexts.identity().publicKeyPin
    let wrong = [UInt8](repeating: 1, count: 32)
    let server = try Contexts.server()
    for trust in [
      TrustPolicy.pinnedPublicKeys(pin), .pinnedPublicKeys(wrong, pin),
      TrustPolicy(certificates: [Array(Fixture.authority.utf8)], pinnedPublicKeys: [pin]),
    ] {
      var pair = try HandshakePair(Contexts.client(trust), server)
      try pair.run()
      #expect(pair.client.isComplete)
    }
    for trust in [
      TrustPolicy.pinnedPublicKeys(wrong),
      TrustPolicy(certificates: [Array(Fixture.authority.utf8)], pinnedPublicKeys: [wrong]),
    ] {
      let error = try failure(Contexts.client(trust), server)
      #expect(error?.code.alert != nil)
      #expect(error?.reason == "public key is not the pinned one")
    }
    // A pin never widens what the anchors allow.
    let narrow = TrustPolicy(certificates: [Array(Fixture.otherAuthority.utf8)], pinnedPublicKeys: [pin])
    #expect(try failure(Contexts.client(narrow), server)?.code == .crypto(alert: 48))
  }

  @Test func noCommonProtocol() throws {
    let error = try failure(Contexts.client(Contexts.authority, ["h2"]), Contexts.server(["h3"]))
    #expect(error?.code == .crypto(alert: 120))
  }

  @Test func dataAtTheWrongLevel() throws {
    let server = try Contexts.server().makeSession()
    server.setTransportParameters([])
    let error = #expect(throws: TransportError.self) {
      try [UInt8](repeating: 1, count: 10).withUnsafeBytes { try server.receive($0, at: .handshake) }
    }
    #expect(error?.code == .protocolViolation)
  }

  @Test func endlessHandshakeData() throws {
    let server = try Contexts.server().makeSession()
    server.setTransportParameters([])
    let error = #expect(throws: TransportError.self) {
      for _ in 0..<1000 {
        try [UInt8](repeating: 1, count: 1000).withUnsafeBytes { try server.receive($0, at: .initial) }
      }
    }
    #expect(error?.code == .cryptoBufferExceeded)
  }

  @Test func settingsThatCannotWork() throws {
    #expect(throws: TLSConfigurationError.self) { try Contexts.client(TrustPolicy()) }
    #expect(throws: TLSConfigurationError.self) { try Contexts.client(.pinnedPublicKeys([1, 2, 3])) }
    #expect(throws: TLSConfigurationError.self) { try Contexts.client(.certificates([1, 2, 3])) }
    #expect(throws: TLSConfigurationError.self) { try Contexts.client(.certificateFiles("/nonexistent")) }
    #expect(throws: TLSConfigurationError.self) { try Contexts.client(Contexts.authority, []) }
    #expect(throws: TLSConfigurationError.self) { try Contexts.server([""]) }
    #expect(throws: TLSConfigurationError.self) { try Contexts.client().makeSession(serverName: "") }
    #expect(throws: TLSConfigurationError.self) {
      try TLSIdentity(certificateChain: Array(Fixture.server.utf8), privateKey: Array(Fixture.clientKey.utf8))
    }
    #expect(throws: TLSConfigurationError.self) {
      try TLSIdentity(certificateChain: Array(Fixture.server.utf8), privateKey: [])
    }
  }

  @Test("Mutated handshake messages end in an error or do no harm", arguments: 0..<4)
  func mutations(seed: Int) throws {
    let entropy = SeededNumbers(seed: UInt64(seed))
    let client = try Contexts.client()
    let server = try Contexts.server()
    for _ in 0..<100 {
      let from = try client.makeSession(serverName: "pop.example")
      from.setTransportParameters([1, 1, 30])
      try from.advance()
      guard case .handshakeData(_, var hello)? = from.nextOutput() else { continue }
      for _ in 0...entropy.below(4) { hello[entropy.below(hello.count)] = UInt8(entropy.below(256)) }
      let to = server.makeSession()
      to.setTransportParameters([1, 1, 40])
      do {
        try hello.withUnsafeBytes { try to.receive($0, at: .initial) }
        try to.advance()
        try to.advance()
      } catch let error as TransportError {
        #expect(error.code.alert != nil || error.code == .cryptoBufferExceeded)
      }
    }
  }
}

/// Small numbers from a seed.
private final class SeededNumbers {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }
  func below(_ limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(limit))
  }
}
