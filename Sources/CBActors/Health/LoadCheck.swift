/// Whether a machine has too much to do, by limits with a high and a low water mark: past the high one it has, and until it is
/// below the low one again.
public struct LoadCheck: Sendable {
  public enum Quantity: String, Hashable, Sendable, CaseIterable {
    /// The load average of one minute, in percent of the processors: 100 is one runnable task for each.
    case processors
    /// Memory that is not available, in percent of all.
    case memory
    /// In percent of the limit.
    case connections
  }

  public struct Limit: Hashable, Sendable {
    public var high: Int
    public var low: Int

    /// - Parameter low: no more than `high`, or it is taken for that.
    public init(high: Int, low: Int) {
      self.high = high
      self.low = min(low, high)
    }
  }

  private let limits: [Quantity: Limit]
  /// What is too high, since it was past its high water mark.
  public private(set) var exceeded: Set<Quantity> = []

  public init(_ limits: [Quantity: Limit]) { self.limits = limits }

  /// Takes what has been measured; what could not be is left as it was. True while nothing is too high.
  public mutating func judge(_ sample: [Quantity: Int]) -> Bool {
    for (quantity, value) in sample {
      guard let limit = limits[quantity] else { continue }
      if value >= limit.high {
        exceeded.insert(quantity)
      } else if value < limit.low || limit.low == limit.high {
        exceeded.remove(quantity)
      }
    }
    return exceeded.isEmpty
  }

  /// What of a sample there is a limit to, beside its marks.
  public func account(of sample: [Quantity: Int]) -> String {
    Quantity.allCases.compactMap { quantity in
      limits[quantity].map { limit in
        let value = sample[quantity].map { "\($0) %" } ?? "unknown"
        let mark =
          exceeded.contains(quantity) ? ", too high until below \(limit.low) %" : ", too high from \(limit.high) % on"
        return "\(quantity.rawValue) \(value)\(mark)"
      }
    }.joined(separator: "; ")
  }
}

// MARK: What the kernel says

extension LoadCheck {
  /// Of the text of `/proc/loadavg`; nil where it is not as expected.
  public static func processorLoad(_ text: String, processors: Int) -> Int? {
    guard let first = text.split(separator: " ").first, let load = Double(first), load.isFinite, processors > 0 else {
      return nil
    }
    return Int(min(max(load, 0), 1e9) * 100) / processors
  }

  /// Of the text of `/proc/meminfo`; nil where it is not as expected.
  public static func memoryUse(_ text: String) -> Int? {
    func value(_ name: String) -> Int? {
      let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
      return line?.dropFirst(name.count).split(separator: " ").first.flatMap { Int($0) }
    }
    guard let total = value("MemTotal:"), let available = value("MemAvailable:"), total > 0,
      (0...total).contains(available)
    else { return nil }
    return Int((Double(total - available) / Double(total) * 100).rounded())
  }
}
