import PacketCrypto
import QUICTLS
import Testing
import Wire

@testable import QUIC

/// What the long headers of a handshake say: connection IDs and tokens (RFC 9000 §7.2, §8.1, §17.2.5).
@Suite struct LongHeaderTests {
  private struct Header {
    var type: PacketType
    var destination: ConnectionID
    var source: ConnectionID
    var token: [UInt8]
    var bytes: [UInt8]
  }

  /// The packets of a datagram, as far as they have long headers.
  private static func headers(_ datagram: [UInt8]) throws -> [Header] {
    var found: [Header] = []
    var at = 0
    while at < datagram.count, datagram[at] & 0x80 != 0 {
      let rest = Array(datagram[at...])
      let header = try rest.withUnsafeBytes { bytes in
        let header = try PacketHeader(bytes, shortIDLength: 8, takesAnyFixedBit: true)
        return (
          Header(
            type: header.type, destination: header.destinationID, source: header.sourceID,
            token: [UInt8](header.token), bytes: [UInt8](bytes[..<header.packetLength])), header.packetLength
        )
      }
      found.append(header.0)
      at += header.1
    }
    return found
  }

  // MARK: Connection IDs

  /// Until it hears from the server a client keeps to the ID that it made up, however often it must repeat itself; the
  /// server answers to the client's own.
  @Test func theFirstIDsAreKept() throws {
    let pair = try ConnectionPair()
    pair.keepsLog = true
    pair.filter = { $0.from == .server ? nil : $0 }
    pair.run(for: .seconds(5))
    let client = try pair.log.filter { $0.from == .client }.flatMap { try Self.headers($0.bytes) }
    let server = try pair.log.filter { $0.from == .server }.flatMap { try Self.headers($0.bytes) }
    #expect(client.count > 4 && Set(client.map(\.destination)).count == 1 && Set(client.map(\.source)).count == 1)
    #expect(client[0].destination.length >= 8)
    #expect(server.count > 2 && server.allSatisfy { $0.destination == client[0].source })
    #expect(Set(server.map(\.source)).count == 1 && server[0].source != client[0].destination)
    // It changes to the server's ID with the first packet from there, and not again.
    pair.log = []
    pair.filter = { $0 }
    #expect(pair.connect())
    let later = try pair.log.filter { $0.from == .client }.flatMap { try Self.headers($0.bytes) }
    let changed = try #require(later.firstIndex { $0.destination == server[0].source })
    #expect(later[..<changed].allSatisfy { $0.destination == client[0].destination })
    #expect(later[changed...].allSatisfy { $0.destination == server[0].source })
    #expect(later.allSatisfy { $0.source == client[0].source })
  }

  /// Each end checks the other's parameters against the IDs of its packets: the server those of the client too.
  @Test func aServerAuthenticatesTheClientsID() throws {
    let other = ConnectionID([1, 2, 3, 4, 5, 6, 7, 8])
    let changes: [(inout TransportParameters) -> Void] = [
      { $0.initialSourceConnectionID = nil }, { $0.initialSourceConnectionID = other },
    ]
    for change in changes {
      let pair = try ConnectionPair(clientSession: { MisstatingTLS($0, change) })
      #expect(!pair.connect())
      guard case .localTransport(let error) = pair.serverApplication.closeReason else {
        Issue.record("not closed: \(String(describing: pair.serverApplication.closeReason))")
        continue
      }
      #expect(error.code == .transportParameterError)
    }
  }

  /// A client sends none of the parameters that are a server's alone, whatever its configuration has.
  @Test func aClientSendsNoParametersOfAServer() throws {
    var configuration = Configuration()
    configuration.statelessResetKey = [UInt8](repeating: 1, count: 32)
    configuration.preferredAddresses = [SocketAddress("203.0.113.80:443")!]
    configuration.addressTokens = AddressTokens(entropy: SeededEntropy(seed: 1))
    let pair = try ConnectionPair(configuration, configuration)
    let parameters = pair.see { $0.client.ourTransportParameters() }
    #expect(parameters.originalDestinationConnectionID == nil && parameters.preferredAddress == nil)
    #expect(parameters.retrySourceConnectionID == nil && parameters.statelessResetToken == nil)
    // And what it does send a server takes, each parameter once.
    #expect(throws: Never.self) { try TransportParameters(parameters.encoded(), from: .client) }
    let servers = pair.see { $0.server.ourTransportParameters().encoded() }
    #expect(throws: Never.self) { try TransportParameters(servers, from: .server) }
    // Three one-way streams at least: what HTTP/3 needs (RFC 9114 §6.2).
    #expect(parameters.initialMaxStreamsUni >= 3)
    #expect(pair.see { $0.server.ourTransportParameters().initialMaxStreamsUni } >= 3)
    #expect(pair.connect())
  }

