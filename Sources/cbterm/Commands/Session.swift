import CBClient
import Foundation
import Settings
import Synchronization

/// What the thread of the line editor may see of a session at any time.
final class SharedView: Sendable {
  /// The names to complete.
  let names = Mutex(CompletionNames())
  /// What the prompt says, kept by the engine's events.
  let prompt = Mutex(PromptState())
}

/// Runs commands against the engine of the profile in use, one at a time.
actor Session {
  typealias EngineFactory = @Sendable (Profile) throws(ClientError) -> any ClientEngine

  struct Options: Sendable {
    /// `--profile`.
    var profile: String?
    /// `--set KEY=VALUE`.
    var settings: [(path: String, value: String, flag: String)] = []
    /// `--json`.
    var json = false
    /// `--debug`.
    var debug = false
  }

  nonisolated let screen: any Screen
  nonisolated let library: ProfileLibrary
  let options: Options
  private let makeEngine: EngineFactory
  nonisolated let shared: SharedView

  private var engine: (any ClientEngine)?
  private(set) var profileName: String?
  private var eventTask: Task<Void, Never>?
  private var debugTask: Task<Void, Never>?
  /// Set by `quit`.
  private(set) var hasQuit = false
  /// Called, on no particular thread, when ``prompt`` has changed.
  private var onPromptChange: (@Sendable () -> Void)?

  init(
    screen: any Screen, library: ProfileLibrary, options: Options, shared: SharedView = SharedView(),
    makeEngine: @escaping EngineFactory
  ) {
    self.screen = screen
    self.shared = shared
    self.library = library
    self.options = options
    self.makeEngine = makeEngine
    profileName = options.profile ?? library.defaultName()
    let displayName = profileName.map { ProfileLibrary.displayName($0) }
    shared.prompt.withLock { $0.profile = displayName }
    shared.names.withLock { $0.profiles = library.names() }
  }

  func watchPrompt(_ body: @escaping @Sendable () -> Void) { onPromptChange = body }

  /// Runs every command of a text, up to the first that fails or quits.
  ///
  /// - Returns: the exit code: that of the failure, or 0.
  func run(_ text: String) async -> Int32 {
    let line = CommandLineText(text)
    if let failure = line.failure {
      return report(ClientError(.usage, failure.message), command: "", json: options.json)
    }
    for words in line.commands {
      let code = await run(words: words.map(\.text))
      if code != 0 || hasQuit { return code }
    }
    return 0
  }

  /// Runs one command, given as its words.
  func run(words: [String]) async -> Int32 {
    let parsed: ParsedCommand
    do throws(ClientError) {
      parsed = try ParsedCommand(words)
    } catch {
      return report(error, command: words.first ?? "", json: options.json || words.contains("--json"))
    }
    let json = options.json || parsed.asksForJSON
    do throws(ClientError) {
      let answer = try await perform(parsed.command, json: json)
      screen.progress(nil)
      // A command that was told to stop and finished nevertheless has still finished.
      if json {
        if !parsed.command.writesOwnJSON {
          screen.out(CommandDocument(command: parsed.specification.name, outcome: .success(answer)).text)
        }
      } else {
        screen.out(answer.lines(screen.format))
      }
      return 0
    } catch {
      screen.progress(nil)
      return report(error, command: parsed.specification.name, json: json)
    }
  }

  private func report(_ error: ClientError, command: String, json: Bool) -> Int32 {
    let style = screen.noteFormat.style
    if error.kind == .cancelled {
      screen.note(style("cancelled", .dim))
    } else {
      let lines = error.message.split(separator: "\n").map { $0.printable }
      screen.note(style("error:", .bad) + " " + lines.joined(separator: "\n       "))
      if let hint = error.hint { screen.note(style("hint:", .dim) + "  " + hint.printable) }
    }
    if json { screen.out(CommandDocument(command: command, outcome: .failure(error)).text) }
    return error.exitCode
  }

  // MARK: - The engine

  /// The engine of the profile in use, made when first needed.
  func currentEngine() throws(ClientError) -> any ClientEngine {
    if let engine { return engine }
    let engine = try makeEngine(try loadProfile(profileName))
    self.engine = engine
    let events = engine.events()
    eventTask = Task { [weak self] in
      for await event in events { await self?.take(event) }
    }
    if options.debug {
      let lines = engine.log(tail: 0, follow: true)
      let screen = self.screen
      debugTask = Task {
        for await line in lines { screen.note(LogRendering.line(line, screen.noteFormat)) }
      }
    }
    return engine
  }

  var engineIfMade: (any ClientEngine)? { engine }

  func loadProfile(_ name: String?) throws(ClientError) -> Profile {
    guard let name else {
      throw ClientError(
        .configuration, "no profile is chosen",
        hint: library.names().isEmpty
          ? "put one into \(library.folders[0])" : "--profile NAME, or: profile use NAME; profile list shows them")
    }
    do throws(SettingsError) {
      return try library.profile(name, flags: options.settings)
    } catch {
      throw ClientError(.configuration, error.description)
    }
  }

  /// Ends the engine, and with it the connection.
  func endEngine() async {
    guard let engine else { return }
    self.engine = nil
    await engine.shutdown()
    eventTask?.cancel()
    debugTask?.cancel()
    shared.names.withLock {
      $0.pops = []
      $0.tunnels = []
    }
    changePrompt { $0 = PromptState(profile: $0.profile) }
  }

  /// Changes to another profile; the one before is disconnected.
  func use(_ profile: Profile, named name: String) async throws(ClientError) {
    await endEngine()
    profileName = name
    changePrompt { $0 = PromptState(profile: profile.name) }
  }

  func quit() { hasQuit = true }

  // MARK: - Events

  private func take(_ event: ClientEvent) {
    let text = EventRendering.line(
      event, before: shared.prompt.withLock { $0.state }, names: tunnelNames, screen.noteFormat)
    if case .stateChanged(let state, let pop) = event {
      changePrompt {
        $0.state = state
        $0.pop = pop
      }
    }
    switch event {
    case .tunnelOpened(let name, _, _):
      shared.names.withLock { if !$0.tunnels.contains(name) { $0.tunnels.append(name) } }
    case .tunnelClosed(let name, _): shared.names.withLock { $0.tunnels.removeAll { $0 == name } }
    default: break
    }
    if let text { screen.note(text) }
  }

  private var tunnelNames: [String] { shared.names.withLock { $0.tunnels } }

  private func changePrompt(_ change: (inout PromptState) -> Void) {
    shared.prompt.withLock { change(&$0) }
    onPromptChange?()
  }
}

extension Command {
  /// `log --json` writes a document a line, as it has no end to wait for.
  var writesOwnJSON: Bool { if case .log = self { true } else { false } }
}
