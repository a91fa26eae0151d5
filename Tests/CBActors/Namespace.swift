import Foundation
import Glibc
import Logging
import Ring
import Synchronization
import Testing
import Wire

@testable import CBActors

/// Why no network namespace of one's own can be had here; nil where it can.
let namespaceRefusal: String? = {
  guard geteuid() == 0 else { return "it needs root" }
  guard
    FileManager.default.isExecutableFile(atPath: "/usr/sbin/ip")
      || FileManager.default.isExecutableFile(atPath: "/sbin/ip")
  else { return "iproute2 is not installed" }
  let ring = RingExecutor()
  do throws(RingError) { try ring.start(name: "probe") } catch { return error.description }
  ring.stop()
  return nil
}()

extension Trait where Self == ConditionTrait {
  static var needsNamespace: Self {
    .enabled(if: namespaceRefusal == nil, "NOT TESTED against the kernel: \(namespaceRefusal ?? "")")
  }
}

/// A ring whose thread lives in a network namespace of its own: sockets opened there, and programs started there, are
/// in it. It goes with the thread.
actor Namespace {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
  nonisolated let logger: Logger

  init(_ ring: RingExecutor) {
    self.ring = ring
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    logger.logLevel = .critical
    self.logger = logger
  }

  func enter() {
    // The C library shows unshare(2) only to _GNU_SOURCE. CLONE_NEWNET of linux/sched.h, of this thread alone.
    typealias Unshare = @convention(c) (Int32) -> Int32
    let unshare = dlsym(nil, "unshare").map { unsafeBitCast($0, to: Unshare.self) }
    #expect(unshare?(0x4000_0000) == 0)
    run("ip link set lo up")
  }

  /// Runs shell commands in the namespace; what they print.
  @discardableResult
  func run(_ command: String) -> String {
    guard let pipe = popen("PATH=$PATH:/usr/sbin:/sbin; \(command) 2>&1", "r") else { return "" }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&piece, 1, piece.count, pipe)
      if count == 0 { break }
      bytes += piece[..<count]
    }
    pclose(pipe)
    return String(decoding: bytes, as: UTF8.self)
  }

  func perform<Result: Sendable>(_ body: @Sendable () throws -> Result) rethrows -> Result { try body() }
}

/// Runs `body` with a namespace, which goes at its end.
func withNamespace<Result>(_ body: (Namespace) async throws -> Result) async throws -> Result {
  let ring = RingExecutor()
  try ring.start(name: "test")
  let namespace = Namespace(ring)
  await namespace.enter()
  do {
    let result = try await body(namespace)
    await ring.shutdown()
    return result
  } catch {
    await ring.shutdown()
    throw error
  }
}

/// What callbacks of a ring note down, each with its instant.
final class Notes<Note: Sendable>: Sendable {
  private let notes = Mutex<[(at: Instant, note: Note)]>([])

  func add(_ note: Note) { notes.withLock { $0.append((RingExecutor.monotonicNow(), note)) } }
  var all: [(at: Instant, note: Note)] { notes.withLock { $0 } }

  /// The first note, of those from `start` on, that `condition` holds of; nil after `seconds`.
  func first(
    from start: Int = 0, within seconds: Double = 5, where condition: (Note) -> Bool
  ) async throws -> (at: Instant, note: Note)? {
    for _ in 0..<Int(seconds * 1_000) {
      if let found = all.dropFirst(start).first(where: { condition($0.note) }) { return found }
      try await Task.sleep(for: .milliseconds(1))
    }
    return nil
  }
}
