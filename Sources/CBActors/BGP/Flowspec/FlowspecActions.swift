/// What is to be done with the traffic of a rule (RFC 8955 §7): nothing but what is named.
public struct FlowspecActions: Hashable, Sendable {
  /// Octets a second that may pass; 0 discards all. Not negative.
  public var rateBytes: Float?
  /// Packets a second.
  public var ratePackets: Float?
  /// Whether rules behind this one are looked at too.
  public var goesOn = false
  /// Traffic is to be sampled, and logged.
  public var samples = false
  /// The routing instance to go to: a route target.
  public var redirect: ExtendedCommunity?
  /// The DSCP to set.
  public var dscp: UInt8?

  public init() {}

  /// Discards all.
  public static let discard: FlowspecActions = {
    var actions = FlowspecActions()
    actions.rateBytes = 0
    return actions
  }()
}

extension FlowspecActions {
  private enum Action: UInt16 {
    case trafficRateBytes = 0x8006
    case trafficAction = 0x8007
    case redirect = 0x8008
    case trafficMarking = 0x8009
    case trafficRatePackets = 0x800c
    case redirectIPv4 = 0x8108
    case redirectFourOctetAS = 0x8208
  }

  /// What a route's communities say. Of two rates the lower counts; of others that are there twice the first.
  public init(_ communities: [ExtendedCommunity]) {
    for community in communities {
      let value = community.rawValue
      guard let action = Action(rawValue: UInt16(value >> 48)) else { continue }
      switch action {
      case .trafficRateBytes: rateBytes = Self.lower(rateBytes, value)
      case .trafficRatePackets: ratePackets = Self.lower(ratePackets, value)
      case .trafficAction:
        // RFC 8955 §7.3: T is the last bit, S the one before. T set is to go on.
        goesOn = goesOn || value & 1 != 0
        samples = samples || value & 2 != 0
      case .redirect, .redirectIPv4, .redirectFourOctetAS: redirect = redirect ?? community
      case .trafficMarking: dscp = dscp ?? UInt8(value & 0x3f)
      }
    }
  }

  /// RFC 8955 §7.1: negative rates count as 0. What is no number says nothing.
  private static func lower(_ present: Float?, _ community: UInt64) -> Float? {
    let rate = Float(bitPattern: UInt32(truncatingIfNeeded: community))
    guard !rate.isNaN else { return present }
    return min(present ?? .infinity, max(0, rate))
  }

  /// For a route of our own.
  ///
  /// - Parameter autonomousSystem: goes with the rates, for information; 0 where it has four octets.
  public func communities(autonomousSystem: UInt32) -> [ExtendedCommunity] {
    var found: [ExtendedCommunity] = []
    func add(_ action: Action, _ value: UInt64) {
      found.append(ExtendedCommunity(rawValue: UInt64(action.rawValue) << 48 | value))
    }
    let system = UInt64(UInt16(exactly: autonomousSystem) ?? 0) << 32
    if let rateBytes { add(.trafficRateBytes, system | UInt64(rateBytes.bitPattern)) }
    if let ratePackets { add(.trafficRatePackets, system | UInt64(ratePackets.bitPattern)) }
    if goesOn || samples { add(.trafficAction, (samples ? 2 : 0) | (goesOn ? 1 : 0)) }
    if let redirect { found.append(redirect) }
    if let dscp { add(.trafficMarking, UInt64(dscp & 0x3f)) }
    return found
  }
}
