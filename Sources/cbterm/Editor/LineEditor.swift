import Foundation
import Synchronization

/// The terminal of an interactive session: readline for what is typed, and everything that is printed above it.
///
/// Readline keeps its state in globals, so that one thread of its own makes every call to it
/// (``EditorLoop``); this type only posts messages there.
final class LineEditor: Screen {
  enum Input: Sendable {
    case line(String)
    case endOfFile
  }

  enum Message: Sendable {
    /// Shows the prompt and takes the next line.
    case prompt
    /// The prompt's text may have changed.
    case refreshPrompt
    case out(String)
    case note(String)
    case body([UInt8], CheckedContinuation<Void, Never>)
    case progress(String?)
    /// Drops the line that is being typed.
    case interrupt
    case resize
    /// Gives the terminal back and stops the process, as Ctrl-Z asks.
    case suspend
    case hangUp
    case stop(CheckedContinuation<Void, Never>)
    case exit(Int32)
  }

  struct Configuration: Sendable {
    var environment: [String: String]
    var allowsColour: Bool
    /// Where `history` is kept; nil keeps none.
    var historyFolder: String?
    var prompt: @Sendable (ScreenFormat) -> String
    var names: @Sendable () -> CompletionNames
  }

  /// What is typed, a line at a time, each after a ``prompt()``.
  let inputs: AsyncStream<Input>
  private let configuration: Configuration
  private let mailbox: Mailbox

  init(_ configuration: Configuration) {
    self.configuration = configuration
    let mailbox = Mailbox()
    self.mailbox = mailbox
    // A line comes only after a prompt, and a prompt only after the line before was taken: one is in flight.
    let (inputs, continuation) = AsyncStream.makeStream(of: Input.self, bufferingPolicy: .bufferingOldest(4))
    self.inputs = inputs
    let thread = Thread {
      EditorLoop(configuration, mailbox) { continuation.yield($0) }.run()
      continuation.finish()
    }
    thread.name = "line editor"
    thread.start()
  }

  var format: ScreenFormat {
    ScreenFormat(
      descriptor: STDOUT_FILENO, environment: configuration.environment, allowsColour: configuration.allowsColour)
  }
  var noteFormat: ScreenFormat {
    ScreenFormat(
      descriptor: STDERR_FILENO, environment: configuration.environment, allowsColour: configuration.allowsColour)
  }

  func out(_ text: String) { mailbox.post(.out(text)) }
  func note(_ text: String) { mailbox.post(.note(text + "\n")) }
  func progress(_ label: String?) { mailbox.post(.progress(label)) }
  func body(_ bytes: [UInt8]) async {
    await withCheckedContinuation { mailbox.post(.body(bytes, $0)) }
  }

  func prompt() { mailbox.post(.prompt) }
  func refreshPrompt() { mailbox.post(.refreshPrompt) }
  func interrupt() { mailbox.post(.interrupt) }
  func resize() { mailbox.post(.resize) }
  func suspend() { mailbox.post(.suspend) }
  /// As if the input had ended.
  func hangUp() { mailbox.post(.hangUp) }
  /// Restores the terminal and ends the process.
  func exit(_ code: Int32) { mailbox.post(.exit(code)) }
  /// Restores the terminal and ends the thread; returns when that is done.
  func stop() async {
    await withCheckedContinuation { mailbox.post(.stop($0)) }
  }
}

/// Messages for the editor's thread, and a pipe that wakes it from poll.
final class Mailbox: Sendable {
  /// Readable when there are messages.
  let descriptor: Int32
  private let waker: Int32
  private let messages = Mutex<[LineEditor.Message]>([])

  /// Text beyond this many messages is dropped, the oldest first: a log that floods must not take the memory.
  private static let limit = 10_000

  init() {
    var ends: [Int32] = [0, 0]
    precondition(pipe(&ends) == 0, "no pipe: \(String(cString: strerror(errno)))")
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    (descriptor, waker) = (ends[0], ends[1])
  }

  deinit {
    close(descriptor)
    close(waker)
  }

  func post(_ message: LineEditor.Message) {
    messages.withLock { messages in
      if messages.count >= Self.limit, let index = messages.firstIndex(where: \.isText) { messages.remove(at: index) }
      messages.append(message)
    }
    // A full pipe wakes just as well.
    var mark: UInt8 = 1
    _ = write(waker, &mark, 1)
  }

  func takeAll() -> [LineEditor.Message] {
    var marks = [UInt8](repeating: 0, count: 512)
    while read(descriptor, &marks, marks.count) > 0 {}
    return messages.withLock { messages in
      defer { messages.removeAll(keepingCapacity: true) }
      return messages
    }
  }
}

extension LineEditor.Message {
  fileprivate var isText: Bool {
    switch self {
    case .out, .note: true
    default: false
    }
  }
}
