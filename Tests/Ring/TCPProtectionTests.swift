import Glibc
import Testing
import Wire

@testable import Ring

extension RingTests {
  @Suite struct TCPProtectionTests {
    /// Connects to a listener, each protected in its way; whether it came to a connection in a second.
    private func connects(
      _ address: SocketAddress, listener: TCPProtection, connection: TCPProtection
    ) async throws -> Bool {
      try await withRing { ring, actor in
        let (server, client) = (TCPPeer(), TCPPeer())
        try await actor.run {
          server.listener = try TCPListener(
            on: ring, bind: address, dualStack: false, protection: [address.ip: listener], delegate: server)
          var options = TCPConnection.Options()
          options.protection = connection
          client.connection = try TCPConnection.connect(
            on: ring, to: server.listener!.localAddress, timeout: .seconds(1), options: options, delegate: client)
        }
        if listener == connection {
          await client.established.wait()
        } else {
          await client.failed.wait()
        }
        return await actor.run {
          let isOpen = client.connection!.isOpen
          client.connection!.close()
          server.connection?.close()
          server.listener!.close()
          return isOpen
        }
      }
    }

    @Test(arguments: [loopback4, loopback6]) func theSignatureMustFit(_ address: SocketAddress) async throws {
      let (one, two) = (TCPProtection(signatureKey: Array("one".utf8)), TCPProtection(signatureKey: Array("two".utf8)))
      #expect(try await connects(address, listener: one, connection: one))
      #expect(try await !connects(address, listener: one, connection: two))
      #expect(try await !connects(address, listener: one, connection: TCPProtection()))
    }

    @Test(arguments: [loopback4, loopback6]) func anOrdinaryTTLHasBeenForwarded(_ address: SocketAddress) async throws {
      let near = TCPProtection(isFromNextHopOnly: true)
      #expect(try await connects(address, listener: near, connection: near))
      #expect(try await !connects(address, listener: near, connection: TCPProtection()))
    }

    @Test func aKeyTooLongIsAnError() async throws {
      try await withRing { ring, actor in
        await actor.run {
          let peer = TCPPeer()
          let protection = TCPProtection(signatureKey: Array(repeating: 1, count: 81))
          #expect(throws: RingError.self) {
            try TCPListener(on: ring, bind: loopback4, protection: [loopback4.ip: protection], delegate: peer)
          }
        }
      }
    }
  }
}
