import PacketCrypto
import QUIC
import QUICTLS
import Testing
import Wire

/// QUIC version 2 and the ways to it (RFC 9368, RFC 9369).
@Suite struct VersionTests {
  private func prefers(_ versions: [Version], beginning initial: Version = .v1) -> Configuration {
    var configuration = Configuration()
    configuration.versions = versions
    configuration.initialVersion = initial
    return configuration
  }

  private func carriesData(_ pair: ConnectionPair) throws {
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
    pair.serverApplication.reply = TestApplication.Outgoing(total: 100_000, finish: true)
    #expect(
      pair.run { $0.serverApplication.finished.contains(id) && $0.clientApplication.finished.contains(id) })
    #expect(pair.serverApplication.corrupt == 0 && pair.clientApplication.corrupt == 0)
  }

  /// The versions of the long headers that one end sent, in order, each once.
  private func versions(_ pair: ConnectionPair, from end: ConnectionPair.End, _ types: [PacketType]) -> [Version] {
    var seen: [Version] = []
    for datagram in pair.log where datagram.from == end {
      datagram.bytes.withUnsafeBytes { bytes in
        var rest = bytes
        while !rest.isEmpty, let header = try? PacketHeader(rest, shortIDLength: 8, takesAnyFixedBit: true) {
          if types.contains(header.type), !seen.contains(header.version) { seen.append(header.version) }
          rest = UnsafeRawBufferPointer(rebasing: rest[header.packetLength...])
        }
      }
    }
    return seen
  }

  @Test func version2FromTheStart() throws {
    let pair = try ConnectionPair(prefers([.v2, .v1], beginning: .v2))
    pair.keepsLog = true
    try carriesData(pair)
    #expect(pair.see { $0.client.version } == .v2 && pair.see { $0.server.version } == .v2)
    #expect(versions(pair, from: .client, [.initial, .handshake]) == [.v2])
    #expect(versions(pair, from: .server, [.initial, .handshake]) == [.v2])
  }

  @Test("RFC 9369 §4.1: a client that prefers version 2 gets it without a round trip more")
  func compatibleNegotiation() throws {
    let pair = try ConnectionPair(prefers([.v2, .v1]))
    pair.keepsLog = true
    try carriesData(pair)
    #expect(pair.see { $0.client.version } == .v2 && pair.see { $0.server.version } == .v2)
    #expect(pair.see { $0.client.originalVersion } == .v1)
    #expect(versions(pair, from: .client, [.initial]).first == .v1)
    #expect(versions(pair, from: .client, [.handshake]) == [.v2])
    #expect(versions(pair, from: .server, [.handshake]) == [.v2])
    #expect(pair.see { $0.client.statistics.packetsLost } == 0)
  }

  @Test("A server that speaks version 1 alone keeps to it", arguments: [[Version.v1, .v2], [.v2, .v1]])
  func staysInVersion1(offered: [Version]) throws {
    let pair = try ConnectionPair(prefers(offered), prefers([.v1]))
    try carriesData(pair)
    #expect(pair.see { $0.client.version } == .v1 && pair.see { $0.server.version } == .v1)
  }

  @Test("Compatible negotiation survives the loss of any of the first datagrams", arguments: 0..<8)
  func compatibleNegotiationUnderLoss(lost: Int) throws {
    let pair = try ConnectionPair(prefers([.v2, .v1]), seed: UInt64(lost))
    let end: ConnectionPair.End = lost % 2 == 0 ? .client : .server
    pair.filter = { $0.from == end && $0.index == lost / 2 ? nil : $0 }
    try carriesData(pair)
    #expect(pair.see { $0.client.version } == .v2 && pair.see { $0.server.version } == .v2)
  }

  @Test("Key updates use version 2's label")
  func keyUpdates() throws {
    var configuration = prefers([.v2, .v1])
    configuration.keyUpdateInterval = 20
    let pair = try ConnectionPair(configuration)
    try carriesData(pair)
    #expect(pair.see { $0.client.statistics.keyUpdates } >= 1)
    #expect(pair.see { $0.server.statistics.keyUpdates } >= 1)
  }

  @Test("RFC 9369 §5: a session is resumed in its version alone")
  func ticketsAreBoundToTheirVersion() throws {
    let client = try ConnectionFixture.client()
    let server = try ConnectionFixture.server()
    // Negotiated: the ticket is version 2's, and the next connection begins with that.
    try carriesData(try ConnectionPair(prefers([.v2, .v1]), clientTLS: client, serverTLS: server))
    let second = try ConnectionPair(prefers([.v2, .v1]), clientTLS: client, serverTLS: server)
    try carriesData(second)
    #expect(second.see { $0.client.originalVersion } == .v2 && second.see { $0.client.isResumed })
    // A client that speaks version 1 alone cannot use the ticket.
    let third = try ConnectionPair(prefers([.v1]), clientTLS: client, serverTLS: server)
    try carriesData(third)
    #expect(third.see { $0.client.version } == .v1 && !third.see { $0.client.isResumed })
    // One that resumes stays in its version, whatever it prefers.
    let fourth = try ConnectionPair(prefers([.v1]), clientTLS: client, serverTLS: server)
    try carriesData(fourth)
    #expect(fourth.see { $0.client.isResumed })
    let fifth = try ConnectionPair(prefers([.v2, .v1]), clientTLS: client, serverTLS: server)
    try carriesData(fifth)
    #expect(fifth.see { $0.client.version } == .v1 && fifth.see { $0.client.isResumed })
  }

  @Test("RFC 9369 §4.1: a server that chose version 2 reads the Initial packets that the client repeats in version 1")
  func repeatedInitialPacketsOfTheFirstVersionAreRead() throws {
    let pair = try ConnectionPair(prefers([.v2, .v1]))
    pair.filter = { $0.from == .server ? nil : $0 }
    #expect(pair.run { $0.server.version == .v2 })
    let received = pair.see { $0.server.statistics.packetsReceived }
    pair.run(for: .seconds(3))
    #expect(pair.see { $0.client.version } == .v1)
    #expect(pair.see { $0.server.statistics.packetsReceived } > received)
    #expect(pair.see { $0.server.statistics.drops.total } == 0)
    pair.filter = { $0 }
    try carriesData(pair)
    #expect(pair.see { $0.client.version } == .v2)
  }

  // MARK: Downgrades

  @Test("RFC 9368 §4: a client checks that the version it speaks is the one that the server says it chose")
  func theChosenVersionIsChecked() throws {
    for (chosen, isTrue) in [(Version.v1, true), (.v2, false), (Version(rawValue: 0x1a2a_3a4a), false)] {
      let pair = try ConnectionPair(misstating: {
        $0.versionInformation = VersionInformation(chosen: chosen, available: [.v1, .v2])
      })
      #expect(pair.connect() == isTrue)
      #expect(reason(.versionNegotiationError, pair, .client) == !isTrue)
    }
  }

  private func reason(_ code: TransportError.Code, _ pair: ConnectionPair, _ end: ConnectionPair.End) -> Bool {
    let application = end == .client ? pair.clientApplication : pair.serverApplication
    guard case .localTransport(let error)? = application.closeReason else { return false }
    return error.code == code
  }

  @Test("RFC 9368 §4: a client that was moved to a lesser version notices")
  func downgradeIsNoticed() throws {
    // Somebody forged a Version Negotiation packet with version 1 alone; the server speaks both.
    let began = prefers([.v2, .v1], beginning: .v2)
    let restarted = try #require(began.following([.v1]))
    let pair = try ConnectionPair(restarted, prefers([.v1, .v2]))
    pair.run(steps: 1_000) { $0.clientApplication.closeReason != nil }
    #expect(reason(.versionNegotiationError, pair, .client))
  }

  @Test("RFC 9368 §4: a client that begins again because it had to is content")
  func incompatibleNegotiation() throws {
    let began = prefers([.v2, .v1], beginning: .v2)
    let restarted = try #require(began.following([Version(rawValue: 0x1a2a_3a4a), .v1]))
    #expect(restarted.initialVersion == .v1)
    let pair = try ConnectionPair(restarted, prefers([.v1]))
    try carriesData(pair)
    #expect(began.following([Version(rawValue: 0x1a2a_3a4a)]) == nil)
  }

  @Test(
    "RFC 9368 §4: version information that is malformed", arguments: ["1100", "110100", "110400000000", "110800000001"])
  func malformedVersionInformation(encoded: String) throws {
    for sender in [Role.client, .server] {
      let error = #expect(throws: TransportError.self) { try TransportParameters(hex(encoded), from: sender) }
      #expect(error?.code == .transportParameterError)
    }
  }

  @Test("RFC 9368 §4: a client's chosen version is among those available")
  func chosenVersionIsAvailable() throws {
    let encoded = hex("1108000000016b3343cf")
    #expect(throws: TransportError.self) { try TransportParameters(encoded, from: .client) }
    let server = try TransportParameters(encoded, from: .server)
    #expect(server.versionInformation == VersionInformation(chosen: .v1, available: [.v2]))
    #expect(try TransportParameters(server.encoded(), from: .server) == server)
  }
}
