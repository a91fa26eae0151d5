import CBClient
import Foundation
import Synchronization
import Testing

@testable import cbterm

private func document(_ line: String) throws -> [String: Any] {
  try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
}

@Suite struct SessionTests {
  @Test func aSequenceOfCommands() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("connect; status; disconnect") == 0)
    #expect(bench.calls == ["connect", "disconnect"])
    #expect(bench.screen.output.contains("Connected to fra1 (192.0.2.10:443), RTT 8.310 ms."))
    #expect(bench.screen.output.contains("socks proxy on 127.0.0.1:1080"))
    #expect(bench.screen.output.contains("State        connected to fra1 (192.0.2.10:443) for 2m 05s"))
    #expect(bench.screen.output.hasSuffix("Disconnected.\n"))
  }

  @Test func aSequenceStopsAtTheFirstFailure() async throws {
    var script = ScriptedEngine.Script()
    script.failures["connect"] = ClientError(.noPoPReachable, "no PoP answered", hint: "discover shows them")
    let bench = try Bench(script)
    #expect(await bench.session.run("connect; status") == 4)
    #expect(bench.screen.output.isEmpty)
    #expect(bench.screen.notes == ["error: no PoP answered", "hint:  discover shows them"])
  }

  @Test(arguments: [
    (ClientError.Kind.failure, Int32(1)), (.usage, 2), (.notSignedIn, 3), (.noPoPReachable, 4), (.connectionLost, 5),
    (.refused, 6), (.configuration, 7), (.cancelled, 130),
  ])
  func exitCodes(_ kind: ClientError.Kind, _ code: Int32) async throws {
    var script = ScriptedEngine.Script()
    script.failures["discover"] = ClientError(kind, "x")
    let bench = try Bench(script)
    #expect(await bench.session.run("discover") == code)
  }

  @Test func mistakesAreUsageErrors() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("conect") == 2)
    #expect(bench.screen.notes.last == "hint:  did you mean connect?")
    #expect(await bench.session.run("get 'x") == 2)
    #expect(bench.engine.made.withLock { $0.isEmpty })
  }

  @Test func eachCommandWritesOneDocument() async throws {
    let bench = try Bench(json: true)
    #expect(
      await bench.session.run(
        "login; whoami; discover; connect; tunnel add udp 53 a.test:53 -n dns; tunnel list; status; ping -c 1;"
          + "get a.test; profile list; profile show; help; tunnel remove dns; logout; disconnect") == 0)
    let lines = bench.screen.output.split(separator: "\n").map(String.init)
    #expect(lines.count == 15)
    let documents = try lines.map(document)
    for document in documents { #expect(document["ok"] as? Bool == true) }
    #expect(
      documents.compactMap { $0["command"] as? String } == [
        "login", "whoami", "discover", "connect", "tunnel add", "tunnel list", "status", "ping", "get", "profile list",
        "profile show", "help", "tunnel remove", "logout", "disconnect",
      ])
    let status = try #require(documents[6]["result"] as? [String: Any])
    #expect(status["state"] as? String == "connected")
    #expect((status["connection"] as? [String: Any])?["pop"] as? String == "fra1")
    #expect((status["tunnels"] as? [Any])?.count == 1)
    let get = try #require(documents[8]["result"] as? [String: Any])
    #expect(get["text"] as? String == "<h1>It works</h1>\n")
    #expect(get["status"] as? Int == 200)
  }

  @Test func aFailureIsADocumentToo() async throws {
    var script = ScriptedEngine.Script()
    script.isSignedIn = false
    let bench = try Bench(script)
    #expect(await bench.session.run("whoami --json") == 3)
    let error = try #require(try document(bench.screen.output)["error"] as? [String: Any])
    #expect(error["kind"] as? String == "notSignedIn")
    #expect(error["exitCode"] as? Int == 3)
    #expect(error["hint"] as? String == "login")
    #expect(bench.screen.notes.first == "error: no one is signed in")
  }

  @Test func commandsThatNeedAConnectionMakeOne() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("get a.test") == 0)
    #expect(bench.calls == ["connect", "get"])
    #expect(bench.screen.output == "<h1>It works</h1>\n")
    #expect(await bench.session.run("ping -c 1") == 0)
    #expect(bench.calls == ["connect", "get", "ping"])
  }

  @Test func pingSumsUp() async throws {
    var script = ScriptedEngine.Script()
    script.state = .connected
    let bench = try Bench(script)
    #expect(await bench.session.run("ping -c 1 a.test") == 0)
    #expect(
      bench.screen.output
        == "1  a.test  9.200 ms\n1 sent, 1 answered, 0 % lost; least / mean / most 9.200 ms / 9.200 ms / 9.200 ms\n")
  }

  @Test func pingWithoutAnAnswerFails() async throws {
    var script = ScriptedEngine.Script()
    script.state = .connected
    script.failures["ping"] = ClientError(.connectionLost, "no answer within 2 s")
    let bench = try Bench(script)
    #expect(await bench.session.run("ping -c 1") == 5)
    script.failures["ping"] = ClientError(.refused, "the PoP refuses that target")
    let refusing = try Bench(script)
    #expect(await refusing.session.run("ping -c 3 a.test") == 6)
    #expect(refusing.calls == ["ping"])
  }

  @Test func getWritesAFileWhole() async throws {
    var script = ScriptedEngine.Script()
    script.body = [[0, 1, 2], [], [3]]
    let bench = try Bench(script)
    let path = "\(bench.folder)/page"
    #expect(await bench.session.run("get a.test -o \(path)") == 0)
    #expect(FileManager.default.contents(atPath: path) == Data([0, 1, 2, 3]))
    #expect(!FileManager.default.fileExists(atPath: path + ".part"))
    #expect(bench.screen.output == "200 OK, 4 B in \(path)\n")
    #expect(await bench.session.run("get a.test -o /nowhere/x") == 1)
  }

  @Test func getShowsHeadsAndKeepsBinaryOffTheTerminal() async throws {
    var script = ScriptedEngine.Script()
    script.body = [[0x7f, 0x45, 0x00]]
    script.status = 404
    let bench = try Bench(script, format: .terminal(80))
    #expect(await bench.session.run("get a.test -I") == 0)
    #expect(bench.screen.output == "404 Not Found\nContent-Type: text/html\nContent-Length: 3\n")
    #expect(await bench.session.run("get a.test") == 1)
    #expect(bench.screen.notes.contains("404 Not Found"))
    script.body = [[0xff, 0x00]]
    let json = try Bench(script, json: true)
    #expect(await json.session.run("get a.test") == 0)
    #expect((try document(json.screen.output)["result"] as? [String: Any])?["base64"] as? String == "/wA=")
  }

  @Test func cancellingEndsTheCommandAndNotTheSession() async throws {
    var script = ScriptedEngine.Script()
    script.hanging = ["connect"]
    let bench = try Bench(script)
    let running = RunningCommand()
    #expect(running.cancel() == 0)
    async let code = running.run { await bench.session.run("connect; status") }
    while bench.calls.isEmpty { await Task.yield() }
    #expect(running.cancel() == 1)
    #expect(await code == 130)
    #expect(bench.screen.notes == ["cancelled"])
    #expect(await bench.session.run("whoami") == 0)
  }

  @Test func cancellingAFollowedLogEndsIt() async throws {
    var script = ScriptedEngine.Script()
    script.lines = [LogLine(time: Date(), level: .info, source: "quic", message: "hello")]
    let bench = try Bench(script)
    let running = RunningCommand()
    async let code = running.run { await bench.session.run("log -f") }
    while bench.screen.output.isEmpty { await Task.yield() }
    _ = running.cancel()
    #expect(await code == 130)
    #expect(bench.screen.output.contains("info    quic hello"))
    #expect(await bench.session.run("log -n 0; log --json") == 0)
    #expect(bench.screen.output.contains(#""level":"info","message":"hello","source":"quic""#))
  }

  @Test func quitEndsTheSequence() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("quit; connect") == 0)
    #expect(await bench.session.hasQuit)
    #expect(bench.calls.isEmpty)
  }
}

