import CBClient
import Foundation
import Synchronization

@testable import cbterm

/// A screen that keeps what is written.
final class RecordingScreen: Screen {
  struct Record {
    var out = ""
    var notes: [String] = []
    var labels: [String?] = []
  }

  let format: ScreenFormat
  var noteFormat: ScreenFormat { format }
  let record = Mutex(Record())

  init(_ format: ScreenFormat = .plain) { self.format = format }

  func out(_ text: String) { record.withLock { $0.out += text } }
  func note(_ text: String) { record.withLock { $0.notes.append(text) } }
  func progress(_ label: String?) { record.withLock { $0.labels.append(label) } }
  func body(_ bytes: [UInt8]) async { record.withLock { $0.out += String(decoding: bytes, as: UTF8.self) } }

  var output: String { record.withLock { $0.out } }
  var notes: [String] { record.withLock { $0.notes } }
  var lines: [String] { output.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) }
}

extension ScreenFormat {
  static func terminal(_ width: Int, coloured: Bool = false) -> ScreenFormat {
    ScreenFormat(width: width, style: Style(isColoured: coloured), isUnicode: true)
  }
}

/// A session on a scripted engine, with profiles of its own in a folder that is removed with it.
final class Bench: Sendable {
  let screen: RecordingScreen
  let engine: ScreenedEngines
  let session: Session
  let folder: String

  /// Every engine that the session asked for.
  final class ScreenedEngines: Sendable {
    let made = Mutex<[(profile: String, engine: ScriptedEngine)]>([])
  }

  init(
    _ script: ScriptedEngine.Script = .init(), format: ScreenFormat = .plain, json: Bool = false,
    profile: String? = "test", settings: [(path: String, value: String, flag: String)] = []
  ) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("cbterm-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: "\(folder)/profiles", withIntermediateDirectories: true)
    for name in ["test", "other"] {
      let text = "description: The \(name) one\npop: {domain: pop.test}\nidentity: {issuer: 'https://login.test'}\n"
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/profiles/\(name).yaml"))
    }
    try Data("pop: {domian: pop.test}\n".utf8).write(to: URL(fileURLWithPath: "\(folder)/profiles/broken.yaml"))
    let screen = RecordingScreen(format)
    let engines = ScreenedEngines()
    self.screen = screen
    engine = engines
    session = Session(
      screen: screen,
      library: ProfileLibrary(
        folder: "\(folder)/profiles", environment: ["XDG_STATE_HOME": "\(folder)/state"], workingDirectory: folder),
      options: .init(profile: profile, settings: settings, json: json)
    ) { (profile) throws(ClientError) in
      let engine = ScriptedEngine(script)
      engines.made.withLock { $0.append((profile.name, engine)) }
      return engine
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  var firstEngine: ScriptedEngine? { engine.made.withLock { $0.first?.engine } }
  var calls: [String] { firstEngine?.calls.withLock { $0 } ?? [] }
}
