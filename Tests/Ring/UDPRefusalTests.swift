import Glibc
import Testing
import Wire

@testable import Ring

/// Runs a command of the system's and waits for it; it is in the network of the calling thread.
private func command(_ words: String...) -> Bool {
  var arguments = words.map { strdup($0) } + [nil]
  defer { for argument in arguments { free(argument) } }
  var process: pid_t = 0
  guard posix_spawnp(&process, words[0], nil, nil, &arguments, nil) == 0 else { return false }
  var status: Int32 = -1
  while waitpid(process, &status, 0) < 0 { if errno != EINTR { return false } }
  return status == 0
}

/// Gives the calling thread a network of its own (unshare(2), which Swift does not see).
private func leaveNetwork() -> Bool {
  guard let symbol = dlsym(nil, "unshare") else { return false }
  let newNetwork: Int32 = 0x4000_0000
  return unsafeBitCast(symbol, to: (@convention(c) (Int32) -> Int32).self)(newNetwork) == 0
}

/// A thread can have a network of its own, with links of its own.
private let hasNamespaces = command("unshare", "-n", "ip", "link", "set", "lo", "up")

extension RingTests {
  /// A link narrower than the datagrams: the kernel says so at once (EMSGSIZE).
  @Suite(.enabled(if: hasNamespaces, "no network namespace can be made here: not root, or no iproute2"))
  struct UDPRefusalTests {
    private func withNarrowLink(
      _ address: SocketAddress, _ body: @Sendable (RingExecutor, RingActor, UDPPeer, UDPPeer) async throws -> Void
    ) async throws {
      try await withRing { ring, actor in
        // The ring's thread ends with the ring, and its network with it.
        let isNarrow = await actor.run {
          leaveNetwork() && command("ip", "link", "set", "lo", "mtu", "1400", "up")
        }
        try #require(isNarrow)
        let (server, client) = (UDPPeer(expecting: 3), UDPPeer(failures: 1))
        try await actor.run {
          server.socket = try UDPSocket(on: ring, bind: address, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: address, delegate: client)
        }
        try await body(ring, actor, server, client)
      }
    }

    @Test(arguments: [loopback4, loopback6])
    func aDatagramThatIsTooLongIsToldOf(_ address: SocketAddress) async throws {
      try await withNarrowLink(address) { ring, actor, server, client in
        // IP and UDP headers.
        let most = 1_400 - (address.ip.isIPv4 ? 28 : 48)
        await actor.run {
          let destination = server.socket.localAddress
          for size in [most + 1, most, most + 200] {
            let sent = client.socket.withSendBuffer { _ in
              UDPSend(byteCount: size, segmentSize: size, destination: destination)
            }
            #expect(sent)
            #expect(client.socket.takeRefusedSize() == (size > most ? size : 0))
            #expect(client.socket.takeRefusedSize() == 0)
          }
          #expect(client.errors.map(\.errno) == [EMSGSIZE, EMSGSIZE])
        }
      }
    }

    @Test(arguments: [loopback4, loopback6])
    func ofATrainTheShortestIsToldOfAndTheRestLeaves(_ address: SocketAddress) async throws {
      try await withNarrowLink(address) { ring, actor, server, client in
        await actor.run {
          let destination = server.socket.localAddress
          // Three of 1,450 bytes and one of 100; then one of 1,390, which is too long as well.
          for (count, segment) in [(3 * 1_450 + 100, 1_450), (2 * 1_450 + 1_390, 1_450)] {
            let sent = client.socket.withSendBuffer { _ in
              UDPSend(byteCount: count, segmentSize: segment, destination: destination)
            }
            #expect(sent)
            #expect(client.socket.takeRefusedSize() == (count % segment == 100 ? 1_450 : 1_390))
          }
          // It was the link, not the offload: trains that fit leave as such.
          #expect(client.socket.sendsTrains)
          let before = client.socket.statistics.sends
          #expect(
            client.socket.withSendBuffer { _ in
              UDPSend(byteCount: 2 * 1_200, segmentSize: 1_200, destination: destination)
            })
          #expect(client.socket.takeRefusedSize() == 0)
          #expect(client.socket.statistics.sends == before + 1)
        }
        await server.progress.wait()
        await actor.run { #expect(server.datagrams.map(\.count) == [100, 1_200, 1_200]) }
      }
    }
  }
}