  /// RFC 9000 §5.2.1: to a client that speaks version 1 alone an Initial packet of version 2 says nothing, though anyone who
  /// has seen its first packet can make an authentic one.
  @Test(arguments: [true, false]) func packetsOfAnotherVersionAreDropped(speaksBoth: Bool) throws {
    var configuration = Configuration()
    configuration.versions = speaksBoth ? [.v1, .v2] : [.v1]
    let pair = try ConnectionPair(configuration)
    pair.filter = { _ in nil }
    pair.flush()
    let (original, source) = pair.see { ($0.client.originalDestinationID, $0.client.localIDs.first) }
    pair.server = Connection(
      server: Configuration(), tls: try ConnectionFixture.server().makeSession(),
      path: ConnectionPair.reversed(ConnectionPair.clientPath),
      initial: InitialRequest(destinationID: original, sourceID: source, version: .v2), now: pair.now,
      entropy: SeededEntropy(seed: 99))
    pair.inject(from: .server, at: .initial) { $0.writePing() }
    #expect(pair.see { $0.client.statistics.packetsReceived } == (speaksBoth ? 1 : 0))
    #expect(pair.see { !$0.client.isClosed && $0.client.version == (speaksBoth ? .v2 : .v1) })
  }

  // MARK: Retry and tokens

  private func retrying() throws -> EndpointPair {
    var settings = Endpoint<Int>.Configuration(acceptsConnections: true)
    settings.retry = .always
    return try EndpointPair(settings)
  }

  private func timeOut(_ pair: EndpointPair) {
    guard let deadline = pair.client.deadline else { return }
    pair.now = deadline
    pair.client.handleTimeout(now: deadline)
  }

