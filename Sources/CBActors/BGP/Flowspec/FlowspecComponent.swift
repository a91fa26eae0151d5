public import Wire

/// One condition of a flow specification (RFC 8955 §4.2.2, RFC 8956 §3).
public enum FlowspecComponent: Hashable, Sendable {
  case prefix(Kind, FlowspecPrefix)
  /// Alternatives of a number, in the order in which they came.
  case numbers(Kind, [NumericTerm])
  /// Of flags.
  case bits(Kind, [BitmaskTerm])

  /// The component type. Of a rule, each is there once at most.
  public enum Kind: UInt8, Hashable, Comparable, Sendable {
    case destination = 1
    case source
    /// IPv4's Protocol; of IPv6 the upper-layer protocol behind all extension headers.
    case ipProtocol
    /// Of the source or the destination.
    case port
    case destinationPort
    case sourcePort
    case icmpType
    case icmpCode
    case tcpFlags
    case packetLength
    case dscp
    case fragment
    /// IPv6 alone.
    case flowLabel

    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    var isPrefix: Bool { self == .destination || self == .source }
    var isBits: Bool { self == .tcpFlags || self == .fragment }

    /// The longest value, in octets, that the RFC allows for.
    var longestValue: Int {
      switch self {
      case .dscp, .fragment: 1
      case .tcpFlags: 2
      default: 8
      }
    }
  }

  public var kind: Kind {
    switch self {
    case .prefix(let kind, _), .numbers(let kind, _), .bits(let kind, _): kind
    }
  }
}

/// A prefix of an address, or of IPv6 a piece from its middle (RFC 8956 §3.1).
public struct FlowspecPrefix: Hashable, Sendable {
  /// Bits before ``offset`` are clear.
  public let prefix: IPPrefix
  /// Bits at the front that do not count; 0 of IPv4.
  public let offset: Int

  public init(_ prefix: IPPrefix) {
    self.prefix = prefix
    offset = 0
  }

  /// Nil where there is nothing behind the offset, unless the prefix is that of all.
  init?(_ address: IPAddress, length: Int, offset: Int) {
    guard let prefix = IPPrefix(address, length: length), offset < length || offset == 0 && length == 0 else {
      return nil
    }
    self.prefix = prefix
    self.offset = offset
  }

  public func contains(_ address: IPAddress) -> Bool {
    switch (prefix.address, address) {
    case (.v4(let own), .v4(let other)):
      (own.rawValue ^ other.rawValue) & UInt32.mask(prefix.length) == 0
    case (.v6(let own), .v6(let other)):
      (own.bits ^ other.bits) & UInt128.mask(prefix.length) & ~UInt128.mask(offset) == 0
    default: false
    }
  }
}

/// A comparison with a number (RFC 8955 §4.2.1.1).
public struct NumericTerm: Hashable, Sendable {
  /// It and the one before must both hold; otherwise it begins an alternative.
  public var isAnd: Bool
  public var isLess: Bool
  public var isGreater: Bool
  public var isEqual: Bool
  public var value: UInt64

  public init(
    isAnd: Bool = false, isLess: Bool = false, isGreater: Bool = false, isEqual: Bool = false, _ value: UInt64
  ) {
    self.isAnd = isAnd
    self.isLess = isLess
    self.isGreater = isGreater
    self.isEqual = isEqual
    self.value = value
  }

  /// None of the three is never, all of them always.
  public func holds(for number: UInt64) -> Bool {
    isLess && number < value || isGreater && number > value || isEqual && number == value
  }
}

/// A comparison of flags with a mask (RFC 8955 §4.2.1.2).
public struct BitmaskTerm: Hashable, Sendable {
  public var isAnd: Bool
  public var isNot: Bool
  /// Exactly those of the mask that are set must be; otherwise any of them.
  public var isMatch: Bool
  public var value: UInt64

  public init(isAnd: Bool = false, isNot: Bool = false, isMatch: Bool = false, _ value: UInt64) {
    self.isAnd = isAnd
    self.isNot = isNot
    self.isMatch = isMatch
    self.value = value
  }

  public func holds(for flags: UInt64) -> Bool {
    (isMatch ? flags & value == value : flags & value != 0) != isNot
  }
}

// MARK: - Packets

/// What of a packet a rule asks for; nil for what it has not, or what cannot be read in a fragment.
public struct FlowspecPacket: Hashable, Sendable {
  public var source: IPAddress
  public var destination: IPAddress
  public var ipProtocol: UInt8
  public var sourcePort: UInt16?
  public var destinationPort: UInt16?
  public var icmpType: UInt8?
  public var icmpCode: UInt8?
  public var tcpFlags: UInt16?
  /// Octets of the IP packet.
  public var length: UInt16 = 0
  public var dscp: UInt8 = 0
  /// RFC 8955 §4.2.2.12: 1 is DF, 2 a fragment but the first, 4 the first, 8 the last.
  public var fragment: UInt8 = 0
  public var flowLabel: UInt32?

  public init(source: IPAddress, destination: IPAddress, ipProtocol: UInt8) {
    self.source = source
    self.destination = destination
    self.ipProtocol = ipProtocol
  }
}

extension FlowspecComponent {
  /// Whether it holds for a packet. A packet without the field does not match.
  public func matches(_ packet: FlowspecPacket) -> Bool {
    switch self {
    case .prefix(.destination, let prefix): return prefix.contains(packet.destination)
    case .prefix(_, let prefix): return prefix.contains(packet.source)
    case .numbers(let kind, let terms):
      let values: [UInt64?] =
        switch kind {
        case .ipProtocol: [UInt64(packet.ipProtocol)]
        case .port: [packet.sourcePort.map(UInt64.init), packet.destinationPort.map(UInt64.init)]
        case .destinationPort: [packet.destinationPort.map(UInt64.init)]
        case .sourcePort: [packet.sourcePort.map(UInt64.init)]
        case .icmpType: [packet.icmpType.map(UInt64.init)]
        case .icmpCode: [packet.icmpCode.map(UInt64.init)]
        case .packetLength: [UInt64(packet.length)]
        case .dscp: [UInt64(packet.dscp)]
        default: [packet.flowLabel.map(UInt64.init)]
        }
      return values.contains { value in
        guard let value else { return false }
        return Self.holds(terms.map { ($0.isAnd, $0.holds(for: value)) })
      }
    case .bits(let kind, let terms):
      guard let flags = kind == .fragment ? UInt64(packet.fragment) : packet.tcpFlags.map(UInt64.init) else {
        return false
      }
      return Self.holds(terms.map { ($0.isAnd, $0.holds(for: flags)) })
    }
  }

  /// RFC 8955 §4.2.1.1: AND binds before OR; of the first term, the AND bit counts as unset.
  private static func holds(_ terms: [(isAnd: Bool, holds: Bool)]) -> Bool {
    var group = false
    for (index, term) in terms.enumerated() {
      if term.isAnd, index > 0 {
        group = group && term.holds
      } else {
        if group { return true }
        group = term.holds
      }
    }
    return group
  }
}
