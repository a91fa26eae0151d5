import BGP
import Wire

/// The packets that a rule means, as expressions of nftables: each alternative of them all in one line, and no packet in
/// two of them.
struct FlowspecMatch: Hashable {
  private(set) var alternatives: [String]

  /// Throws what nftables cannot express.
  init(_ rule: FlowspecRule) throws(FlowspecObstacle) {
    let isIPv4 = rule.family == .ipv4Flowspec
    let ip = isIPv4 ? "ip" : "ip6"
    var protocols = ValueRanges([0...255])
    // Those of the network header stand first, as they cost least.
    var common: [String] = []
    var transport: [String] = []
    var ports: ValueRanges?
    var fragments: [String]?
    for component in rule.components {
      switch component {
      case .prefix(let kind, let prefix):
        if let text = Self.text(prefix) { common.append("\(ip) \(kind == .source ? "saddr" : "daddr") \(text)") }
      case .numbers(let kind, let terms):
        let values = ValueRanges(terms, maximum: kind.maximum)
        if values.isEmpty { throw .neverMatches }
        switch kind {
        case .ipProtocol: protocols = protocols.intersection(values)
        case .port, .destinationPort, .sourcePort:
          // RFC 8955 §4.2.2.4: of TCP and UDP alone.
          protocols = protocols.intersection(ValueRanges([6...6, 17...17]))
          if kind == .port {
            ports = values
          } else {
            transport.append("th \(kind == .sourcePort ? "sport" : "dport") \(values.text)")
          }
        case .icmpType, .icmpCode:
          let number: UInt64 = isIPv4 ? 1 : 58
          protocols = protocols.intersection(ValueRanges([number...number]))
          transport.append("\(isIPv4 ? "icmp" : "icmpv6") \(kind == .icmpType ? "type" : "code") \(values.text)")
        case .packetLength:
          // IPv6's own length is without its header's 40 octets.
          let lengths = isIPv4 ? values : values.lowered(by: 40)
          if lengths.isEmpty { throw .neverMatches }
          common.append("\(ip) length \(lengths.text)")
        case .dscp: common.append("\(ip) dscp \(values.textOfSingles)")
        default: common.append("ip6 flowlabel \(values.text)")
        }
      case .bits(.fragment, let terms):
        let states = ValueRanges(terms, maximum: FlowspecComponent.Kind.fragment.maximum)
        fragments = isIPv4 ? Self.fragmentsIPv4(states) : Self.fragmentsIPv6(states)
      case .bits(_, let terms):
        // The other four bits are the header's length, which RFC 8955 §4.2.2.9 leaves out, and reserved ones.
        if terms.contains(where: { $0.value > 0xff }) { throw .wideFlags }
        let flags = ValueRanges(terms, maximum: 0xff)
        if flags.isEmpty { throw .neverMatches }
        protocols = protocols.intersection(ValueRanges([6...6]))
        transport.append("@th,104,8 \(flags.text)")
      }
    }
    if protocols.isEmpty || fragments?.isEmpty == true { throw .neverMatches }
    if !protocols.isAll(255) { common.append("meta l4proto \(protocols.text)") }
    alternatives = [""]
    join(common)
    if let fragments { branch(fragments) }
    join(transport)
    if let ports {
      // RFC 8955 §4.2.2.4: of the source or the destination.
      let destination = ports.isAll(0xffff) ? [] : ["th sport != \(ports.text) th dport \(ports.text)"]
      branch(["th sport \(ports.text)"] + destination)
    }
  }

  private mutating func join(_ expressions: [String]) {
    for at in alternatives.indices {
      alternatives[at] = ([alternatives[at]] + expressions).filter { !$0.isEmpty }.joined(separator: " ")
    }
  }

  private mutating func branch(_ expressions: [String]) {
    alternatives = alternatives.flatMap { head in
      expressions.map { [head, $0].filter { !$0.isEmpty }.joined(separator: " ") }
    }
  }

  /// Nil for a prefix that all are in.
  private static func text(_ value: FlowspecPrefix) -> String? {
    if value.offset == 0 { return value.prefix.length == 0 ? nil : "\(value.prefix)" }
    let mask = UInt128.mask(value.prefix.length) & ~UInt128.mask(value.offset)
    let address = IPAddress.v6(
      IPv6Address(high: UInt64(truncatingIfNeeded: mask >> 64), low: UInt64(truncatingIfNeeded: mask)))
    return "& \(address) == \(value.prefix.address)"
  }

  // RFC 8955 §4.2.2.12: what a packet can be.
  private static let (dontFragment, notFirst, first, last): (UInt64, UInt64, UInt64, UInt64) = (1, 2, 4, 8)

  /// Of IPv4, by the 16 bits of the header that hold the flags and the offset; the first one is reserved.
  private static func fragmentsIPv4(_ states: ValueRanges) -> [String] {
    var found: [ClosedRange<UInt64>] = []
    for high: UInt64 in [0, 0x4000, 0x8000, 0xc000] {
      let flags = high & 0x4000 != 0 ? dontFragment : 0
      if states.contains(flags) { found.append(high...high) }
      if states.contains(flags | notFirst | last) { found.append(high + 1...high + 0x1fff) }
      if states.contains(flags | first) { found.append(high + 0x2000...high + 0x2000) }
      if states.contains(flags | notFirst) { found.append(high + 0x2001...high + 0x3fff) }
    }
    return found.isEmpty ? [] : ["ip frag-off \(ValueRanges(found).text)"]
  }

  private static func fragmentsIPv6(_ states: ValueRanges) -> [String] {
    var found: [String] = []
    if states.contains(0) { found += ["exthdr frag missing", "frag frag-off 0 frag more-fragments 0"] }
    if states.contains(first) { found.append("frag frag-off 0 frag more-fragments 1") }
    if states.contains(notFirst) { found.append("frag frag-off != 0 frag more-fragments 1") }
    if states.contains(notFirst | last) { found.append("frag frag-off != 0 frag more-fragments 0") }
    return found
  }
}

/// Why a rule is not enforced.
public enum FlowspecObstacle: Error, Hashable, Sendable, CustomStringConvertible {
  case neverMatches
  case wideFlags
  case redirects
  /// By the kernel, or by nftables.
  case refused(String)

  public var description: String {
    switch self {
    case .neverMatches: "no packet can match it"
    case .wideFlags: "nftables has TCP flags of 8 bits alone"
    case .refused(let why): why
    case .redirects: "there are no routing instances to redirect to"
    }
  }
}
