import PacketCrypto
import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct RingSteeringTests {
    private static let key: UInt64 = 0x0123_4567_89ab_cdef

    /// A QUIC datagram for a connection ID.
    private func datagram(_ id: [UInt8], isLong: Bool) -> [UInt8] {
      (isLong ? [0xc0, 0, 0, 0, 1, 8] : [0x40]) + id + [UInt8](repeating: 7, count: 30)
    }

    /// Which of three sockets an ID names.
    private func owner(_ id: ArraySlice<UInt8>) -> Int {
      let bytes = Array(id)
      let rest = UInt32(bytes[1]) << 16 | UInt32(bytes[2]) << 8 | UInt32(bytes[3])
      let mask = UInt8(truncatingIfNeeded: HalfSipHash(key: Self.key)(rest))
      return Int((bytes[0] ^ mask) & 0x1f) % 3
    }

    /// The kernel's program and ours agree, for every value of the first byte and in both forms of the header.
    @Test func datagramsGoToTheSocketThatTheirConnectionIDNames() async throws {
      let entropy = SeededEntropy(seed: 12)
      let ids = (0..<256).map { [UInt8($0)] + entropy.bytes(7) }
      let datagrams = ids.enumerated().map { datagram($1, isLong: $0 % 2 == 0) }
      let counts = (0..<3).map { socket in ids.count { owner($0[...]) == socket } }
      #expect(counts.allSatisfy { $0 > 40 })
      try await withRing { ring, actor in
        let sockets = counts.map { UDPPeer(expecting: $0) }
        let sender = UDPPeer()
        try await actor.run {
          var options = UDPSocketOptions.endpoint
          options.reusePort = true
          options.steeredSockets = sockets.count
          options.steeringKey = Self.key
          var address = loopback4
          for peer in sockets {
            peer.socket = try UDPSocket(on: ring, bind: address, options: options, delegate: peer)
            address = peer.socket.localAddress
          }
          sender.socket = try UDPSocket(on: ring, bind: loopback4, delegate: sender)
          for bytes in datagrams {
            bytes.withUnsafeBytes {
              _ = sender.socket.send(
                $0, UDPSend(byteCount: 0, segmentSize: bytes.count, destination: address))
            }
          }
        }
        for peer in sockets { await peer.progress.wait() }
        await actor.run {
          for (index, peer) in sockets.enumerated() {
            #expect(peer.datagrams.count == counts[index])
            for bytes in peer.datagrams {
              #expect(owner(bytes[0] & 0x80 == 0 ? bytes[1..<9] : bytes[6..<14]) == index)
            }
            peer.socket.close()
          }
          sender.socket.close()
        }
      }
    }
  }
}
