import Foundation
import Glibc
import Logging
import Testing
import Wire

@testable import CBPoP

@Suite struct ControlRequests {
  @Test(
    arguments: [
      .neighbors(named: nil), .neighbors(named: "tor1"), .routes(within: nil, of: nil),
      .routes(within: IPPrefix("2001:db8::/32"), of: "tor1"), .routes(within: IPPrefix("10.0.0.0/8"), of: nil),
      .whyAddress(.v4(.loopback)), .whyPrefix(IPPrefix("0.0.0.0/0")!), .refresh("tor1"), .reload, .rpki, .requests,
      .flowspecs, .dump, .monitoring, .health, .stop(isRestart: false), .stop(isRestart: true),
      .order(RoutingOrder(.withdraw, "10.0.0.0/8")), .order(RoutingOrder(.addRule, "dst 10.0.0.0/8  proto \"udp\"\n")),
    ] as [ControlRequest])
  func theLineIsReadAsItWasWritten(_ request: ControlRequest) {
    #expect(ControlRequest(request.line) == request)
  }

  @Test(
    arguments: [
      "", " ", "bgp", "bgp ", "bgp neighbors a b", "bgp routes", "bgp routes -", "bgp routes x -", "bgp routes - - -",
      "bgp why", "bgp why x", "bgp why 1.2.3.4/33", "bgp why 1.2.3.4 5", "bgp reset -", "neighbors bgp", "\u{0}",
      "bgp why 99999999999999999999", "bgp refresh", "bgp refresh a b", "bgp reload all", "bgp order", "bgp order {}",
      "bgp order {\"verb\":\"reset\",\"subject\":\"\"}", "bgp requests x", "bgp dump x", "bgp monitoring x",
      "bgp health x", "stop ", "stop now", "stop graceful-restart x", "bgp stop",
    ])
  func anythingElseIsNot(_ line: String) {
    #expect(ControlRequest(line) == nil)
  }

  /// Whatever is sent, it is read or it is not; there is nothing else that it could do.
  @Test func noLineTraps() {
    let entropy = SeededEntropy(seed: 5)
    let words = ["bgp", "routes", "why", "neighbors", "-", "::", "/", "1.1.1.1/", "\u{1F600}", "", "2001:db8::/129"]
    for _ in 0..<5_000 {
      let line = (0..<Int(entropy.nextUInt64() % 7)).map { _ in words[Int(entropy.nextUInt64() % UInt64(words.count))] }
      _ = ControlRequest(line.joined(separator: " "))
    }
  }
}

@Suite struct ControlSockets {
  private struct Line: Codable, Hashable { var number: Int }

  /// Asks from a thread of its own, as the client blocks; the lines of the answer.
  private func ask(_ path: String, _ request: ControlRequest = .neighbors(named: nil)) async throws -> [Line] {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread {
        continuation.resume(
          with: Result {
            var lines: [Line] = []
            try ControlClient(path: path).ask(request) {
              lines.append(try JSONDecoder().decode(Line.self, from: $0))
            }
            return lines
          })
      }
    }
  }

  /// A socket in a folder of its own whose answers are `count` lines, and what `body` makes of it.
  private func withSocket(answering count: Int, _ body: (String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("cb-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("s").path
    let socket = try await ControlSocket.open(path, logger: Logger(label: "test"))
    let serving = Task {
      await socket.serve { request, emit in
        guard case .neighbors(nil) = request else { throw LookingGlassError.noNeighbor("x") }
        for number in 0..<count { try await emit(Line(number: number)) }
      }
    }
    do {
      try await body(path)
    } catch {
      serving.cancel()
      throw error
    }
    serving.cancel()
    await serving.value
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test(arguments: [0, 1, 50_000]) func everyLineArrives(_ count: Int) async throws {
    try await withSocket(answering: count) { path in
      var status = stat()
      #expect(stat(path, &status) == 0)
      #expect(status.st_mode & 0o777 == 0o600)
      let lines = try await ask(path)
      #expect(lines.map(\.number) == Array(0..<count))
    }
  }

  @Test func aRefusalComesInItsOwnWords() async throws {
    try await withSocket(answering: 1) { path in
      await #expect(throws: ControlRefusal(text: "no neighbor is called x")) {
        try await ask(path, .neighbors(named: "x"))
      }
    }
  }

  @Test func aSecondPoPDoesNotTakeTheFirstOnesPlace() async throws {
    try await withSocket(answering: 1) { path in
      await #expect(throws: ControlSocketError.taken(path)) {
        try await ControlSocket.open(path, logger: Logger(label: "test"))
      }
      let lines = try await ask(path)
      #expect(lines.count == 1)
    }
  }

  @Test func whereNothingRunsItIsSaid() async throws {
    let missing = "/nowhere/cbpop.sock"
    await #expect(throws: ControlSocketError.noPoP(missing)) { try await ask(missing) }
    let long = "/" + String(repeating: "x", count: 200)
    await #expect(throws: ControlSocketError.pathTooLong(long)) { try await ask(long) }
    await #expect(throws: ControlSocketError.pathTooLong(long)) {
      try await ControlSocket.open(long, logger: Logger(label: "test"))
    }
  }

  /// What a PoP that was killed has left behind is no PoP.
  @Test func aFileThatWasLeftBehindIsReplaced() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("cb-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("s").path
    try Data().write(to: URL(fileURLWithPath: path))
    let socket = try await ControlSocket.open(path, logger: Logger(label: "test"))
    let serving = Task { await socket.serve { _, _ in } }
    let lines = try await ask(path)
    #expect(lines.isEmpty)
    serving.cancel()
    await serving.value
  }
}
