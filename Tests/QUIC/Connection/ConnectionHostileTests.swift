import PacketCrypto
import Testing
import Wire

@testable import QUIC

extension ConnectionPair {
  /// Sends the other end a packet with any frames whatever, sealed as `end` would. One with a long header has a datagram
  /// of full size unless told.
  func inject(
    from end: End = .client, at level: EncryptionLevel = .oneRTT, headerBits: UInt8 = 0, datagramSize: Int = 1_200,
    _ write: (inout ByteWriter) -> Void
  ) {
    var memory = [UInt8](repeating: 0, count: datagramSize)
    let path = end == .client ? client.path : server.path
    let size = memory.withUnsafeMutableBytes { bytes in
      end == .client
        ? Self.craft(&client, level, headerBits, bytes, write) : Self.craft(&server, level, headerBits, bytes, write)
    }
    if level == .oneRTT { memory.removeSubrange(size...) }
    memory.withUnsafeMutableBytes { bytes in
      if end == .client {
        server.receive(bytes, path: Self.reversed(path), ecn: .notECT, now: now)
      } else {
        client.receive(bytes, path: Self.reversed(path), ecn: .notECT, now: now)
      }
    }
    clientApplication.drain(&client)
    serverApplication.drain(&server)
  }

  private static func craft(
    _ connection: inout Connection, _ level: EncryptionLevel, _ headerBits: UInt8,
    _ bytes: UnsafeMutableRawBufferPointer, _ write: (inout ByteWriter) -> Void
  ) -> Int {
    var writer = ByteWriter(bytes)
    let start = connection.beginPacket(level, to: &writer)!
    bytes[0] |= headerBits
    var frames = Connection.framesWriter(writer)
    write(&frames)
    writer.advance(frames.count)
    let size = connection.finishPacket(level, start, &writer)!
    // It will be acknowledged, and must not then seem never to have been sent.
    connection.packetFrames.removeAll()
    connection.note(
      level.packetNumberSpace, start.packetNumber, size: size, isAckEliciting: true, isInFlight: true, ecn: .notECT,
      now: connection.clock)
    return size
  }
}

@Suite struct ConnectionHostileTests {
  struct Attack: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let code: TransportError.Code
    let from: ConnectionPair.End
    let write: @Sendable (inout ByteWriter) -> Void

