/// A community (RFC 1997): an AS number and a value of that AS's own.
public struct Community: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public init(_ autonomousSystem: UInt16, _ value: UInt16) { rawValue = UInt32(autonomousSystem) << 16 | UInt32(value) }

  /// RFC 1997.
  public static let noExport = Community(rawValue: 0xffff_ff01)
  /// RFC 1997.
  public static let noAdvertise = Community(rawValue: 0xffff_ff02)
  /// RFC 8326.
  public static let gracefulShutdown = Community(rawValue: 0xffff_0000)
  /// RFC 7999.
  public static let blackhole = Community(rawValue: 0xffff_029a)

  /// RFC 9494 §2.1, LLGR_STALE.
  public static let longLivedStale = Community(rawValue: 0xffff_0006)
  /// RFC 9494 §2.2, NO_LLGR.
  public static let noLongLived = Community(rawValue: 0xffff_0007)

  /// Parses `64512:100`.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let high = UInt16(parts[0]), let low = UInt16(parts[1]) else { return nil }
    self.init(high, low)
  }
}

extension Community: CustomStringConvertible {
  public var description: String { "\(rawValue >> 16):\(rawValue & 0xffff)" }
}

/// An extended community (RFC 4360), eight octets of which the first one or two are a type.
public struct ExtendedCommunity: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bit 6 of the type: it stays within the AS (RFC 4360 §2).
  public var isTransitive: Bool { rawValue >> 62 & 1 == 0 }
}

extension ExtendedCommunity: CustomStringConvertible {
  /// A route target or origin by its name, any other by its octets.
  public var description: String {
    let type = UInt8(rawValue >> 56)
    let name =
      switch UInt8(rawValue >> 48 & 0xff) {
      case 0x02: "rt"
      case 0x03: "ro"
      default: ""
      }
    // RFC 4360 §3.1 and RFC 5668 §2: two octets of AS and four of value, or the other way round.
    if !name.isEmpty, type & 0x3f == 0 { return "\(name):\(rawValue >> 32 & 0xffff):\(rawValue & 0xffff_ffff)" }
    if !name.isEmpty, type & 0x3f == 2 { return "\(name):\(rawValue >> 16 & 0xffff_ffff):\(rawValue & 0xffff)" }
    let digits = String(rawValue, radix: 16)
    return "0x" + String(repeating: "0", count: 16 - digits.count) + digits
  }
}

/// A large community (RFC 8092).
public struct LargeCommunity: Hashable, Sendable {
  /// The AS that gives the other two their meaning.
  public var global: UInt32
  public var local1: UInt32
  public var local2: UInt32

  public init(_ global: UInt32, _ local1: UInt32, _ local2: UInt32) {
    self.global = global
    self.local1 = local1
    self.local2 = local2
  }

  /// Parses `64512:1:2`.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, let a = UInt32(parts[0]), let b = UInt32(parts[1]), let c = UInt32(parts[2]) else {
      return nil
    }
    self.init(a, b, c)
  }
}

extension LargeCommunity: CustomStringConvertible {
  public var description: String { "\(global):\(local1):\(local2)" }
}
