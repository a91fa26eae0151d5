public import Wire

/// Prefixes within one, of some lengths: `10.0.0.0/8`, `10.0.0.0/8 ge 16`, `10.0.0.0/8 ge 16 le 24`.
public struct PrefixRange: Hashable, Sendable {
  public let prefix: IPPrefix
  public let lengths: ClosedRange<Int>

  /// Exactly one prefix.
  public init(_ prefix: IPPrefix) {
    self.prefix = prefix
    lengths = prefix.length...prefix.length
  }

  /// Nil where the lengths do not lie between the prefix's own and that of an address.
  public init?(_ prefix: IPPrefix, lengths: ClosedRange<Int>) {
    guard lengths.lowerBound >= prefix.length, lengths.upperBound <= prefix.address.bitWidth else { return nil }
    self.prefix = prefix
    self.lengths = lengths
  }

  /// Parses a prefix, and after it `ge`, `le` or both with a length each. `ge` alone reaches to single addresses; `le`
  /// alone begins with the prefix itself.
  public init(parsing text: String) throws(PolicyTextError) {
    var words = PolicyWords(text)
    guard let first = words.next() else {
      throw PolicyTextError(text, "no prefix", remedy: "write one such as 10.0.0.0/8 le 24")
    }
    prefix = try Self.prefix(first.word, text, at: first.offset)
    let width = prefix.address.bitWidth
    var shortest: Int?
    var longest: Int?
    while let (offset, word) = words.next() {
      guard word == "ge" || word == "le" else {
        throw PolicyTextError(text, at: offset, "\"\(word)\" behind a prefix", remedy: "only ge and le may follow")
      }
      guard (word == "ge" ? shortest : longest) == nil else {
        throw PolicyTextError(text, at: offset, "a second \(word)", remedy: "leave one of them out")
      }
      guard let (offset, number) = words.next() else {
        throw PolicyTextError(text, at: offset, "\(word) without a length", remedy: "write \(word) \(width)")
      }
      guard let length = Int(number), (prefix.length...width).contains(length) else {
        throw PolicyTextError(
          text, at: offset, "\"\(number)\" is no length of a prefix within \(prefix)",
          remedy: "write \(prefix.length) to \(width)")
      }
      if word == "ge" { shortest = length } else { longest = length }
    }
    let from = shortest ?? prefix.length
    let to = longest ?? (shortest == nil ? prefix.length : width)
    guard from <= to else {
      throw PolicyTextError(text, "ge \(from) is beyond le \(to)", remedy: "swap the two lengths")
    }
    lengths = from...to
  }

  private static func prefix(
    _ word: Substring, _ text: String, at offset: Int
  ) throws(PolicyTextError) -> IPPrefix {
    if let prefix = IPPrefix(String(word)) { return prefix }
    let parts = word.split(separator: "/", omittingEmptySubsequences: false)
    guard let address = IPAddress(String(parts[0])) else {
      throw PolicyTextError(
        text, at: offset, "\"\(parts[0])\" is no address", remedy: "write one such as 192.0.2.0/24 or 2001:db8::/32")
    }
    let whole = "/\(address.bitWidth)"
    guard parts.count == 2 else {
      throw PolicyTextError(text, at: offset, "no length", remedy: "add \(whole) for this one address")
    }
    guard let length = Int(parts[1]), let masked = IPPrefix(address, length: length) else {
      throw PolicyTextError(
        text, at: offset + parts[0].count + 1, "\"\(parts[1])\" is no length",
        remedy: "write 0 to \(address.bitWidth)")
    }
    throw PolicyTextError(
      text, at: offset, "bits are set behind the length", remedy: "write \(masked), or \(whole) for this one address")
  }

  public func contains(_ other: IPPrefix) -> Bool {
    lengths.contains(other.length) && prefix.contains(other.address)
  }
}

extension PrefixRange: CustomStringConvertible {
  public var description: String {
    let (from, to) = (lengths.lowerBound, lengths.upperBound)
    if from == prefix.length { return to == from ? "\(prefix)" : "\(prefix) le \(to)" }
    return to == prefix.address.bitWidth ? "\(prefix) ge \(from)" : "\(prefix) ge \(from) le \(to)"
  }
}

/// A set of prefixes. Asking it takes as long as the prefixes around the one asked for, however many there are.
public struct PrefixList: Sendable {
  public let ranges: [PrefixRange]
  private var ipv4 = PrefixTrie<UInt32>()
  private var ipv6 = PrefixTrie<UInt128>()
  /// By the trie's numbers.
  private var ipv4Lengths: [[ClosedRange<Int>]] = []
  private var ipv6Lengths: [[ClosedRange<Int>]] = []

  public init(_ ranges: [PrefixRange]) {
    self.ranges = ranges
    for range in ranges {
      switch range.prefix.address {
      case .v4(let four): Self.add(range, four.rawValue, &ipv4, &ipv4Lengths)
      case .v6(let six): Self.add(range, six.bits, &ipv6, &ipv6Lengths)
      }
    }
  }

  private static func add<Bits>(
    _ range: PrefixRange, _ bits: Bits, _ trie: inout PrefixTrie<Bits>, _ lengths: inout [[ClosedRange<Int>]]
  ) {
    let (number, isNew) = trie.insert(bits, UInt8(range.prefix.length))
    if isNew { lengths.append([]) }
    lengths[number].append(range.lengths)
  }

  public func contains(_ prefix: IPPrefix) -> Bool {
    switch prefix.address {
    case .v4(let four): Self.contains(four.rawValue, prefix.length, ipv4, ipv4Lengths)
    case .v6(let six): Self.contains(six.bits, prefix.length, ipv6, ipv6Lengths)
    }
  }

  private static func contains<Bits>(
    _ bits: Bits, _ length: Int, _ trie: PrefixTrie<Bits>, _ lengths: [[ClosedRange<Int>]]
  ) -> Bool {
    var upTo = length
    while upTo >= 0, let number = trie.longestMatch(bits & Bits.mask(upTo), UInt8(upTo)) {
      if lengths[number].contains(where: { $0.contains(length) }) { return true }
      upTo = Int(trie.prefix(number).length) - 1
    }
    return false
  }
}

extension PrefixList: Hashable {
  public static func == (a: Self, b: Self) -> Bool { a.ranges == b.ranges }
  public func hash(into hasher: inout Hasher) { hasher.combine(ranges) }
}
