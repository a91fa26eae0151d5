/// An IP prefix: an address whose host bits are zero, and a length in bits.
public struct IPPrefix: Hashable, Sendable {
  public let address: IPAddress
  public let length: Int

  /// Clears the host bits. A length beyond the family's width is nil.
  public init?(_ address: IPAddress, length: Int) {
    guard length >= 0, length <= address.bitWidth else { return nil }
    self.address = address.masked(to: length)
    self.length = length
  }

  /// The first bits of an address of the family that is as wide; those behind the length are cleared.
  public init<Bits: PrefixBits>(_ bits: Bits, _ length: UInt8) {
    let address: IPAddress =
      Bits.bitWidth == 32
      ? .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: bits)))
      : .v6(IPv6Address(high: UInt64(truncatingIfNeeded: bits >> 64), low: UInt64(truncatingIfNeeded: bits)))
    self.length = min(Int(length), address.bitWidth)
    self.address = address.masked(to: self.length)
  }

  /// Parses `10.0.0.0/8` or `2001:db8::/32`; host bits that are set, or anything else, is nil.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(String(parts[0])), let length = Int(parts[1]),
      let prefix = IPPrefix(address, length: length), prefix.address == address
    else { return nil }
    self = prefix
  }

  /// False for an address of the other family.
  public func contains(_ other: IPAddress) -> Bool {
    other.isIPv4 == address.isIPv4 && other.masked(to: length) == address
  }
}

extension IPPrefix: CustomStringConvertible {
  public var description: String { "\(address)/\(length)" }
}

extension IPAddress {
  /// The first `length` bits, the rest zero.
  func masked(to length: Int) -> IPAddress {
    switch self {
    case .v4(let four):
      return .v4(IPv4Address(rawValue: length == 0 ? 0 : four.rawValue & (UInt32.max << UInt32(32 - length))))
    case .v6(let six):
      let high = length == 0 ? 0 : length >= 64 ? UInt64.max : UInt64.max << UInt64(64 - length)
      let low = length <= 64 ? 0 : UInt64.max << UInt64(128 - length)
      return .v6(IPv6Address(high: six.high & high, low: six.low & low))
    }
  }
}
