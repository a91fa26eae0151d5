import QUIC
import Wire

/// A client and a server on a seeded path, in virtual time.
final class Network {
  struct Datagram {
    var bytes: [UInt8]
    var path: Path
    var ecn: ECN
    var isIntact: Bool
  }

  enum Destination { case client, server }

  static let serverAddress = SocketAddress(.v4(IPv4Address(203, 0, 113, 1)), port: 443)
  static let clientAddress = SocketAddress(.v4(IPv4Address(192, 0, 2, 7)), port: 50_000)

  let client: Peer
  private(set) var server: Peer?
  private let makeServer: (InitialRequest, Path, Instant) -> Peer
  var up: Link
  var down: Link
  private(set) var now: Instant
  private var heap = EventHeap<(Destination, Datagram)>()
  /// Where the client's datagrams seem to come from; a rebinding changes it (RFC 9000 §9.3).
  var publicAddress = Network.clientAddress
  var rebindings: [(time: Instant, address: SocketAddress)] = []
  /// Called with each datagram before it is delivered; what it returns is delivered in its place.
  var interceptor: ((Destination, Datagram) -> [Datagram])?

  /// Bytes to and from the server until it has seen a Handshake packet of the client's (RFC 9000 §8.1).
  private(set) var unvalidatedReceived = 0
  private(set) var unvalidatedSent = 0
  private var isValidated = false
  private(set) var fault: String?
  /// Stops at what an application finds wrong; off where forged packets carry forged data.
  var heedsApplications = true
  /// A digest of every datagram's time, size and bytes: equal for equal runs.
  private(set) var digest: UInt64 = 0xcbf2_9ce4_8422_2325

  init(
    client: Peer, up: Link, down: Link, start: Instant,
    makeServer: @escaping (InitialRequest, Path, Instant) -> Peer
  ) {
    self.client = client
    self.up = up
    self.down = down
    now = start
    self.makeServer = makeServer
  }

  /// Runs until `isOver`, or `end`, or a fault.
  func run(until end: Instant, isOver: () -> Bool) {
    var turnsAtThisInstant = 0
    while fault == nil, !heedsApplications || (client.fault == nil && server?.fault == nil) {
      settle(client)
      if let server { settle(server) }
      if isOver() || now >= end { return }
      let next = nextInstant(end)
      turnsAtThisInstant = next > now ? 0 : turnsAtThisInstant + 1
      if turnsAtThisInstant > 2000 { fault = "time stands still at \(now.nanoseconds)" }
      now = max(now, next)
      while let (destination, datagram) = heap.popDue(now) { deliver(datagram, to: destination) }
      if let deadline = client.connection.deadline, deadline <= now { client.connection.handleTimeout(now: now) }
      if let server, let deadline = server.connection.deadline, deadline <= now {
        server.connection.handleTimeout(now: now)
      }
      if let rebinding = rebindings.first, rebinding.time <= now {
        publicAddress = rebinding.address
        rebindings.removeFirst()
      }
    }
  }

  private func nextInstant(_ end: Instant) -> Instant {
    var next = end
    for time in [
      heap.nextTime, client.connection.deadline, server?.connection.deadline, rebindings.first?.time,
    ] {
      if let time { next = min(next, time) }
    }
    return next
  }

  /// Lets an end act and send until it has nothing more to say now.
  private func settle(_ peer: Peer) {
    for _ in 0..<10_000 {
      peer.run()
      guard
        let batch = peer.connection.transmit(into: peer.buffer, maxSegments: peer.maxSegments, now: now)
      else { return }
      guard batch.byteCount > 0, batch.segmentSize > 0, batch.byteCount <= peer.buffer.count else {
        fault = "\(peer.role) sent \(batch)"
        return
      }
      var offset = 0
      while offset < batch.byteCount {
        let size = min(batch.segmentSize, batch.byteCount - offset)
        send([UInt8](peer.buffer[offset..<offset + size]), batch, from: peer.role)
        offset += size
      }
    }
    fault = "\(peer.role) never stops sending"
  }

