/// The type code of a path attribute (RFC 4271 §5, and the document named beside it).
public struct AttributeType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let origin = AttributeType(rawValue: 1)
  public static let asPath = AttributeType(rawValue: 2)
  public static let nextHop = AttributeType(rawValue: 3)
  public static let multiExitDisc = AttributeType(rawValue: 4)
  public static let localPreference = AttributeType(rawValue: 5)
  public static let atomicAggregate = AttributeType(rawValue: 6)
  public static let aggregator = AttributeType(rawValue: 7)
  /// RFC 1997.
  public static let communities = AttributeType(rawValue: 8)
  /// RFC 4456 §8.
  public static let originatorID = AttributeType(rawValue: 9)
  /// RFC 4456 §8.
  public static let clusterList = AttributeType(rawValue: 10)
  /// RFC 4760 §3.
  public static let mpReachNLRI = AttributeType(rawValue: 14)
  /// RFC 4760 §4.
  public static let mpUnreachNLRI = AttributeType(rawValue: 15)
  /// RFC 4360.
  public static let extendedCommunities = AttributeType(rawValue: 16)
  /// RFC 6793 §3.
  public static let as4Path = AttributeType(rawValue: 17)
  /// RFC 6793 §3.
  public static let as4Aggregator = AttributeType(rawValue: 18)
  /// RFC 5701.
  public static let ipv6ExtendedCommunities = AttributeType(rawValue: 25)
  /// RFC 8092.
  public static let largeCommunities = AttributeType(rawValue: 32)
  /// RFC 9234 §5.
  public static let onlyToCustomer = AttributeType(rawValue: 35)
}

/// The Attribute Flags octet (RFC 4271 §4.3).
public struct AttributeFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let optional = AttributeFlags(rawValue: 0x80)
  public static let transitive = AttributeFlags(rawValue: 0x40)
  public static let partial = AttributeFlags(rawValue: 0x20)
  public static let extendedLength = AttributeFlags(rawValue: 0x10)

  /// The two that an attribute's definition fixes.
  static let defined: AttributeFlags = [.optional, .transitive]
}

/// What an attribute must look like, and what becomes of an UPDATE in which it does not (RFC 7606 §7).
struct AttributeRule {
  enum Length {
    case exactly(Int)
    case either(Int, Int)
    /// Not zero.
    case multiple(of: Int)
    /// Judged by whoever reads the value.
    case any
  }

  /// From the weakest to the strongest (RFC 7606 §2).
  enum Handling { case attributeDiscard, treatAsWithdraw, sessionReset }

  var flags: AttributeFlags
  var length: Length
  var handling: Handling
  /// From an external peer it is dropped unread (RFC 7606 §7.5, §7.9, §7.10).
  var isInternalOnly = false

  private static let wellKnown: AttributeFlags = [.transitive]
  private static let nonTransitive: AttributeFlags = [.optional]
  private static let optional: AttributeFlags = [.optional, .transitive]

  /// The table; nil for an attribute that is not recognized.
  @inline(__always)
  static func of(_ type: AttributeType) -> AttributeRule? {
    switch type {
    case .origin: AttributeRule(flags: wellKnown, length: .exactly(1), handling: .treatAsWithdraw)
    case .asPath: AttributeRule(flags: wellKnown, length: .any, handling: .treatAsWithdraw)
    case .nextHop: AttributeRule(flags: wellKnown, length: .exactly(4), handling: .treatAsWithdraw)
    case .multiExitDisc: AttributeRule(flags: nonTransitive, length: .exactly(4), handling: .treatAsWithdraw)
    case .localPreference:
      AttributeRule(flags: wellKnown, length: .exactly(4), handling: .treatAsWithdraw, isInternalOnly: true)
    case .atomicAggregate: AttributeRule(flags: wellKnown, length: .exactly(0), handling: .attributeDiscard)
    case .aggregator: AttributeRule(flags: optional, length: .either(6, 8), handling: .attributeDiscard)
    case .communities: AttributeRule(flags: optional, length: .multiple(of: 4), handling: .treatAsWithdraw)
    case .originatorID:
      AttributeRule(flags: nonTransitive, length: .exactly(4), handling: .treatAsWithdraw, isInternalOnly: true)
    case .clusterList:
      AttributeRule(flags: nonTransitive, length: .multiple(of: 4), handling: .treatAsWithdraw, isInternalOnly: true)
    case .mpReachNLRI, .mpUnreachNLRI:
      AttributeRule(flags: nonTransitive, length: .any, handling: .sessionReset)
    case .extendedCommunities:
      AttributeRule(flags: optional, length: .multiple(of: 8), handling: .treatAsWithdraw)
    case .as4Path: AttributeRule(flags: optional, length: .any, handling: .attributeDiscard)
    case .as4Aggregator: AttributeRule(flags: optional, length: .exactly(8), handling: .attributeDiscard)
    case .ipv6ExtendedCommunities:
      AttributeRule(flags: optional, length: .multiple(of: 20), handling: .treatAsWithdraw)
    case .largeCommunities:
      AttributeRule(flags: optional, length: .multiple(of: 12), handling: .treatAsWithdraw)
    case .onlyToCustomer: AttributeRule(flags: optional, length: .exactly(4), handling: .treatAsWithdraw)
    default: nil
    }
  }

  @inline(__always)
  func fits(_ count: Int) -> Bool {
    switch length {
    case .exactly(let expected): count == expected
    case .either(let one, let other): count == one || count == other
    case .multiple(let unit): count > 0 && count % unit == 0
    case .any: true
    }
  }
}
