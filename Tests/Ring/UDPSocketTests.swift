import Glibc
import Testing
import Wire

@testable import Ring

/// Records what comes; echoes it if told to. Of one ring.
final class UDPPeer: UDPSocketDelegate, @unchecked Sendable {  // touched in jobs and callbacks of one ring
  var socket: UDPSocket!
  var echoes = false
  var datagrams: [[UInt8]] = []
  var trains = 0
  var batches = 0
  var ecn: [UInt8] = []
  var remotes: [SocketAddress] = []
  var locals: [SocketAddress] = []
  var errors: [RingError] = []
  var writable = 0
  var onWritable: (() -> Void)?
  let progress: Countdown
  let failure: Countdown

  init(expecting count: Int = 0, failures: Int = 1) {
    progress = Countdown(count)
    failure = Countdown(failures)
  }

  func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    trains += 1
    self.ecn.append(ecn)
    remotes.append(remote)
    locals.append(local)
    var offset = 0
    var count = 0
    while offset < bytes.count {
      let end = min(offset + segmentSize, bytes.count)
      datagrams.append([UInt8](bytes[offset..<end]))
      offset = end
      count += 1
    }
    if echoes {
      _ = socket.withSendBuffer { buffer in
        buffer.copyMemory(from: UnsafeRawBufferPointer(bytes))
        return UDPSend(
          byteCount: bytes.count, segmentSize: segmentSize, destination: remote, source: local.ip, ecn: ecn)
      }
    }
    progress.step(count)
  }
  func udpSocketBatchEnded(_ socket: UDPSocket) { batches += 1 }
  func udpSocketWritable(_ socket: UDPSocket) {
    writable += 1
    onWritable?()
  }
  func udpSocket(_ socket: UDPSocket, failed error: RingError) {
    errors.append(error)
    failure.step()
  }
}

extension RingTests {
  @Suite struct UDPSocketTests {
    func train(_ count: Int, _ size: Int, last: Int) -> [UInt8] {
      (0..<count).flatMap { index in
        [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: index == count - 1 ? last : size)
      }
    }

    @Test(arguments: [loopback4, loopback6])
    func echoesATrain(_ address: SocketAddress) async throws {
      try await withRing { ring, actor in
        let (server, client) = (UDPPeer(), UDPPeer(expecting: 40))
        let bytes = train(40, 1_200, last: 77)
        try await actor.run {
          server.echoes = true
          server.socket = try UDPSocket(on: ring, bind: address, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: address, delegate: client)
          let taken = client.socket.withSendBuffer { buffer in
            buffer.copyBytes(from: bytes)
            return UDPSend(
              byteCount: bytes.count, segmentSize: 1_200, destination: server.socket.localAddress, ecn: 2)
          }
          #expect(taken)
        }
        await client.progress.wait()
        await actor.run {
          #expect(client.datagrams.count == 40)
          #expect(client.datagrams.flatMap { $0 } == bytes)
          #expect(client.datagrams.last?.count == 77)
          #expect(client.datagrams.dropLast().allSatisfy { $0.count == 1_200 })
          #expect(client.remotes.allSatisfy { $0 == server.socket.localAddress })
          #expect(server.locals.allSatisfy { $0 == server.socket.localAddress })
          #expect(server.remotes.allSatisfy { $0 == client.socket.localAddress })
          #expect(client.ecn.allSatisfy { $0 == 2 })
          #expect(server.ecn.allSatisfy { $0 == 2 })
          // The kernel kept the train together, which is what makes it cheap.
          #expect(client.trains < 40)
          #expect(client.batches >= 1)
          #expect(client.socket.statistics.sends == 1)
          server.socket.close()
          client.socket.close()
        }
      }
    }

    @Test func dualStackReportsIPv4() async throws {
      try await withRing { ring, actor in
        let (server, client) = (UDPPeer(), UDPPeer(expecting: 2))
        try await actor.run {
          server.echoes = true
          server.socket = try UDPSocket(on: ring, bind: SocketAddress(.v6(.any), port: 0), delegate: server)
          client.socket = try UDPSocket(on: ring, bind: loopback4, delegate: client)
          let to = SocketAddress(.v4(.loopback), port: server.socket.localAddress.port)
          let bytes = train(2, 1_000, last: 1_000)
          bytes.withUnsafeBytes {
            _ = client.socket.send($0, UDPSend(byteCount: 0, segmentSize: 1_000, destination: to, ecn: 1))
          }
        }
        await client.progress.wait()
        await actor.run {
          #expect(server.remotes.first == client.socket.localAddress)
          #expect(server.locals.first?.ip == .v4(.loopback))
          #expect(server.ecn.first == 1)
          #expect(client.ecn.first == 1)
          server.socket.close()
          client.socket.close()
        }
      }
    }

