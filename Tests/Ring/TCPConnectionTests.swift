import Glibc
import Testing
import Wire

@testable import Ring

/// One end of a TCP connection, and a listener's owner. Of one ring.
final class TCPPeer: TCPConnectionDelegate, TCPListenerDelegate, @unchecked Sendable {  // touched on one ring only
  var connection: TCPConnection?
  var listener: TCPListener?
  var accepted: [TCPConnection] = []
  var total = 0
  var sum: UInt64 = 0
  /// Bytes taken per call; what is over is left, and asked for again by a timer.
  var appetite = Int.max
  var hunger: RingTimer?
  var onWritable: (() -> Void)?
  var onEnd: (() -> Void)?
  var starts = true
  var error: RingError?
  let established: Countdown
  let ended = Countdown(1)
  let failed = Countdown(1)

  init(expecting count: Int = 1) { established = Countdown(count) }

  func tcpListener(_ listener: TCPListener, accepted connection: TCPConnection) {
    self.connection = connection
    accepted.append(connection)
    if starts { connection.start(delegate: self) }
    established.step()
  }
  func tcpListener(_ listener: TCPListener, failed error: RingError) {}
  func tcpConnectionEstablished(_ connection: TCPConnection) { established.step() }
  func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    let taken = min(appetite, bytes.count)
    total += taken
    for byte in bytes[..<taken] { sum = sum &* 31 &+ UInt64(byte) }
    if taken < bytes.count {
      let timer = hunger ?? RingTimer(on: connection.ring) { connection.resumeReading() }
      hunger = timer
      timer.schedule(at: connection.ring.now + .microseconds(50))
    }
    return taken
  }
  func tcpConnectionReceivedEnd(_ connection: TCPConnection) {
    onEnd?()
    ended.step()
  }
  func tcpConnectionWritable(_ connection: TCPConnection) { onWritable?() }
  func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    self.error = error
    failed.step()
  }
}

extension RingTests {
  @Suite struct TCPConnectionTests {
    @Test(arguments: [loopback4, loopback6])
    func bigTransferToASlowReaderThenHalfClose(_ address: SocketAddress) async throws {
      let size = 3 << 20
      try await withRing { ring, actor in
        let (server, client) = (TCPPeer(), TCPPeer())
        try await actor.run {
          server.appetite = 10_000
          server.listener = try TCPListener(on: ring, bind: address, delegate: server)
          client.connection = try TCPConnection.connect(
            on: ring, to: server.listener!.localAddress, delegate: client)
          let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
          for index in 0..<size { bytes[index] = UInt8(truncatingIfNeeded: index &* 7 >> 3) }
          var offset = 0
          // The peer answers after our end, which it hears although it writes on.
          server.onEnd = {
            "bye".utf8.withContiguousStorageIfAvailable { text in
              #expect(server.connection!.write(UnsafeRawBufferPointer(text)) == 3)
            }
            server.connection!.shutdownWrite()
          }
          client.onWritable = {
            while offset < size {
              let taken = client.connection!.write(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
              offset += taken
              if offset < size { return }
            }
            for index in 0..<size { client.sum = client.sum &* 31 &+ UInt64(bytes[index]) }
            bytes.deallocate()
            client.connection!.shutdownWrite()
          }
          client.onWritable!()
          #expect(offset < size)
        }
        await client.ended.wait()
        await actor.run {
          #expect(server.total == size)
          #expect(client.total == 3)
          #expect(client.connection!.localAddress?.port == server.connection!.remoteAddress.port)
          var expected = server.sum
          for byte in "bye".utf8 { expected = expected &* 31 &+ UInt64(byte) }
          #expect(client.sum == expected)
          client.onWritable = nil
          server.onEnd = nil
          server.hunger?.cancel()
          server.hunger = nil
          client.connection!.close()
          server.connection!.close()
          server.listener!.close()
        }
      }
    }

    @Test func refusalIsReported() async throws {
      try await withRing { ring, actor in
        let (server, client) = (TCPPeer(), TCPPeer())
        try await actor.run {
          server.listener = try TCPListener(on: ring, bind: loopback4, delegate: server)
        }
        let address = await actor.run {
          let address = server.listener!.localAddress
          server.listener!.close()
          return address
        }
        try await Task.sleep(for: .milliseconds(20))
        try await actor.run {
          client.connection = try TCPConnection.connect(on: ring, to: address, delegate: client)
        }
        await client.failed.wait()
        await actor.run {
          #expect(client.error?.errno == ECONNREFUSED)
          #expect(client.connection?.isOpen == false)
        }
      }
    }

    @Test func connectTimesOut() async throws {
      try await withRing { ring, actor in
        let (server, client) = (TCPPeer(), TCPPeer())
        try await actor.run {
          // A full backlog answers no SYN: a listener that accepts nothing, and enough connections to fill it.
          let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
          var address = sockaddr_in()
          address.sin_family = sa_family_t(AF_INET)
          address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
          var length = socklen_t(MemoryLayout<sockaddr_in>.size)
          withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
              _ = bind(descriptor, $0, length)
              listen(descriptor, 0)
              getsockname(descriptor, $0, &length)
            }
          }
          let to = SocketAddress(.v4(.loopback), port: UInt16(bigEndian: address.sin_port))
          for _ in 0..<4 {
            server.accepted.append(
              try TCPConnection.connect(on: ring, to: to, timeout: .seconds(60), delegate: server))
          }
          client.connection = try TCPConnection.connect(
            on: ring, to: to, timeout: .milliseconds(50), delegate: client)
          _ = descriptor  // closed with the process
        }
        await client.failed.wait()
        #expect(await actor.run { client.error?.code } == .timedOut)
      }
    }

    @Test func abortIsHeardAsReset() async throws {
      try await withRing { ring, actor in
        let (server, client) = (TCPPeer(), TCPPeer())
        try await actor.run {
          server.listener = try TCPListener(on: ring, bind: loopback4, delegate: server)
          client.connection = try TCPConnection.connect(on: ring, to: server.listener!.localAddress, delegate: client)
        }
        await client.established.wait()
        await server.established.wait()
        await actor.run { server.connection!.abort() }
        await client.failed.wait()
        #expect(await actor.run { client.error?.errno } == ECONNRESET)
        await actor.run {
          #expect(client.connection!.write(UnsafeRawBufferPointer(start: nil, count: 0)) == 0)
          server.listener!.close()
        }
      }
    }

    @Test func acceptsMany() async throws {
      let before = openDescriptors()
      try await withRing { ring, actor in
        let server = TCPPeer(expecting: 300)
        let client = TCPPeer(expecting: 300)
        server.starts = false
        try await actor.run {
          server.listener = try TCPListener(on: ring, bind: loopback4, delegate: server)
          for _ in 0..<300 {
            client.accepted.append(
              try TCPConnection.connect(on: ring, to: server.listener!.localAddress, delegate: client))
          }
        }
        await server.established.wait()
        await client.established.wait()
        await actor.run {
          #expect(Set(server.accepted.map(\.remoteAddress)).count == 300)
          for connection in server.accepted.prefix(100) { connection.close() }
          // Stop closes the rest.
        }
      }
      #expect(try await descriptorsReturn(to: before))
    }
  }
}
