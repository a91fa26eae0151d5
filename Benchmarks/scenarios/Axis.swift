import Foundation

/// What part of the numbers a chart shows, and where it writes them.
struct Axis {
  enum Scale { case linear, logarithmic }

  private let scale: Scale
  private let least: Double
  private let most: Double
  let ticks: [Double]

  /// - Parameter isTight: ends where the values do, not at a tick.
  init(_ values: [Double], _ scale: Scale, upTo limit: Double?, isTight: Bool) {
    self.scale = scale
    let finite = values.filter { $0.isFinite && (scale == .linear || $0 > 0) }
    let top = limit ?? finite.max() ?? 1
    switch scale {
    case .logarithmic:
      let bottom = finite.min() ?? top / 10
      let isWide = top / bottom > 2_000
      let all = (-9...9).flatMap { power in (isWide ? [1.0] : [1.0, 2, 5]).map { $0 * pow(10, Double(power)) } }
      least = isTight ? bottom : all.last { $0 <= bottom * 1.001 } ?? bottom
      most = isTight ? max(top, bottom * 1.1) : all.first { $0 >= top * 0.999 && $0 > bottom } ?? top
      let ends = (least * 0.999)...(most * 1.001)
      ticks = all.filter { ends.contains($0) }
    case .linear:
      least = min(0, finite.min() ?? 0)
      let rough = max(top - least, 1e-9) / 6
      let power = pow(10, floor(log10(rough)))
      let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? rough
      most = limit ?? (isTight ? max(top, least + step) : (top / step).rounded(.up) * step)
      ticks = Array(stride(from: least, through: most + step / 1000, by: step))
    }
  }

  /// Where a value lies, from 0 to 1.
  func share(_ value: Double) -> Double {
    let share =
      scale == .linear
      ? (value - least) / (most - least) : log10(max(value, least) / least) / log10(most / least)
    return min(max(share, 0), 1)
  }
}
