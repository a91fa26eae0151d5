/// Rows under headings, laid out for the width at hand.
struct Table {
  struct Column {
    var title: String
    var isTrailing = false
    /// The width below which the column is not cut.
    var minimum = 6

    init(_ title: String, trailing: Bool = false, minimum: Int = 6) {
      self.title = title
      isTrailing = trailing
      self.minimum = minimum
    }
  }

  struct Cell: ExpressibleByStringInterpolation {
    var text: String
    var tone: Style.Tone = .plain

    init(_ text: String, _ tone: Style.Tone = .plain) {
      self.text = text.printable
      self.tone = tone
    }
    init(stringLiteral value: String) { self.init(value) }
  }

  var columns: [Column]
  var rows: [[Cell]] = []
  private let gap = 2

  init(_ columns: [Column]) { self.columns = columns }

  func lines(for format: ScreenFormat) -> [String] {
    guard let widths = widths(within: format.width) else { return records(for: format) }
    let heading = line(columns.map { Cell($0.title, .dim) }, widths, format)
    return [heading] + rows.map { line($0, widths, format) }
  }

  /// The natural widths, with the widest columns cut until all fit; nil where even the least do not.
  private func widths(within limit: Int?) -> [Int]? {
    var widths = columns.indices.map { index in
      max(columns[index].title.displayWidth, rows.map { $0[index].text.displayWidth }.max() ?? 0)
    }
    guard let limit else { return widths }
    var excess = widths.reduce(gap * (widths.count - 1), +) - limit
    while excess > 0 {
      let cuttable = widths.indices.filter { widths[$0] > columns[$0].minimum }
      guard let widest = cuttable.max(by: { widths[$0] < widths[$1] }) else { return nil }
      widths[widest] -= 1
      excess -= 1
    }
    return widths
  }

  private func line(_ cells: [Cell], _ widths: [Int], _ format: ScreenFormat) -> String {
    var line = ""
    for (index, cell) in cells.enumerated() {
      let text = cell.text.fitted(to: widths[index], ellipsis: format.ellipsis)
      let padding = String(repeating: " ", count: widths[index] - text.displayWidth)
      let styled = format.style(text, cell.tone)
      let isLast = index == cells.count - 1
      line += columns[index].isTrailing ? padding + styled : isLast ? styled : styled + padding
      if !isLast { line += String(repeating: " ", count: gap) }
    }
    return line
  }

  /// For a terminal too narrow for columns: one block a row.
  private func records(for format: ScreenFormat) -> [String] {
    rows.enumerated().flatMap { index, row in
      var list = FieldList()
      for (column, cell) in zip(columns, row) where !cell.text.isEmpty {
        list.add(column.title, cell.text, cell.tone)
      }
      return (index > 0 ? [""] : []) + list.lines(for: format)
    }
  }
}

/// Names and values, one under another.
struct FieldList {
  private var fields: [(name: String, value: String, tone: Style.Tone)] = []

  mutating func add(_ name: String, _ value: String?, _ tone: Style.Tone = .plain) {
    if let value { fields.append((name, value.printable, tone)) }
  }

  func lines(for format: ScreenFormat) -> [String] {
    let nameWidth = fields.map(\.name.displayWidth).max() ?? 0
    return fields.flatMap { name, value, tone -> [String] in
      let room = format.width.map { $0 - nameWidth - 2 }
      let pieces = room.map { value.wrapped(to: max(8, $0)) } ?? [value]
      return pieces.enumerated().map { index, piece in
        let label = index == 0 ? name : ""
        let padding = String(repeating: " ", count: nameWidth - label.displayWidth + 2)
        return format.style(label, .dim) + padding + format.style(piece, tone)
      }
    }
  }
}
