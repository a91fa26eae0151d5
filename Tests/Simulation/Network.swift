import Wire

@testable import QUIC

/// A client and a server on a seeded path, in virtual time.
final class Network {
  struct Datagram {
    var bytes: [UInt8]
    var path: Path
    var ecn: ECN
    /// What it was when it was sent, in the clear; nothing where nobody observed.
    var packets: [WireObserver.Packet] = []
    var flippedBit: Int?
  }

  enum Destination { case client, server }

  static let serverAddress = SocketAddress(.v4(IPv4Address(203, 0, 113, 1)), port: 443)
  /// Where the client may migrate to; no NAT there.
  static let secondClientAddress = SocketAddress(.v4(IPv4Address(100, 64, 0, 9)), port: 40_000)
  static let clientAddress = SocketAddress(.v4(IPv4Address(192, 0, 2, 7)), port: 50_000)

  let client: Peer
  /// Every connection that the server's endpoint accepted; a damaged Initial packet can begin one that leads nowhere.
  private(set) var servers: [Peer] = []
  private(set) var serverEndpoint: Endpoint<Int>
  /// Makes the connection that has so many before it.
  private let serverConfiguration: Configuration
  private let makeServer: (InitialRequest, Path, Instant, Int) -> Peer
  private let reply = UnsafeMutableRawBufferPointer.allocate(byteCount: 1500, alignment: 16)
  var up: Link
  var down: Link
  /// The way to and from ``secondClientAddress``, where it is another.
  var secondUp: Link?
  var secondDown: Link?
  private(set) var now: Instant
  private var heap = EventHeap<(Destination, Datagram)>()
  /// Where the client's datagrams seem to come from; a rebinding changes it (RFC 9000 §9.3).
  var publicAddress = Network.clientAddress
  var rebindings: [(time: Instant, address: SocketAddress)] = []
  /// Called with each datagram before it is delivered; what it returns is delivered in its place.
  var interceptor: ((Destination, Datagram) -> [Datagram])?

  /// Reads along, for the rules of the wire; nil where packets are forged, which keep none.
  var observer: WireObserver?
  private(set) var wire = WireInvariants()
  var trace: PacketTrace?
  private var steps = 0
  private(set) var fault: String?
  /// What is wrong once the transfer is done.
  var faultAtTheEnd: String?
  /// Stops at what an application finds wrong; off where forged packets carry forged data.
  var heedsApplications = true
  /// A digest of every datagram's time, size and bytes: equal for equal runs.
  private(set) var fingerprint: UInt64 = 0xcbf2_9ce4_8422_2325

  init(
    client: Peer, up: Link, down: Link, start: Instant, server configuration: Endpoint<Int>.Configuration,
    opening serverConfiguration: Configuration, entropy: any EntropySource,
    makeServer: @escaping (InitialRequest, Path, Instant, Int) -> Peer
  ) {
    self.client = client
    serverEndpoint = Endpoint(configuration, entropy: entropy)
    self.up = up
    self.down = down
    now = start
    self.makeServer = makeServer
    self.serverConfiguration = serverConfiguration
  }

  deinit { reply.deallocate() }

  /// The server's end of the client's connection, as far as can be told.
  var server: Peer? { servers.first { $0.connection.isHandshakeComplete } ?? servers.first }

  /// The server's process dies: its connections are gone, its address and its keys are not.
  func restartServer() {
    for server in servers { server.connectionIDs.forEach { serverEndpoint.remove($0) } }
    servers = []
  }

  /// Runs until `isOver`, or `end`, or a fault.
  func run(until end: Instant, isOver: () -> Bool) {
    var turnsAtThisInstant = 0
    while fault == nil, !heedsApplications || servers.reduce(client.fault == nil, { $0 && $1.fault == nil }) {
      settle(client)
      for server in servers { settle(server) }
      if isOver() || now >= end { return }
      let next = nextInstant(end)
      turnsAtThisInstant = next > now ? 0 : turnsAtThisInstant + 1
      if turnsAtThisInstant > 20 { fault = "timer: time stands still at \(now.nanoseconds)" }
      now = max(now, next)
      while let (destination, datagram) = heap.popDue(now) { deliver(datagram, to: destination) }
      if let deadline = client.connection.deadline, deadline <= now { client.connection.handleTimeout(now: now) }
      for server in servers {
        if let deadline = server.connection.deadline, deadline <= now { server.connection.handleTimeout(now: now) }
      }
      if let rebinding = rebindings.first, rebinding.time <= now {
        publicAddress = rebinding.address
        trace?.note("the client is at \(rebinding.address) now", now: now)
        rebindings.removeFirst()
      }
    }
  }

