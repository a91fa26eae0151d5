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
  /// RFC 8955 §4.
  public static let ipv4Flowspec = AddressFamily(afi: 1, safi: 133)
  /// RFC 8956 §3.
  public static let ipv6Flowspec = AddressFamily(afi: 2, safi: 133)

  var isFlowspec: Bool { safi == 133 }
}

extension AddressFamily: CustomStringConvertible {
  public var description: String {
    switch self {
    case .ipv4Unicast: "IPv4 unicast"
    case .ipv6Unicast: "IPv6 unicast"
    case .ipv4Flowspec: "IPv4 flowspec"
    case .ipv6Flowspec: "IPv6 flowspec"
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

  public static let ipv4Flowspec = AddressFamilies(rawValue: 4)
  public static let ipv6Flowspec = AddressFamilies(rawValue: 8)
  public static let unicast: AddressFamilies = [.ipv4Unicast, .ipv6Unicast]
  public static let all: AddressFamilies = [.ipv4Unicast, .ipv6Unicast, .ipv4Flowspec, .ipv6Flowspec]

  /// Empty for a family that is not kept.
  public init(_ family: AddressFamily) {
    switch family {
    case .ipv4Unicast: self = .ipv4Unicast
    case .ipv6Unicast: self = .ipv6Unicast
    case .ipv4Flowspec: self = .ipv4Flowspec
    case .ipv6Flowspec: self = .ipv6Flowspec
    default: self = []
    }
  }

  public var members: [AddressFamily] {
    [AddressFamily.ipv4Unicast, .ipv6Unicast, .ipv4Flowspec, .ipv6Flowspec].filter {
      !isDisjoint(with: AddressFamilies($0))
    }
  }

  public func contains(_ family: AddressFamily) -> Bool {
    let one = AddressFamilies(family)
    return !one.isEmpty && contains(one)
  }
}