    init(
      _ name: String, _ code: TransportError.Code, from: ConnectionPair.End = .client,
      _ write: @escaping @Sendable (inout ByteWriter) -> Void
    ) {
      testDescription = name
      self.code = code
      self.from = from
      self.write = write
    }
  }

  private static func id(_ raw: UInt64) -> StreamID { StreamID(rawValue: raw) }

  static let attacks: [Attack] = [
    Attack("HANDSHAKE_DONE from a client", .protocolViolation) { $0.writeHandshakeDone() },
    Attack("NEW_TOKEN from a client", .protocolViolation) { writer in
      [UInt8](repeating: 1, count: 8).withUnsafeBytes { writer.writeNewToken($0) }
    },
    Attack("an ACK of the future", .protocolViolation) { $0.writeAck([5_000...5_000], rawDelay: 0) },
    Attack("a stream beyond the limit", .streamLimitError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(4 * 100), offset: 0, $0) }
    },
    Attack("a server's stream that is not open", .streamStateError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(1), offset: 0, $0) }
    },
    Attack("data on our own one-way stream", .streamStateError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(3), offset: 0, $0) }
    },
    Attack("MAX_STREAM_DATA for the peer's one-way stream", .streamStateError) {
      $0.writeMaxStreamData(id(2), maximum: 9)
    },
    Attack("STOP_SENDING for the peer's one-way stream", .streamStateError) { $0.writeStopSending(id(2), code: 0) },
    Attack("data beyond the stream's window", .flowControlError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: 1 << 20, $0) }
    },
    Attack("data beyond the connection's window", .flowControlError) { writer in
      for stream in 0..<4 {
        [UInt8(1)].withUnsafeBytes { writer.writeStream(id(UInt64(stream) * 4), offset: (1 << 20) - 1, $0) }
      }
    },
    Attack("a reset beyond the window", .flowControlError) {
      $0.writeResetStream(id(0), code: 0, finalSize: 1 << 30)
    },
    Attack("an end before what has come", .finalSizeError) { writer in
      [UInt8(1), 2, 3].withUnsafeBytes { writer.writeStream(id(0), offset: 10, $0) }
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: 0, $0, isFin: true) }
    },
    Attack("data beyond the end", .finalSizeError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: 5, $0, isFin: true) }
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: 8, $0) }
    },
    Attack("a reset that moves the end", .finalSizeError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: 5, $0, isFin: true) }
      writer.writeResetStream(id(0), code: 0, finalSize: 3)
    },
    Attack("an offset beyond 2^62", .frameEncodingError) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: Varint.max, $0) }
    },
    Attack("CRYPTO data far ahead", .cryptoBufferExceeded) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeCrypto(offset: 1 << 20, $0) }
    },
    Attack("retirement of an ID never issued", .protocolViolation) { $0.writeRetireConnectionID(sequence: 99) },
    Attack("too many connection IDs", .connectionIDLimitError) { writer in
      for sequence in 1..<20 {
        writer.writeNewConnectionID(
          sequence: UInt64(sequence) + 50, retirePriorTo: 0,
          connectionID: ConnectionID([UInt8](repeating: UInt8(sequence), count: 8))!,
          resetToken: StatelessResetToken([UInt8](repeating: UInt8(sequence), count: 16))!)
      }
    },
    Attack("one connection ID under two numbers", .protocolViolation) { writer in
      for sequence in [70, 71] {
        writer.writeNewConnectionID(
          sequence: UInt64(sequence), retirePriorTo: 60, connectionID: ConnectionID([1, 2, 3, 4, 5, 6, 7, 8])!,
          resetToken: StatelessResetToken([UInt8](repeating: 3, count: 16))!)
      }
    },
    Attack("a reset of our own one-way stream", .streamStateError) {
      $0.writeResetStream(id(3), code: 0, finalSize: 0)
    },
    Attack("STOP_SENDING for a stream that is not open", .streamStateError) { $0.writeStopSending(id(1), code: 0) },
    Attack("MAX_STREAM_DATA for a stream that is not open", .streamStateError) {
      $0.writeMaxStreamData(id(1), maximum: 9)
    },
    Attack("STREAM_DATA_BLOCKED for our own one-way stream", .streamStateError) {
      $0.writeStreamDataBlocked(id(3), limit: 0)
    },
    Attack("retirement of the ID it came to", .protocolViolation) { $0.writeRetireConnectionID(sequence: 0) },
    Attack("an unknown frame", .frameEncodingError) { $0.writeVarint(0x21) },
    Attack("data on the client's own stream that it has not opened", .streamStateError, from: .server) { writer in
      [UInt8(1)].withUnsafeBytes { writer.writeStream(id(0), offset: 0, $0) }
    },
  ]

  @Test(arguments: attacks) func closesWithTheRightCode(_ attack: Attack) throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    pair.inject(from: attack.from, attack.write)
    let reason = attack.from == .client ? pair.serverApplication.closeReason : pair.clientApplication.closeReason
    guard case .localTransport(let error) = reason else {
      Issue.record("not closed: \(String(describing: reason))")
      return
    }
    #expect(error.code == attack.code, "\(error)")
    // The peer hears of it, unless it has just taken back the ID that it would hear it on.
    if attack.code == .protocolViolation, attack.testDescription.hasPrefix("one connection ID") { return }
    #expect(
      pair.run {
        (attack.from == .client ? $0.clientApplication : $0.serverApplication).closeReason == .peerTransport(error)
      })
  }

  /// RFC 9000 §17.2, §17.3.1: whoever has the keys must not set a reserved bit, in a packet of any kind.
  @Test(arguments: [EncryptionLevel.initial, .handshake, .oneRTT], [ConnectionPair.End.client, .server])
  func setReservedBitsEndTheConnection(level: EncryptionLevel, end: ConnectionPair.End) throws {
    for bits: UInt8 in level == .oneRTT ? [0x08, 0x10, 0x18] : [0x04, 0x08, 0x0c] {
      let pair = try ConnectionPair()
      // Both have the keys of the level, and have not given them up.
      let isReady = pair.run { pair in
        switch level {
        case .initial: pair.see { $0.server.hasProcessedPacket }
        case .handshake: pair.see { $0.client.spaces[1].writeKeys != nil }
        default: pair.see { $0.client.isHandshakeConfirmed && $0.server.isHandshakeConfirmed }
        }
      }
      #expect(isReady)
      func reason() -> CloseReason? {
        (end == .client ? pair.serverApplication : pair.clientApplication).closeReason
      }
      pair.inject(from: end, at: level) { $0.writePing() }
      #expect(reason() == nil)
      pair.inject(from: end, at: level, headerBits: bits) { $0.writePing() }
      guard case .localTransport(let error) = reason() else {
        Issue.record("\(bits): \(String(describing: reason()))")
        continue
      }
      #expect(error.code == .protocolViolation)
    }
  }

  /// RFC 9000 §14.1: a server that knows the connection already drops Initial packets in small datagrams too.
  @Test func initialPacketsInSmallDatagramsAreDropped() throws {
    let pair = try ConnectionPair()
    #expect(pair.run { $0.server.hasProcessedPacket })
    for (size, isTaken) in [(1_199, false), (600, false), (1_200, true)] {
      let before = pair.see { $0.server.statistics.packetsReceived }
      pair.inject(at: .initial, datagramSize: size) { $0.writePing() }
      #expect(pair.see { $0.server.statistics.packetsReceived } == before + (isTaken ? 1 : 0), "\(size)")
    }
    // A client takes them: the server's acknowledgements are no larger.
    let before = pair.see { $0.client.statistics.packetsReceived }
    pair.inject(from: .server, at: .initial, datagramSize: 100) { $0.writePing() }
    #expect(pair.see { $0.client.statistics.packetsReceived } == before + 1)
  }

  /// One-byte frames with gaps must cost neither memory without bound nor the connection's life at once.
  @Test func floodsOfGapsAreBounded() throws {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    var offset: UInt64 = 1
    for _ in 0..<60 {
      pair.inject { writer in
        while writer.remaining > 16 {
          [UInt8(7)].withUnsafeBytes { writer.writeStream(StreamID(rawValue: 0), offset: offset, $0) }
          offset += 2
        }
      }
      if pair.serverApplication.closeReason != nil { break }
    }
    guard case .localTransport(let error) = pair.serverApplication.closeReason else {
      Issue.record("not closed")
      return
    }
    #expect(error.code == .internalError)
  }

  /// Before the client's address is validated a server sends at most three times what it received.
  @Test func serverIsBoundByTheAntiAmplificationLimit() throws {
    let pair = try ConnectionPair()
    var received = 0
    var sent = 0
    var first = true
    // Only the very first datagram of the client's arrives.
    pair.filter = { datagram in
      if datagram.from == .client {
        if !first { return nil }
        first = false
        received += datagram.bytes.count
        return datagram
      }
      sent += datagram.bytes.count
      return nil
    }
    pair.run(for: .seconds(8))
    #expect(received > 0)
    #expect(sent <= 3 * received)
  }

  /// RFC 9002 §6.2.2.1: the server has spent its allowance, and all of it was lost. Only the client can go on.
  @Test func clientBreaksTheAmplificationDeadlock() throws {
    let pair = try ConnectionPair()
    var lost = 0
    pair.filter = { datagram in
      if datagram.from == .server, lost < 6 {
        lost += 1
        return nil
      }
      return datagram
    }
    #expect(pair.connect())
  }

  /// Datagrams with bits flipped anywhere, at every stage of a connection: nothing traps and the connection lives.
  @Test(arguments: 0..<8) func mutatedDatagramsHarmNothing(seed: Int) throws {
    let pair = try ConnectionPair(seed: UInt64(seed))
    let dice = SeededEntropy(seed: UInt64(seed) &+ 500)
    pair.filter = { [unowned pair] datagram in
      for _ in 0..<4 {
        var mutant = datagram
        mutant.arrival += .microseconds(1)
        switch dice.nextUInt64() % 3 {
        case 0:
          let at = Int(dice.nextUInt64() % UInt64(mutant.bytes.count))
          mutant.bytes[at] ^= UInt8(truncatingIfNeeded: dice.nextUInt64() | 1)
        case 1:
          mutant.bytes.removeLast(Int(dice.nextUInt64() % UInt64(mutant.bytes.count)))
        default:
          for index in mutant.bytes.indices.suffix(Int(dice.nextUInt64() % UInt64(mutant.bytes.count))) {
            mutant.bytes[index] = UInt8(truncatingIfNeeded: dice.nextUInt64())
          }
        }
        pair.insert(mutant)
      }
      return datagram
    }
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = TestApplication.Outgoing(total: 100_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    #expect(pair.serverApplication.corrupt == 0)
    #expect(pair.see { $0.server.statistics.drops.total } > 100)
  }

  /// Any frames at all from an authentic peer, by chance: closed with an error at worst.
  @Test(arguments: 0..<4) func randomFramesNeverTrap(seed: Int) throws {
    let dice = SeededEntropy(seed: UInt64(seed) &+ 9_000)
    for _ in 0..<150 {
      let pair = try ConnectionPair(seed: UInt64(seed))
      guard pair.connect() else {
        Issue.record("no handshake")
        return
      }
      for _ in 0..<20 where pair.serverApplication.closeReason == nil {
        pair.inject { writer in
          let size = Int(dice.nextUInt64() % 60) + 1
          for _ in 0..<size {
            let byte = UInt8(truncatingIfNeeded: dice.nextUInt64())
            // Mostly small values: known frame types, short varints.
            writer.write(dice.nextUInt64() % 3 == 0 ? byte : byte & 0x1f)
          }
        }
        pair.flush()
      }
      pair.run(for: .milliseconds(200))
    }
  }
}
