/// Where the session writes. Data and diagnostics go apart, so that a script can read the one without the other.
protocol Screen: AnyObject, Sendable {
  /// What stdout can show.
  var format: ScreenFormat { get }
  /// What stderr can show.
  var noteFormat: ScreenFormat { get }
  /// Data, to stdout; ends with its own newline.
  func out(_ text: String)
  /// A diagnostic, to stderr; a newline is added.
  func note(_ text: String)
  /// Shows on a terminal that something is waited for, with the time it takes, until called with nil.
  func progress(_ label: String?)
  /// A piece of a body, to stdout as it is; returns when it is written.
  func body(_ bytes: [UInt8]) async
}

extension Screen {
  func out(_ lines: [String]) {
    if !lines.isEmpty { out(lines.joined(separator: "\n") + "\n") }
  }
}

/// The line that shows that something is waited for.
struct ProgressLine {
  let label: String
  let started: ContinuousClock.Instant
  private var frame = 0

  init(_ label: String) {
    self.label = label
    started = ContinuousClock.now
  }

  /// The bytes that draw the next frame over the last; cut to the width, so that it never wraps.
  mutating func draw(_ format: ScreenFormat) -> String {
    let frames = format.isUnicode ? ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] : ["|", "/", "-", "\\"]
    frame = (frame + 1) % frames.count
    let seconds = Double((ContinuousClock.now - started).components.seconds)
    let time = seconds >= 1 ? "  \(Quantity.elapsed(seconds))" : ""
    let room = max(1, (format.width ?? 80) - 3 - time.displayWidth)
    let text = label.printable.fitted(to: room, ellipsis: format.ellipsis)
    return "\r\u{1b}[2K\(format.style(frames[frame], .accent)) \(text)\(format.style(time, .dim))"
  }

  static let erase = "\r\u{1b}[2K"
}
