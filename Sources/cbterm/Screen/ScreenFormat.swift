import Glibc

/// What the place that text goes to can show.
struct ScreenFormat: Sendable {
  /// Columns; nil where the output is no terminal, and nothing need fit.
  var width: Int?
  var style: Style
  /// Whether characters beyond ASCII are shown.
  var isUnicode: Bool

  /// For files and pipes.
  static let plain = ScreenFormat(width: nil, style: Style(isColoured: false), isUnicode: true)

  var ellipsis: String { isUnicode ? "…" : "~" }

  /// Judges a file descriptor and the environment.
  ///
  /// - Parameter allowsColour: false for `--no-color`.
  init(descriptor: Int32, environment: [String: String], allowsColour: Bool) {
    let isTerminal = isatty(descriptor) == 1
    let isDumb = environment["TERM"] == nil || environment["TERM"] == "dumb"
    // no-color.org: present and not an empty string, whatever its value.
    let refusesColour = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
    self.init(
      width: isTerminal ? Self.columns(of: descriptor, environment) : nil,
      style: Style(isColoured: isTerminal && !isDumb && !refusesColour && allowsColour),
      isUnicode: !isTerminal || Self.isUnicode(environment))
  }

  init(width: Int?, style: Style, isUnicode: Bool) {
    self.width = width
    self.style = style
    self.isUnicode = isUnicode
  }

  private static func columns(of descriptor: Int32, _ environment: [String: String]) -> Int {
    var size = winsize()
    if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 { return Int(size.ws_col) }
    return environment["COLUMNS"].flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil } ?? 80
  }

  /// POSIX: the first of these that is set and not empty decides. None set means a bare container, whose
  /// terminal is the user's own and modern.
  static func isUnicode(_ environment: [String: String]) -> Bool {
    for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
      if let value = environment[name]?.lowercased(), !value.isEmpty {
        return value.contains("utf-8") || value.contains("utf8")
      }
    }
    return true
  }
}

/// A small palette. Colour only underlines what the words say already.
struct Style: Sendable {
  var isColoured: Bool

  enum Tone: Sendable {
    case plain, strong, dim, good, warning, bad, accent

    var code: String {
      switch self {
      case .plain: ""
      case .strong: "1"
      case .dim: "2"
      case .good: "32"
      case .warning: "33"
      case .bad: "31"
      case .accent: "36"
      }
    }
  }

  func callAsFunction(_ text: String, _ tone: Tone) -> String {
    isColoured && tone != .plain && !text.isEmpty ? "\u{1b}[\(tone.code)m\(text)\u{1b}[0m" : text
  }
}
