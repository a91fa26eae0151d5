import Wire

/// A capability that an OPEN message offers (RFC 5492).
public enum Capability: Hashable, Sendable {
  /// RFC 4760 §8.
  case multiprotocol(AddressFamily)
  /// RFC 2918 §2.
  case routeRefresh
  /// RFC 8654 §4.
  case extendedMessage
  /// RFC 9234 §4.1.
  case role(Role)
  /// RFC 4724 §3.
  case gracefulRestart(GracefulRestart)
  /// RFC 9494 §3.
  case longLivedGracefulRestart([LongLived])
  /// RFC 6793 §3.
  case fourOctetAS(UInt32)
  /// RFC 7911 §4.
  case addPath([AddPath])
  /// RFC 7313 §3.1.
  case enhancedRouteRefresh
  /// Kept as it came.
  case unknown(code: UInt8, value: [UInt8])

  /// What a speaker is to the other in business (RFC 9234 §4.1).
  public struct Role: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let provider = Role(rawValue: 0)
    public static let routeServer = Role(rawValue: 1)
    public static let routeServerClient = Role(rawValue: 2)
    public static let customer = Role(rawValue: 3)
    public static let peer = Role(rawValue: 4)

    /// The one role that the other end may have (RFC 9234 §4.2).
    public var counterpart: Role? {
      switch self {
      case .provider: .customer
      case .customer: .provider
      case .routeServer: .routeServerClient
      case .routeServerClient: .routeServer
      case .peer: .peer
      default: nil
      }
    }
  }

  public struct GracefulRestart: Hashable, Sendable {
    /// R: the sender has restarted.
    public var hasRestarted: Bool
    /// N (RFC 8538 §2): NOTIFICATION messages do not end the grace.
    public var survivesNotification: Bool
    /// Seconds, 12 bits.
    public var restartTime: UInt16
    public var families: [Family]

    public struct Family: Hashable, Sendable {
      public var family: AddressFamily
      /// F: what was forwarded before the restart still is.
      public var isForwardingPreserved: Bool
      public init(_ family: AddressFamily, isForwardingPreserved: Bool) {
        self.family = family
        self.isForwardingPreserved = isForwardingPreserved
      }
    }

    public init(
      restartTime: UInt16, families: [Family], hasRestarted: Bool = false, survivesNotification: Bool = false
    ) {
      self.restartTime = min(restartTime, 0xfff)
      self.families = families
      self.hasRestarted = hasRestarted
      self.survivesNotification = survivesNotification
    }
  }

  /// How long the sender's routes of a family may be kept once its restart time is over (RFC 9494 §3).
  public struct LongLived: Hashable, Sendable {
    public var family: AddressFamily
    /// F.
    public var isForwardingPreserved: Bool
    /// Seconds, 24 bits.
    public var staleTime: UInt32
    public init(_ family: AddressFamily, isForwardingPreserved: Bool, staleTime: UInt32) {
      self.family = family
      self.isForwardingPreserved = isForwardingPreserved
      self.staleTime = min(staleTime, 0xff_ffff)
    }
  }

  public struct AddPath: Hashable, Sendable {
    public var family: AddressFamily
    public var receives: Bool
    public var sends: Bool
    public init(_ family: AddressFamily, receives: Bool, sends: Bool) {
      self.family = family
      self.receives = receives
      self.sends = sends
    }
  }
}

extension Capability {
  /// The capability code (IANA).
  public var code: UInt8 {
    switch self {
    case .multiprotocol: 1
    case .routeRefresh: 2
    case .extendedMessage: 6
    case .role: 9
    case .gracefulRestart: 64
    case .fourOctetAS: 65
    case .addPath: 69
    case .enhancedRouteRefresh: 70
    case .longLivedGracefulRestart: 71
    case .unknown(let code, _): code
    }
  }

