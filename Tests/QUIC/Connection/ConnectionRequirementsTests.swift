import PacketCrypto
import Testing
import Wire

@testable import QUIC

/// Requirements of RFC 9000 that no other test shows; scripts/requirements.d says which of them each is for.
@Suite struct ConnectionRequirementsTests {
  private static func connected(_ server: Configuration = Configuration()) throws -> ConnectionPair {
    let pair = try ConnectionPair(Configuration(), server)
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    return pair
  }

  // MARK: Datagrams and packets

  /// The headers of the packets of a datagram, with long headers.
  private static func longHeaders(_ datagram: [UInt8]) throws -> [(PacketType, destination: ConnectionID, size: Int)] {
    var found: [(PacketType, destination: ConnectionID, size: Int)] = []
    var at = 0
    while at < datagram.count, datagram[at] & 0x80 != 0 {
      let header = try datagram[at...].withUnsafeBytes {
        try PacketHeader($0, shortIDLength: 8, takesAnyFixedBit: true)
      }
      found.append((header.type, header.destinationID, header.packetLength))
      at += header.packetLength
    }
    return found
  }

  @Test(arguments: 0..<6) func datagramsWithInitialPacketsAreWhole(lost: Int) throws {
    let pair = try ConnectionPair()
    pair.keepsLog = true
    pair.filter = { $0.index == lost ? nil : $0 }
    #expect(pair.connect())
    var seen = 0
    for datagram in pair.log {
      for (type, _, size) in try Self.longHeaders(datagram.bytes) where type == .initial {
        // A server's Initial packet of this size holds a ClientHello's answer; a smaller one may be a bare ACK.
        guard datagram.from == .client || size > 100 else { continue }
        #expect(datagram.bytes.count >= 1200)
        seen += 1
      }
    }
    #expect(seen >= 2)
  }