@Suite struct ProfileCommandTests {
  @Test func listing() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("profile list") == 0)
    #expect(bench.screen.lines[1].contains("broken"))
    #expect(bench.screen.output.contains("unknown key; did you mean domain?"))
    #expect(bench.screen.output.contains("*  test     The test one"))
  }

  @Test func showingSaysWhereEachValueComesFrom() async throws {
    let bench = try Bench(settings: [("pop.port", "8443", "--set pop.port")])
    #expect(await bench.session.run("profile show") == 0)
    let rows = bench.screen.lines.map { $0.split(separator: " ").map(String.init) }
    #expect(rows.contains(["pop.domain", "pop.test", "line", "2"]))
    #expect(rows.contains(["pop.port", "8443", "--set", "pop.port"]))
    #expect(rows.contains(["transport.congestion", "cubic", "default"]))
  }

  @Test func usingAnotherEndsTheEngine() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("connect; profile use other; connect") == 0)
    #expect(bench.engine.made.withLock { $0.map(\.profile) } == ["test", "other"])
    #expect(bench.calls == ["connect", "shutdown"])
    #expect(bench.session.library.defaultName() == "other")
  }

  @Test func aBadProfileIsAConfigurationError() async throws {
    let bench = try Bench(profile: "broken")
    #expect(await bench.session.run("status") == 7)
    #expect(bench.screen.notes[0].contains("broken.yaml:1: pop.domian: unknown key; did you mean domain?"))
    #expect(await bench.session.run("profile use othr") == 7)
    #expect(bench.screen.notes.last?.contains("did you mean other?") == true)
    #expect(await bench.session.run("profile use other; status") == 0)
  }

  @Test func withoutAProfileTheWayToOneIsShown() async throws {
    let bench = try Bench(profile: nil)
    #expect(await bench.session.run("status") == 7)
    #expect(
      bench.screen.notes == [
        "error: no profile is chosen", "hint:  --profile NAME, or: profile use NAME; profile list shows them",
      ])
  }
}

