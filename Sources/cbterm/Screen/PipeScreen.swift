import Glibc
import Synchronization

/// Writes straight to stdout and stderr: for scripts, pipes and single commands.
final class PipeScreen: Screen {
  private let environment: [String: String]
  private let allowsColour: Bool
  private let state = Mutex(State())

  private struct State {
    var progress: ProgressLine?
    var ticker: Task<Void, Never>?
  }

  init(environment: [String: String], allowsColour: Bool) {
    self.environment = environment
    self.allowsColour = allowsColour
  }

  var format: ScreenFormat {
    ScreenFormat(descriptor: STDOUT_FILENO, environment: environment, allowsColour: allowsColour)
  }
  var noteFormat: ScreenFormat {
    ScreenFormat(descriptor: STDERR_FILENO, environment: environment, allowsColour: allowsColour)
  }

  func out(_ text: String) { write(text, to: STDOUT_FILENO) }
  func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

  func body(_ bytes: [UInt8]) async {
    state.withLock { state in
      if state.progress != nil { writeAll(ProgressLine.erase, to: STDERR_FILENO) }
      writeAll(bytes, to: STDOUT_FILENO)
    }
  }

  private func write(_ text: String, to descriptor: Int32) {
    state.withLock { state in
      if state.progress != nil { writeAll(ProgressLine.erase, to: STDERR_FILENO) }
      writeAll(text, to: descriptor)
    }
  }

  func progress(_ label: String?) {
    let format = noteFormat
    // A dumb terminal cannot take a line back.
    guard format.width != nil, environment["TERM"] != nil, environment["TERM"] != "dumb" else { return }
    state.withLock { state in
      state.ticker?.cancel()
      state.ticker = nil
      if state.progress != nil { writeAll(ProgressLine.erase, to: STDERR_FILENO) }
      state.progress = label.map { ProgressLine($0) }
      guard label != nil else { return }
      state.ticker = Task { [weak self] in
        while !Task.isCancelled {
          try? await Task.sleep(for: .milliseconds(100))
          self?.tick()
        }
      }
    }
  }

  private func tick() {
    let format = noteFormat
    state.withLock { state in
      if !Task.isCancelled, let line = state.progress?.draw(format) { writeAll(line, to: STDERR_FILENO) }
    }
  }
}

func writeAll(_ text: String, to descriptor: Int32) { writeAll(Array(text.utf8), to: descriptor) }

/// Writes everything, through interruptions and short writes. A reader that is gone ends it silently, as
/// there is no one left to tell.
func writeAll(_ bytes: [UInt8], to descriptor: Int32) {
  bytes.withUnsafeBytes { buffer in
    var offset = 0
    while offset < buffer.count {
      let count = write(descriptor, buffer.baseAddress! + offset, buffer.count - offset)
      if count > 0 {
        offset += count
      } else if errno == EAGAIN {
        var descriptors = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&descriptors, 1, -1)
      } else if errno != EINTR {
        return
      }
    }
  }
}
