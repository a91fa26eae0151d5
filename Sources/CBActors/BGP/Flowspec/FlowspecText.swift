import Wire

/// Why a text is no rule, or names no actions.
public struct FlowspecTextError: Error, Hashable, Sendable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}

// MARK: - Rules

// A rule is a line of keywords, each with one word behind it: `dst 198.51.100.7/32 proto udp dport 53,1000-2000`. Within
// the word a comma is OR and & is AND, which binds closer.

extension FlowspecComponent.Kind {
  /// As BIRD and ExaBGP call them, but for the spaces.
  var keyword: String {
    switch self {
    case .destination: "dst"
    case .source: "src"
    case .ipProtocol: "proto"
    case .port: "port"
    case .destinationPort: "dport"
    case .sourcePort: "sport"
    case .icmpType: "icmp-type"
    case .icmpCode: "icmp-code"
    case .tcpFlags: "tcp-flags"
    case .packetLength: "length"
    case .dscp: "dscp"
    case .fragment: "fragment"
    case .flowLabel: "flow-label"
    }
  }

  private static let keywords = Dictionary(
    uniqueKeysWithValues: (1...13).compactMap { Self(rawValue: $0) }.map { ($0.keyword, $0) })

  init?(keyword: some StringProtocol) {
    guard let kind = Self.keywords[String(keyword)] else { return nil }
    self = kind
  }

  /// The greatest value that a packet's field can have.
  public var maximum: UInt64 {
    switch self {
    case .ipProtocol, .icmpType, .icmpCode: 0xff
    case .dscp: 0x3f
    case .fragment: 0xf
    case .flowLabel: 0xf_ffff
    case .tcpFlags: 0xfff
    default: 0xffff
    }
  }

  fileprivate var names: [(name: String, value: UInt64)] {
    switch self {
    case .ipProtocol:
      [
        ("icmp", 1), ("igmp", 2), ("tcp", 6), ("udp", 17), ("ipv6", 41), ("gre", 47), ("esp", 50), ("ah", 51),
        ("icmp6", 58), ("ospf", 89), ("sctp", 132),
      ]
    case .tcpFlags:
      [
        ("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 0x10), ("urg", 0x20), ("ece", 0x40), ("cwr", 0x80),
      ]
    case .fragment: [("dont-fragment", 1), ("is-fragment", 2), ("first-fragment", 4), ("last-fragment", 8)]
    default: []
    }
  }
}

extension FlowspecRule: CustomStringConvertible {
  /// As ``init(parsing:)`` reads it: such as `dst 203.0.113.0/24 proto udp port 53,1000-2000`.
  public var description: String {
    let namesPrefix = components.contains { $0.kind.isPrefix }
    let family = namesPrefix ? [] : [family == .ipv4Flowspec ? "ipv4" : "ipv6"]
    return (family + components.map(\.description)).joined(separator: " ")
  }

