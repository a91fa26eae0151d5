import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct RingSteeringTests {
    /// A QUIC datagram whose connection ID begins with `first`.
    private func datagram(_ first: UInt8, isLong: Bool) -> [UInt8] {
      (isLong ? [0xc0, 0, 0, 0, 1, 8] : [0x40]) + [first] + [UInt8](repeating: 7, count: 30)
    }

    @Test func datagramsGoToTheSocketThatTheirConnectionIDNames() async throws {
      try await withRing { ring, actor in
        let sockets = [UDPPeer(expecting: 22), UDPPeer(expecting: 22), UDPPeer(expecting: 20)]
        let sender = UDPPeer()
        try await actor.run {
          var options = UDPSocketOptions.endpoint
          options.reusePort = true
          options.steeredSockets = sockets.count
          var address = loopback4
          for peer in sockets {
            peer.socket = try UDPSocket(on: ring, bind: address, options: options, delegate: peer)
            address = peer.socket.localAddress
          }
          sender.socket = try UDPSocket(on: ring, bind: loopback4, delegate: sender)
          for bits: UInt8 in 0..<32 {
            for isLong in [false, true] {
              // The upper bits mean nothing to the rings.
              let bytes = datagram(bits | (isLong ? 0xa0 : 0x40), isLong: isLong)
              bytes.withUnsafeBytes {
                _ = sender.socket.send(
                  $0, UDPSend(byteCount: 0, segmentSize: bytes.count, destination: address))
              }
            }
          }
        }
        for peer in sockets { await peer.progress.wait() }
        await actor.run {
          for (index, peer) in sockets.enumerated() {
            let bits = peer.datagrams.map { ($0[0] & 0x80 == 0 ? $0[1] : $0[6]) & 0x1f }
            #expect(bits.allSatisfy { Int($0) % 3 == index })
            peer.socket.close()
          }
          sender.socket.close()
        }
      }
    }
  }
}
