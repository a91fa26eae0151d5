import QUIC
import Testing
import Wire

/// Datagrams that were damaged on purpose, and packets whose author knows the keys.
@Suite struct HostileSimulationTests {
  /// Copies of genuine datagrams, cut, lengthened, spliced and flipped, change nothing.
  @Test(arguments: 0..<10 as Range<UInt64>) func damagedCopiesChangeNothing(block: UInt64) {
    for seed in block * 100..<(block + 1) * 100 {
      var dice = Dice(seed: seed)
      var scenario = Scenario(seed: seed)
      scenario.plan = TransferPlan(streams: 2, bytes: 3000, datagrams: 3)
      scenario.handshake.serverFlight = 500 + Int(dice.below(5000))
      scenario.retry = dice.chance(0.3) ? .always : .never
      let luck = dice
      scenario.expectHolds {
        var dice = luck
        let network = $0.makeNetwork()
        var former: [[UInt8]] = []
        network.interceptor = { _, datagram in
          var delivered = [datagram]
          for _ in 0..<dice.below(4) {
            var copy = datagram
            copy.bytes = Self.damage(datagram.bytes, former, &dice)
            delivered.append(copy)
          }
          if former.count < 8 { former.append(datagram.bytes) }
          return delivered
        }
        network.runToTheEnd()
        return network.verdict
      }
    }
  }

  private static func damage(_ bytes: [UInt8], _ former: [[UInt8]], _ dice: inout Dice) -> [UInt8] {
    var bytes = bytes
    switch dice.below(6) {
    case 0:
      bytes.removeLast(Int(dice.below(UInt64(bytes.count))))
    case 1:
      for _ in 0..<1 + dice.below(64) { bytes.append(UInt8(truncatingIfNeeded: dice.next())) }
    case 2:
      if let other = former.randomElement(&dice) {
        let cut = Int(dice.below(UInt64(min(bytes.count, other.count))))
        bytes = Array(bytes[..<cut] + other[cut...])
      }
    case 3:
      // Headers decide the most.
      bytes[Int(dice.below(UInt64(min(bytes.count, 40))))] = UInt8(truncatingIfNeeded: dice.next())
    default: break
    }
    guard !bytes.isEmpty else { return bytes }
    for _ in 0..<1 + dice.below(3) {
      bytes[Int(dice.below(UInt64(bytes.count)))] ^= UInt8(1) << UInt8(dice.below(8))
    }
    return bytes
  }

  /// A peer that knows the keys may end the connection, and nothing else.
  @Test(arguments: 0..<20 as Range<UInt64>) func forgedFramesEndTheConnectionAtMost(block: UInt64) {
    var codes: [TransportError.Code: Int] = [:]
    for seed in block * 50..<(block + 1) * 50 {
      var dice = Dice(seed: seed ^ 0xabcd)
      var scenario = Scenario(seed: seed)
      scenario.plan = TransferPlan(streams: 2, bytes: 20_000, datagrams: 3)
      scenario.up.rate = 200_000
      scenario.down.rate = 200_000
      scenario.client.maxIdleTimeout = .seconds(20)
      let network = scenario.makeNetwork()
      network.heedsApplications = false
      network.observer = nil
      var forger: Forger?
      network.interceptor = { destination, datagram in
        if forger == nil { forger = Forger(seed: seed, first: datagram.bytes) }
        return [datagram]
      }
      for step: Int64 in 1...40 {
        network.run(until: Scenario.start + .milliseconds(step * 7)) { false }
        let isToServer = dice.chance(0.6)
        guard var author = forger, let victim = isToServer ? network.server : network.client,
          let destination = victim.connectionIDs.last,
          let source = (isToServer ? network.client : network.server)?.connectionIDs.first
        else { continue }
        let level: EncryptionLevel = dice.chance(0.7) ? .oneRTT : dice.chance(0.5) ? .handshake : .initial
        let sender: Role = isToServer ? .client : .server
        if let packet = author.packet(level, from: sender, to: destination, source: source) {
          network.inject(packet, to: isToServer ? .server : .client)
        }
        forger = author
      }
      network.run(until: network.now + .seconds(600)) {
        network.client.connection.isDrained && (network.server?.connection.isDrained ?? true)
      }
      #expect(network.fault == nil, "seed \(seed)")
      for peer in [network.client, network.server].compactMap({ $0 }) {
        if case .localTransport(let error) = peer.closeReason {
          #expect(error.code != .internalError && error.code != .noError, "seed \(seed): \(error)")
          codes[error.code, default: 0] += 1
        }
      }
    }
    // What was forged has been read, and found wrong in many ways.
    #expect(codes.values.reduce(0, +) > 25 && codes.count >= 4, "\(codes)")
  }

  /// A flood of Initial packets with hostile frames from an address that answers nothing draws no more than
  /// three times its own bytes. The network checks that after each datagram.
  @Test(arguments: 0..<10 as Range<UInt64>) func forgedInitialsDrawNoAmplification(block: UInt64) {
    for seed in block * 30..<(block + 1) * 30 {
      var scenario = Scenario(seed: seed)
      scenario.handshake.serverFlight = 12_000
      // Nothing of the genuine client's but its first flight gets through, and nothing of the server's.
      scenario.up.blackouts = [Scenario.start + .milliseconds(1)..<Scenario.start + .seconds(1000)]
      scenario.down.blackouts = [Scenario.start..<Scenario.start + .seconds(1000)]
      let network = scenario.makeNetwork()
      network.heedsApplications = false
      network.observer = nil
      var forger: Forger?
      network.interceptor = { _, datagram in
        if forger == nil { forger = Forger(seed: seed, first: datagram.bytes) }
        return [datagram]
      }
      for step: Int64 in 1...60 {
        network.run(until: Scenario.start + .milliseconds(step * 100)) { false }
        guard var author = forger, let server = network.server, let destination = server.connectionIDs.first,
          let source = network.client.connectionIDs.first
        else { continue }
        if let packet = author.packet(.initial, from: .client, to: destination, source: source) {
          network.inject(step % 3 == 0 ? Array(packet.prefix(Int(step) * 20)) : packet, to: .server)
        }
        forger = author
      }
      #expect(network.fault == nil, "seed \(seed)")
      let credit = network.wire.credit(Network.clientAddress)
      #expect(!credit.isValidated && credit.sent <= 3 * credit.received)
      #expect(credit.sent > 0)
    }
  }
}

extension Array {
  fileprivate func randomElement(_ dice: inout Dice) -> Element? {
    isEmpty ? nil : self[Int(dice.below(UInt64(count)))]
  }
}