  /// Parses a rule. Its family is that of its prefixes; one without any begins with `ipv4` or `ipv6`.
  public init(parsing text: String) throws(FlowspecTextError) {
    var words = text.split(whereSeparator: \.isWhitespace)[...]
    var named: AddressFamily?
    if words.first == "ipv4" || words.first == "ipv6" {
      named = words.removeFirst() == "ipv4" ? .ipv4Flowspec : .ipv6Flowspec
    }
    var components: [FlowspecComponent] = []
    var family = named
    while let keyword = words.popFirst() {
      guard let kind = FlowspecComponent.Kind(keyword: keyword) else {
        let all = (1...13).compactMap { FlowspecComponent.Kind(rawValue: $0)?.keyword }.joined(separator: ", ")
        throw FlowspecTextError("'\(keyword)' is none of \(all)")
      }
      guard let word = words.popFirst() else { throw FlowspecTextError("\(keyword): nothing behind it") }
      guard !components.contains(where: { $0.kind == kind }) else {
        throw FlowspecTextError("\(keyword): named twice; alternatives go into one word, with commas")
      }
      let component = try FlowspecComponent(kind, parsing: word)
      if case .prefix(_, let value) = component {
        let own: AddressFamily = value.prefix.address.isIPv4 ? .ipv4Flowspec : .ipv6Flowspec
        guard family ?? own == own else { throw FlowspecTextError("\(keyword): \(word) is of another family") }
        family = own
      }
      components.append(component)
    }
    guard !components.isEmpty else {
      throw FlowspecTextError("no condition; a rule looks like: dst 198.51.100.7/32 proto udp dport 53")
    }
    guard let family else { throw FlowspecTextError("without dst and src, a rule begins with ipv4 or ipv6") }
    guard let rule = FlowspecRule(family, components) else {
      throw FlowspecTextError("flow-label is of IPv6 alone, and a rule has at most 4095 octets")
    }
    self = rule
  }
}

extension FlowspecComponent: CustomStringConvertible {
  public var description: String {
    let kind = kind
    switch self {
    case .prefix(_, let value):
      return value.offset == 0
        ? "\(kind.keyword) \(value.prefix)"
        : "\(kind.keyword) \(value.prefix.address)/\(value.offset)-\(value.prefix.length)"
    case .numbers(_, let terms): return "\(kind.keyword) \(Self.text(terms, kind))"
    case .bits(_, let terms):
      return "\(kind.keyword) "
        + terms.enumerated().map { ($0 == 0 ? "" : $1.isAnd ? "&" : ",") + $1.text(kind) }.joined()
    }
  }

  private static func text(_ terms: [NumericTerm], _ kind: Kind) -> String {
    var text = ""
    var at = 0
    while at < terms.count {
      let term = terms[at]
      if at > 0 { text += term.isAnd ? "&" : "," }
      if at + 1 < terms.count, term.isAtLeast, terms[at + 1].isAnd, terms[at + 1].isAtMost,
        term.value <= terms[at + 1].value
      {
        text += "\(term.value)-\(terms[at + 1].value)"
        at += 2
      } else {
        text += term.text(kind)
        at += 1
      }
    }
    return text
  }

  fileprivate init(_ kind: Kind, parsing word: Substring) throws(FlowspecTextError) {
    if kind.isPrefix {
      guard let value = FlowspecPrefix(parsing: word) else {
        throw FlowspecTextError("\(kind.keyword): '\(word)' is no prefix, such as 192.0.2.0/24")
      }
      self = .prefix(kind, value)
      return
    }
    var numbers: [NumericTerm] = []
    var bits: [BitmaskTerm] = []
    for alternative in word.split(separator: ",", omittingEmptySubsequences: false) {
      for (at, text) in alternative.split(separator: "&", omittingEmptySubsequences: false).enumerated() {
        if kind.isBits {
          bits.append(try BitmaskTerm(kind, isAnd: at > 0, parsing: text))
        } else {
          numbers += try NumericTerm.terms(kind, isAnd: at > 0, parsing: text)
        }
      }
    }
    self = kind.isBits ? .bits(kind, bits) : .numbers(kind, numbers)
  }
}

extension FlowspecPrefix {
  /// `192.0.2.0/24`, or `::1234:0:0/64-96` for bits 64 to 95 (RFC 8956 §3.8 writes it so).
  fileprivate init?(parsing word: Substring) {
    let parts = word.split(separator: "/", omittingEmptySubsequences: false)
    guard let address = IPAddress(String(parts[0])), parts.count <= 2 else { return nil }
    let lengths = parts.count == 1 ? ["\(address.bitWidth)"] : parts[1].split(separator: "-").map(String.init)
    guard let last = lengths.last, let length = Int(last), lengths.count <= 2 else { return nil }
    let offset = lengths.count == 2 ? Int(lengths[0]) ?? -1 : 0
    guard offset >= 0, offset == 0 || !address.isIPv4, IPPrefix(address, length: length)?.address == address,
      let prefix = FlowspecPrefix(address, length: length, offset: offset)
    else { return nil }
    if case .v6(let six) = address, six.bits & UInt128.mask(offset) != 0 { return nil }
    self = prefix
  }
}

extension FlowspecComponent.Kind {
  fileprivate func number(_ text: Substring) throws(FlowspecTextError) -> UInt64 {
    if let named = names.first(where: { $0.name == text }) { return named.value }
    let value = text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    guard let value, value <= maximum else {
      let known = names.isEmpty ? "" : ", nor one of \(names.map(\.name).joined(separator: ", "))"
      throw FlowspecTextError("\(keyword): '\(text)' is no number from 0 to \(maximum)\(known)")
    }
    return value
  }

