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

    /// Nil where the kernel has the TCP Authentication Option.
    private static let refusal: String? = {
      do throws(RingError) {
        try TCPAuthentication.requireKernelSupport()
        return nil
      } catch { return error.description }
    }()

    @Test(
      .enabled(if: refusal == nil, "NOT TESTED: TCP-AO, which this kernel lacks"), arguments: [loopback4, loopback6])
    func theAuthenticationMustFit(_ address: SocketAddress) async throws {
      func end(_ key: String, _ algorithm: TCPAuthentication.Algorithm = .hmacSHA1, id: UInt8 = 9) -> TCPProtection {
        var protection = TCPProtection()
        protection.authentication = TCPAuthentication(
          key: Array(key.utf8), algorithm: algorithm, sendID: id, receiveID: id)
        return protection
      }
      #expect(try await connects(address, listener: end("one"), connection: end("one")))
      #expect(try await connects(address, listener: end("one", .aes128CMAC), connection: end("one", .aes128CMAC)))
      #expect(try await !connects(address, listener: end("one"), connection: end("two")))
      #expect(try await !connects(address, listener: end("one"), connection: end("one", .aes128CMAC)))
      #expect(try await !connects(address, listener: end("one"), connection: end("one", id: 8)))
      #expect(try await !connects(address, listener: end("one"), connection: TCPProtection()))
    }

    @Test(.enabled(if: refusal != nil, "this kernel has TCP-AO")) func aKernelWithoutAuthenticationIsSaidToLackIt()
      async throws
    {
      #expect(Self.refusal?.contains("has no TCP Authentication Option (RFC 5925); it needs 6.7") == true)
      try await withRing { ring, actor in
        await actor.run {
          let peer = TCPPeer()
          var protection = TCPProtection()
          protection.authentication = TCPAuthentication(key: [1], sendID: 1, receiveID: 1)
          // Nor does it listen without.
          #expect(throws: RingError.self) {
            try TCPListener(on: ring, bind: loopback4, protection: [loopback4.ip: protection], delegate: peer)
          }
        }
      }
    }

    @Test func aKeyIsNotPrinted() {
      let authentication = TCPAuthentication(key: Array("hush".utf8), sendID: 1, receiveID: 2)
      for text in ["\(authentication)", String(reflecting: authentication)] {
        #expect(!text.contains("hush") && !text.contains("104"))
      }
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
