public import Wire

/// A Validated ROA Payload (RFC 6811 §2): an AS that may originate a prefix, and those within it up to a length.
public struct ROAPayload: Hashable, Sendable {
  public var prefix: IPPrefix
  public var maximumLength: Int
  /// 0 authorizes nobody (RFC 6483 §4).
  public var autonomousSystem: UInt32

  /// Nil where the maximum length does not lie between the prefix's own and that of an address.
  public init?(_ prefix: IPPrefix, maximumLength: Int? = nil, autonomousSystem: UInt32) {
    let longest = maximumLength ?? prefix.length
    guard longest >= prefix.length, longest <= prefix.address.bitWidth else { return nil }
    self.prefix = prefix
    self.maximumLength = longest
    self.autonomousSystem = autonomousSystem
  }
}

/// What is known of a route's origin (RFC 6811 §2).
public enum OriginValidity: String, Hashable, Sendable {
  case valid
  case invalid
  /// No payload covers the prefix.
  case notFound = "not found"
}

/// The payloads to validate origins by.
public struct OriginTable: Sendable {
  private var ipv4 = PrefixTrie<UInt32>()
  private var ipv6 = PrefixTrie<UInt128>()
  /// By the tries' numbers.
  private var payloads4: [[ROAPayload]] = []
  private var payloads6: [[ROAPayload]] = []
  public private(set) var count = 0

  public init() {}

  public func contains(_ payload: ROAPayload) -> Bool {
    let length = UInt8(payload.prefix.length)
    return switch payload.prefix.address {
    case .v4(let four): ipv4.number(four.rawValue, length).map { payloads4[$0].contains(payload) } ?? false
    case .v6(let six): ipv6.number(six.bits, length).map { payloads6[$0].contains(payload) } ?? false
    }
  }

  /// False where it was there already.
  @discardableResult
  public mutating func insert(_ payload: ROAPayload) -> Bool {
    let isNew =
      switch payload.prefix.address {
      case .v4(let four): Self.insert(payload, four.rawValue, &ipv4, &payloads4)
      case .v6(let six): Self.insert(payload, six.bits, &ipv6, &payloads6)
      }
    if isNew { count += 1 }
    return isNew
  }

  /// False where it was not there.
  @discardableResult
  public mutating func remove(_ payload: ROAPayload) -> Bool {
    let wasThere =
      switch payload.prefix.address {
      case .v4(let four): Self.remove(payload, four.rawValue, &ipv4, &payloads4)
      case .v6(let six): Self.remove(payload, six.bits, &ipv6, &payloads6)
      }
    if wasThere { count -= 1 }
    return wasThere
  }

  private static func insert<Bits>(
    _ payload: ROAPayload, _ bits: Bits, _ trie: inout PrefixTrie<Bits>, _ payloads: inout [[ROAPayload]]
  ) -> Bool {
    let (number, isNew) = trie.insert(bits, UInt8(payload.prefix.length))
    if number == payloads.count { payloads.append([]) } else if isNew { payloads[number] = [] }
    guard !payloads[number].contains(payload) else { return false }
    payloads[number].append(payload)
    return true
  }

  private static func remove<Bits>(
    _ payload: ROAPayload, _ bits: Bits, _ trie: inout PrefixTrie<Bits>, _ payloads: inout [[ROAPayload]]
  ) -> Bool {
    guard let number = trie.number(bits, UInt8(payload.prefix.length)),
      let at = payloads[number].firstIndex(of: payload)
    else { return false }
    payloads[number].remove(at: at)
    if payloads[number].isEmpty { trie.remove(bits, UInt8(payload.prefix.length)) }
    return true
  }

  /// RFC 6811 §2.1: valid by any payload that covers the prefix, reaches to its length and names its origin.
  ///
  /// - Parameter origin: nil for a path that ends in a set, which no payload authorizes.
  public func validity(of prefix: IPPrefix, origin: UInt32?) -> OriginValidity {
    switch prefix.address {
    case .v4(let four): Self.validity(four.rawValue, prefix.length, origin, ipv4, payloads4)
    case .v6(let six): Self.validity(six.bits, prefix.length, origin, ipv6, payloads6)
    }
  }

  private static func validity<Bits>(
    _ bits: Bits, _ length: Int, _ origin: UInt32?, _ trie: PrefixTrie<Bits>, _ payloads: [[ROAPayload]]
  ) -> OriginValidity {
    var isCovered = false
    var upTo = length
    while upTo >= 0, let number = trie.longestMatch(bits & Bits.mask(upTo), UInt8(upTo)) {
      for payload in payloads[number] {
        isCovered = true
        if length <= payload.maximumLength, let origin, origin != 0, origin == payload.autonomousSystem {
          return .valid
        }
      }
      upTo = Int(trie.prefix(number).length) - 1
    }
    return isCovered ? .invalid : .notFound
  }
}

extension ASPath {
  /// The AS that originates the route (RFC 6811 §2): ours for an empty path, none for one that ends in a set.
  public func origin(localAS: UInt32) -> UInt32? {
    guard let last = segments.last else { return localAS }
    return last.isSet ? nil : last.numbers.last
  }
}
