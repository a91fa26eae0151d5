public import Wire

/// ORIGIN (RFC 4271 §5.1.1); the lower is preferred.
public enum Origin: UInt8, Hashable, Comparable, Sendable {
  case igp = 0
  case egp
  case incomplete

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// What the decision process and the export rules ask of a set of path attributes, read once when it comes.
public struct AttributeSummary: Hashable, Sendable {
  /// Nil in a set that is advertised with a next hop of each session's own.
  public var nextHop: IPAddress?
  /// The interface identifier of the link-local address told beside a global next hop (RFC 2545 §3); 0 where none was.
  var linkLocalNextHop: UInt64 = 0
  public var origin = Origin.igp
  /// An AS_SET counts as one (RFC 4271 §9.1.2.2 a).
  public var asPathLength: UInt16 = 0
  /// The first AS of the path; 0 for an empty path or one that begins with a set.
  public var neighborAS: UInt32 = 0
  public var multiExitDisc: UInt32?
  public var localPreference: UInt32?
  /// RFC 4456 §8.
  public var originatorID: UInt32?
  /// Clusters that a reflected route came through (RFC 4456 §9).
  public var clusterListLength: UInt16 = 0
  public var wellKnownCommunities: WellKnownCommunities = []
  /// RFC 9234 §5.
  public var onlyToCustomer: UInt32?

  public init() {}

  /// The degree of preference of a route that comes with none.
  static let defaultPreference: UInt32 = 100

  /// RFC 4271 §9.1.1, for the decision and for internal peers.
  func degreeOfPreference(isLocal: Bool) -> UInt32 {
    // RFC 8326 §4.1: a route about to go away has the lowest preference.
    if wellKnownCommunities.contains(.gracefulShutdown), !isLocal { return 0 }
    return localPreference ?? Self.defaultPreference
  }
}

/// Communities whose meaning every speaker knows.
public struct WellKnownCommunities: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// RFC 1997: not to leave the AS or confederation.
  public static let noExport = WellKnownCommunities(rawValue: 1)
  /// RFC 1997: not to be advertised at all.
  public static let noAdvertise = WellKnownCommunities(rawValue: 2)
  /// RFC 1997: not to leave the AS.
  public static let noExportSubconfed = WellKnownCommunities(rawValue: 4)
  /// RFC 8326: about to go away; the least preferred.
  public static let gracefulShutdown = WellKnownCommunities(rawValue: 8)
  /// RFC 7999: traffic is to be discarded.
  public static let blackhole = WellKnownCommunities(rawValue: 16)
  /// RFC 9494 §2.1: kept long after its speaker was lost; the last resort.
  public static let longLivedStale = WellKnownCommunities(rawValue: 32)
  /// RFC 9494 §2.2: not to be kept so.
  public static let noLongLived = WellKnownCommunities(rawValue: 64)

  /// Empty for any other community.
  init(community: UInt32) {
    switch community {
    case 0xffff_ff01: self = .noExport
    case 0xffff_ff02: self = .noAdvertise
    case 0xffff_ff03: self = .noExportSubconfed
    case 0xffff_0000: self = .gracefulShutdown
    case 0xffff_029a: self = .blackhole
    case 0xffff_0006: self = .longLivedStale
    case 0xffff_0007: self = .noLongLived
    default: self = []
    }
  }
}
