public import Wire

/// A flow specification: conditions that must all hold (RFC 8955 §4, RFC 8956 §3).
public struct FlowspecRule: Sendable {
  /// `ipv4Flowspec` or `ipv6Flowspec`.
  public let family: AddressFamily
  /// By ascending type.
  public let components: [FlowspecComponent]
  /// As it came, without its length. This is what a withdrawal names, and what the order compares.
  let bytes: [UInt8]

  public func matches(_ packet: FlowspecPacket) -> Bool {
    packet.destination.isIPv4 == (family == .ipv4Flowspec) && components.allSatisfy { $0.matches(packet) }
  }

  /// The destination that the rule is for; nil where it names none, or a piece from the middle of an address.
  public var destination: IPPrefix? {
    guard case .prefix(.destination, let prefix)? = components.first, prefix.offset == 0 else { return nil }
    return prefix.prefix
  }
}

extension FlowspecRule: Hashable {
  public static func == (a: Self, b: Self) -> Bool { a.family == b.family && a.bytes == b.bytes }
  public func hash(into hasher: inout Hasher) {
    hasher.combine(family)
    hasher.combine(bytes)
  }
}

// MARK: - Reading

extension FlowspecRule {
  /// Reads one NLRI: a length of one or two octets, and so many of components. Nil for one that is malformed.
  init?(_ family: AddressFamily, from reader: inout ByteReader) {
    guard let first = reader.readUInt8() else { return nil }
    var length = Int(first)
    // RFC 8955 §4.1: "If the NLRI length is smaller than 240 (0xf0 hex) octets, the length field can be encoded as a
    // single octet. Otherwise, it is encoded as an extended-length 2-octet value in which the most significant nibble
    // has the hex value 0xf."
    if length >= 0xf0 {
      guard let second = reader.readUInt8() else { return nil }
      length = (length & 0xf) << 8 | Int(second)
    }
    guard let value = reader.readBytes(length) else { return nil }
    self.init(family, value)
  }

  /// From the components' octets. RFC 8955 §4.2: a rule without components, with one twice or out of order, or with one of
  /// an unknown type, is malformed.
  init?(_ family: AddressFamily, _ value: UnsafeRawBufferPointer) {
    guard !value.isEmpty else { return nil }
    var reader = ByteReader(value)
    var found: [FlowspecComponent] = []
    while let type = reader.readUInt8() {
      guard let kind = FlowspecComponent.Kind(rawValue: type), kind != .flowLabel || family == .ipv6Flowspec,
        found.last.map({ $0.kind < kind }) ?? true
      else { return nil }
      let component: FlowspecComponent?
      if kind.isPrefix {
        component = Self.prefix(family, &reader).map { .prefix(kind, $0) }
      } else if kind.isBits {
        component = Self.terms(kind, &reader).map {
          .bits(kind, $0.map { .init(isAnd: $0 & 0x40 != 0, isNot: $0 & 2 != 0, isMatch: $0 & 1 != 0, $1) })
        }
      } else {
        component = Self.terms(kind, &reader).map {
          .numbers(
            kind,
            $0.map {
              .init(isAnd: $0 & 0x40 != 0, isLess: $0 & 4 != 0, isGreater: $0 & 2 != 0, isEqual: $0 & 1 != 0, $1)
            })
        }
      }
      guard let component else { return nil }
      found.append(component)
    }
    self.family = family
    components = found
    bytes = Array(value)
  }

  private static func prefix(_ family: AddressFamily, _ reader: inout ByteReader) -> FlowspecPrefix? {
    guard let length = reader.readUInt8() else { return nil }
    if family == .ipv4Flowspec {
      guard length <= 32, let octets = reader.readBytes((Int(length) + 7) / 8) else { return nil }
      return FlowspecPrefix(IPPrefix(UInt32(leading: octets), length))
    }
    // RFC 8956 §3.1: the pattern begins behind the offset.
    guard let offset = reader.readUInt8(), length <= 128, offset <= length,
      let octets = reader.readBytes((Int(length) - Int(offset) + 7) / 8)
    else { return nil }
    let bits = UInt128(leading: octets) >> UInt128(offset)
    return FlowspecPrefix(.v6(IPv6Address(bits)), length: Int(length), offset: Int(offset))
  }

  /// Operators with their values, up to the one with the end-of-list bit.
  private static func terms(
    _ kind: FlowspecComponent.Kind, _ reader: inout ByteReader
  ) -> [(UInt8, UInt64)]? {
    var terms: [(UInt8, UInt64)] = []
    while let flags = reader.readUInt8() {
      let count = 1 << Int(flags >> 4 & 3)
      guard count <= kind.longestValue, let octets = reader.readBytes(count) else { return nil }
      terms.append((flags, UInt64(leading: octets) >> UInt64(64 - 8 * count)))
      if flags & 0x80 != 0 { return terms }
    }
    return nil
  }
}

