/// A point on a monotonic clock, in nanoseconds since that clock's arbitrary start.
///
/// Protocol cores never read a clock: the present instant comes in as an argument, so a core runs
/// alike under a ring, in the simulator and in a fuzzer. `Swift.Duration` is 128 bits of
/// attoseconds; per-packet arithmetic wants 64 bits of nanoseconds.
public struct Instant: Hashable, Comparable, Sendable {
  /// Nanoseconds since the clock's start.
  public var nanoseconds: Int64

  @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// Later than any instant a clock reports: the deadline of something that never happens.
  public static let distantFuture = Instant(nanoseconds: .max)
  public static let zero = Instant(nanoseconds: 0)

  @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Saturates at ``distantFuture`` instead of trapping.
  @inlinable public static func + (a: Instant, b: Interval) -> Instant {
    let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
    return Instant(nanoseconds: overflow ? (b.nanoseconds > 0 ? .max : .min) : sum)
  }
  @inlinable public static func += (a: inout Instant, b: Interval) { a = a + b }
  @inlinable public static func - (a: Instant, b: Interval) -> Instant { a + Interval(nanoseconds: 0 &- b.nanoseconds) }

  /// The time from `b` to `a`; negative when `a` is the earlier. Saturates.
  @inlinable public static func - (a: Instant, b: Instant) -> Interval {
    let (difference, overflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds)
    return Interval(nanoseconds: overflow ? (a > b ? .max : .min) : difference)
  }
}

/// A length of time in nanoseconds; may be negative.
public struct Interval: Hashable, Comparable, Sendable {
  public var nanoseconds: Int64

  @inlinable public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  @inlinable public static func nanoseconds(_ value: Int64) -> Interval { Interval(nanoseconds: value) }
  @inlinable public static func microseconds(_ value: Int64) -> Interval {
    Interval(saturating: value, times: 1_000)
  }
  @inlinable public static func milliseconds(_ value: Int64) -> Interval {
    Interval(saturating: value, times: 1_000_000)
  }
  @inlinable public static func seconds(_ value: Int64) -> Interval {
    Interval(saturating: value, times: 1_000_000_000)
  }
  public static let zero = Interval(nanoseconds: 0)
  public static let infinite = Interval(nanoseconds: .max)

  @inlinable init(saturating value: Int64, times unit: Int64) {
    let (product, overflow) = value.multipliedReportingOverflow(by: unit)
    nanoseconds = overflow ? (value < 0 ? .min : .max) : product
  }

  @inlinable public var microseconds: Int64 { nanoseconds / 1_000 }
  @inlinable public var milliseconds: Int64 { nanoseconds / 1_000_000 }
  @inlinable public var seconds: Double { Double(nanoseconds) / 1e9 }

  @inlinable public static func < (a: Interval, b: Interval) -> Bool { a.nanoseconds < b.nanoseconds }
  @inlinable public static func + (a: Interval, b: Interval) -> Interval {
    let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
    return Interval(nanoseconds: overflow ? (b.nanoseconds > 0 ? .max : .min) : sum)
  }
  @inlinable public static func - (a: Interval, b: Interval) -> Interval {
    let (difference, overflow) = a.nanoseconds.subtractingReportingOverflow(b.nanoseconds)
    return Interval(nanoseconds: overflow ? (a > b ? .max : .min) : difference)
  }
  @inlinable public static func * (a: Interval, b: Int64) -> Interval { Interval(saturating: a.nanoseconds, times: b) }
  @inlinable public static func / (a: Interval, b: Int64) -> Interval { Interval(nanoseconds: a.nanoseconds / b) }
}

extension Interval: CustomStringConvertible {
  /// Milliseconds with microsecond precision, such as `12.345 ms`.
  public var description: String {
    let micro = (nanoseconds.magnitude + 500) / 1_000
    let fraction = String(micro % 1_000)
    let sign = nanoseconds < 0 ? "-" : ""
    return "\(sign)\(micro / 1_000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction) ms"
  }
}
