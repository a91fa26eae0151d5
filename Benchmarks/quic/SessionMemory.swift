import CBActors
import CMemory
import Glibc
import HTTP3
import Logging
import QUIC
import QUICTLS
import Ring
import Wire

/// Bytes of idle connections of a server's actors, behind a real socket on loopback. The clients are cores without
/// actors, and are forgotten, without a word, when their handshake is confirmed.
enum SessionMemory {
  static func measure(_ count: Int) throws {
    let contexts = try Contexts(onlyX25519: false)
    let ring = RingExecutor()
    try ring.start(name: "bench")
    var configuration = QUIC.Configuration.tunnels
    configuration.maxIdleTimeout = idleTimeout
    var logger = Logger(label: "quicbench")
    logger.logLevel = .critical
    let acceptance = QUICEndpoint.Acceptance(
      maximumConnections: count + 1, makeDelegate: { _, _ in Delegate() }, makeTLS: { contexts.server.makeSession() })
    let endpoint = QUICEndpoint(ring: ring, configuration: configuration, acceptance: acceptance, logger: logger)
    let address = try wait { try await endpoint.start(on: SocketAddress("127.0.0.1:0")!) }
    let client = try contexts.client()
    try connect(to: address, client)
    let before = Int(cb_live_bytes())
    for _ in 0..<count { try connect(to: address, client) }
    let accepted = try wait { await endpoint.counters.connectionsAccepted }
    guard accepted == UInt64(count + 1) else { fatalError("\(accepted) of \(count + 1) connections") }
    print("\(count) idle HTTP/3 sessions: \((Int(cb_live_bytes()) - before) / count) bytes each")
  }

  /// Longer than the measurement takes; the lesser of both ends' holds.
  private static let idleTimeout = Interval.seconds(3_600)

  /// Only for setting up: blocks this thread until `body` is done.
  private static func wait<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    let outcome = Outcome<Value>()
    Task {
      do { outcome.set(.success(try await body())) } catch { outcome.set(.failure(error)) }
    }
    return try outcome.wait()
  }

  private static func connect(to server: SocketAddress, _ context: ClientTLSContext) throws {
    let port = try LoopbackPort(to: server)
    var now = LoopbackPort.now()
    let path = Path(local: port.local, remote: server)
    var configuration = QUIC.Configuration()
    configuration.maxIdleTimeout = idleTimeout
    let client = End(
      QUIC.Connection(
        client: configuration, tls: try context.makeSession(serverName: Contexts.name), path: path, now: now,
        entropy: SystemEntropy.shared), speaksHTTP: true)
    var buffer = [UInt8](repeating: 0, count: 2_048)
    // A little longer than until the handshake is confirmed: the server's connection IDs and SETTINGS are acknowledged.
    var quietRounds = 0
    while quietRounds < 3 {
      while let sent = buffer.withUnsafeMutableBytes({ client.connection.transmit(into: $0, maxSegments: 1, now: now) })
      {
        port.send(buffer[..<sent.byteCount])
        client.drain(nil)
      }
      let count = port.receive(into: &buffer, milliseconds: 30)
      now = LoopbackPort.now()
      if count > 0 {
        buffer.withUnsafeMutableBytes {
          client.connection.receive(
            UnsafeMutableRawBufferPointer(rebasing: $0[..<count]), path: path, ecn: .notECT, now: now)
        }
      } else if client.connection.isHandshakeConfirmed {
        quietRounds += 1
      }
      if let deadline = client.connection.deadline, deadline <= now { client.connection.handleTimeout(now: now) }
      client.drain(nil)
      guard !client.connection.isClosed else { fatalError("a client's connection has ended") }
    }
  }

  private final class Delegate: HTTP3SessionDelegate {
    func sessionBecameReady(_ session: HTTP3Session) {}
    func session(
      _ session: HTTP3Session, request fields: HeaderList, on stream: StreamID, finished: Bool
    ) -> (any RequestStreamHandler)? { nil }
    func session(_ session: HTTP3Session, closed reason: CloseReason) {}
  }
}
