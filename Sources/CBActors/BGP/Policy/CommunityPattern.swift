/// A community of any of the three kinds, or those that agree in a part: `64512:100`, `64512:*`, `no-export`,
/// `rt:64512:100`, `ro:64512:*`, `0x0002fc0000000064`, `64512:1:*`.
public enum CommunityPattern: Hashable, Sendable {
  /// RFC 1997; the mask says which bits count.
  case standard(Community, mask: UInt32)
  /// RFC 4360.
  case extended(ExtendedCommunity, mask: UInt64)
  /// RFC 8092; nil is any.
  case large(UInt32?, UInt32?, UInt32?)

  public init(parsing text: String) throws(PolicyTextError) {
    if let known = Community.wellKnown.first(where: { $0.name == text }) {
      self = .standard(known.community, mask: .max)
      return
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    switch parts.count {
    case 1 where text.hasPrefix("0x"):
      guard text.count == 18, let word = UInt64(text.dropFirst(2), radix: 16) else {
        throw PolicyTextError(text, at: 2, "not 16 hexadecimal digits", remedy: "write the whole extended community")
      }
      self = .extended(ExtendedCommunity(rawValue: word), mask: .max)
    case 2:
      let high = try Self.part(parts[0], UInt32(UInt16.max), text, at: 0)
      let low = try Self.part(parts[1], UInt32(UInt16.max), text, at: parts[0].count + 1)
      let mask: UInt32 = (high == nil ? 0 : 0xffff_0000) | (low == nil ? 0 : 0xffff)
      self = .standard(Community(rawValue: (high ?? 0) << 16 | (low ?? 0)), mask: mask)
    case 3 where parts[0] == "rt" || parts[0] == "ro":
      self = try Self.extended(parts, text)
    case 3:
      var offset = 0
      var numbers: [UInt32?] = []
      for part in parts {
        numbers.append(try Self.part(part, .max, text, at: offset))
        offset += part.count + 1
      }
      self = .large(numbers[0], numbers[1], numbers[2])
    default:
      throw PolicyTextError(
        text, "no community",
        remedy: "write 64512:100, 64512:1:2, rt:64512:100 or one of "
          + Community.wellKnown.map(\.name).joined(separator: ", "))
    }
  }

  /// RFC 4360 §4 and §5, RFC 5668: an AS of two octets leaves four for the value, one of four leaves two.
  private static func extended(_ parts: [Substring], _ text: String) throws(PolicyTextError) -> CommunityPattern {
    let subtype: UInt64 = parts[0] == "rt" ? 2 : 3
    guard let system = try part(parts[1], .max, text, at: 3) else {
      throw PolicyTextError(text, at: 3, "any AS", remedy: "name the AS: its size says where the value begins")
    }
    let isShort = system <= UInt32(UInt16.max)
    let value = try part(parts[2], isShort ? .max : UInt32(UInt16.max), text, at: 4 + parts[1].count)
    let head = UInt64(isShort ? 0 : 2) << 56 | subtype << 48 | UInt64(system) << (isShort ? 32 : 16)
    let low = UInt64(isShort ? UInt32.max : 0xffff)
    return .extended(ExtendedCommunity(rawValue: head | UInt64(value ?? 0)), mask: value == nil ? ~low : .max)
  }

  private static func part(
    _ word: Substring, _ limit: UInt32, _ text: String, at offset: Int
  ) throws(PolicyTextError) -> UInt32? {
    if word == "*" { return nil }
    guard let number = UInt32(word), number <= limit else {
      throw PolicyTextError(
        text, at: offset, "\"\(word)\" does not fit here", remedy: "write 0 to \(limit), or * for any")
    }
    return number
  }

  func matches(_ attributes: PathAttributes) -> Bool {
    switch self {
    case .standard: attributes.communities.contains { matches($0) }
    case .extended: attributes.extendedCommunities.contains { matches($0) }
    case .large: attributes.largeCommunities.contains { matches($0) }
    }
  }

  func matches(_ community: Community) -> Bool {
    guard case .standard(let own, let mask) = self else { return false }
    return (community.rawValue ^ own.rawValue) & mask == 0
  }

  func matches(_ community: ExtendedCommunity) -> Bool {
    guard case .extended(let own, let mask) = self else { return false }
    return (community.rawValue ^ own.rawValue) & mask == 0
  }

  func matches(_ community: LargeCommunity) -> Bool {
    guard case .large(let global, let one, let two) = self else { return false }
    return (global ?? community.global) == community.global && (one ?? community.local1) == community.local1
      && (two ?? community.local2) == community.local2
  }
}

/// One community of any of the three kinds.
public enum AnyCommunity: Hashable, Sendable {
  case standard(Community)
  case extended(ExtendedCommunity)
  case large(LargeCommunity)

  /// Parses what ``CommunityPattern`` does, but for `*`.
  public init(parsing text: String) throws(PolicyTextError) {
    switch try CommunityPattern(parsing: text) {
    case .standard(let community, .max): self = .standard(community)
    case .extended(let community, .max): self = .extended(community)
    case .large(let global?, let one?, let two?): self = .large(LargeCommunity(global, one, two))
    default:
      throw PolicyTextError(
        text, at: text.prefix { $0 != "*" }.count, "a * where one community is to be set", remedy: "write a number")
    }
  }
}

extension Community {
  /// Those that have names of their own (IANA, "BGP Well-known Communities").
  static let wellKnown: [(name: String, community: Community)] = [
    ("no-export", .noExport), ("no-advertise", .noAdvertise),
    ("no-export-subconfed", Community(rawValue: 0xffff_ff03)), ("no-peer", Community(rawValue: 0xffff_ff04)),
    ("graceful-shutdown", .gracefulShutdown), ("blackhole", .blackhole),
    ("llgr-stale", .longLivedStale), ("no-llgr", .noLongLived),
  ]
}
