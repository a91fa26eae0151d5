import CongestionSimulation
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

  /// Where clients find the server: an address that others may share with it.
  static let serverAddress = SocketAddress(.v4(IPv4Address(203, 0, 113, 1)), port: 443)
  /// One of its own, for its transport parameters (RFC 9000 §9.6).
  static let preferredAddress = SocketAddress(.v4(IPv4Address(203, 0, 113, 77)), port: 4433)
  /// Where the client may migrate to; no NAT there.
  static let secondClientAddress = SocketAddress(.v4(IPv4Address(100, 64, 0, 9)), port: 40_000)
  static let clientAddress = SocketAddress(.v4(IPv4Address(192, 0, 2, 7)), port: 50_000)

  let client: Peer
  /// Every connection that the server's endpoint accepted; a damaged Initial packet can begin one that leads nowhere.
  var servers: [Peer] = []
  var serverEndpoint: Endpoint<Int>
  /// Makes the connection that has so many before it.
  let limits: WireInvariants.Limits
  let makeServer: (InitialRequest, Path, Instant, Int) -> Peer
  let reply = UnsafeMutableRawBufferPointer.allocate(byteCount: 1500, alignment: 16)
  var up: Link
  var down: Link
  /// The way to and from ``secondClientAddress``, where it is another.
  var secondUp: Link?
  var secondDown: Link?
  private(set) var now: Instant
  var heap = Timeline<(Destination, Datagram)>()
  /// Where the client's datagrams seem to come from; a rebinding changes it (RFC 9000 §9.3).
  var publicAddress = Network.clientAddress
  /// Addresses of the server's that nothing gets to.
  var unreachable: Set<SocketAddress> = []
  var rebindings: [(time: Instant, address: SocketAddress)] = []
  /// Called with each datagram before it is delivered; what it returns is delivered in its place.
  var interceptor: ((Destination, Datagram) -> [Datagram])?

  /// Reads along, for the rules of the wire; nil where packets are forged, which keep none.
  var observer: WireObserver?
  var wire = WireInvariants()
  var trace: PacketTrace?
  private var steps = 0
  var fault: String?
  /// What is wrong once the transfer is done.
  var faultAtTheEnd: String?
  /// Stops at what an application finds wrong; off where forged packets carry forged data.
  var heedsApplications = true
  /// A digest of every datagram's time, size and bytes: equal for equal runs.
  var fingerprint: UInt64 = 0xcbf2_9ce4_8422_2325

  init(
    client: Peer, up: Link, down: Link, start: Instant, server configuration: Endpoint<Int>.Configuration,
    limits: WireInvariants.Limits, entropy: any EntropySource,
    makeServer: @escaping (InitialRequest, Path, Instant, Int) -> Peer
  ) {
    self.client = client
    serverEndpoint = Endpoint(configuration, entropy: entropy)
    self.up = up
    self.down = down
    now = start
    self.makeServer = makeServer
    self.limits = limits
  }

  deinit { reply.deallocate() }

  /// The server's end of the client's connection, as far as can be told.
  var server: Peer? { servers.first { $0.connection.isHandshakeComplete } ?? servers.first }

  /// The server's process dies: its connections are gone, its address and its keys are not.
  func restartServer() {
    for server in servers { server.connectionIDs.forEach { serverEndpoint.remove($0) } }
    servers = []
    trace?.note("the server has restarted", now: now)
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
      if peer.takeRefusal() { wire.refusedEarlyData(of: peer) }
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
  func route(_ peer: Peer) {
    let routes = peer.takeRoutes()
    guard let handle = servers.firstIndex(where: { $0 === peer }) else { return }
    for (id, isIssued) in routes {
      if isIssued { serverEndpoint.add(id, handle) } else { serverEndpoint.remove(id) }
    }
    if peer.connection.isDrained { peer.connectionIDs.forEach { serverEndpoint.remove($0) } }
  }

  func note(_ broken: String?, _ peer: Peer) {
    if let broken, fault == nil { fault = "\(peer.role): \(broken)" }
  }
}
