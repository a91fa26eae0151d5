import CBClient
import Foundation

/// A session at a terminal.
struct Interactive {
  let session: Session
  let editor: LineEditor

  /// Returns when the user leaves.
  func run() async {
    let running = RunningCommand()
    let editor = self.editor
    Signals.watch(isInteractive: true) { number in
      switch number {
      case SIGINT:
        switch running.cancel() {
        case 0: editor.interrupt()
        case 1: break
        case 2: editor.note("still stopping; Ctrl-C once more leaves at once")
        default: editor.exit(ClientError(.cancelled, "").exitCode)
        }
      case SIGWINCH: editor.resize()
      case SIGTSTP: editor.suspend()
      default:
        if running.cancel() > 1 { editor.exit(ClientError(.cancelled, "").exitCode) }
        editor.hangUp()
      }
    }
    await session.watchPrompt { editor.refreshPrompt() }
    let style = editor.format.style
    editor.out(style("CloudBridge \(Main.version).", .strong) + style(" help lists the commands.", .dim) + "\n")
    editor.prompt()
    let session = self.session
    for await input in editor.inputs {
      guard case .line(let text) = input else { break }
      _ = await running.run { await session.run(text) }
      if await session.hasQuit { break }
      editor.prompt()
    }
    // The name of what is being waited for, should a drain take its time.
    editor.progress("Disconnecting")
    await session.endEngine()
    editor.progress(nil)
    await editor.stop()
  }
}

/// Commands from the command line or standard input, without a line editor.
struct Batch {
  let session: Session
  private let running = RunningCommand()

  init(session: Session) { self.session = session }

  /// Runs one command of a given word list, a script, or standard input, and ends the engine.
  ///
  /// - Returns: the exit code.
  func run(_ source: Source) async -> Int32 {
    let session = self.session
    let running = self.running
    Signals.watch(isInteractive: false) { _ in
      // Nothing runs: standard input is being read, which cannot be broken off.
      if running.cancel() != 1 { exit(ClientError(.cancelled, "").exitCode) }
    }
    let code: Int32
    switch source {
    case .words(let words): code = await running.run { await session.run(words: words) }
    case .script(let script): code = await running.run { await session.run(script) }
    case .standardInput: code = await runStandardInput()
    }
    await session.endEngine()
    return code
  }

  enum Source: Sendable {
    case words([String])
    case script(String)
    case standardInput
  }

  private func runStandardInput() async -> Int32 {
    let session = self.session
    while let line = await Self.nextLine() {
      let code = await running.run { await session.run(line) }
      if code != 0 { return code }
      if await session.hasQuit { break }
    }
    return 0
  }

  /// The blocking read has a thread of the queue, not one of those that run tasks.
  private static func nextLine() async -> String? {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async { continuation.resume(returning: readLine()) }
    }
  }
}
