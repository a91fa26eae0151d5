import CongestionSimulation
import PacketCrypto
import Wire

@testable import QUIC

/// Datagrams on their way.
extension Network {
  func send(_ bytes: [UInt8], _ batch: Transmission, from peer: Peer) {
    let packets = observe(bytes, from: peer, on: batch.path)
    let arrivals =
      peer.role == .client
      ? sendUp(bytes, on: batch.path, ecn: batch.ecn, packets)
      : sendDown(bytes, on: batch.path, ecn: batch.ecn, packets)
    trace?.sent(packets, size: bytes.count, by: peer.role, on: batch.path, now: now, arrivals: arrivals)
  }

  /// Opens a datagram and checks it against the rules of the wire.
  private func observe(_ bytes: [UInt8], from peer: Peer, on path: Path) -> [WireObserver.Packet] {
    guard let observer else { return [] }
    do throws(WireObserver.Unreadable) {
      let packets = try observer.open(
        bytes, from: peer.role, ObjectIdentifier(peer), version: peer.connection.version
      ) { wire.lastNumber(peer, $0) }
      let limits =
        peer.role == .client ? limits : WireInvariants.Limits(now: client.connection.configuration, remembered: nil)
      note(wire.sent(packets, datagramSize: bytes.count, by: peer, on: path, limits: limits), peer)
      return packets
    } catch {
      note("unreadable: \(error.text)", peer)
      return []
    }
  }

  private func sendUp(
    _ bytes: [UInt8], on way: Path, ecn: ECN, _ packets: [WireObserver.Packet]
  ) -> Int {
    digest(bytes)
    let path = Path(local: way.remote, remote: way.local == Self.clientAddress ? publicAddress : way.local)
    let arrivals =
      way.local == Self.secondClientAddress && secondUp != nil
      ? secondUp!.send(size: bytes.count, ecn: ecn, now: now) : up.send(size: bytes.count, ecn: ecn, now: now)
    guard !unreachable.contains(way.remote) else { return 0 }
    schedule(bytes, path, arrivals, to: .server, packets)
    return arrivals.count
  }

  @discardableResult
  private func sendDown(
    _ bytes: [UInt8], on way: Path, ecn: ECN, _ packets: [WireObserver.Packet]
  ) -> Int {
    digest(bytes)
    let remote = way.remote
    if let broken = wire.serverSent(bytes.count, to: remote), fault == nil { fault = broken }
    let arrivals =
      remote == Self.secondClientAddress && secondDown != nil
      ? secondDown!.send(size: bytes.count, ecn: ecn, now: now) : down.send(size: bytes.count, ecn: ecn, now: now)
    // A NAT passes only what goes to its present mapping.
    guard remote == publicAddress || remote == Self.secondClientAddress else { return 0 }
    let local = remote == publicAddress ? Self.clientAddress : remote
    schedule(bytes, Path(local: local, remote: way.local), arrivals, to: .client, packets)
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
    replay(Datagram(bytes: bytes, path: path, ecn: .notECT), to: destination)
  }

  /// Delivers a datagram again.
  func replay(_ datagram: Datagram, to destination: Destination) {
    deliver(datagram, to: destination, isIntercepted: false)
  }

  func deliver(_ datagram: Datagram, to destination: Destination, isIntercepted: Bool = true) {
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
    case .reply(let count): sendDown([UInt8](reply[..<count]), on: datagram.path, ecn: .notECT, [])
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
        guard let version = reader.readUInt32() else { return false }
        // RFC 9369 §3.2: version 2 counts the types from another one.
        let type = (Int(first >> 4 & 3) + (version == Version.v2.rawValue ? 3 : 0)) % 4
        if type == 2 { return true }
        guard let destination = reader.readUInt8(), reader.skip(Int(destination)),
          let source = reader.readUInt8(), reader.skip(Int(source))
        else { return false }
        if type == 0 {
          guard let token = reader.readVarint(), reader.skip(Int(token)) else { return false }
        }
        guard let length = reader.readVarint(), reader.skip(Int(length)) else { return false }
      }
      return false
    }
  }
}
