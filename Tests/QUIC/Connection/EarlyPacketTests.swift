import QUICTLS
import Testing
import Wire

@testable import QUIC

/// What goes by which parameters and keys before the handshake is complete (RFC 9000 §7.4.1, RFC 9001 §4.9.3, §5.7).
@Suite struct EarlyPacketTests {
  private func acquainted(
    _ server: Configuration, offers: Bool = true
  ) throws -> (ClientTLSContext, ServerTLSContext) {
    let clientTLS = try ConnectionFixture.client(offersEarlyData: offers)
    let serverTLS = try ConnectionFixture.server(earlyDataContext: [1])
    let pair = try ConnectionPair(Configuration(), server, clientTLS: clientTLS, serverTLS: serverTLS)
    #expect(pair.connect())
    pair.run(for: .milliseconds(100))
    return (clientTLS, serverTLS)
  }

  /// Of the server's parameters the limits are remembered, and none that belongs to one connection.
  @Test func limitsAreRememberedAndNothingElse() throws {
    var server = Configuration()
    server.ackDelay = .milliseconds(77)
    server.initialMaxData = 123_456
    server.maxStreamsBidi = 17
    server.maxDatagramFrameSize = 1_000
    server.statelessResetKey = [UInt8](repeating: 1, count: 32)
    server.preferredAddresses = [SocketAddress("203.0.113.80:443")!]
    let (clientTLS, serverTLS) = try acquainted(server)
    let pair = try ConnectionPair(Configuration(), server, clientTLS: clientTLS, serverTLS: serverTLS, seed: 2)
    let remembered = try #require(pair.see { $0.client.rememberedParameters })
    #expect(remembered.initialMaxData == 123_456 && remembered.initialMaxStreamsBidi == 17)
    #expect(remembered.maxDatagramFrameSize == 1_000)
    let absent = TransportParameters()
    #expect(remembered.maxAckDelay == absent.maxAckDelay && remembered.ackDelayExponent == absent.ackDelayExponent)
    #expect(remembered.initialSourceConnectionID == nil && remembered.originalDestinationConnectionID == nil)
    #expect(remembered.preferredAddress == nil && remembered.statelessResetToken == nil)
    #expect(remembered.retrySourceConnectionID == nil && remembered.minAckDelay == nil)
    // What the server says now holds as soon as it is heard.
    #expect(pair.connect())
    #expect(pair.see { $0.client.rememberedParameters } == nil)
    #expect(pair.see { $0.client.peerTransportParameters?.maxAckDelay } == 77)
    #expect(pair.see { $0.client.recovery.peerMaxAckDelay } == .milliseconds(77))
  }

  /// RFC 9000 §7.4.1, RFC 9221 §3: whichever limit a server has lowered since, the ticket's early data no longer suits it.
  @Test func everyLimitCountsForEarlyData() {
    let changes: [(inout Configuration) -> Void] = [
      { $0.activeConnectionIDLimit -= 1 }, { $0.initialMaxData -= 1 }, { $0.initialMaxStreamDataBidiLocal -= 1 },
      { $0.initialMaxStreamDataBidiRemote -= 1 }, { $0.initialMaxStreamDataUni -= 1 }, { $0.maxStreamsBidi -= 1 },
      { $0.maxStreamsUni -= 1 }, { $0.maxDatagramFrameSize -= 1 }, { $0.maxUDPPayloadSize -= 1 },
    ]
    var seen: Set<[UInt8]> = [Configuration().earlyDataContext]
    for change in changes {
      var lower = Configuration()
      change(&lower)
      #expect(seen.insert(lower.earlyDataContext).inserted)
    }
    // What no early data goes by does not count.
    var other = Configuration()
    other.maxIdleTimeout = .seconds(1)
    other.ackDelay = .milliseconds(3)
    #expect(other.earlyDataContext == Configuration().earlyDataContext)
  }

