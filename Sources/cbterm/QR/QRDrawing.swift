extension QRCode {
  /// The symbol in half-block characters, two modules a line, with its quiet zone.
  ///
  /// With colour, black on white is set outright, so that it scans on any background. Without, light modules
  /// are drawn, as for a terminal with a dark background.
  ///
  /// - Returns: nil where the terminal is too narrow, or has no half blocks.
  func drawn(for format: ScreenFormat, indent: Int = 2) -> [String]? {
    guard format.isUnicode, let width = format.width else { return nil }
    // §6.3.8 asks for four modules of quiet; cameras do with two, and a narrow terminal has no more.
    guard let quiet = [4, 2].first(where: { size + 2 * $0 + indent <= width }) else { return nil }
    func isDark(_ x: Int, _ y: Int) -> Bool {
      let range = 0..<size
      return range.contains(x) && range.contains(y) && self[x, y]
    }
    let isColoured = format.style.isColoured
    return stride(from: -quiet, to: size + quiet, by: 2).map { y in
      var line = ""
      for x in -quiet..<size + quiet {
        // What is drawn: the dark modules with colours, the light ones without.
        let upper = isDark(x, y) == isColoured
        let lower = (y + 1 < size + quiet && isDark(x, y + 1)) == isColoured
        line += upper ? (lower ? "█" : "▀") : (lower ? "▄" : " ")
      }
      return String(repeating: " ", count: indent) + (isColoured ? "\u{1b}[30;107m\(line)\u{1b}[0m" : line)
    }
  }
}
