import Glibc

/// The name of a dump's file, as route collectors write it: `rib.20261126.0600` or `updates.20261126.0615`, in UTC. One
/// that would be there already has `-2` and so on behind it.
public struct MRTFileName: Hashable, Sendable, CustomStringConvertible {
  public enum Kind: String, Hashable, Sendable { case rib, updates }

  public var kind: Kind
  /// Of the whole minute, since 1970.
  public var seconds: Int
  public var number = 1

  public init(_ kind: Kind, seconds: Int) {
    self.kind = kind
    self.seconds = seconds - seconds % 60
  }

  /// Nil for anything else, such as a file that was compressed.
  public init?(_ text: String) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, let kind = Kind(rawValue: String(parts[0])) else { return nil }
    let rest = parts[2].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard let day = Self.number(parts[1], digits: 8), let minute = Self.number(rest[0], digits: 4) else { return nil }
    var time = tm()
    time.tm_year = Int32(day / 10_000 - 1_900)
    time.tm_mon = Int32(day / 100 % 100 - 1)
    time.tm_mday = Int32(day % 100)
    time.tm_hour = Int32(minute / 100)
    time.tm_min = Int32(minute % 100)
    self.init(kind, seconds: timegm(&time))
    if rest.count == 2 {
      guard let number = Int(rest[1]), number > 1 else { return nil }
      self.number = number
    }
    // A day or an hour that there is not comes back as another.
    guard description == text else { return nil }
  }

  private static func number(_ text: Substring, digits: Int) -> Int? {
    text.utf8.count == digits && text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(text) : nil
  }

  public var description: String {
    var time = tm()
    var instant = time_t(seconds)
    gmtime_r(&instant, &time)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let day = "\(1_900 + Int(time.tm_year))\(two(time.tm_mon + 1))\(two(time.tm_mday))"
    return "\(kind.rawValue).\(day).\(two(time.tm_hour))\(two(time.tm_min))" + (number > 1 ? "-\(number)" : "")
  }

  /// What the file is called until it is whole.
  var temporary: String { ".\(description).part" }

  init?(temporary text: String) {
    guard text.hasPrefix("."), text.hasSuffix(".part") else { return nil }
    self.init(String(text.dropFirst().dropLast(5)))
  }
}
