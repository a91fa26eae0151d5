import CBClient

/// What the prompt tells: profile, state, PoP.
struct PromptState: Equatable, Sendable {
  var profile: String?
  var state = ConnectionState.disconnected
  var pop: String?

  /// Such as `local ● fra1> `.
  ///
  /// - Parameter marksInvisible: brackets what takes no column in the marks that readline counts by.
  func text(_ format: ScreenFormat, marksInvisible: Bool) -> String {
    let (sign, ascii, tone): (String, String, Style.Tone) =
      switch state {
      case .disconnected: ("○", "-", .dim)
      case .connecting, .reconnecting, .disconnecting: ("◐", "~", .warning)
      case .connected: ("●", "*", .good)
      }
    func tinted(_ text: String, _ tone: Style.Tone) -> String {
      guard format.style.isColoured else { return text }
      let (open, close) = marksInvisible ? ("\u{1}", "\u{2}") : ("", "")
      return "\(open)\u{1b}[\(tone.code)m\(close)\(text)\(open)\u{1b}[0m\(close)"
    }
    // A long name must leave room to type.
    let room = max(8, (format.width ?? 80) / 3)
    func short(_ text: String) -> String { text.printable.fitted(to: room, ellipsis: format.ellipsis) }
    let place = state == .disconnected ? nil : pop
    let parts =
      [profile.map { tinted(short($0), .strong) }, tinted(format.isUnicode ? sign : ascii, tone)]
      + [place.map(short)]
    return parts.compactMap { $0 }.joined(separator: " ") + "> "
  }
}