  /// A ticket alone does not make a client send early data: someone must have asked for it.
  @Test func earlyDataIsSentOnlyWhereItWasAskedFor() throws {
    let (clientTLS, serverTLS) = try acquainted(Configuration(), offers: false)
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 3)
    pair.flush()
    #expect(!pair.clientApplication.has(.earlyDataReady))
    #expect(pair.open(.client) == nil && pair.see { $0.client.earlyKeys == nil })
    #expect(pair.connect())
    #expect(pair.see { $0.client.tls.isResumed && $0.client.earlyData == .notOffered })
  }

  /// A client gives up the keys of 0-RTT with its first of 1-RTT, a server three probe timeouts after the handshake.
  @Test func earlyKeysDoNotLast() throws {
    let (clientTLS, serverTLS) = try acquainted(Configuration())
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 4)
    pair.flush()
    #expect(pair.see { $0.client.earlyKeys != nil })
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 3_000, finish: true)
    pair.run { $0.client.oneRTT != nil }
    #expect(pair.see { $0.client.earlyKeys == nil && $0.server.earlyKeys != nil })
    // The same packet may bring the round trip that the probe timeout is made of.
    var period = Interval.zero
    pair.run { pair in
      period = max(period, pair.see { $0.server.recovery.probeTimeout * 3 })
      return pair.server.isHandshakeComplete
    }
    let start = pair.now
    #expect(pair.see { $0.server.earlyKeys != nil })
    pair.run { $0.server.earlyKeys == nil }
    #expect(pair.see { $0.server.earlyKeys == nil } && pair.now - start <= period)
  }

  /// 0-RTT packets that arrive when the handshake is over, overtaken on their way, are read all the same.
  @Test func overtakenEarlyPacketsAreRead() throws {
    let (clientTLS, serverTLS) = try acquainted(Configuration())
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 5)
    pair.flush()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 700, finish: true)
    var arrival: Instant?
    pair.filter = { datagram in
      guard datagram.from == .client, arrival == nil, datagram.bytes[0] & 0xb0 == 0x90 else { return datagram }
      var late = datagram
      late.arrival += .milliseconds(25)
      arrival = late.arrival
      return late
    }
    #expect(pair.run { $0.server.isHandshakeComplete })
    #expect(pair.serverApplication.received[id] == nil)
    #expect(pair.run { $0.serverApplication.received[id] != nil })
    // It is that packet, before the client can have sent anything again.
    #expect(try pair.now == #require(arrival))
    #expect(pair.serverApplication.received[id] == 700)
  }

  /// After a Retry a client sends again what its 0-RTT packets carried, for the server has not kept it.
  @Test func earlyDataIsSentAgainAfterARetry() throws {
    let (clientTLS, serverTLS) = try acquainted(Configuration())
    let pair = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS, seed: 6)
    let (original, source) = pair.see { ($0.client.originalDestinationID, $0.client.localIDs.first) }
    let chosen = ConnectionID([UInt8](repeating: 0x2e, count: 8))!
    // A server that asks for a Retry forgets what came before it.
    pair.filter = { _ in nil }
    pair.flush()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 3_000, finish: true)
    pair.flush()
    let sent = pair.see { $0.client.spaces[2].nextPacketNumber }
    #expect(sent > 0)
    var memory = [UInt8](repeating: 0, count: 200)
    memory.withUnsafeMutableBytes { bytes in
      var writer = ByteWriter(bytes)
      [UInt8](repeating: 1, count: 30).withUnsafeBytes {
        Retry.write(
          to: &writer, destinationID: source, sourceID: chosen, originalDestinationID: original, token: $0,
          entropy: SeededEntropy(seed: 1))
      }
      let packet = UnsafeMutableRawBufferPointer(rebasing: bytes[..<writer.count])
      pair.client.receive(packet, path: ConnectionPair.clientPath, ecn: .notECT, now: pair.now)
    }
    pair.server = Connection(
      server: Configuration(), tls: serverTLS.makeSession(), path: ConnectionPair.reversed(ConnectionPair.clientPath),
      initial: InitialRequest(
        destinationID: chosen, sourceID: source, originalDestinationID: original, retrySourceID: chosen,
        isAddressValidated: true),
      now: pair.now, entropy: SeededEntropy(seed: 99))
    pair.serverApplication = TestApplication()
    pair.filter = { $0 }
    #expect(pair.run(steps: 2_000) { $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.received[id] == 3_000 && pair.serverApplication.corrupt == 0)
    #expect(pair.connect())
    #expect(pair.see { $0.client.earlyData } == .accepted)
  }

  /// What a client sends with 1-RTT keys waits at a server that has not seen the client's Finished.
  @Test func aServerReadsNothingBeforeTheHandshakeIsComplete() throws {
    let pair = try ConnectionPair()
    var held = 0
    pair.filter = { [unowned pair] datagram in
      guard datagram.from == .client else { return datagram }
      // The client's Handshake packets are cut out, and come later; what is coalesced with them goes on.
      var (late, rest) = (datagram, datagram)
      late.bytes = []
      var at = 0
      while at < rest.bytes.count, rest.bytes[at] & 0x80 != 0,
        let header = rest.bytes[at...].withUnsafeBytes({
          try? PacketHeader($0, shortIDLength: 8, takesAnyFixedBit: true)
        })
      {
        if header.type == .handshake {
          late.bytes += rest.bytes[at..<at + header.packetLength]
          rest.bytes.removeSubrange(at..<at + header.packetLength)
        } else {
          at += header.packetLength
        }
      }
      guard !late.bytes.isEmpty else { return datagram }
      held += 1
      late.arrival += .milliseconds(40)
      pair.insert(late)
      return rest.bytes.isEmpty ? nil : rest
    }
    #expect(pair.run { $0.client.isHandshakeComplete })
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 500, finish: true)
    pair.run(for: .milliseconds(20))
    #expect(held > 0 && pair.see { $0.server.oneRTT != nil && !$0.server.isHandshakeComplete })
    #expect(pair.see { !$0.server.undecryptable.isEmpty })
    #expect(pair.serverApplication.received.isEmpty)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.see { $0.server.isHandshakeComplete })
  }
}