@Suite struct EventTests {
  @Test func eventsAreToldUnlessTheCommandTells() {
    let format = ScreenFormat.plain
    func line(_ event: ClientEvent, _ state: ConnectionState) -> String? {
      EventRendering.line(event, before: state, names: ["dns"], format)
    }
    #expect(line(.stateChanged(.connected, pop: "fra1"), .connecting) == nil)
    #expect(line(.stateChanged(.connected, pop: "fra1"), .reconnecting) == "● connected to fra1")
    #expect(line(.stateChanged(.disconnected, pop: nil), .disconnecting) == nil)
    #expect(line(.connectionLost(reason: "idle time-out"), .connected) == "● connection lost: idle time-out")
    #expect(
      line(.moved(from: "192.0.2.1", to: "198.51.100.7"), .connected)
        == "● the network has changed: at 198.51.100.7 now (before: 192.0.2.1), tunnels go on")
    #expect(
      line(.reconnecting(seconds: 1.25, attempt: 2, reason: "no answer"), .reconnecting)
        == "● attempt 2 in 1.2 s (no answer)")
    #expect(line(.tunnelClosed(name: "dns", reason: "target gone"), .connected) == "● tunnel dns closed: target gone")
    #expect(line(.tunnelClosed(name: "removed", reason: "removed"), .connected) == nil)
  }

  @Test func thePromptFollowsTheState() async throws {
    let bench = try Bench()
    let (changes, continuation) = AsyncStream.makeStream(of: Void.self)
    await bench.session.watchPrompt { continuation.yield() }
    #expect(await bench.session.run("connect") == 0)
    let shared = bench.session.shared
    for await _ in changes where shared.prompt.withLock({ $0.state }) == .connected { break }
    #expect(shared.prompt.withLock { $0 } == PromptState(profile: "test", state: .connected, pop: "fra1"))
    await bench.session.endEngine()
    #expect(shared.prompt.withLock { $0.state } == .disconnected)
  }
}

@Suite struct LoginTests {
  @Test(arguments: [40, 80, 120]) func theCodeFitsAndIsShownBig(_ width: Int) async throws {
    let bench = try Bench(format: .terminal(width))
    #expect(await bench.session.run("login") == 0)
    let shown = bench.screen.notes
    #expect(shown.contains { $0.contains("B C D F - G H J K") })
    #expect(shown.contains { $0.contains("https://login.example.net/device") })
    #expect(shown.contains { $0.contains("▀") || $0.contains("▄") } == (width >= 40))
    for line in shown { #expect(line.displayWidth <= width, "\(line)") }
    #expect(bench.screen.output == "Signed in as Ada Lovelace.\n")
  }

  @Test func withoutATerminalOneLineSaysItAll() async throws {
    let bench = try Bench()
    #expect(await bench.session.run("login") == 0)
    #expect(
      bench.screen.notes == [
        "To sign in, open https://login.example.net/device and enter the code BCDF-GHJK "
          + "(or open https://login.example.net/device?user_code=BCDF-GHJK)"
      ])
  }
}