  private func send(_ bytes: [UInt8], _ batch: Transmission, from role: Role) {
    note(bytes)
    let arrivals: [Link.Arrival]
    var path: Path
    if role == .client {
      arrivals = up.send(size: bytes.count, ecn: batch.ecn, now: now)
      path = Path(local: batch.path.remote, remote: publicAddress)
    } else {
      if !isValidated {
        unvalidatedSent += bytes.count
        if unvalidatedSent > 3 * unvalidatedReceived {
          fault = "amplification: \(unvalidatedSent) bytes for \(unvalidatedReceived)"
        }
      }
      arrivals = down.send(size: bytes.count, ecn: batch.ecn, now: now)
      // A NAT passes only what goes to its present mapping.
      guard batch.path.remote == publicAddress else { return }
      path = Path(local: Self.clientAddress, remote: batch.path.local)
    }
    for arrival in arrivals {
      var datagram = Datagram(bytes: bytes, path: path, ecn: arrival.ecn, isIntact: arrival.flippedBit == nil)
      if let bit = arrival.flippedBit { datagram.bytes[bit / 8] ^= 1 << UInt8(bit % 8) }
      heap.add((role == .client ? .server : .client, datagram), at: arrival.time)
    }
  }

  private func note(_ bytes: [UInt8]) {
    digest = (digest ^ UInt64(bitPattern: now.nanoseconds)) &* 0x100_0000_01b3
    digest = (digest ^ UInt64(bytes.count)) &* 0x100_0000_01b3
    // The tail of a packet is its AEAD tag, in which every byte before it tells.
    for byte in bytes.suffix(16) { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01b3 }
  }

  /// Delivers a datagram that nobody on this network sent.
  func inject(_ bytes: [UInt8], to destination: Destination) {
    let path =
      destination == .server
      ? Path(local: Self.serverAddress, remote: publicAddress)
      : Path(local: Self.clientAddress, remote: Self.serverAddress)
    let datagram = Datagram(bytes: bytes, path: path, ecn: .notECT, isIntact: true)
    switch destination {
    case .client: feed(datagram, to: client)
    case .server: deliverToServer(datagram)
    }
  }

  private func deliver(_ datagram: Datagram, to destination: Destination) {
    for datagram in interceptor?(destination, datagram) ?? [datagram] {
      switch destination {
      case .client: feed(datagram, to: client)
      case .server: deliverToServer(datagram)
      }
    }
  }

  private func deliverToServer(_ datagram: Datagram) {
    if server == nil {
      // The endpoint's work: a connection begins with an authentic Initial packet in a datagram of full size.
      guard datagram.isIntact, datagram.bytes.count >= 1200, let request = InitialRequest(firstDatagram: datagram.bytes)
      else { return }
      server = makeServer(request, datagram.path, now)
    }
    if !isValidated {
      unvalidatedReceived += datagram.bytes.count
      if datagram.isIntact, datagram.bytes.holdsHandshakePacket { isValidated = true }
    }
    feed(datagram, to: server!)
  }

  func feed(_ datagram: Datagram, to peer: Peer) {
    var bytes = datagram.bytes
    bytes.withUnsafeMutableBytes {
      peer.connection.receive($0, path: datagram.path, ecn: datagram.ecn, now: now)
    }
  }
}

extension InitialRequest {
  /// The connection IDs of an Initial packet of version 1, without a token.
  init?(firstDatagram bytes: [UInt8]) {
    guard bytes.count > 7, bytes[0] & 0xf0 == 0xc0, bytes[1...4].elementsEqual([0, 0, 0, 1]) else { return nil }
    let destinationEnd = 6 + Int(bytes[5])
    guard destinationEnd < bytes.count else { return nil }
    let sourceEnd = destinationEnd + 1 + Int(bytes[destinationEnd])
    guard sourceEnd <= bytes.count, let destination = ConnectionID(Array(bytes[6..<destinationEnd])),
      let source = ConnectionID(Array(bytes[destinationEnd + 1..<sourceEnd]))
    else { return nil }
    self.init(destinationID: destination, sourceID: source)
  }
}

extension [UInt8] {
  /// Whether a datagram has a Handshake packet among its coalesced ones (RFC 9000 §12.2).
  fileprivate var holdsHandshakePacket: Bool {
    withUnsafeBytes { whole in
      var reader = ByteReader(whole)
      while let first = reader.readUInt8(), first & 0x80 != 0 {
        if first & 0x30 == 0x20 { return true }
        guard reader.skip(4), let destination = reader.readUInt8(), reader.skip(Int(destination)),
          let source = reader.readUInt8(), reader.skip(Int(source))
        else { return false }
        if first & 0x30 == 0 {
          guard let token = reader.readVarint(), reader.skip(Int(token)) else { return false }
        }
        guard let length = reader.readVarint(), reader.skip(Int(length)) else { return false }
      }
      return false
    }
  }
}
