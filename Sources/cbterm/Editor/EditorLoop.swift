@preconcurrency import CReadline
import Foundation

/// The editor's thread: waits for keys, messages and the next frame of the progress line, and makes every call
/// to readline.
final class EditorLoop {
  private let configuration: LineEditor.Configuration
  private let mailbox: Mailbox
  private let deliver: (LineEditor.Input) -> Void

  private var history: History?
  /// The terminal as it was found.
  private var original = termios()
  private var isPrompting = false
  private var progress: ProgressLine?
  private var isStopped = false
  private var whenStopped: [CheckedContinuation<Void, Never>] = []

  init(
    _ configuration: LineEditor.Configuration, _ mailbox: Mailbox, deliver: @escaping (LineEditor.Input) -> Void
  ) {
    self.configuration = configuration
    self.mailbox = mailbox
    self.deliver = deliver
  }

  func run() {
    theLoop = self
    defer { theLoop = nil }
    _ = tcgetattr(STDIN_FILENO, &original)
    setUpReadline()
    quieten()
    while !isStopped {
      var waits = [
        pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: isPrompting ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0),
      ]
      let count = poll(&waits, 2, progress != nil && !isPrompting ? 100 : -1)
      if count < 0, errno != EINTR { break }
      if waits[0].revents != 0 { mailbox.takeAll().forEach(handle) }
      if isPrompting, waits[1].revents != 0 { rl_callback_read_char() }
      drawProgress()
    }
    if isPrompting { rl_callback_handler_remove() }
    _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &original)
    whenStopped.forEach { $0.resume() }
  }

  // MARK: - Messages

  private func handle(_ message: LineEditor.Message) {
    switch message {
    case .prompt: prompt()
    case .refreshPrompt: refreshPrompt()
    case .out(let text): print(text, to: STDOUT_FILENO)
    case .note(let text): print(text, to: STDERR_FILENO)
    case .body(let bytes, let continuation):
      eraseProgress()
      writeAll(bytes, to: STDOUT_FILENO)
      continuation.resume()
    case .progress(let label):
      eraseProgress()
      progress = label.map { ProgressLine($0) }
    case .interrupt: interrupt()
    case .resize: if isPrompting { rl_resize_terminal() }
    case .suspend: suspend()
    case .hangUp: deliver(.endOfFile)
    case .stop(let continuation):
      whenStopped.append(continuation)
      isStopped = true
    case .exit(let code):
      eraseProgress()
      if isPrompting { rl_callback_handler_remove() }
      _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &original)
      exit(code)
    }
  }

  private var format: ScreenFormat {
    ScreenFormat(
      descriptor: STDOUT_FILENO, environment: configuration.environment, allowsColour: configuration.allowsColour)
  }

  /// Prints above the line that is being typed, which comes back unharmed below.
  private func print(_ text: String, to descriptor: Int32) {
    guard isatty(descriptor) == 1 else {
      writeAll(text, to: descriptor)
      return
    }
    guard isPrompting else {
      eraseProgress()
      writeAll(text, to: descriptor)
      return
    }
    _ = rl_clear_visible_line()
    fflush(nil)
    writeAll(text.hasSuffix("\n") ? text : text + "\n", to: descriptor)
    _ = rl_on_new_line()
    rl_redisplay()
  }

  private func eraseProgress() {
    if progress != nil, !isPrompting { writeAll(ProgressLine.erase, to: STDOUT_FILENO) }
  }

  private func drawProgress() {
    guard !isPrompting, configuration.environment["TERM"] != "dumb", let text = progress?.draw(format) else { return }
    writeAll(text, to: STDOUT_FILENO)
  }

  // MARK: - The line

  private func prompt() {
    guard !isPrompting else { return }
    eraseProgress()
    progress = nil
    _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &original)
    isPrompting = true
    rl_callback_handler_install(configuration.prompt(format)) { theLoop?.accept($0) }
  }

  private func refreshPrompt() {
    guard isPrompting else { return }
    _ = rl_clear_visible_line()
    _ = rl_set_prompt(configuration.prompt(format))
    _ = rl_on_new_line()
    rl_redisplay()
  }

  /// Readline's own callback: a finished line, or nil at the end of the input.
  fileprivate func accept(_ line: UnsafeMutablePointer<CChar>?) {
    rl_callback_handler_remove()
    isPrompting = false
    quieten()
    guard let line else {
      writeAll("\n", to: STDOUT_FILENO)
      deliver(.endOfFile)
      return
    }
    let text = String(cString: line)
    free(line)
    if history?.add(text) == true { add_history(text) }
    deliver(.line(text))
  }

  private func interrupt() {
    guard isPrompting else { return }
    rl_callback_sigcleanup()
    rl_free_line_state()
    // Moves below a line that may be several rows tall.
    rl_point = rl_end
    rl_redisplay()
    fflush(nil)
    writeAll("^C\n", to: STDOUT_FILENO)
    rl_replace_line("", 1)
    rl_point = 0
    _ = rl_on_new_line()
    rl_redisplay()
  }

  private func suspend() {
    eraseProgress()
    if isPrompting {
      rl_deprep_terminal()
    } else {
      _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &original)
    }
    writeAll("\n", to: STDOUT_FILENO)
    kill(getpid(), SIGSTOP)
    // Here again after SIGCONT; the window may have another size now.
    if isPrompting {
      rl_prep_terminal(0)
      rl_resize_terminal()
      _ = rl_forced_update_display()
    } else {
      quieten()
    }
  }

  /// While a command runs, keys wait unseen: an echo would break the progress line.
  private func quieten() {
    var quiet = original
    quiet.c_lflag &= ~tcflag_t(ECHO)
    _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet)
  }

  // MARK: - Readline

  private func setUpReadline() {
    // The pointers stay readline's for the life of the process.
    rl_readline_name = UnsafePointer(strdup("cbterm"))
    rl_catch_signals = 0
    rl_catch_sigwinch = 0
    rl_change_environment = 0
    rl_completer_word_break_characters = UnsafePointer(strdup(" \t\n;"))
    rl_completer_quote_characters = UnsafePointer(strdup("'\""))
    rl_attempted_completion_function = { _, _, end in theLoop?.complete(upTo: Int(end)) }
    using_history()
    stifle_history(Int32(History.maximumLines))
    guard let folder = configuration.historyFolder else { return }
    let history = History(folder: folder)
    history.lines.forEach { add_history($0) }
    self.history = history
  }

  /// What readline asks for at the Tab key: the common beginning, then every candidate, then nil; all malloc'ed.
  fileprivate func complete(upTo end: Int) -> UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? {
    guard let buffer = rl_line_buffer else { return nil }
    let typed = UnsafeBufferPointer(start: UnsafeRawPointer(buffer).assumingMemoryBound(to: UInt8.self), count: end)
    let completion = Completion(String(decoding: typed, as: UTF8.self), names: configuration.names())
    // 0 lets readline fall back to file names.
    rl_attempted_completion_over = completion.isFile ? 0 : 1
    guard let first = completion.candidates.first else { return nil }
    let common = completion.candidates.dropFirst().reduce(first) { $0.commonPrefix(with: $1, options: .literal) }
    let texts = completion.candidates.count == 1 ? [first] : [common] + completion.candidates
    let list = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>(
      OpaquePointer(calloc(texts.count + 1, MemoryLayout<UnsafeMutablePointer<CChar>?>.stride)!))
    for (index, text) in texts.enumerated() { list[index] = strdup(text) }
    return list
  }
}

/// The loop that readline's callbacks, which carry no context, belong to. Only the editor's own thread touches
/// it: `run` sets it there, and readline calls back from within calls that the loop makes.
private nonisolated(unsafe) var theLoop: EditorLoop?
