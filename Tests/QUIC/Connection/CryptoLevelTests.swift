import PacketCrypto
import QUICTLS
import Testing
import Wire

@testable import QUIC

/// At which encryption level what may be read (RFC 9001 §4.1.3, §5.7).
@Suite struct CryptoLevelTests {
  private static func expectViolation(_ reason: CloseReason?, _ about: String) {
    guard case .localTransport(let error) = reason else {
      Issue.record("\(about): not closed, but \(String(describing: reason))")
      return
    }
    #expect(error.code == .protocolViolation, "\(about): \(error)")
  }

  private static func writeCrypto(_ writer: inout ByteWriter, at offset: UInt64) {
    [UInt8](repeating: 0, count: 10).withUnsafeBytes { writer.writeCrypto(offset: offset, $0) }
  }

  /// What waits beyond a gap is left over when the ClientHello before it has been read.
  @Test func dataBeyondAGapIsLeftOver() throws {
    let pair = try ConnectionPair()
    pair.inject(at: .initial) { Self.writeCrypto(&$0, at: 50_000) }
    #expect(pair.serverApplication.closeReason == nil)
    pair.run { $0.serverApplication.closeReason != nil }
    Self.expectViolation(pair.serverApplication.closeReason, "left over")
  }

  @Test(arguments: [ConnectionPair.End.client, .server])
  func aLevelThatIsOverBringsNothingNew(from end: ConnectionPair.End) throws {
    for isNew in [false, true] {
      let pair = try ConnectionPair()
      // Of the server's first datagram the Initial packet comes alone, so that the client has nothing to say at the next
      // level, and keeps its Initial keys.
      pair.filter = { datagram in
        guard datagram.from == .server else { return datagram }
        var first = datagram
        let header = datagram.bytes.withUnsafeBytes { try? PacketHeader($0, shortIDLength: 8, takesAnyFixedBit: true) }
        guard header?.type == .initial, let length = header?.packetLength else { return nil }
        first.bytes.removeSubrange(length...)
        return first
      }
      pair.run { end == .client ? $0.server.spaces[1].readKeys != nil : $0.client.spaces[1].readKeys != nil }
      #expect(pair.see { !$0.client.spaces[0].isDiscarded && !$0.server.spaces[0].isDiscarded })
      let received = pair.see {
        end == .client
          ? $0.server.spaces[0].cryptoReceive.contiguousEnd : $0.client.spaces[0].cryptoReceive.contiguousEnd
      }
      #expect(received > 10)
      pair.inject(from: end, at: .initial) { Self.writeCrypto(&$0, at: isNew ? received : received - 10) }
      let reason = end == .client ? pair.serverApplication.closeReason : pair.clientApplication.closeReason
      if isNew {
        Self.expectViolation(reason, "\(end)")
      } else {
        // What has come before may come again.
        #expect(reason == nil)
      }
    }
  }

  /// A client whose TLS gave it 1-RTT keys before it was done with the handshake keeps what comes for them.
  @Test func aClientReadsNothingBeforeTheHandshakeIsComplete() throws {
    var tls: MisstatingTLS?
    let pair = try ConnectionPair(clientSession: { session in
      let hiding = MisstatingTLS(session)
      hiding.hidesCompletion = true
      tls = hiding
      return hiding
    })
    pair.run(steps: 200) { $0.client.oneRTT?.readHeader != nil }
    let id = try #require(pair.open(.server, .unidirectional))
    pair.serverApplication.outgoing[id] = .init(total: 100, finish: true)
    pair.run(for: .milliseconds(200))
    #expect(pair.see { $0.client.oneRTT?.readHeader != nil && !$0.client.isHandshakeComplete })
    #expect(pair.see { !$0.client.undecryptable.isEmpty })
    #expect(pair.see { $0.client.spaces[2].received.largest } == nil)
    #expect(pair.clientApplication.received.isEmpty)
    // As soon as it is complete, what was kept is read.
    tls?.hidesCompletion = false
    pair.client.attempt { connection throws(TransportError) in try connection.advanceHandshake() }
    #expect(pair.run(steps: 200) { $0.clientApplication.finished.contains(id) })
    #expect(pair.connect())
  }

  /// The same with TLS as it is: of a server's first flight the last handshake message comes late.
  @Test func whatOvertakesTheServersFinishedWaits() throws {
    let pair = try ConnectionPair()
    var late = 0
    pair.filter = { datagram in
      // Handshake packets, alone or behind an Initial packet, are held up.
      guard datagram.from == .server, datagram.bytes[0] & 0x80 != 0, datagram.index > 0 else { return datagram }
      late += 1
      var later = datagram
      later.arrival += .milliseconds(40)
      return later
    }
    #expect(pair.run { $0.serverApplication.has(.earlyDataReady) })
    let id = try #require(pair.open(.server, .unidirectional))
    pair.serverApplication.outgoing[id] = .init(total: 100, finish: true)
    pair.run(for: .milliseconds(20))
    #expect(late > 0 && pair.see { !$0.client.isHandshakeComplete && !$0.client.undecryptable.isEmpty })
    #expect(pair.clientApplication.received.isEmpty)
    #expect(pair.run { $0.clientApplication.finished.contains(id) })
    #expect(pair.see { $0.client.isHandshakeComplete })
  }
}