extension FixedWidthInteger {
  /// Octets from the top down; those that do not fit are left out.
  fileprivate init(leading octets: UnsafeRawBufferPointer) {
    self = 0
    for (index, octet) in octets.prefix(Self.bitWidth / 8).enumerated() {
      self |= Self(truncatingIfNeeded: octet) << Self(truncatingIfNeeded: Self.bitWidth - 8 - 8 * index)
    }
  }
}

// MARK: - Writing

extension FlowspecRule {
  /// A rule of our own. Nil without components, with one twice, or with one that the family has not.
  public init?(_ family: AddressFamily, _ components: [FlowspecComponent]) {
    let bytes = components.sorted { $0.kind < $1.kind }.flatMap { $0.octets(family) }
    guard bytes.count <= 0xfff, let rule = bytes.withUnsafeBytes({ FlowspecRule(family, $0) }) else { return nil }
    self = rule
  }

  /// The NLRI, with its length.
  public var serialized: [UInt8] {
    bytes.count < 0xf0
      ? [UInt8(bytes.count)] + bytes : [0xf0 | UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes
  }
}

extension FlowspecComponent {
  /// With its type; values as short as can be.
  fileprivate func octets(_ family: AddressFamily) -> [UInt8] {
    switch self {
    case .prefix(let kind, let value):
      let length = UInt8(value.prefix.length)
      if case .v4(let four) = value.prefix.address {
        let octets = withUnsafeBytes(of: four.rawValue.bigEndian) { Array($0.prefix((Int(length) + 7) / 8)) }
        return [kind.rawValue, length] + octets
      }
      guard case .v6(let six) = value.prefix.address else { return [] }
      let count = (value.prefix.length - value.offset + 7) / 8
      let pattern = (six.bits << UInt128(value.offset)).bigEndian
      return [kind.rawValue, length, UInt8(value.offset)] + withUnsafeBytes(of: pattern) { Array($0.prefix(count)) }
    case .numbers(let kind, let terms):
      return [kind.rawValue]
        + terms.enumerated().flatMap { index, term -> [UInt8] in
          let comparison: UInt8 = (term.isLess ? 4 : 0) | (term.isGreater ? 2 : 0) | (term.isEqual ? 1 : 0)
          return Self.octets(term.isAnd && index > 0, index == terms.count - 1, comparison, term.value)
        }
    case .bits(let kind, let terms):
      return [kind.rawValue]
        + terms.enumerated().flatMap { index, term -> [UInt8] in
          let comparison: UInt8 = (term.isNot ? 2 : 0) | (term.isMatch ? 1 : 0)
          return Self.octets(term.isAnd && index > 0, index == terms.count - 1, comparison, term.value)
        }
    }
  }

  private static func octets(_ isAnd: Bool, _ isLast: Bool, _ comparison: UInt8, _ value: UInt64) -> [UInt8] {
    let size: (bits: UInt8, count: Int) =
      value <= 0xff ? (0, 1) : value <= 0xffff ? (1, 2) : value <= 0xffff_ffff ? (2, 4) : (3, 8)
    let head = (isLast ? 0x80 : 0) | (isAnd ? 0x40 : 0) | size.bits << 4 | comparison
    return [head] + withUnsafeBytes(of: value.bigEndian) { Array($0.suffix(size.count)) }
  }
}

// MARK: - Order

extension FlowspecRule: Comparable {
  /// RFC 8955 §5.1, RFC 8956 §4: the lesser is applied first.
  public static func < (a: Self, b: Self) -> Bool {
    if a.family != b.family { return a.family.afi < b.family.afi }
    for (one, other) in zip(a.components, b.components) {
      // "the flow rule that has the lowest component type value has precedence"
      if one.kind != other.kind { return one.kind < other.kind }
      if case .prefix(_, let one) = one, case .prefix(_, let other) = other {
        if one != other { return precedes(one, other) }
      } else {
        let (mine, theirs) = (one.octets(a.family), other.octets(b.family))
        for (x, y) in zip(mine, theirs) where x != y { return x < y }
        // "If the common prefix is equal, the longest string is considered as having precedence."
        if mine.count != theirs.count { return mine.count > theirs.count }
      }
    }
    // The rule with a component more has precedence.
    if a.components.count != b.components.count { return a.components.count > b.components.count }
    // Two encodings of the same: any order that does not change.
    return a.bytes.lexicographicallyPrecedes(b.bytes)
  }

  private static func precedes(_ one: FlowspecPrefix, _ other: FlowspecPrefix) -> Bool {
    if one.offset != other.offset { return one.offset < other.offset }
    let common = min(one.prefix.length, other.prefix.length)
    let mine = IPPrefix(one.prefix.address, length: common)
    let theirs = IPPrefix(other.prefix.address, length: common)
    if mine == theirs { return one.prefix.length > other.prefix.length }
    return one.prefix.address.networkBytes.lexicographicallyPrecedes(other.prefix.address.networkBytes)
  }
}
