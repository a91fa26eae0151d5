public import Wire

/// What makes an address one that a proxy must not lend its own position to (the registries of RFC 6890).
public enum SpecialPurpose: String, Hashable, Sendable {
  case unspecified = "unspecified address"
  case loopback = "loopback address"
  case linkLocal = "link-local address"
  case multicast = "multicast address"
  case broadcast = "broadcast address"
  case privateUse = "private-use address"
  case shared = "shared address space"
  case protocolAssignment = "address of an IETF protocol"
  case documentation = "documentation address"
  case benchmarking = "benchmarking address"
  case translation = "address of a translator's local prefix"
  case discard = "discard-only address"
  case segmentRouting = "segment identifier"
  case reserved = "reserved address"

  /// Nil for an address of the public Internet.
  ///
  /// An IPv6 address that carries an IPv4 address counts as what it carries; see ``Wire/IPAddress/embeddedIPv4``.
  public init?(_ address: IPAddress) {
    let table = address.isIPv4 ? Self.ipv4 : Self.ipv6
    if let match = table.first(where: { $0.prefix.contains(address) }) {
      self = match.purpose
    } else if let inner = address.embeddedIPv4, let purpose = SpecialPurpose(.v4(inner)) {
      self = purpose
    } else {
      return nil
    }
  }

  /// Whether an operator may open it. No tunnel leads to a group or to nowhere.
  var canBeOpened: Bool {
    switch self {
    case .unspecified, .multicast, .broadcast: false
    default: true
    }
  }

  private struct Entry {
    let prefix: IPPrefix
    let purpose: SpecialPurpose
    init(_ prefix: String, _ purpose: SpecialPurpose) {
      // The tables below are constants, and a test reads every line of them.
      self.prefix = IPPrefix(prefix)!
      self.purpose = purpose
    }
  }

  private static let ipv4: [Entry] = [
    Entry("0.0.0.0/8", .unspecified),
    Entry("10.0.0.0/8", .privateUse),
    Entry("100.64.0.0/10", .shared),
    Entry("127.0.0.0/8", .loopback),
    Entry("169.254.0.0/16", .linkLocal),
    Entry("172.16.0.0/12", .privateUse),
    Entry("192.0.0.0/24", .protocolAssignment),
    Entry("192.0.2.0/24", .documentation),
    Entry("192.88.99.0/24", .reserved),
    Entry("192.168.0.0/16", .privateUse),
    Entry("198.18.0.0/15", .benchmarking),
    Entry("198.51.100.0/24", .documentation),
    Entry("203.0.113.0/24", .documentation),
    Entry("224.0.0.0/4", .multicast),
    Entry("255.255.255.255/32", .broadcast),
    Entry("240.0.0.0/4", .reserved),
  ]

  private static let ipv6: [Entry] = [
    Entry("::/128", .unspecified),
    Entry("::1/128", .loopback),
    Entry("64:ff9b:1::/48", .translation),
    Entry("100::/64", .discard),
    Entry("100:0:0:1::/64", .discard),
    Entry("2001:2::/48", .benchmarking),
    Entry("2001:db8::/32", .documentation),
    Entry("2001::/23", .protocolAssignment),
    Entry("3fff::/20", .documentation),
    Entry("5f00::/16", .segmentRouting),
    Entry("fc00::/7", .privateUse),
    Entry("fe80::/10", .linkLocal),
    Entry("fec0::/10", .privateUse),
    Entry("ff00::/8", .multicast),
  ]
}

extension IPAddress {
  /// The IPv4 address that packets to this IPv6 address may end up at: mapped or compatible (RFC 4291 §2.5.5),
  /// behind the well-known prefix of NAT64 (RFC 6052 §2.1), or of a 6to4 site (RFC 3056 §2).
  public var embeddedIPv4: IPv4Address? {
    guard case .v6(let six) = self else { return nil }
    let low = IPv4Address(rawValue: UInt32(truncatingIfNeeded: six.low))
    if let mapped = six.mappedIPv4 { return mapped }
    if six.high == 0, six.low >> 32 == 0, six.low > 1 { return low }
    if six.high == 0x0064_ff9b_0000_0000, six.low >> 32 == 0 { return low }
    if six.high >> 48 == 0x2002 { return IPv4Address(rawValue: UInt32(truncatingIfNeeded: six.high >> 16)) }
    return nil
  }
}
