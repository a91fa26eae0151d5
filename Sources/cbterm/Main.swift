import ArgumentParser
import CBClient
import Foundation
import Synchronization

/// The CloudBridge client in a terminal.
@main
struct Main: ParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "cbterm", abstract: "The CloudBridge client: sign in, find a PoP, open tunnels.",
    discussion: Help.discussion, version: version)

  @Option(name: [.customShort("c"), .customLong("command")], help: "Run commands, separated by ;, and leave.")
  var script: String?
  @Flag(help: "Answer in JSON, one document a command.")
  var json = false
  @Option(help: ArgumentHelp("The profile to use, by name or path.", valueName: "name"))
  var profile: String?
  @Option(help: ArgumentHelp("Look for profiles in this folder first.", valueName: "folder"))
  var profileDir: String?
  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp("Override a setting of the profile; may be repeated.", valueName: "key=value"))
  var settings: [String] = []
  @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR and TERM=dumb do the same).")
  var noColor = false
  @Option(
    help: ArgumentHelp("Write a qlog of each connection there: transport.qlogDirectory.", valueName: "folder"))
  var qlogDir: String?
  @Flag(help: "Show the client's log as it is written.")
  var debug = false
  @Argument(
    parsing: .captureForPassthrough, help: ArgumentHelp("One command with its arguments.", valueName: "command"))
  var words: [String] = []

  func validate() throws {
    if script != nil, !words.isEmpty { throw ValidationError("a command stands both in -c and after the options") }
    for setting in settings where !setting.contains("=") {
      throw ValidationError("--set takes KEY=VALUE, not '\(setting)'")
    }
  }

  /// Usage errors leave with 2, as the exit codes of `--help` say.
  static func main() {
    let command: Main
    do {
      command = try parse()
    } catch {
      let isAsked = exitCode(for: error).isSuccess
      writeAll(fullMessage(for: error) + "\n", to: isAsked ? STDOUT_FILENO : STDERR_FILENO)
      Foundation.exit(isAsked ? 0 : ClientError(.usage, "").exitCode)
    }
    // What the parser does not know ends up among the words, its own flags too.
    switch command.words.first {
    case "--help", "-h":
      writeAll(helpMessage() + "\n", to: STDOUT_FILENO)
      Foundation.exit(0)
    case "--version":
      writeAll(version + "\n", to: STDOUT_FILENO)
      Foundation.exit(0)
    case let word? where word.hasPrefix("-"):
      writeAll("error: unknown option '\(word.printable)'; cbterm --help lists them\n", to: STDERR_FILENO)
      Foundation.exit(ClientError(.usage, "").exitCode)
    default: break
    }
    // This thread is still the only one: every other inherits its signal mask.
    Signals.block(isInteractive: command.isInteractive)
    // Detached: a program's main runs on the main actor, whose thread waits below.
    Task.detached { Foundation.exit(await command.start()) }
    while true { pause() }
  }

  private var isInteractive: Bool {
    script == nil && words.isEmpty && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1
  }

  private func start() async -> Int32 {
    let environment = ProcessInfo.processInfo.environment
    // Readline counts columns by the locale; with none set, UTF-8 is what terminals speak.
    let names = ["LC_ALL", "LC_CTYPE", "LANG"]
    setlocale(LC_CTYPE, names.contains { environment[$0]?.isEmpty == false } ? "" : "C.UTF-8")

    let library = ProfileLibrary(folder: profileDir, environment: environment, executable: "/proc/self/exe")
    let options = Session.Options(
      profile: profile,
      settings: settings.map { setting in
        let parts = setting.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        return (String(parts[0]), String(parts[1]), "--set \(parts[0])")
      } + (qlogDir.map { [("transport.qlogDirectory", $0, "--qlog-dir")] } ?? []),
      json: json, debug: debug)

    if isInteractive {
      await runInteractive(library, options, environment)
      return 0
    }
    let screen = PipeScreen(environment: environment, allowsColour: !noColor)
    let session = Session(screen: screen, library: library, options: options, makeEngine: engineFactory(library))
    let source: Batch.Source =
      if let script { .script(script) } else if words.isEmpty { .standardInput } else { .words(words) }
    return await Batch(session: session).run(source)
  }

  private func runInteractive(
    _ library: ProfileLibrary, _ options: Session.Options, _ environment: [String: String]
  ) async {
    // The editor shows what the session knows, and the session prints through the editor.
    let shared = SharedView()
    let editor = LineEditor(
      LineEditor.Configuration(
        environment: environment, allowsColour: !noColor, historyFolder: library.stateDirectory,
        prompt: { format in
          shared.prompt.withLock { $0 }.text(format, marksInvisible: true)
        }, names: { shared.names.withLock { $0 } }))
    let session = Session(
      screen: editor, library: library, options: options, shared: shared, makeEngine: engineFactory(library))
    await Interactive(session: session, editor: editor).run()
  }

  /// The one place where the terminal meets the engine.
  private func engineFactory(_ library: ProfileLibrary) -> Session.EngineFactory {
    let level: LogLine.Level = debug ? .debug : .info
    let stateDirectory = library.stateDirectory
    let keyLogFile = ProcessInfo.processInfo.environment["SSLKEYLOGFILE"].flatMap { $0.isEmpty ? nil : $0 }
    return { (profile) throws(ClientError) in
      try makeEngine(profile: profile, stateDirectory: stateDirectory, logLevel: level, keyLogFile: keyLogFile)
    }
  }
}