  private func nextInstant(_ end: Instant) -> Instant {
    var next = end
    for time in [heap.nextTime, client.connection.deadline, rebindings.first?.time] {
      if let time { next = min(next, time) }
    }
    for server in servers {
      if let time = server.connection.deadline { next = min(next, time) }
    }
    return next
  }

  /// Lets an end act and send until it has nothing more to say now.
  private func settle(_ peer: Peer) {
    for _ in 0..<10_000 {
      peer.run()
      route(peer)
      let flight = peer.connection.flight()
      guard
        let batch = peer.connection.transmit(into: peer.buffer, maxSegments: peer.maxSegments, now: now)
      else {
        steps += 1
        note(peer.connection.brokenInvariant(now: now, thorough: steps % 32 == 0), peer)
        return
      }
      note(peer.connection.overshoot(since: flight), peer)
      guard batch.byteCount > 0, batch.segmentSize > 0, batch.byteCount <= peer.buffer.count else {
        fault = "\(peer.role) sent \(batch)"
        return
      }
      var offset = 0
      while offset < batch.byteCount {
        let size = min(batch.segmentSize, batch.byteCount - offset)
        send([UInt8](peer.buffer[offset..<offset + size]), batch, from: peer)
        offset += size
      }
    }
    fault = "\(peer.role) never stops sending"
  }

  /// Tells the endpoint what IDs the connection has issued and given up.
  private func route(_ peer: Peer) {
    let routes = peer.takeRoutes()
    guard let handle = servers.firstIndex(where: { $0 === peer }) else { return }
    for (id, isIssued) in routes {
      if isIssued { serverEndpoint.add(id, handle) } else { serverEndpoint.remove(id) }
    }
  }

  private func note(_ broken: String?, _ peer: Peer) {
    if let broken, fault == nil { fault = "\(peer.role): \(broken)" }
  }

  private func send(_ bytes: [UInt8], _ batch: Transmission, from peer: Peer) {
    let packets = observe(bytes, from: peer, to: batch.path.remote)
    let arrivals =
      peer.role == .client
      ? sendUp(bytes, from: batch.path.local, ecn: batch.ecn, packets)
      : sendDown(bytes, to: batch.path.remote, ecn: batch.ecn, packets)
    trace?.sent(packets, size: bytes.count, by: peer.role, on: batch.path, now: now, arrivals: arrivals)
  }

  /// Opens a datagram and checks it against the rules of the wire.
  private func observe(_ bytes: [UInt8], from peer: Peer, to remote: SocketAddress) -> [WireObserver.Packet] {
    guard let observer else { return [] }
    do throws(WireObserver.Unreadable) {
      let packets = try observer.open(bytes, from: peer.role, ObjectIdentifier(peer)) { wire.lastNumber(peer, $0) }
      let opposite = peer.role == .client ? serverConfiguration : client.connection.configuration
      note(wire.sent(packets, datagramSize: bytes.count, by: peer, to: remote, opposite: opposite), peer)
      return packets
    } catch {
      note("unreadable: \(error.text)", peer)
      return []
    }
  }

  private func sendUp(
    _ bytes: [UInt8], from local: SocketAddress, ecn: ECN, _ packets: [WireObserver.Packet]
  ) -> Int {
    digest(bytes)
    let remote = local == Self.clientAddress ? publicAddress : local
    let path = Path(local: Self.serverAddress, remote: remote)
    let arrivals =
      local == Self.secondClientAddress && secondUp != nil
      ? secondUp!.send(size: bytes.count, ecn: ecn, now: now) : up.send(size: bytes.count, ecn: ecn, now: now)
    schedule(bytes, path, arrivals, to: .server, packets)
    return arrivals.count
  }

