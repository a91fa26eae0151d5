import CBClient
import Foundation
import Synchronization

/// An engine that does what a test says, without a network.
final class ScriptedEngine: ClientEngine {
  struct Script: Sendable {
    /// What a method throws, by its name.
    var failures: [String: ClientError] = [:]
    /// Methods that never end unless they are cancelled.
    var hanging: Set<String> = []
    var candidates: [PoPCandidate] = [
      .init(name: "fra1", address: "192.0.2.10:443", source: .https, rttMilliseconds: 8.25),
      .init(name: "ams1", address: "[2001:db8::20]:443", source: .https, rttMilliseconds: 14.5),
      .init(name: "sin1", address: "198.51.100.30:443", source: .srv, failure: "no answer within 2 s"),
    ]
    var body: [[UInt8]] = [Array("<h1>It works</h1>\n".utf8)]
    var status = 200
    var state = ConnectionState.disconnected
    var tunnels: [TunnelStatus] = []
    var isSignedIn = true
    var lines: [LogLine] = []
    /// How long the methods that wait on a network take.
    var delay = Duration.zero
  }

  let script: Mutex<Script>
  let calls = Mutex<[String]>([])
  private let listeners = Mutex<[AsyncStream<ClientEvent>.Continuation]>([])
  private let epoch = Date(timeIntervalSince1970: 1_800_000_000)

  init(_ script: Script = Script()) { self.script = Mutex(script) }

  private func enter(_ name: String) async throws(ClientError) {
    calls.withLock { $0.append(name) }
    let (failure, hangs, delay) = script.withLock { ($0.failures[name], $0.hanging.contains(name), $0.delay) }
    if let failure { throw failure }
    do {
      if hangs { try await Task.sleep(for: .seconds(3600)) }
      if delay > .zero { try await Task.sleep(for: delay) }
    } catch {
      throw ClientError(.cancelled, "\(name) was cancelled")
    }
  }

  func emit(_ event: ClientEvent) { listeners.withLock { $0.forEach { _ = $0.yield(event) } } }

  private var account: Account {
    Account(
      subject: "3141", name: "Ada Lovelace", email: "ada@example.net", organisation: "Analytical",
      roles: ["operator", "user"], issuer: "https://login.example.net", expiresAt: Date().addingTimeInterval(3600),
      renewable: true)
  }

  private var connection: ConnectionStatus {
    ConnectionStatus(
      pop: "fra1", address: "192.0.2.10:443", connectedAt: Date().addingTimeInterval(-125),
      keyExchange: "X25519MLKEM768",
      cipher: "AES-128-GCM", congestion: "cubic", smoothedRTTMilliseconds: 8.31, minimumRTTMilliseconds: 7.92,
      congestionWindowBytes: 122_880, mtuBytes: 1452, bytesSent: 12_345_678, bytesReceived: 987_654_321, packetsLost: 3)
  }

  func login(progress: @escaping @Sendable (LoginProgress) -> Void) async throws(ClientError) -> Account {
    progress(.contactingIssuer("https://login.example.net"))
    progress(
      .userCode(
        DeviceCode(
          userCode: "BCDF-GHJK", verificationURI: "https://login.example.net/device",
          verificationURIComplete: "https://login.example.net/device?user_code=BCDF-GHJK",
          expiresAt: Date().addingTimeInterval(300.5))))
    try await enter("login")
    script.withLock { $0.isSignedIn = true }
    return account
  }

  func logout() async throws(ClientError) -> LogoutResult {
    try await enter("logout")
    return script.withLock { script in
      defer { script.isSignedIn = false }
      return LogoutResult(wasSignedIn: script.isSignedIn, revoked: true)
    }
  }

  func whoami() async throws(ClientError) -> Account {
    try await enter("whoami")
    guard script.withLock({ $0.isSignedIn }) else {
      throw ClientError(.notSignedIn, "no one is signed in", hint: "login")
    }
    return account
  }

  func discover() async throws(ClientError) -> [PoPCandidate] {
    try await enter("discover")
    return script.withLock { $0.candidates }
  }

