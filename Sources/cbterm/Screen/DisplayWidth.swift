extension Character {
  /// Columns on a terminal: 0, 1 or 2.
  var displayWidth: Int {
    guard let first = unicodeScalars.first else { return 0 }
    if first.isASCII { return first.value >= 0x20 && first.value != 0x7f ? 1 : 0 }
    // U+FE0F asks for the emoji form of what would be a narrow sign.
    if unicodeScalars.contains(where: { $0.value == 0xfe0f }) { return 2 }
    return unicodeScalars.reduce(0) { max($0, $1.displayWidth) }
  }
}

extension Unicode.Scalar {
  fileprivate var displayWidth: Int {
    switch properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format, .control, .lineSeparator, .paragraphSeparator: return 0
    default: break
    }
    if properties.isEmojiPresentation { return 2 }
    // Unicode Standard Annex #11: the blocks of East Asian width W and F.
    switch value {
    case 0x1100...0x115f, 0x2e80...0x303e, 0x3041...0x33ff, 0x3400...0x4dbf, 0x4e00...0x9fff, 0xa000...0xa4cf,
      0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f, 0xff00...0xff60, 0xffe0...0xffe6,
      0x1b000...0x1b2ff, 0x20000...0x3fffd:
      return 2
    default: return 1
    }
  }
}

extension StringProtocol {
  /// Columns on a terminal. The text must be ``printable``.
  var displayWidth: Int { reduce(0) { $0 + $1.displayWidth } }

  /// The longest beginning that is at most `width` columns wide.
  func prefix(columns width: Int) -> SubSequence {
    var used = 0
    var end = startIndex
    while end < endIndex {
      used += self[end].displayWidth
      if used > width { break }
      formIndex(after: &end)
    }
    return self[..<end]
  }

  /// At most `width` columns, with an ellipsis where something was cut.
  func fitted(to width: Int, ellipsis: String) -> String {
    if displayWidth <= width { return String(self) }
    return width < 1 ? "" : prefix(columns: width - ellipsis.displayWidth) + ellipsis
  }

  /// The text with control characters made harmless: what came from a network must not steer the terminal.
  var printable: String {
    guard unicodeScalars.contains(where: \.steersTerminals) else { return String(self) }
    var result = String.UnicodeScalarView()
    for scalar in unicodeScalars { result.append(scalar.steersTerminals ? "\u{fffd}" : scalar) }
    return String(result)
  }

  /// Broken into lines of at most `width` columns, at spaces where there are any.
  func wrapped(to width: Int) -> [String] {
    let width = Swift.max(1, width)
    var lines: [String] = []
    var line = ""
    var used = 0
    for word in split(separator: " ") {
      var word = word[...]
      let wordWidth = word.displayWidth
      if used > 0, used + 1 + wordWidth > width {
        lines.append(line)
        (line, used) = ("", 0)
      }
      if used > 0 {
        line += " "
        used += 1
      }
      while word.displayWidth > width - used {
        var piece = word.prefix(columns: width - used)
        if piece.isEmpty { piece = word.prefix(1) }
        lines.append(line + piece)
        word = word[piece.endIndex...]
        (line, used) = ("", 0)
      }
      line += word
      used += word.displayWidth
    }
    return used > 0 || lines.isEmpty ? lines + [line] : lines
  }
}

extension Unicode.Scalar {
  /// C0 and C1 controls, and the marks that turn the direction of what follows.
  fileprivate var steersTerminals: Bool {
    switch value {
    case 0..<0x20, 0x7f..<0xa0, 0x202a...0x202e, 0x2066...0x2069: true
    default: false
    }
  }
}
