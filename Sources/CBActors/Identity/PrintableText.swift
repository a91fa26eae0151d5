extension String {
  /// The text as a log or a terminal may show it: printable ASCII, at most `limit` scalars, so that
  /// what a server or a token says cannot move a cursor or forge a line.
  package func printable(limit: Int) -> String {
    var shown = String.UnicodeScalarView()
    for scalar in unicodeScalars.prefix(limit) {
      shown.append((0x20..<0x7f).contains(scalar.value) ? scalar : "?")
    }
    return String(shown)
  }

  /// A person's or organisation's name in its own script, at most `limit` scalars: controls, line
  /// ends, and the invisible marks that reorder text are left out.
  package func displayable(limit: Int) -> String {
    var shown = String.UnicodeScalarView()
    for scalar in unicodeScalars.prefix(limit) {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate, .unassigned: continue
      default: shown.append(scalar)
      }
    }
    return String(shown)
  }
}
