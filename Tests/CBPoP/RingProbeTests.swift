import CBActors
import Foundation
import Glibc
import HTTP3
import Health
import Logging
import QUIC
import QUICTLS
import Ring
import Settings
import Synchronization
import Testing
import Wire

@testable import CBPoP

/// Takes a ring's thread, as a fault in an actor of its would, and gives it back.
private actor Blocker {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
  nonisolated let isBlocking = Atomic<Bool>(true)
  init(_ ring: RingExecutor) { self.ring = ring }

  func block() {
    while isBlocking.load(ordering: .relaxed) { usleep(1_000) }
  }
}

private final class Nobody: HTTP3SessionDelegate {
  func sessionBecameReady(_ session: HTTP3Session) {}
  func session(_ session: HTTP3Session, closed reason: CloseReason) {}
  func session(
    _ session: HTTP3Session, request fields: HeaderList, on stream: StreamID, finished: Bool
  ) -> (any RequestStreamHandler)? { nil }
}

@Suite("A PoP of several rings", .serialized) struct RingProbeTests {
  /// With three rings and one that hangs, two of three probes by chance would say that all is well.
  @Test(.timeLimit(.minutes(1))) func aRingThatHangsIsSeen() async throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("rings-\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let certificate = try DevelopmentCertificate(directory: directory, names: ["localhost"], now: Date())
    let identity = try TLSIdentity(
      certificateChainFile: certificate.chainFile.path, privateKeyFile: certificate.keyFile.path)
    let tls = try ServerTLSContext(identity: identity, applicationProtocols: ["h3"])
    var logger = Logger(label: "ring-probe-test")
    logger.logLevel = .critical
    let settings = try PoPSettings(text: "bgp: {announce: [198.51.100.0/24], health: {recoveryDelay: 100ms}}\n")

    let rings = (0..<4).map { _ in RingExecutor() }
    for ring in rings { try ring.start(name: "test") }
    let delegate = Nobody()
    let acceptance = QUICEndpoint.Acceptance(
      maximumConnections: 100, makeDelegate: { _, _ in delegate }, makeTLS: { tls.makeSession() })
    var address = SocketAddress("127.0.0.1:0")!
    var servers: [QUICEndpoint] = []
    for index in 0..<3 {
      var configuration = QUIC.Configuration.tunnels
      configuration.connectionIDs.ring = RingShare(index: index, count: 3, key: 0x1234_5678_9abc_def0)
      servers.append(
        QUICEndpoint(ring: rings[index], configuration: configuration, acceptance: acceptance, logger: logger))
    }
    for server in servers { address = try await server.start(on: address) }
    for server in servers { await server.join(servers) }

    let states = Mutex<[Announcement.State]>([])
    let service = ServedEndpoints(listeners: [address], rings: servers.compactMap(\.share), identity: identity) { 0 }
    let watch = NetworkWatch(ring: rings[3], logger: logger)
    let health = try ServiceHealth(settings.bgp, ring: rings[3], service, watch: watch, logger: logger) {
      group, state in
      #expect(group == 0)
      states.withLock { $0.append(state) }
    }
    await health.monitor.start()
    try await Self.wait("the announcement") { states.withLock { $0.last == .announced } }
    for index in 0..<3 {
      let blocker = Blocker(rings[index])
      let blocking = Task { await blocker.block() }
      let gone = Announcement.State.withdrawn(.unhealthy(["QUIC \(address) ring \(index)"]))
      try await Self.wait("the withdrawal of ring \(index)") { states.withLock { $0.last == gone } }
      blocker.isBlocking.store(false, ordering: .relaxed)
      await blocking.value
      // The third fall within a minute is one too many.
      if index < 2 { try await Self.wait("the return of ring \(index)") { states.withLock { $0.last == .announced } } }
    }
    await health.stop()
    for server in servers { await server.stop() }
    for ring in rings { await ring.shutdown() }
  }

  private static func wait(_ what: String, until condition: () -> Bool) async throws {
    for _ in 0..<1_000 {
      if condition() { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("\(what) did not come in ten seconds")
  }
}