    @Test func moreSegmentsThanTheKernelTakes() async throws {
      try await withRing { ring, actor in
        let (server, client) = (UDPPeer(expecting: 300), UDPPeer())
        try await actor.run {
          server.socket = try UDPSocket(on: ring, bind: loopback4, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: loopback4, delegate: client)
          let bytes = train(300, 100, last: 3)
          bytes.withUnsafeBytes {
            _ = client.socket.send(
              $0, UDPSend(byteCount: 0, segmentSize: 100, destination: server.socket.localAddress))
          }
        }
        await server.progress.wait()
        await actor.run {
          #expect(server.datagrams.count == 300)
          #expect(server.datagrams.last?.count == 3)
          #expect(client.socket.statistics.sends == 5)
          #expect(client.socket.sendsTrains)
        }
      }
    }

    @Test func withoutOffloadEachDatagramGoesAlone() async throws {
      try await withRing { ring, actor in
        let (server, client) = (UDPPeer(expecting: 10), UDPPeer())
        try await actor.run {
          server.socket = try UDPSocket(on: ring, bind: loopback4, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: loopback4, delegate: client)
          client.socket.sendsTrains = false
          train(10, 1_000, last: 10).withUnsafeBytes {
            _ = client.socket.send(
              $0, UDPSend(byteCount: 0, segmentSize: 1_000, destination: server.socket.localAddress))
          }
          #expect(client.socket.statistics.sends == 10)
        }
        await server.progress.wait()
        #expect(await actor.run { server.datagrams.map(\.count) } == [Int](repeating: 1_000, count: 9) + [10])
      }
    }

    @Test func connectedFlowHearsRefusal() async throws {
      try await withRing { ring, actor in
        let peer = UDPPeer(failures: 1)
        try await actor.run {
          let gone = try UDPSocket(on: ring, bind: loopback4, delegate: peer)
          let address = gone.localAddress
          gone.close()
          peer.socket = try UDPSocket(on: ring, bind: loopback4, options: .flow(to: address), delegate: peer)
        }
        // The closed socket's descriptor goes when its cancelled receive is reaped, which is before this job ends.
        try await Task.sleep(for: .milliseconds(50))
        await actor.run {
          [UInt8](repeating: 1, count: 100).withUnsafeBytes {
            #expect(peer.socket.send($0, UDPSend(byteCount: 0, segmentSize: 100)))
          }
        }
        await peer.failure.wait()
        await actor.run {
          #expect(peer.errors.first?.errno == ECONNREFUSED)
          #expect(peer.socket.isOpen)
        }
      }
    }

    @Test func bufferExhaustionRecovers() async throws {
      var few = RingExecutor.Configuration()
      few.trainBuffers = 4
      few.datagramBuffers = 4
      try await withRing(few) { ring, actor in
        let server = UDPPeer(expecting: 200)
        let client = UDPPeer()
        try await actor.run {
          var options = UDPSocketOptions()
          options.receivesTrains = false
          server.socket = try UDPSocket(on: ring, bind: loopback4, options: options, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: loopback4, delegate: client)
          client.socket.sendsTrains = false
          // All 200 lie in the socket's buffer before the ring looks again.
          train(200, 300, last: 300).withUnsafeBytes {
            _ = client.socket.send(
              $0, UDPSend(byteCount: 0, segmentSize: 300, destination: server.socket.localAddress))
          }
        }
        await server.progress.wait()
        await actor.run {
          #expect(server.datagrams.count == 200)
          #expect(server.socket.statistics.bufferExhaustions > 0)
        }
      }
    }

    @Test func tooLongADatagramIsCountedAndDropped() async throws {
      try await withRing { ring, actor in
        let server = UDPPeer(expecting: 1)
        let client = UDPPeer()
        try await actor.run {
          var options = UDPSocketOptions()
          options.receivesTrains = false
          server.socket = try UDPSocket(on: ring, bind: loopback4, options: options, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: loopback4, delegate: client)
          for size in [3_000, 2_048] {
            [UInt8](repeating: 9, count: size).withUnsafeBytes {
              _ = client.socket.send(
                $0, UDPSend(byteCount: 0, segmentSize: size, destination: server.socket.localAddress))
            }
          }
        }
        await server.progress.wait()
        await actor.run {
          #expect(server.datagrams.map(\.count) == [2_048])
          #expect(server.socket.statistics.malformed == 1)
        }
      }
    }

