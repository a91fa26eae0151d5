import CBActors
import Foundation
import Glibc
import HTTP3
import Logging
import MASQUE
import QUIC
import QUICTLS
import Ring
import Synchronization
import Testing
import Wire

@testable import CBPoP

private let loopback = SocketAddress("127.0.0.1:0")!

/// A TCP server that sends back what it gets, on a thread of its own.
private final class EchoServer: Sendable {
  let address: SocketAddress
  private let descriptor: Int32

  init() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    self.descriptor = descriptor
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &name) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    try #require(bound && listen(descriptor, 8) == 0)
    address = SocketAddress(.v4(.loopback), port: UInt16(bigEndian: name.sin_port))
    Thread.detachNewThread {
      while true {
        let peer = accept(descriptor, nil, nil)
        guard peer >= 0 else { return }
        Thread.detachNewThread {
          var bytes = [UInt8](repeating: 0, count: 65_536)
          while true {
            let count = recv(peer, &bytes, bytes.count, 0)
            guard count > 0 else { break }
            _ = send(peer, bytes, count, 0)
          }
          close(peer)
        }
      }
    }
  }

  deinit { shutdown(descriptor, Int32(SHUT_RDWR)) }
}

/// A server's side: every CONNECT becomes a tunnel to the echo server.
private final class TunnelServer: HTTP3SessionDelegate {
  let target: SocketAddress
  init(_ target: SocketAddress) { self.target = target }

  func sessionBecameReady(_ session: HTTP3Session) {}
  func session(_ session: HTTP3Session, closed reason: CloseReason) {}
  func session(
    _ session: HTTP3Session, request fields: HeaderList, on stream: StreamID, finished: Bool
  ) -> (any RequestStreamHandler)? {
    let tunnel = TCPTunnel(session: session, stream: stream, idleTimeout: .seconds(60)) { _ in }
    Task.detached { [target] in
      try await tunnel.connect(to: target, timeout: .seconds(5))
      await tunnel.accept(ConnectTCP.success)
    }
    return tunnel
  }
}

/// A client's side of a tunnel: counts what came back.
private final class Echo: RequestStreamHandler {
  private struct State {
    var isOpen = false
    var received: [UInt8] = []
    var end: RequestStreamEnd?
  }
  private let state = Mutex(State())

  var isOpen: Bool { state.withLock { $0.isOpen } }
  var received: [UInt8] { state.withLock { $0.received } }
  var end: RequestStreamEnd? { state.withLock { $0.end } }

  func receive(fields: HeaderList, finished: Bool) { state.withLock { $0.isOpen = fields.isSuccessful } }
  func receive(data: UnsafeRawBufferPointer) -> Int {
    let bytes = [UInt8](data)
    state.withLock { $0.received += bytes }
    return bytes.count
  }
  func receiveEnd() {}
  func writable() {}
  func ended(_ reason: RequestStreamEnd) { state.withLock { $0.end = reason } }
}

/// A NAT between client and server, that may give the client another port.
private actor Translator: UDPSocketDelegate {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
  private let server: SocketAddress
  private var inside: UDPSocket?
  private var outside: UDPSocket?
  private var client: SocketAddress?

  init(_ ring: RingExecutor, to server: SocketAddress) {
    self.ring = ring
    self.server = server
  }

  func start() throws -> SocketAddress {
    let socket = try UDPSocket(on: ring, bind: loopback, delegate: self)
    inside = socket
    try rebind()
    return socket.localAddress
  }

  func rebind() throws {
    outside?.close()
    outside = try UDPSocket(on: ring, bind: loopback, delegate: self)
  }

  func stop() {
    inside?.close()
    outside?.close()
  }

  private func pass(
    _ socket: UDPSocket, _ bytes: UnsafeMutableRawBufferPointer, _ segmentSize: Int, _ remote: SocketAddress,
    _ ecn: UInt8
  ) {
    let isInside = socket === inside
    if isInside { client = remote }
    guard let destination = isInside ? server : client else { return }
    _ = (isInside ? outside : inside)?.send(
      UnsafeRawBufferPointer(bytes),
      UDPSend(byteCount: bytes.count, segmentSize: segmentSize, destination: destination, ecn: ecn))
  }

  nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    let (socket, bytes) = (RingBound(socket), RingBound(bytes))
    assumeIsolated { $0.pass(socket.value, bytes.value, segmentSize, remote, ecn) }
  }
  nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {}
}

/// A client and a server of two rings on loopback, and one tunnel between them.
private struct Stage {
  let client: QUICEndpoint
  let clientRing: RingExecutor
  let servers: [QUICEndpoint]
  let rings: [RingExecutor]
  let tls: ClientTLSContext