  func connect(pop: String?) async throws(ClientError) -> ConnectionStatus {
    emit(.stateChanged(.connecting, pop: pop))
    try await enter("connect")
    script.withLock { $0.state = .connected }
    emit(.stateChanged(.connected, pop: "fra1"))
    return connection
  }

  func disconnect() async throws(ClientError) {
    try await enter("disconnect")
    script.withLock { $0.state = .disconnected }
    emit(.stateChanged(.disconnected, pop: nil))
  }

  func status() async -> ClientStatus {
    let script = script.withLock { $0 }
    let isUp = script.state == .connected
    return ClientStatus(
      profile: "test", state: script.state, connection: isUp ? connection : nil,
      account: script.isSignedIn ? "Ada Lovelace" : nil,
      tokenExpiresAt: script.isSignedIn ? Date().addingTimeInterval(3600) : nil,
      listeners: isUp
        ? [
          .init(name: "socks", address: "127.0.0.1:1080", openConnections: 2),
          .init(name: "http", address: "127.0.0.1:8118", openConnections: 0),
        ] : [],
      tunnels: script.tunnels, lastError: isUp ? nil : "idle time-out")
  }

  func addTunnel(_ tunnel: TunnelRequest) async throws(ClientError) -> TunnelStatus {
    try await enter("addTunnel")
    return script.withLock { script in
      let status = TunnelStatus(
        name: tunnel.name ?? "tunnel\(script.tunnels.count + 1)", transport: tunnel.transport, listen: tunnel.listen,
        target: tunnel.target, state: .open, openFlows: 1, bytesSent: 4096, bytesReceived: 1_234_567)
      script.tunnels.append(status)
      return status
    }
  }

  func listTunnels() async -> [TunnelStatus] { script.withLock { $0.tunnels } }

  func removeTunnel(named name: String) async throws(ClientError) -> TunnelStatus {
    let removed = script.withLock { script -> TunnelStatus? in
      guard let index = script.tunnels.firstIndex(where: { $0.name == name }) else { return nil }
      return script.tunnels.remove(at: index)
    }
    guard let removed else { throw ClientError(.usage, "there is no tunnel '\(name)'") }
    return removed
  }

  func ping(host: String?, sequence: Int) async throws(ClientError) -> PingReply {
    try await enter("ping")
    return PingReply(
      sequence: sequence, target: host ?? "fra1 (192.0.2.10:443)", rttMilliseconds: 8.2 + Double(sequence))
  }

  func get(_ request: GetRequest) async throws(ClientError) -> GetResponse {
    try await enter("get")
    let (body, status) = script.withLock { ($0.body, $0.status) }
    let rest = BodyPieces(body)
    return GetResponse(
      head: .init(
        status: status, reason: status == 200 ? "OK" : "Not Found",
        fields: [
          .init(name: "Content-Type", value: "text/html"),
          .init(name: "Content-Length", value: String(body.joined().count)),
        ])
    ) { () throws(ClientError) in rest.next() }
  }

  private final class BodyPieces: Sendable {
    private let pieces: Mutex<[[UInt8]]>
    init(_ pieces: [[UInt8]]) { self.pieces = Mutex(pieces) }
    func next() -> [UInt8]? { pieces.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
  }

  func log(tail: Int, follow: Bool) -> AsyncStream<LogLine> {
    let lines = script.withLock { $0.lines.suffix(tail) }
    let (stream, continuation) = AsyncStream.makeStream(of: LogLine.self)
    lines.forEach { continuation.yield($0) }
    if !follow { continuation.finish() }
    return stream
  }

  func events() -> AsyncStream<ClientEvent> {
    let (stream, continuation) = AsyncStream.makeStream(of: ClientEvent.self)
    listeners.withLock { $0.append(continuation) }
    return stream
  }

  func shutdown() async {
    calls.withLock { $0.append("shutdown") }
    listeners.withLock { $0.forEach { $0.finish() } }
  }
}
