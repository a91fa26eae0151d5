/// An address family and what is in it: AFI and SAFI (RFC 4760 §3).
public struct AddressFamily: Hashable, Sendable {
  public var afi: UInt16
  public var safi: UInt8

  public init(afi: UInt16, safi: UInt8) {
    self.afi = afi
    self.safi = safi
  }

  public static let ipv4Unicast = AddressFamily(afi: 1, safi: 1)
  public static let ipv6Unicast = AddressFamily(afi: 2, safi: 1)
}

extension AddressFamily: CustomStringConvertible {
  public var description: String {
    switch self {
    case .ipv4Unicast: "IPv4 unicast"
    case .ipv6Unicast: "IPv6 unicast"
    default: "AFI \(afi) SAFI \(safi)"
    }
  }
}

/// The families whose routes this speaker keeps.
public struct AddressFamilies: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let ipv4Unicast = AddressFamilies(rawValue: 1)
  public static let ipv6Unicast = AddressFamilies(rawValue: 2)

  public static let all: AddressFamilies = [.ipv4Unicast, .ipv6Unicast]

  /// Empty for a family that is not kept.
  public init(_ family: AddressFamily) {
    switch family {
    case .ipv4Unicast: self = .ipv4Unicast
    case .ipv6Unicast: self = .ipv6Unicast
    default: self = []
    }
  }

  public var members: [AddressFamily] {
    [.ipv4Unicast, .ipv6Unicast].filter { !isDisjoint(with: AddressFamilies($0)) }
  }

  public func contains(_ family: AddressFamily) -> Bool {
    let one = AddressFamilies(family)
    return !one.isEmpty && contains(one)
  }
}
