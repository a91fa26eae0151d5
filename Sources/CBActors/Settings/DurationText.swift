public import Wire

extension Interval {
  /// Parses `250ms`, `30s`, `5m`, `2h`, `100us`, and `0`. A number without unit, a fraction, a negative
  /// number, or more than 292 years is nil.
  public init?(settingsText text: String) {
    if text == "0" {
      self = .zero
      return
    }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let count = Int64(digits), let unit = Self.units.first(where: { $0.name == text[digits.endIndex...] }) else {
      return nil
    }
    let (product, overflow) = count.multipliedReportingOverflow(by: unit.nanoseconds)
    guard !overflow else { return nil }
    self.init(nanoseconds: product)
  }

  /// The shortest text that ``init(settingsText:)`` reads back as this interval.
  public var settingsText: String {
    guard nanoseconds != 0 else { return "0" }
    let unit = Self.units.last { nanoseconds % $0.nanoseconds == 0 } ?? Self.units[0]
    return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
  }

  private static let units: [(name: String, nanoseconds: Int64)] = [
    ("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
  ]
}