  fileprivate func name(_ value: UInt64) -> String { names.first { $0.value == value }?.name ?? "\(value)" }
}

extension NumericTerm {
  private static let comparisons: [(text: String, isLess: Bool, isGreater: Bool, isEqual: Bool)] = [
    ("!=", true, true, false), ("<=", true, false, true), (">=", false, true, true), ("<", true, false, false),
    (">", false, true, false), ("=", false, false, true),
  ]

  fileprivate var isAtLeast: Bool { !isLess && isGreater && isEqual }
  fileprivate var isAtMost: Bool { isLess && !isGreater && isEqual }

  fileprivate func text(_ kind: FlowspecComponent.Kind) -> String {
    if !isLess, !isGreater, !isEqual { return "false" }
    if isLess, isGreater, isEqual { return "true" }
    let comparison = Self.comparisons.first { ($0.isLess, $0.isGreater, $0.isEqual) == (isLess, isGreater, isEqual) }
    let sign = comparison?.text ?? ""
    return (sign == "=" ? "" : sign) + kind.name(value)
  }

  /// `53`, `>=1024`, `!=6`, `1000-2000`, `true` or `false`.
  fileprivate static func terms(
    _ kind: FlowspecComponent.Kind, isAnd: Bool, parsing text: Substring
  ) throws(FlowspecTextError) -> [NumericTerm] {
    if text == "true" { return [.init(isAnd: isAnd, isLess: true, isGreater: true, isEqual: true, 0)] }
    if text == "false" { return [.init(isAnd: isAnd, 0)] }
    if let sign = comparisons.first(where: { text.hasPrefix($0.text) }) {
      let value = try kind.number(text.dropFirst(sign.text.count))
      return [
        .init(isAnd: isAnd, isLess: sign.isLess, isGreater: sign.isGreater, isEqual: sign.isEqual, value)
      ]
    }
    let ends = text.split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2, ends.allSatisfy({ $0.first?.isNumber == true }) else {
      return [.init(isAnd: isAnd, isEqual: true, try kind.number(text))]
    }
    let (low, high) = (try kind.number(ends[0]), try kind.number(ends[1]))
    guard low <= high else { throw FlowspecTextError("\(kind.keyword): \(text) ends before it begins") }
    return [
      .init(isAnd: isAnd, isGreater: true, isEqual: true, low), .init(isAnd: true, isLess: true, isEqual: true, high),
    ]
  }
}

extension BitmaskTerm {
  fileprivate func text(_ kind: FlowspecComponent.Kind) -> String {
    var left = value
    var names: [String] = []
    for (name, bit) in kind.names where left & bit != 0 {
      names.append(name)
      left &= ~bit
    }
    if left != 0 || names.isEmpty { names.append("0x" + String(left, radix: 16)) }
    return (isNot ? "!" : "") + (isMatch ? "=" : "") + names.joined(separator: "+")
  }

  /// Flags joined by `+`: any of them; with `=` before them all of them; with `!` not.
  fileprivate init(_ kind: FlowspecComponent.Kind, isAnd: Bool, parsing text: Substring) throws(FlowspecTextError) {
    var rest = text
    let isNot = rest.first == "!"
    if isNot { rest.removeFirst() }
    let isMatch = rest.first == "="
    if isMatch { rest.removeFirst() }
    var value: UInt64 = 0
    for flag in rest.split(separator: "+", omittingEmptySubsequences: false) { value |= try kind.number(flag) }
    self.init(isAnd: isAnd, isNot: isNot, isMatch: isMatch, value)
  }
}

// MARK: - Actions

extension FlowspecActions: CustomStringConvertible {
  /// As ``init(parsing:)`` reads it: `drop`, or `rate-limit 1000000, mark 10`.
  public var description: String {
    var parts: [String] = []
    if rateBytes == 0 || ratePackets == 0 { parts.append("drop") }
    if let rateBytes, rateBytes > 0 { parts.append("rate-limit \(Self.text(rateBytes))") }
    if let ratePackets, ratePackets > 0 { parts.append("rate-limit \(Self.text(ratePackets))pps") }
    if let redirect { parts.append("redirect \(redirect.routeTargetText)") }
    if let dscp { parts.append("mark \(dscp)") }
    if samples { parts.append("sample") }
    if goesOn { parts.append("continue") }
    return parts.isEmpty ? "accept" : parts.joined(separator: ", ")
  }

