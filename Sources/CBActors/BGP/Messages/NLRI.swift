public import Wire

/// A field of prefixes in an UPDATE message (RFC 4271 §4.3), each with a path identifier where that was negotiated
/// (RFC 7911 §3). Borrows the message's memory.
public struct NLRI {
  public let family: AddressFamily
  public let hasPathIdentifiers: Bool
  let bytes: UnsafeRawBufferPointer

  init(_ family: AddressFamily, hasPathIdentifiers: Bool, _ bytes: UnsafeRawBufferPointer) {
    self.family = family
    self.hasPathIdentifiers = hasPathIdentifiers
    self.bytes = bytes
  }

  static func none(_ family: AddressFamily) -> NLRI {
    NLRI(family, hasPathIdentifiers: false, UnsafeRawBufferPointer(start: nil, count: 0))
  }

  public var isEmpty: Bool { bytes.isEmpty }

  /// Whether it can be read to its end: no prefix longer than an address, none that runs out (RFC 7606 §5.3).
  var isWellFormed: Bool {
    if family.isFlowspec { return flows != nil }
    let longest = family.afi == 1 ? 32 : 128
    let identifier = hasPathIdentifiers ? 4 : 0
    var offset = 0
    while offset < bytes.count {
      offset += identifier
      guard offset < bytes.count else { return false }
      let length = Int(bytes[offset])
      offset += 1 + (length + 7) / 8
      guard length <= longest, offset <= bytes.count else { return false }
    }
    return true
  }

  /// Calls `body` with each prefix: its bits from the top, those beyond its length cleared; its length; its path
  /// identifier, 0 where there are none. Of a field that is well-formed.
  @inline(__always)
  func forEach<Bits: PrefixBits>(_ type: Bits.Type, _ body: (Bits, UInt8, UInt32) -> Void) {
    var offset = 0
    let end = bytes.count
    while offset < end {
      var identifier: UInt32 = 0
      if hasPathIdentifiers {
        guard end - offset > 4 else { return }
        identifier = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        offset += 4
      }
      let length = bytes[offset]
      let count = (Int(length) + 7) / 8
      offset += 1
      guard length <= Bits.bitWidth, end - offset >= count else { return }
      var bits: Bits = 0
      for index in 0..<count {
        bits |= Bits(truncatingIfNeeded: bytes[offset + index]) << Bits(Bits.bitWidth - 8 - 8 * index)
      }
      offset += count
      body(bits & Bits.mask(Int(length)), length, identifier)
    }
  }

  /// The rules of a field of flow specifications; nil where one is malformed.
  public var flows: [FlowspecRule]? {
    guard family.isFlowspec, !hasPathIdentifiers else { return nil }
    var reader = ByteReader(bytes)
    var found: [FlowspecRule] = []
    while !reader.isAtEnd {
      guard let rule = FlowspecRule(family, from: &reader) else { return nil }
      found.append(rule)
    }
    return found
  }

  /// Calls `body` with each prefix and its path identifier, whatever the family.
  func forEachPrefix(_ body: (IPPrefix, UInt32) -> Void) {
    guard !family.isFlowspec else { return }
    if family.afi == 1 {
      forEach(UInt32.self) { body(IPPrefix($0, $1), $2) }
    } else {
      forEach(UInt128.self) { body(IPPrefix($0, $1), $2) }
    }
  }

  /// Prefixes that are worked on together.
  static var group: Int { 16 }

  /// The same in groups of up to ``group``.
  @inline(__always)
  func forEachGroup<Bits: PrefixBits>(_ type: Bits.Type, _ body: (PrefixGroup<Bits>) -> Void) {
    withUnsafeTemporaryAllocation(of: PrefixTrie<Bits>.Key.self, capacity: Self.group) { keys in
      withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 2 * Self.group) { words in
        words.initialize(repeating: 0)
        var count = 0
        func group() -> PrefixGroup<Bits> {
          PrefixGroup(
            keys: UnsafeBufferPointer(rebasing: keys[..<count]),
            identifiers: UnsafeBufferPointer(rebasing: words[..<count]),
            numbers: UnsafeMutableBufferPointer(rebasing: words[Self.group..<Self.group + count]))
        }
        forEach(Bits.self) { bits, length, identifier in
          (keys.baseAddress! + count).initialize(to: .init(bits, length))
          words[count] = identifier
          count += 1
          if count == Self.group {
            body(group())
            count = 0
          }
        }
        if count > 0 { body(group()) }
      }
    }
  }

  /// The prefixes, for tests and logs.
  public var prefixes: [IPPrefix] {
    var found: [IPPrefix] = []
    forEachPrefix { prefix, _ in found.append(prefix) }
    return found
  }

  public var count: Int {
    var count = 0
    forEachPrefix { _, _ in count += 1 }
    return count
  }
}

/// Prefixes that are worked on together.
struct PrefixGroup<Bits: PrefixBits> {
  let keys: UnsafeBufferPointer<PrefixTrie<Bits>.Key>
  let identifiers: UnsafeBufferPointer<UInt32>
  /// Room for the numbers of their destinations.
  let numbers: UnsafeMutableBufferPointer<UInt32>
}
