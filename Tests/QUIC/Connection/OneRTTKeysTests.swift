import PacketCrypto
import Testing
import Wire

@testable import QUIC

@Suite struct OneRTTKeysTests {
  /// The client's keys of a connection that has come to rest: packets of the first phase are acknowledged both ways.
  private static func keys() throws -> OneRTTKeys {
    let pair = try ConnectionPair()
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    pair.client.keepAlive(now: pair.now)
    pair.run(for: .seconds(1))
    return try #require(pair.see { $0.client.oneRTT })
  }

  @Test func initialKeysGoWithTheHandshake() throws {
    let pair = try ConnectionPair()
    pair.keepsLog = true
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.spaces[0].isDiscarded && $0.client.spaces[1].isDiscarded })
    #expect(pair.see { $0.server.spaces[0].isDiscarded && $0.server.spaces[1].isDiscarded })
    // Of the long header types, bits 4 and 5 say which: Initial is 0, Handshake 2.
    let types = pair.log.filter { $0.from == .client && $0.bytes[0] & 0x80 != 0 }.map { $0.bytes[0] >> 4 & 3 }
    let handshake = try #require(types.firstIndex(of: 2) ?? types.indices.last)
    #expect(!types[(handshake + 1)...].contains(0))
  }

  @Test func keysAreNotUpdatedBeforeConfirmation() throws {
    let pair = try ConnectionPair()
    #expect(pair.run { $0.client.isHandshakeComplete && !$0.client.isHandshakeConfirmed })
    pair.client.initiateKeyUpdate()
    #expect(pair.see { $0.client.statistics.keyUpdates } == 0)
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    // It was asked for, and comes when it may.
    pair.client.keepAlive(now: pair.now)
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.statistics.keyUpdates } == 1)
  }

  @Test func keyUpdatesWaitForAcknowledgement() throws {
    let keys = try Self.keys()
    #expect(keys.initiate())
    #expect(keys.writePhase)
    #expect(!keys.initiate())
    // The peer follows, and its former phase is over.
    try keys.opened(.next, packetNumber: 10_000, retain: .zero)
    keys.dropPrevious()
    #expect(!keys.initiate())
    _ = keys.willSeal(20_000, interval: nil)
    // Packets of the former phase acknowledge nothing of this one.
    keys.acknowledged(largest: 19_999)
    #expect(!keys.initiate())
    keys.acknowledged(largest: 20_000)
    #expect(keys.initiate())
    #expect(!keys.writePhase)
  }

  @Test func anUpdateIsFollowedAtOnce() throws {
    let keys = try Self.keys()
    #expect(keys.which(phase: true, packetNumber: 10_000) == .next)
    try keys.opened(.next, packetNumber: 10_000, retain: .zero)
    #expect(keys.writePhase)
    // Both sets of keys are there: the present one's, and those of packets that were overtaken.
    #expect(keys.which(phase: true, packetNumber: 10_001) == .current)
    #expect(keys.which(phase: false, packetNumber: 9_999) == .previous)
    #expect(keys.readKey(.previous)?.isKept == true && keys.readKey(.next)?.isKept == true)
    keys.dropPrevious()
    #expect(keys.readKey(.previous)?.isKept == false)
  }
}