  private static func text(_ rate: Float) -> String { Int64(exactly: rate).map { "\($0)" } ?? "\(rate)" }

  /// Parses actions with commas between them: `drop`, `accept`, `rate-limit 1000000` (octets a second, or with `pps`
  /// packets), `mark 10` (DSCP), `redirect 64512:7` (a route target), `sample`, `continue`.
  public init(parsing text: String) throws(FlowspecTextError) {
    self.init()
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let words = part.split(whereSeparator: \.isWhitespace)
      switch (words.first, words.count) {
      case ("accept", 1): break
      case ("drop", 1): rateBytes = 0
      case ("sample", 1): samples = true
      case ("continue", 1): goesOn = true
      case ("rate-limit", 2):
        let isPackets = words[1].hasSuffix("pps")
        guard let rate = Self.rate(isPackets ? words[1].dropLast(3) : words[1]) else {
          throw FlowspecTextError("rate-limit: '\(words[1])' is no rate, such as 1000000, 10M (octets/s) or 500pps")
        }
        if isPackets { ratePackets = rate } else { rateBytes = rate }
      case ("mark", 2):
        guard let value = UInt8(words[1]), value < 64 else {
          throw FlowspecTextError("mark: '\(words[1])' is no DSCP from 0 to 63")
        }
        dscp = value
      case ("redirect", 2):
        guard let target = ExtendedCommunity(redirectTo: words[1]) else {
          throw FlowspecTextError("redirect: '\(words[1])' is no route target, such as 64512:7")
        }
        redirect = target
      default:
        throw FlowspecTextError(
          "'\(part)' is none of drop, accept, rate-limit N, rate-limit Npps, mark DSCP, redirect AS:N, sample, continue"
        )
      }
    }
  }

  private static func rate(_ text: Substring) -> Float? {
    let factors: [(String, Float)] = [("k", 1e3), ("M", 1e6), ("G", 1e9)]
    let factor = factors.first { text.hasSuffix($0.0) }
    guard let rate = Float(factor == nil ? text : text.dropLast()), rate >= 0, rate.isFinite else { return nil }
    return rate * (factor?.1 ?? 1)
  }
}

extension ExtendedCommunity {
  /// RFC 8955 §7.4: the types of a redirection to a route target.
  fileprivate init?(redirectTo text: Substring) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    if case .v4(let address)? = IPAddress(String(parts[0])), let low = UInt16(parts[1]) {
      self.init(rawValue: 0x8108 << 48 | UInt64(address.rawValue) << 16 | UInt64(low))
    } else if let high = UInt16(parts[0]), let low = UInt32(parts[1]) {
      self.init(rawValue: 0x8008 << 48 | UInt64(high) << 32 | UInt64(low))
    } else if let high = UInt32(parts[0]), let low = UInt16(parts[1]) {
      self.init(rawValue: 0x8208 << 48 | UInt64(high) << 16 | UInt64(low))
    } else {
      return nil
    }
  }

  fileprivate var routeTargetText: String {
    switch rawValue >> 48 {
    case 0x8108: "\(IPAddress.v4(IPv4Address(rawValue: UInt32(rawValue >> 16 & 0xffff_ffff)))):\(rawValue & 0xffff)"
    case 0x8208: "\(rawValue >> 16 & 0xffff_ffff):\(rawValue & 0xffff)"
    default: "\(rawValue >> 32 & 0xffff):\(rawValue & 0xffff_ffff)"
    }
  }
}