  /// After a Retry every Initial packet has its token and goes to its ID, with the same ClientHello from the same ID.
  @Test func whatARetryChanges() throws {
    let pair = try retrying()
    let first = pair.fromClient()
    let before = try first.flatMap { try Self.headers($0) }
    #expect(before.allSatisfy { $0.token.isEmpty })
    let (_, retry) = pair.route(first[0])
    let header = try #require(try Self.headers(retry).first)
    #expect(header.type == .retry && header.destination == before[0].source)
    #expect(header.source != before[0].destination && !header.token.isEmpty)
    pair.toClient(retry)
    var after = try pair.fromClient().flatMap { try Self.headers($0) }
    // And again, when nothing comes of that.
    for _ in 0..<3 {
      timeOut(pair)
      after += try pair.fromClient().flatMap { try Self.headers($0) }
    }
    #expect(after.count > before.count + 3)
    for packet in after {
      #expect(packet.type == .initial && packet.token == header.token)
      #expect(packet.destination == header.source && packet.source == before[0].source)
    }
    // The same handshake message: what the client keeps to send again begins and ends as before.
    #expect(Self.hello(first, destination: before[0].destination) != nil)
    let again = after.prefix(before.count).map(\.bytes)
    #expect(
      Self.hello(again, destination: header.source) == Self.hello(first, destination: before[0].destination))
  }

  /// The ClientHello that Initial packets carry.
  private static func hello(_ datagrams: [[UInt8]], destination: ConnectionID) -> [UInt8]? {
    let secrets = destination.withUnsafeBytes { InitialSecrets(destinationConnectionID: $0) }
    let keys = ProtectionKeys(suite: InitialSecrets.suite, secret: secrets.client, version: .v1)
    var message: [UInt8] = []
    for datagram in datagrams {
      var copy = datagram
      let isRead = copy.withUnsafeMutableBytes { bytes -> Bool in
        guard let header = try? PacketHeader(UnsafeRawBufferPointer(bytes), shortIDLength: 8) else { return false }
        let packet = UnsafeMutableRawBufferPointer(rebasing: bytes[..<header.packetLength])
        guard let plain = keys.header.unprotect(packet, packetNumberOffset: header.packetNumberOffset),
          let payload = keys.packet.open(
            packet, headerLength: plain.headerLength, packetNumber: UInt64(plain.truncatedPacketNumber))
        else { return false }
        var reader = FrameReader(UnsafeRawBufferPointer(payload), level: .initial)
        while let frame = try? reader.next() {
          guard case .crypto(let offset, let data) = frame else { continue }
          let end = Int(offset) + data.count
          if message.count < end { message += [UInt8](repeating: 0, count: end - message.count) }
          message.replaceSubrange(Int(offset)..<end, with: data)
        }
        return true
      }
      guard isRead else { return nil }
    }
    return message
  }

  /// A client ignores the bits of a Retry that mean nothing.
  @Test func theUnusedBitsOfARetryAreIgnored() throws {
    final class Constant: EntropySource {
      let byte: UInt8
      init(_ byte: UInt8) { self.byte = byte }
      func fill(_ buffer: UnsafeMutableRawBufferPointer) { for index in buffer.indices { buffer[index] = byte } }
    }
    let (client, server) = (ConnectionID([1, 1, 1, 1])!, ConnectionID([2, 2, 2, 2])!)
    let original = ConnectionID([UInt8](repeating: 3, count: 8))!
    for bits: UInt8 in 0..<16 {
      var memory = [UInt8](repeating: 0, count: 200)
      let count = memory.withUnsafeMutableBytes { bytes in
        var writer = ByteWriter(bytes)
        [UInt8(9), 9].withUnsafeBytes {
          Retry.write(
            to: &writer, destinationID: client, sourceID: server, originalDestinationID: original, token: $0,
            entropy: Constant(bits))
        }
        return writer.count
      }
      #expect(memory[0] & 0x0f == bits)
      let isValid = try memory[..<count].withUnsafeBytes { bytes in
        let header = try PacketHeader(bytes, shortIDLength: 8)
        return Retry.isValid(bytes, header: header, originalDestinationID: original)
      }
      #expect(isValid)
    }
  }

  /// A Retry that leaves the client with the ID that it made up is none, however well it is sealed.
  @Test func aRetryThatChangesNoIDIsDropped() throws {
    let (client, original) = (ConnectionID([1, 1, 1, 1])!, ConnectionID([UInt8](repeating: 3, count: 8))!)
    for (source, isTaken) in [(original, false), (ConnectionID([2, 2, 2, 2])!, true)] {
      var memory = [UInt8](repeating: 0, count: 200)
      let count = memory.withUnsafeMutableBytes { bytes in
        var writer = ByteWriter(bytes)
        [UInt8(9), 9].withUnsafeBytes {
          Retry.write(
            to: &writer, destinationID: client, sourceID: source, originalDestinationID: original, token: $0,
            entropy: SeededEntropy(seed: 1))
        }
        return writer.count
      }
      let isValid = try memory[..<count].withUnsafeBytes { bytes in
        Retry.isValid(bytes, header: try PacketHeader(bytes, shortIDLength: 8), originalDestinationID: original)
      }
      #expect(isValid == isTaken)
    }
  }

  /// RFC 9000 §8.1.4: a token that comes from another address than it went to proves nothing: the limit holds.
  @Test func aTokenFromAnotherAddressLeavesTheLimit() throws {
    var settings = Endpoint<Int>.Configuration(acceptsConnections: true)
    settings.retry = .never
    let pair = try EndpointPair(settings)
    pair.run()
    let token = try #require(pair.token)
    for (address, isValidated) in [("203.0.113.9:40000", false), ("192.0.2.1:41000", true)] {
      pair.now += .seconds(1)
      try pair.connectAgain(token: token)
      let first = try #require(pair.fromClient().first)
      let path = Path(local: ConnectionPair.clientPath.remote, remote: SocketAddress(address)!)
      var reply = [UInt8](repeating: 0, count: 1_500)
      let route = first.withUnsafeBytes { bytes in
        reply.withUnsafeMutableBytes { pair.endpoint.route(bytes, from: path, now: pair.now, reply: $0) }
      }
      guard case .accept(let request) = route else {
        Issue.record("\(route)")
        continue
      }
      #expect(request.isAddressValidated == isValidated)
      let connection = Connection(
        server: pair.serverConfiguration, tls: pair.tls.makeSession(), path: path, initial: request, now: pair.now,
        entropy: SeededEntropy(seed: 6))
      let allowance = connection.active.sendAllowance
      #expect(allowance == (isValidated ? .max : 0))
    }
  }

  /// A token from NEW_TOKEN is in every Initial packet, until a Retry brings another. That one is never given to the
  /// application, which alone could use it again.
  @Test func tokensGoIntoEveryInitialPacket() throws {
    let pair = try retrying()
    let first = pair.fromClient()
    let (_, retry) = pair.route(first[0])
    let ofRetry = try #require(try Self.headers(retry).first).token
    pair.toClient(retry)
    pair.run()
    let given = pair.clientEvents.compactMap { if case .tokenReceived(let token) = $0 { token } else { nil } }
    #expect(given.count == 1 && !given.contains(ofRetry))
    pair.now += .seconds(1)
    try pair.connectAgain(token: given[0])
    var packets = try pair.fromClient().flatMap { try Self.headers($0) }
    for _ in 0..<2 {
      timeOut(pair)
      packets += try pair.fromClient().flatMap { try Self.headers($0) }
    }
    #expect(packets.count > 3 && packets.allSatisfy { $0.token == given[0] })
    // An endpoint that knows nothing of that token asks for a proof all the same.
    var settings = Endpoint<Int>.Configuration(acceptsConnections: true)
    settings.retry = .always
    pair.endpoint = Endpoint(settings, entropy: SeededEntropy(seed: 77))
    let (_, another) = pair.route(packets[0].bytes)
    let newer = try #require(try Self.headers(another).first).token
    pair.toClient(another)
    #expect(try pair.fromClient().flatMap(Self.headers).allSatisfy { $0.token == newer })
  }

  /// Tokens of one client have no bytes in common, and show nothing of what is in them.
  @Test func tokensCannotBeLinked() {
    let entropy = SeededEntropy(seed: 2)
    let tokens = AddressTokens(entropy: entropy)
    let address = IPAddress("203.0.113.7")!
    let sealed = (0..<200).map { _ in tokens.sealNewToken(to: address, version: .v1, now: .zero, entropy: entropy) }
    #expect(Set(sealed).count == sealed.count)
    for position in sealed[0].indices {
      let counts = Dictionary(sealed.map { ($0[position], 1) }, uniquingKeysWith: +)
      #expect(counts.values.max()! < 10, "byte \(position)")
    }
    let plain = address.networkBytes
    for token in sealed {
      for start in 0...(token.count - plain.count) { #expect(Array(token[start..<start + plain.count]) != plain) }
    }
  }

  // MARK: The server's first answer is lost

  /// A client that has Handshake keys breaks the deadlock with a Handshake packet, one that has none with a whole Initial
  /// datagram, though it has nothing in flight.
  @Test func aProbeThatBreaksTheDeadlockIsOfTheRightKind() throws {
    for hasKeys in [false, true] {
      let pair = try ConnectionPair()
      pair.keepsLog = true
      pair.filter = { datagram in
        guard datagram.from == .server else { return datagram }
        // The Initial packets alone, with the ServerHello, or nothing.
        guard hasKeys, let first = try? Self.headers(datagram.bytes).first, first.type == .initial else { return nil }
        var cut = datagram
        cut.bytes = first.bytes
        return cut
      }
      pair.run { $0.client.spaces[1].readKeys != nil || $0.now > Instant(nanoseconds: 1_100_000_000) }
      #expect(pair.see { $0.client.spaces[1].writeKeys != nil } == hasKeys)
      pair.log = []
      pair.run(for: .seconds(3))
      let probes = pair.log.filter { $0.from == .client }
      let packets = try probes.flatMap { try Self.headers($0.bytes) }
      #expect(!packets.isEmpty)
      if hasKeys {
        #expect(packets.contains { $0.type == .handshake })
      } else {
        #expect(packets.allSatisfy { $0.type == .initial } && probes.allSatisfy { $0.bytes.count >= 1_200 })
      }
    }
  }
}
