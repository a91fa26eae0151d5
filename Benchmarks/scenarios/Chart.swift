import Foundation

/// A line chart as SVG, legible on light and on dark.
struct Chart {
  struct Series {
    var name: String
    var points: [(x: Double, y: Double)]
    /// Others' figures.
    var isDashed = false
    /// A mark at each point: few of them were measured, and the line only joins them.
    var hasMarks = false
  }

  var title: String
  var xLabel: String
  var yLabel: String
  var xScale = Axis.Scale.linear
  var yScale = Axis.Scale.linear
  /// Nil takes what the points need.
  var yLimit: Double?
  var series: [Series] = []

  private static let width = 720.0
  private static let frame = (left: 64.0, right: 700.0, top: 40.0, bottom: 320.0)
  /// Told apart by those who see no red or no green, and on either ground.
  private static let colours = ["#2f81f7", "#e5534b", "#3fa45b", "#b36ae2", "#d18616", "#8b949e"]
  private static let most = 500

  /// Enough of a long series to see what it does: the mean of each stretch.
  static func thinned(_ points: [(x: Double, y: Double)]) -> [(x: Double, y: Double)] {
    guard points.count > most else { return points }
    let stretch = (points.count + most - 1) / most
    return stride(from: 0, to: points.count, by: stretch).map { start in
      let part = points[start..<min(start + stretch, points.count)]
      let count = Double(part.count)
      return (part.reduce(0) { $0 + $1.x } / count, part.reduce(0) { $0 + $1.y } / count)
    }
  }

  /// Of the legend.
  private var entriesPerRow: Int { series.contains { $0.name.count > 22 } ? 2 : 3 }

  func svg() -> String {
    let all = series.flatMap(\.points)
    let x = Axis(all.map(\.x), xScale, upTo: nil, isTight: true)
    let y = Axis(all.map(\.y), yScale, upTo: yLimit, isTight: false)
    let height = 366 + 18 * ((series.count + entriesPerRow - 1) / entriesPerRow)
    var lines = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(Self.width)) \(height)\" font-family=\"sans-serif\" "
        + "font-size=\"12\">",
      "<style>.ground{fill:#fff}text{fill:#1f2328}.grid{stroke:#d8dee4}"
        + "@media(prefers-color-scheme:dark){.ground{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}}</style>",
      "<rect class=\"ground\" width=\"100%\" height=\"100%\"/>",
      "<text x=\"\(Self.frame.left)\" y=\"22\" font-size=\"15\">\(title)</text>",
    ]
    lines += grid(x, y)
    for index in series.indices { lines += line(index, x, y) }
    return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
  }

  private func grid(_ x: Axis, _ y: Axis) -> [String] {
    let frame = Self.frame
    var lines: [String] = []
    for tick in x.ticks {
      let across = Self.across(x.share(tick))
      lines.append("<path class=\"grid\" d=\"M\(across) \(frame.top)V\(frame.bottom)\"/>")
      lines.append("<text x=\"\(across)\" y=\"\(frame.bottom + 16)\" text-anchor=\"middle\">\(Self.label(tick))</text>")
    }
    for tick in y.ticks {
      let down = Self.down(y.share(tick))
      lines.append("<path class=\"grid\" d=\"M\(frame.left) \(down)H\(frame.right)\"/>")
      lines.append(
        "<text x=\"\(frame.left - 6)\" y=\"\(down)\" dy=\"4\" text-anchor=\"end\">\(Self.label(tick))</text>")
    }
    let middle = (x: (frame.left + frame.right) / 2, y: (frame.top + frame.bottom) / 2)
    lines.append("<text x=\"\(middle.x)\" y=\"\(frame.bottom + 34)\" text-anchor=\"middle\">\(xLabel)</text>")
    lines.append(
      "<text transform=\"translate(16 \(middle.y)) rotate(-90)\" text-anchor=\"middle\">\(yLabel)</text>")
    return lines
  }

  private func line(_ index: Int, _ x: Axis, _ y: Axis) -> [String] {
    let one = series[index]
    let colour = Self.colours[index % Self.colours.count]
    let dashes = one.isDashed ? " stroke-dasharray=\"6 4\"" : ""
    let places = one.points.map { (Self.across(x.share($0.x)), Self.down(y.share($0.y))) }
    var lines = [
      "<polyline points=\"\(places.map { "\($0.0),\($0.1)" }.joined(separator: " "))\" fill=\"none\" "
        + "stroke=\"\(colour)\" stroke-width=\"1.6\" stroke-linejoin=\"round\"\(dashes)/>"
    ]
    if one.hasMarks {
      lines += places.map { "<circle cx=\"\($0.0)\" cy=\"\($0.1)\" r=\"3\" fill=\"\(colour)\"/>" }
    }
    let across = Self.frame.left + Double(index % entriesPerRow) * (645 / Double(entriesPerRow))
    let down = 372 + 18 * (index / entriesPerRow)
    lines.append("<path d=\"M\(across) \(down)h22\" stroke=\"\(colour)\" stroke-width=\"3\"\(dashes)/>")
    lines.append("<text x=\"\(across + 28)\" y=\"\(down + 4)\">\(one.name)</text>")
    return lines
  }

  private static func across(_ share: Double) -> String {
    String(format: "%.1f", frame.left + share * (frame.right - frame.left))
  }

  private static func down(_ share: Double) -> String {
    String(format: "%.1f", frame.bottom - share * (frame.bottom - frame.top))
  }

  private static func label(_ value: Double) -> String {
    value != 0 && (abs(value) < 0.001 || abs(value) >= 1e6)
      ? String(format: "%g", value) : String(format: "%.4g", value)
  }
}