  @discardableResult
  private func sendDown(
    _ bytes: [UInt8], to remote: SocketAddress, ecn: ECN, _ packets: [WireObserver.Packet]
  ) -> Int {
    digest(bytes)
    if let broken = wire.serverSent(bytes.count, to: remote), fault == nil { fault = broken }
    let arrivals =
      remote == Self.secondClientAddress && secondDown != nil
      ? secondDown!.send(size: bytes.count, ecn: ecn, now: now) : down.send(size: bytes.count, ecn: ecn, now: now)
    // A NAT passes only what goes to its present mapping.
    guard remote == publicAddress || remote == Self.secondClientAddress else { return 0 }
    let local = remote == publicAddress ? Self.clientAddress : remote
    schedule(bytes, Path(local: local, remote: Self.serverAddress), arrivals, to: .client, packets)
    return arrivals.count
  }

  private func schedule(
    _ bytes: [UInt8], _ path: Path, _ arrivals: [Link.Arrival], to destination: Destination,
    _ packets: [WireObserver.Packet]
  ) {
    for arrival in arrivals {
      var datagram = Datagram(
        bytes: bytes, path: path, ecn: arrival.ecn, packets: packets, flippedBit: arrival.flippedBit)
      if let bit = arrival.flippedBit { datagram.bytes[bit / 8] ^= 1 << UInt8(bit % 8) }
      heap.add((destination, datagram), at: arrival.time)
    }
  }

  private func digest(_ bytes: [UInt8]) {
    fingerprint = (fingerprint ^ UInt64(bitPattern: now.nanoseconds)) &* 0x100_0000_01b3
    fingerprint = (fingerprint ^ UInt64(bytes.count)) &* 0x100_0000_01b3
    // The tail of a packet is its AEAD tag, in which every byte before it tells.
    for byte in bytes.suffix(16) { fingerprint = (fingerprint ^ UInt64(byte)) &* 0x100_0000_01b3 }
  }

  /// Delivers a datagram that nobody on this network sent.
  func inject(_ bytes: [UInt8], to destination: Destination) {
    let path =
      destination == .server
      ? Path(local: Self.serverAddress, remote: publicAddress)
      : Path(local: Self.clientAddress, remote: Self.serverAddress)
    deliver(Datagram(bytes: bytes, path: path, ecn: .notECT), to: destination, isIntercepted: false)
  }

  private func deliver(_ datagram: Datagram, to destination: Destination, isIntercepted: Bool = true) {
    for datagram in isIntercepted ? interceptor?(destination, datagram) ?? [datagram] : [datagram] {
      switch destination {
      // The client's socket has one connection, and a stateless reset comes to no ID of its own.
      case .client: feed(datagram, to: client)
      case .server: deliverToServer(datagram)
      }
    }
  }

  private func deliverToServer(_ datagram: Datagram) {
    wire.serverReceived(datagram.bytes.count, from: datagram.path.remote)
    // A flipped bit may lie in another of the coalesced packets.
    if datagram.bytes.holdsHandshakePacket { wire.validate(datagram.path.remote) }
    let route = datagram.bytes.withUnsafeBytes {
      serverEndpoint.route($0, from: datagram.path, now: now, reply: reply)
    }
    switch route {
    case .connection(let index): feed(datagram, to: servers[index])
    case .accept(let request):
      // A token proves the address before any Handshake packet does.
      if request.isAddressValidated { wire.validate(datagram.path.remote) }
      let server = makeServer(request, datagram.path, now, servers.count)
      servers.append(server)
      server.run()
      self.route(server)
      feed(datagram, to: server)
    case .reply(let count): sendDown([UInt8](reply[..<count]), to: datagram.path.remote, ecn: .notECT, [])
    case .drop, .ring: break
    }
  }

  private func feed(_ datagram: Datagram, to peer: Peer) {
    wire.arrived(datagram.packets, damaged: datagram.flippedBit, at: peer)
    var bytes = datagram.bytes
    bytes.withUnsafeMutableBytes {
      peer.connection.receive($0, path: datagram.path, ecn: datagram.ecn, now: now)
    }
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