  @Test func coalescedPacketsShareTheirDestination() throws {
    let pair = try ConnectionPair()
    pair.keepsLog = true
    #expect(pair.connect())
    var coalesced = 0
    for datagram in pair.log {
      let headers = try Self.longHeaders(datagram.bytes)
      if headers.count > 1 { coalesced += 1 }
      for header in headers { #expect(header.destination == headers[0].destination) }
    }
    #expect(coalesced > 0)
  }

  @Test func serversSendNoTokens() throws {
    let pair = try ConnectionPair()
    pair.server.initialToken = [1, 2, 3]
    #expect(!pair.connect())
    #expect(pair.see { $0.client.statistics.drops.malformed } > 0)
  }

  @Test func clientsDropEarlyPackets() throws {
    let pair = try Self.connected()
    let id = pair.see { $0.client.localIDs.first }
    var packet: [UInt8] = [0xd0, 0, 0, 0, 1, UInt8(id.length)]
    id.withUnsafeBytes { packet.append(contentsOf: $0) }
    packet += [0, 40] + [UInt8](repeating: 0, count: 40)
    let before = pair.see { $0.client.statistics.drops }
    packet.withUnsafeMutableBytes {
      pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    #expect(pair.see { $0.client.statistics.drops.noKeys } == before.noKeys + 1)
    #expect(pair.see { $0.client.statistics.drops.total } == before.total + 1)
  }

  /// A server says of connection IDs what the packets did not.
  @Test func connectionIDsAreAuthenticated() throws {
    let other = ConnectionID([1, 2, 3, 4, 5, 6, 7, 8])
    let changes: [(inout TransportParameters) -> Void] = [
      { $0.initialSourceConnectionID = nil },
      { $0.initialSourceConnectionID = other },
      { $0.originalDestinationConnectionID = nil },
      { $0.originalDestinationConnectionID = other },
      { $0.retrySourceConnectionID = other },
    ]
    for (index, change) in changes.enumerated() {
      let pair = try ConnectionPair(misstating: change)
      #expect(!pair.connect())
      guard case .localTransport(let error) = pair.clientApplication.closeReason else {
        Issue.record("\(index): not closed")
        continue
      }
      #expect(error.code == .transportParameterError, "\(index)")
    }
  }

  @Test func packetsFromStrangersAreDropped() throws {
    let pair = try Self.connected()
    pair.route = { datagram in
      guard datagram.from == .server else { return ConnectionPair.clientPath }
      return Path(local: SocketAddress("198.51.100.66:443")!, remote: ConnectionPair.clientPath.local)
    }
    let received = pair.see { $0.client.statistics.packetsReceived }
    pair.server.keepAlive(now: pair.now)
    pair.run(for: .milliseconds(500))
    #expect(pair.see { $0.client.statistics.packetsReceived } == received)
    #expect(pair.see { $0.client.statistics.drops.unexpectedPath } > 0)
  }

  @Test func versionNegotiationComesTooLate() throws {
    let pair = try ConnectionPair()
    pair.keepsLog = true
    pair.run { $0.client.hasProcessedPacket }
    let answer = try #require(pair.log.first { $0.from == .server })
    let header = try answer.bytes.withUnsafeBytes { try PacketHeader($0, shortIDLength: 8, takesAnyFixedBit: true) }
    var forged: [UInt8] = [0x80, 0, 0, 0, 0]
    for id in [header.destinationID, header.sourceID] {
      forged.append(UInt8(id.length))
      id.withUnsafeBytes { forged.append(contentsOf: $0) }
    }
    forged += [0x0a, 0x0a, 0x0a, 0x0a]
    forged.withUnsafeMutableBytes {
      pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    #expect(pair.see { $0.client.statistics.drops.mismatched } == 1)
    #expect(pair.connect())
  }

  @Test func aSecondRetryIsDropped() throws {
    var settings = Endpoint<Int>.Configuration(acceptsConnections: true)
    settings.retry = .always
    let pair = try EndpointPair(settings)
    let first = try #require(pair.fromClient().first)
    let (_, one) = pair.route(first)
    let (_, other) = pair.route(first)
    pair.toClient(one)
    #expect(!pair.fromClient().isEmpty)
    pair.toClient(other)
    #expect(pair.fromClient().isEmpty)
    #expect(pair.client.statistics.drops.mismatched == 1)
  }

  // MARK: What an endpoint drops

  private static func drop(_ datagram: [UInt8]) -> Endpoint<Int>.DropReason? {
    var endpoint = Endpoint<Int>(
      Endpoint<Int>.Configuration(acceptsConnections: true), entropy: SeededEntropy(seed: 1))
    var reply = [UInt8](repeating: 0, count: 1_200)
    let route = datagram.withUnsafeBytes { bytes in
      reply.withUnsafeMutableBytes {
        endpoint.route(bytes, from: ConnectionPair.reversed(ConnectionPair.clientPath), now: .zero, reply: $0)
      }
    }
    if case .drop(let reason) = route { return reason }
    return nil
  }

  /// An Initial packet that fills a datagram, its payload left out of account.
  private static func initial(size: Int, version: [UInt8] = [0, 0, 0, 1], destination: Int = 8) -> [UInt8] {
    var bytes: [UInt8] = [0xc0] + version + [UInt8(destination)] + [UInt8](repeating: 7, count: destination) + [0, 0]
    let length = size - bytes.count - 2
    bytes += [0x40 | UInt8(length >> 8), UInt8(length & 0xff)]
    return bytes + [UInt8](repeating: 0, count: length)
  }

  @Test func smallInitialPacketsAreDropped() {
    #expect(Self.drop(Self.initial(size: 1_200)) == nil)
    #expect(Self.drop(Self.initial(size: 1_199)) == .smallInitial)
  }

  @Test func shortFirstDestinationIDsAreDropped() {
    #expect(Self.drop(Self.initial(size: 1_200, destination: 7)) == .shortConnectionID)
  }

  @Test func smallPacketsOfUnknownVersionsAreDropped() {
    #expect(Self.drop(Self.initial(size: 1_200, version: [1, 2, 3, 4])) == nil)
    #expect(Self.drop(Self.initial(size: 1_199, version: [1, 2, 3, 4])) == .unsupportedVersion)
    // Version Negotiation is not answered with the like.
    #expect(Self.drop(Self.initial(size: 1_200, version: [0, 0, 0, 0])) == .unsupportedVersion)
  }

  // MARK: Tokens

  @Test func aTokenIsForOneAddress() {
    let entropy = SeededEntropy(seed: 1)
    let tokens = AddressTokens(entropy: entropy)
    let client = SocketAddress("192.0.2.1:40000")!
    func judge(_ token: [UInt8], from address: String) -> AddressTokens.Verdict {
      token.withUnsafeBytes {
        tokens.judge(
          $0, from: SocketAddress(address)!, destinationID: .empty, version: .v1, retryLifetime: .seconds(5),
          now: .zero + .seconds(1))
      }
    }
    let one = tokens.sealNewToken(to: client.ip, version: .v1, now: .zero, entropy: entropy)
    let other = tokens.sealNewToken(to: client.ip, version: .v1, now: .zero, entropy: entropy)
    #expect(one != other)
    #expect(judge(one, from: "192.0.2.2:40000") == .none)
    #expect(judge(one, from: "192.0.2.1:50000") == .newToken)
  }

  @Test func aTokenGoesBackToItsServerAlone() {
    let address = SocketAddress("198.51.100.1:443")!
    let server = ReceivedTokens.Server(name: "pop.example", address: address)
    var tokens = ReceivedTokens()
    tokens.store([1], from: server)
    #expect(tokens.take(for: .init(name: "other.example", address: address)) == nil)
    #expect(tokens.take(for: .init(name: "pop.example", address: SocketAddress("198.51.100.2:443")!)) == nil)
    #expect(tokens.take(for: server) == [1])
    #expect(tokens.take(for: server) == nil)
  }

  // MARK: Limits and connection IDs

  @Test func limitsNeverShrink() throws {
    let pair = try Self.connected()
    let id = try #require(pair.open(.client))
    pair.inject(from: .server) { writer in
      writer.writeMaxData(1)
      writer.writeMaxStreamData(id, maximum: 1)
      writer.writeMaxStreams(.bidirectional, maximum: 1)
      writer.writeMaxStreams(.unidirectional, maximum: 0)
    }
    #expect(pair.open(.client) != nil)
    #expect(pair.open(.client, .unidirectional) != nil)
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
    #expect(pair.run(steps: 2_000) { $0.serverApplication.finished.contains(id) })
  }

  private static func issue(_ sequence: UInt64, retirePriorTo: UInt64 = 0) -> NewConnectionIDFrame {
    NewConnectionIDFrame(
      sequence: sequence, retirePriorTo: retirePriorTo,
      connectionID: ConnectionID([UInt8](repeating: UInt8(sequence), count: 8))!,
      resetToken: StatelessResetToken([UInt8](repeating: UInt8(sequence), count: 16))!)
  }

  @Test func retirePriorToIsObeyed() throws {
    var ids = PeerConnectionIDs(first: ConnectionID([9, 9, 9, 9, 9, 9, 9, 9])!, limit: 4)
    try ids.receive(Self.issue(1))
    try ids.receive(Self.issue(2))
    try ids.receive(Self.issue(3, retirePriorTo: 2))
    #expect(ids.active.map(\.sequence) == [2, 3])
    #expect(ids.retiring == [0, 1])
    // The same again, and a lower bound, change nothing.
    try ids.receive(Self.issue(3, retirePriorTo: 2))
    try ids.receive(Self.issue(4, retirePriorTo: 1))
    #expect(ids.active.map(\.sequence) == [2, 3, 4])
    #expect(ids.retiring == [0, 1])
    // One that comes after its retirement was asked for is given back at once.
    try ids.receive(Self.issue(9, retirePriorTo: 7))
    try ids.receive(Self.issue(6))
    #expect(ids.active.map(\.sequence) == [9])
    #expect(ids.retiring == [0, 1, 2, 3, 4, 6])
    // None is forgotten: a peer that lets none be acknowledged is in error.
    #expect(throws: TransportError.self) {
      for sequence: UInt64 in 10..<60 { try ids.receive(Self.issue(sequence, retirePriorTo: sequence)) }
    }
  }

  @Test func tokensCountForIDsInUseAlone() throws {
    var ids = PeerConnectionIDs(first: ConnectionID([9, 9, 9, 9, 9, 9, 9, 9])!, limit: 4)
    let token = Self.issue(1).resetToken
    try ids.receive(Self.issue(1))
    #expect(!ids.matchesReset(token))
    #expect(ids.takeUnused()?.sequence == 1)
    #expect(ids.matchesReset(token))
    ids.retire(1)
    #expect(!ids.matchesReset(token))
  }

  @Test func aPeerWithoutConnectionIDsIssuesNone() {
    var ids = PeerConnectionIDs(first: .empty, limit: 4)
    #expect { try ids.receive(Self.issue(1)) } throws: { ($0 as? TransportError)?.code == .protocolViolation }
  }

  // MARK: Paths

  @Test func smallPathChallengesAreAnswered() throws {
    let pair = try Self.connected()
    pair.keepsLog = true
    pair.inject { writer in
      writer.writePathChallenge(7)
      writer.writePathChallenge(7)
    }
    #expect(pair.see { $0.server.active.responsesDue } == [7])
    pair.flush()
    #expect(pair.see { $0.server.active.responsesDue } == [])
    let answer = try #require(pair.log.first)
    #expect(answer.from == .server && answer.bytes.count == 1_200)
  }

  @Test func pathProbesFillTheirDatagrams() throws {
    let pair = try Self.connected()
    var challenges: Set<UInt64> = []
    for port in 1...3 {
      let path = Path(
        local: SocketAddress("203.0.113.9:4000\(port)")!, remote: ConnectionPair.clientPath.remote)
      pair.log = []
      pair.keepsLog = true
      #expect(pair.client.migrate(to: path, now: pair.now) == true)
      pair.flush()
      let probe = try #require(pair.log.first)
      #expect(probe.path == path && probe.bytes.count == 1_200)
      challenges.formUnion(pair.see { $0.client.active.challenges })
      pair.run(for: .seconds(2))
      let answer = try #require(pair.log.first { $0.from == .server })
      #expect(answer.path.remote == path.local && answer.bytes.count == 1_200)
    }
    #expect(challenges.count == 3)
  }

  // MARK: The end

  @Test func drainingIsSilent() throws {
    let pair = try Self.connected()
    pair.server.close(code: 1, reason: "")
    #expect(pair.run { $0.clientApplication.closeReason != nil })
    let sent = pair.sent[.client]
    pair.client.keepAlive(now: pair.now)
    for _ in 0..<8 { pair.inject(from: .server) { $0.writePing() } }
    pair.run(for: .seconds(5))
    #expect(pair.sent[.client] == sent)
    #expect(pair.see { $0.client.isDrained })
  }

  @Test func closingAnswersNoMoreThanThreefold() throws {
    let pair = try Self.connected()
    pair.filter = { _ in nil }
    pair.client.close(code: 1, reason: String(repeating: "x", count: 250))
    pair.flush()
    let said = try #require(pair.bytesSent[.client])
    var received = 0
    for _ in 0..<200 {
      var datagram = [UInt8](repeating: 0x41, count: 25)
      datagram.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
      received += datagram.count
      pair.flush()
      #expect(pair.bytesSent[.client]! - said <= 3 * received)
    }
    #expect(pair.bytesSent[.client]! > said)
  }

  /// RFC 9000 §10.2.1: the more comes while it closes, the less often an end answers.
  @Test func closingAnswersLessAndLessOften() throws {
    let pair = try Self.connected()
    pair.filter = { _ in nil }
    pair.client.close(code: 1, reason: "")
    pair.flush()
    let said = try #require(pair.sent[.client])
    for _ in 0..<200 {
      var datagram = [UInt8](repeating: 0x41, count: 1_200)
      datagram.withUnsafeMutableBytes {
        pair.client.receive($0, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
      }
      pair.flush()
    }
    // To the first, the second, the fourth, and so on to the 128th.
    #expect(pair.sent[.client] == said + 8)
  }

  // MARK: Datagrams (RFC 9221)

  @Test func datagramsNotAskedForAreRefused() throws {
    var none = Configuration()
    none.maxDatagramFrameSize = 0
    let pair = try Self.connected(none)
    pair.inject { writer in [UInt8(1)].withUnsafeBytes { writer.writeDatagram($0) } }
    guard case .localTransport(let error) = pair.serverApplication.closeReason else {
      Issue.record("not closed")
      return
    }
    #expect(error.code == .protocolViolation)
  }

  @Test func datagramsBeyondTheLimitAreRefused() throws {
    var small = Configuration()
    small.maxDatagramFrameSize = 100
    let pair = try Self.connected(small)
    pair.inject { writer in [UInt8](repeating: 1, count: 97).withUnsafeBytes { writer.writeDatagram($0) } }
    #expect(pair.serverApplication.closeReason == nil)
    pair.inject { writer in [UInt8](repeating: 1, count: 108).withUnsafeBytes { writer.writeDatagram($0) } }
    guard case .localTransport(let error) = pair.serverApplication.closeReason else {
      Issue.record("not closed")
      return
    }
    #expect(error.code == .protocolViolation)
  }
}