    @Test func aDatagramThatNoLinkCarriesIsReported() async throws {
      try await withRing { ring, actor in
        let peer = UDPPeer()
        try await actor.run {
          peer.socket = try UDPSocket(on: ring, bind: loopback4, delegate: peer)
          let far = SocketAddress(.v6(.loopback), port: 9)
          [UInt8](repeating: 1, count: 10).withUnsafeBytes {
            _ = peer.socket.send($0, UDPSend(byteCount: 0, segmentSize: 10, destination: far))
            _ = peer.socket.send($0, UDPSend(byteCount: 0, segmentSize: 10))
          }
          #expect(peer.errors.map(\.errno) == [EAFNOSUPPORT, EDESTADDRREQ])
          #expect(peer.socket.isOpen)
        }
      }
    }

    @Test func aThousandFlowsShareTheirBuffers() async throws {
      let before = openDescriptors()
      try await withRing { ring, actor in
        let server = UDPPeer(expecting: 1_000)
        let flows = UDPPeer(expecting: 1_000)
        let list = try await actor.run { () throws(RingError) in
          server.echoes = true
          server.socket = try UDPSocket(on: ring, bind: loopback4, delegate: server)
          var sockets: [UDPSocket] = []
          for _ in 0..<1_000 {
            sockets.append(
              try UDPSocket(on: ring, bind: loopback4, options: .flow(to: server.socket.localAddress), delegate: flows))
          }
          for socket in sockets {
            [UInt8](repeating: 5, count: 64).withUnsafeBytes {
              _ = socket.send($0, UDPSend(byteCount: 0, segmentSize: 64))
            }
          }
          return Held(sockets)
        }
        await flows.progress.wait()
        await actor.run {
          #expect(flows.datagrams.count == 1_000)
          #expect(Set(server.remotes).count == 1_000)
          for socket in list.value { socket.close() }
        }
      }
      #expect(try await descriptorsReturn(to: before))
    }

    /// Loopback never fills a send buffer, so the train is parked by hand.
    @Test(arguments: [true, false])
    func aParkedTrainGoesThroughTheRing(_ offload: Bool) async throws {
      try await withRing { ring, actor in
        let server = UDPPeer(expecting: 41)
        let client = UDPPeer()
        try await actor.run {
          server.socket = try UDPSocket(on: ring, bind: loopback4, delegate: server)
          client.socket = try UDPSocket(on: ring, bind: loopback4, delegate: client)
          client.socket.sendsTrains = offload
          let destination = server.socket.localAddress
          let single = UDPSend(byteCount: 1, segmentSize: 1, destination: destination)
          client.onWritable = { #expect(client.socket.withSendBuffer { _ in single }) }
          train(40, 1_000, last: 5).withUnsafeBytes {
            client.socket.parked.park(
              UDPTrain($0, UDPSend(byteCount: 0, segmentSize: 1_000, ecn: 1), to: destination, isConnected: false))
          }
          #expect(!client.socket.withSendBuffer { _ in nil })
        }
        await server.progress.wait()
        await actor.run {
          #expect(client.writable == 1)
          #expect(server.datagrams.dropLast().map(\.count) == [Int](repeating: 1_000, count: 39) + [5])
          #expect(server.ecn.first == 1)
          #expect(client.socket.statistics.sends == (offload ? 2 : 41))
          client.onWritable = nil
        }
      }
    }

    @Test func closingWithASendInFlight() async throws {
      let before = openDescriptors()
      try await withRing { ring, actor in
        let peer = UDPPeer()
        try await actor.run {
          peer.socket = try UDPSocket(on: ring, bind: loopback4, delegate: peer)
          let destination = peer.socket.localAddress
          train(40, 1_000, last: 5).withUnsafeBytes {
            peer.socket.parked.park(
              UDPTrain($0, UDPSend(byteCount: 0, segmentSize: 1_000, ecn: 0), to: destination, isConnected: false))
          }
          peer.socket.close()
          #expect(!peer.socket.isWritable)
          #expect(!peer.socket.withSendBuffer { _ in nil })
        }
        peer.socket = nil
      }
      #expect(try await descriptorsReturn(to: before))
    }

    @Test func stopClosesWhatIsOpen() async throws {
      let before = openDescriptors()
      let peer = UDPPeer()
      try await withRing { ring, actor in
        try await actor.run { peer.socket = try UDPSocket(on: ring, bind: loopback4, delegate: peer) }
      }
      #expect(!peer.socket.isOpen)
      peer.socket = nil
      #expect(try await descriptorsReturn(to: before))
    }
  }
}

/// Carries a ring's objects through a test from one of its jobs to the next.
struct Held<Value>: @unchecked Sendable {  // only read in jobs of the ring that made it
  let value: Value
  init(_ value: Value) { self.value = value }
}