  /// Reads one capability's value. Throws where a known one is malformed.
  init(code: UInt8, value: UnsafeRawBufferPointer) throws(NotificationMessage) {
    var reader = ByteReader(value)
    switch code {
    case 1:
      guard value.count == 4, let afi = reader.readUInt16(), reader.skip(1), let safi = reader.readUInt8() else {
        throw .malformedOpen
      }
      self = .multiprotocol(AddressFamily(afi: afi, safi: safi))
    case 2:
      guard value.isEmpty else { throw .malformedOpen }
      self = .routeRefresh
    case 6:
      guard value.isEmpty else { throw .malformedOpen }
      self = .extendedMessage
    case 9:
      guard value.count == 1 else { throw .malformedOpen }
      self = .role(Role(rawValue: value[0]))
    case 64:
      guard let flags = reader.readUInt16(), reader.remaining % 4 == 0 else { throw .malformedOpen }
      var families: [GracefulRestart.Family] = []
      while let afi = reader.readUInt16(), let safi = reader.readUInt8(), let flags = reader.readUInt8() {
        families.append(.init(AddressFamily(afi: afi, safi: safi), isForwardingPreserved: flags & 0x80 != 0))
      }
      self = .gracefulRestart(
        GracefulRestart(
          restartTime: flags & 0xfff, families: families, hasRestarted: flags & 0x8000 != 0,
          survivesNotification: flags & 0x4000 != 0))
    case 65:
      guard value.count == 4, let number = reader.readUInt32() else { throw .malformedOpen }
      self = .fourOctetAS(number)
    case 69:
      guard value.count % 4 == 0 else { throw .malformedOpen }
      var families: [AddPath] = []
      while let afi = reader.readUInt16(), let safi = reader.readUInt8(), let mode = reader.readUInt8() {
        // RFC 7911 §4: any other value is as if the family were not there.
        guard (1...3).contains(mode) else { continue }
        families.append(
          AddPath(AddressFamily(afi: afi, safi: safi), receives: mode & 1 != 0, sends: mode & 2 != 0))
      }
      self = .addPath(families)
    case 70:
      guard value.isEmpty else { throw .malformedOpen }
      self = .enhancedRouteRefresh
    case 71:
      guard value.count % 7 == 0 else { throw .malformedOpen }
      var families: [LongLived] = []
      while let afi = reader.readUInt16(), let safi = reader.readUInt8(), let word = reader.readUInt32() {
        families.append(
          LongLived(
            AddressFamily(afi: afi, safi: safi), isForwardingPreserved: word >> 31 == 1, staleTime: word & 0xff_ffff))
      }
      self = .longLivedGracefulRestart(families)
    default:
      self = .unknown(code: code, value: Array(value))
    }
  }

  /// The value, without code and length.
  var value: [UInt8] {
    switch self {
    case .multiprotocol(let family): Self.octets(family.afi) + [0, family.safi]
    case .routeRefresh, .extendedMessage, .enhancedRouteRefresh: []
    case .role(let role): [role.rawValue]
    case .gracefulRestart(let restart):
      Self.octets(
        (restart.hasRestarted ? 0x8000 : 0) | (restart.survivesNotification ? 0x4000 : 0) | restart.restartTime)
        + restart.families.flatMap {
          Self.octets($0.family.afi) + [$0.family.safi, $0.isForwardingPreserved ? 0x80 : 0]
        }
    case .longLivedGracefulRestart(let families):
      families.flatMap {
        Self.octets($0.family.afi) + [
          $0.family.safi, $0.isForwardingPreserved ? 0x80 : 0, UInt8($0.staleTime >> 16 & 0xff),
        ] + Self.octets(UInt16($0.staleTime & 0xffff))
      }
    case .fourOctetAS(let number): Self.octets(UInt16(number >> 16)) + Self.octets(UInt16(number & 0xffff))
    case .addPath(let families):
      families.flatMap { Self.octets($0.family.afi) + [$0.family.safi, ($0.receives ? 1 : 0) | ($0.sends ? 2 : 0)] }
    case .unknown(_, let value): value
    }
  }

  /// Code, length and value. What is beyond 255 octets of value is cut off.
  public var serialized: [UInt8] {
    let value = value.prefix(255)
    return [code, UInt8(value.count)] + value
  }

  private static func octets(_ word: UInt16) -> [UInt8] { [UInt8(word >> 8), UInt8(word & 0xff)] }
}