  /// - Parameter preferred: gets the server's second address.
  static func run(
    preferred: SocketAddress? = nil, through translate: Bool = false,
    _ body: (Stage, HTTP3Session, Translator?) async throws -> Void
  ) async throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("migration-\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let certificate = try DevelopmentCertificate(directory: directory, names: ["localhost"], now: Date())
    let identity = try TLSIdentity(
      certificateChainFile: certificate.chainFile.path, privateKeyFile: certificate.keyFile.path)
    let serverTLS = try ServerTLSContext(identity: identity, applicationProtocols: ["h3"])
    let clientTLS = try ClientTLSContext(
      trust: .certificateFiles(certificate.certificateAuthorityFile.path), applicationProtocols: ["h3"])
    var logger = Logger(label: "migration-test")
    logger.logLevel = .critical
    let target = try EchoServer()
    let delegate = TunnelServer(target.address)
    let acceptance = QUICEndpoint.Acceptance(
      maximumConnections: 4, makeDelegate: { _, _ in delegate }, makeTLS: { serverTLS.makeSession() })
    let rings = (0..<3).map { _ in RingExecutor() }
    for ring in rings { try ring.start(name: "test") }
    var configuration = QUIC.Configuration.tunnels
    configuration.statelessResetKey = [UInt8](repeating: 7, count: 32)
    if let preferred { configuration.preferredAddresses = [preferred] }
    var address = loopback
    var servers: [QUICEndpoint] = []
    for index in 0..<2 {
      configuration.connectionIDs.ring = RingShare(index: index, count: 2, key: 0x1234_5678_9abc_def0)
      servers.append(
        QUICEndpoint(ring: rings[index], configuration: configuration, acceptance: acceptance, logger: logger))
    }
    for server in servers { address = try await server.start(on: address) }
    if let preferred { for server in servers { try await server.start(on: preferred) } }
    for server in servers { await server.join(servers) }
    let client = QUICEndpoint(ring: rings[2], configuration: .tunnels, acceptance: nil, logger: logger)
    try await client.start(on: loopback)
    var translator: Translator?
    if translate {
      let made = Translator(rings[2], to: address)
      address = try await made.start()
      translator = made
    }
    let stage = Stage(client: client, clientRing: rings[2], servers: servers, rings: rings, tls: clientTLS)
    let session = try await client.connect(
      to: address, tls: RingBound(clientTLS.makeSession(serverName: "localhost")), delegate: nil)
    try await session.ready()
    try await body(stage, session, translator)
    await client.stop()
    for server in servers { await server.stop() }
    await translator?.stop()
    for ring in rings { await ring.shutdown() }
  }

  static func wait(_ what: String, until condition: () async -> Bool) async throws {
    for _ in 0..<1_000 {
      if await condition() { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Overdue(what: what)
  }

  /// A condition did not come true in ten seconds: nothing that follows could.
  struct Overdue: Error { let what: String }

  func openTunnel(_ session: HTTP3Session) async throws -> (Echo, StreamID) {
    let echo = Echo()
    let request = ConnectTCP.request(try Target(authority: "localhost:7"))
    let opened = try await session.request(request, finish: false, handler: echo)
    let stream = try #require(opened)
    try await Self.wait("the tunnel") { echo.isOpen }
    return (echo, stream)
  }

  /// Sends through the tunnel and waits for all of it to come back.
  func exchange(_ session: HTTP3Session, _ echo: Echo, _ stream: StreamID, _ count: Int) async throws {
    let before = echo.received.count
    let bytes = SystemEntropy.shared.bytes(count)
    let taken = await session.sendAll(bytes, on: stream)
    #expect(taken == count)
    try await Self.wait("the echo of \(count) bytes") { echo.received.count >= before + count }
    #expect(Array(echo.received[before...]) == bytes)
    #expect(echo.end == nil)
  }
}

extension HTTP3Session {
  fileprivate func sendAll(_ bytes: [UInt8], on stream: StreamID) -> Int {
    bytes.withUnsafeBytes { send($0, finish: false, on: stream) }
  }
}

/// Real sockets; the conditions have ten seconds, and nothing is judged by time.
@Suite(.serialized) struct MigrationTests {
  @Test func aTunnelGoesOnWhileItsClientMoves() async throws {
    try await Stage.run { stage, session, _ in
      let (echo, stream) = try await stage.openTunnel(session)
      try await stage.exchange(session, echo, stream, 100_000)
      var paths = [await session.path]
      // Each new port hashes to either ring: the connection must find its own.
      for _ in 0..<8 {
        let moved = try await stage.client.move(to: loopback)
        #expect(moved == 1)
        try await stage.exchange(session, echo, stream, 100_000)
        let path = await session.path
        #expect(!paths.contains(path))
        paths.append(path)
      }
      var counts = QUICEndpoint.Counters()
      for server in stage.servers { counts.add(await server.counters) }
      #expect(counts.connectionsAccepted == 1)
      #expect(counts.repliesSent == 0)
    }
  }

  @Test func aTunnelGoesOnWhenItsNATForgetsIt() async throws {
    try await Stage.run(through: true) { stage, session, translator in
      let (echo, stream) = try await stage.openTunnel(session)
      for _ in 0..<6 {
        try await stage.exchange(session, echo, stream, 50_000)
        try await translator?.rebind()
      }
      try await stage.exchange(session, echo, stream, 50_000)
      var counts = QUICEndpoint.Counters()
      for server in stage.servers { counts.add(await server.counters) }
      #expect(counts.connectionsAccepted == 1)
      #expect(counts.repliesSent == 0)
    }
  }

  @Test func aTunnelFollowsToThePreferredAddress() async throws {
    let preferred = SocketAddress(.v4(IPv4Address(127, 0, 0, 2)), port: UInt16.random(in: 20_000...30_000))
    try await Stage.run(preferred: preferred) { stage, session, _ in
      let (echo, stream) = try await stage.openTunnel(session)
      try await Stage.wait("the move to the preferred address") { await session.path.remote == preferred }
      try await stage.exchange(session, echo, stream, 200_000)
      // And on from there.
      let moved = try await stage.client.move(to: loopback)
      #expect(moved == 1)
      try await stage.exchange(session, echo, stream, 200_000)
      let remote = await session.path.remote
      #expect(remote == preferred)
    }
  }
}
