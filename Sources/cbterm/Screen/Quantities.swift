import Foundation

/// Quantities as people read them.
enum Quantity {
  /// `999 B`, `12.3 KiB`, `1.50 GiB`.
  static func bytes(_ count: UInt64) -> String {
    guard count >= 1024 else { return "\(count) B" }
    var value = Double(count)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    // From 1023.95 on, one decimal would round to 1024.0.
    while value >= 1023.95, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0)) \(units[unit])"
  }

  /// `0.123 ms`, `12.3 ms`, `1.50 s`.
  static func milliseconds(_ value: Double) -> String {
    if value >= 999.5 { return "\(fixed(value / 1000, 2)) s" }
    return "\(fixed(value, value < 9.9995 ? 3 : value < 99.95 ? 1 : 0)) ms"
  }

  /// `4s`, `2m 05s`, `3h 12m`, `2d 4h`.
  static func elapsed(_ seconds: Double) -> String {
    let total = Int(max(0, min(seconds, 1e12)))
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    switch total {
    case ..<60: return "\(total)s"
    case ..<3600: return "\(total / 60)m \(two(total % 60))s"
    case ..<86_400: return "\(total / 3600)h \(two(total % 3600 / 60))m"
    default: return "\(total / 86_400)d \(total % 86_400 / 3600)h"
    }
  }

  /// With so many decimals, always with a point.
  static func fixed(_ value: Double, _ decimals: Int) -> String { String(format: "%.\(decimals)f", value) }

  /// `16:45:07` in the local time zone.
  static func clock(_ date: Date) -> String {
    let parts = Calendar.current.dateComponents([.hour, .minute, .second], from: date)
    return [parts.hour, parts.minute, parts.second].map { value in
      let value = value ?? 0
      return value < 10 ? "0\(value)" : "\(value)"
    }.joined(separator: ":")
  }
}
