/// The bits of an address, the first of them on top: `UInt32` for IPv4, `UInt128` for IPv6.
public protocol PrefixBits: FixedWidthInteger, UnsignedInteger, Sendable {}

extension UInt32: PrefixBits {}
extension UInt128: PrefixBits {}

extension PrefixBits {
  /// The first `length` bits set.
  @inlinable public static func mask(_ length: Int) -> Self {
    length == 0 ? 0 : Self.max << Self(truncatingIfNeeded: bitWidth - length)
  }
}

/// The IP prefixes of one family, each with a number of its own: a compressed binary trie.
///
/// A node stands only where prefixes part, so that n prefixes have n - 1 nodes of 12 bytes, whatever lies between them.
/// Numbers begin at 0, stay with their prefix until it is removed, and are then given anew, so that what belongs to a
/// prefix can be kept in an array by number.
///
/// In a large table of IPv4, it is kept for each 16 bits that an address begins with where the longer prefixes stand, as
/// most of the way down would be gone for those bits.
///
/// The decisions on the way down are, for each bit in turn, "does the prefix go on?" (at twice the bit's index) and "is
/// the bit set?" (one more). A prefix is so told from those within it, and comes before them in the order of the trie,
/// which is that of (address, length).
public struct PrefixTrie<Bits: PrefixBits>: Sendable {
  @usableFromInline struct Node: Sendable {
    /// Which decision is taken here; grows on the way down.
    @usableFromInline var position: UInt32
    /// Where to go for no and for yes: another node, or a leaf.
    @usableFromInline var no: Reference
    @usableFromInline var yes: Reference

    @inlinable init(position: UInt32, no: Reference, yes: Reference) {
      self.position = position
      self.no = no
      self.yes = yes
    }
  }

  /// A node's index, or with the top bit set a prefix's number.
  @usableFromInline struct Reference: Equatable, Sendable {
    @usableFromInline var raw: UInt32
    @inlinable init(raw: UInt32) { self.raw = raw }
    @inlinable static func node(_ index: Int) -> Self { Self(raw: UInt32(index)) }
    @inlinable static func leaf(_ number: Int) -> Self { Self(raw: UInt32(number) | 0x8000_0000) }
    @inlinable var isLeaf: Bool { raw & 0x8000_0000 != 0 }
    @inlinable var index: Int { Int(raw & 0x7fff_ffff) }
    /// No leaf has this number.
    @inlinable static var nowhere: Self { Self(raw: .max) }
  }

  /// A prefix as it is looked for: bits beyond its length are clear.
  public struct Key: Sendable {
    public var bits: Bits
    public var length: UInt8
    @inlinable public init(_ bits: Bits, _ length: UInt8) {
      self.bits = bits
      self.length = length
    }

    /// The answer at a position. Any where the key has ended: whoever asks compares the whole key in the end.
    @inlinable func answer(_ position: UInt32) -> Bool {
      // Both are computed, as which of them it is cannot be foreseen.
      let bit = position >> 1
      let goesOn = bit < length
      let isSet = (bits &>> Bits(truncatingIfNeeded: UInt32(Bits.bitWidth) &- 1 &- bit)) & 1 == 1
      return position & 1 == 0 ? goesOn : isSet
    }

    /// The first position at which the answers differ; nil for the same prefix.
    @inlinable func parting(from other: Key) -> UInt32? {
      let shorter = min(length, other.length)
      let common = (bits ^ other.bits).leadingZeroBitCount
      if common < shorter { return UInt32(common) << 1 | 1 }
      return length == other.length ? nil : UInt32(shorter) << 1
    }

    @inlinable func covers(_ other: Key) -> Bool {
      length <= other.length && (bits ^ other.bits) & Bits.mask(Int(length)) == 0
    }
  }

  @usableFromInline var nodes: ContiguousArray<Node> = []
  @usableFromInline var freeNodes: ContiguousArray<UInt32> = []
  @usableFromInline var keys: ContiguousArray<Key> = []
  @usableFromInline var freeNumbers: ContiguousArray<UInt32> = []
  /// Nil only while there is no prefix.
  @usableFromInline var root: Reference?
  /// By the first bits of an address: what has below it all prefixes that begin so and are longer, and nothing else.
  /// Empty in a small table.
  @usableFromInline var tops: ContiguousArray<Reference> = []

  public init() {}

  /// How many prefixes there are.
  @inlinable public var count: Int { keys.count - freeNumbers.count }
  /// All numbers given so far are below this.
  @inlinable public var numberLimit: Int { keys.count }

  /// The prefix of a number that is given.
  @inlinable public func prefix(_ number: Int) -> (bits: Bits, length: UInt8) {
    (keys[number].bits, keys[number].length)
  }

  @inlinable static var topLength: Int { 16 }
  @inlinable static var leastCountForTops: Int { 4_096 }

  /// Which of the ``tops`` a key is below; nil where it is below none.
  @inlinable func topIndex(_ key: Key) -> Int? {
    guard Bits.bitWidth == 32, !tops.isEmpty, key.length > Self.topLength else { return nil }
    return Int(truncatingIfNeeded: key.bits >> Bits(truncatingIfNeeded: Bits.bitWidth - Self.topLength))
  }

  /// Where the way to a key begins: as far down as is known. Nil where it is known not to be there.
  @inlinable func start(of key: Key) -> Reference? {
    guard let index = topIndex(key) else { return root }
    return tops[index] == .nowhere ? nil : tops[index]
  }

  /// The leaf that a key leads to: it may be another's.
  @inlinable func leaf(_ key: Key, from root: Reference) -> Int {
    var at = root
    while !at.isLeaf {
      let node = nodes[at.index]
      at = key.answer(node.position) ? node.yes : node.no
    }
    return at.index
  }

  /// The number of a prefix; nil where it is not there. Bits beyond the length must be clear.
  @inlinable public func number(_ bits: Bits, _ length: UInt8) -> Int? {
    let key = Key(bits, length)
    guard let start = start(of: key) else { return nil }
    let found = leaf(key, from: start)
    return keys[found].bits == bits && keys[found].length == length ? found : nil
  }

  /// The number of a prefix, given now if it was not there. Bits beyond the length must be clear.
  @inlinable public mutating func insert(_ bits: Bits, _ length: UInt8) -> (number: Int, isNew: Bool) {
    let key = Key(bits, length)
    guard let root else {
      let number = newNumber(key)
      self.root = .leaf(number)
      if let top = topIndex(key) { tops[top] = .leaf(number) }
      return (number, true)
    }
    if tops.isEmpty, Bits.bitWidth == 32, keys.count >= Self.leastCountForTops { findTops() }
    let known = start(of: key)
    let near = leaf(key, from: known ?? root)
    guard let parting = key.parting(from: keys[near]) else { return (near, false) }
    let number = newNumber(key)
    let isYes = key.answer(parting)

    // Down again, to where the position belongs.
    var parent = -1
    var wentYes = false
    var at = known ?? root
    while !at.isLeaf {
      let node = nodes[at.index]
      if node.position > parting { break }
      parent = at.index
      wentYes = key.answer(node.position)
      at = wentYes ? node.yes : node.no
    }
    if parent < 0 { (parent, wentYes) = self.parent(of: at, on: key) }
    let leaf = Reference.leaf(number)
    let node = newNode(Node(position: parting, no: isYes ? at : leaf, yes: isYes ? leaf : at))
    replace(child: wentYes, of: parent, by: .node(node))
    if let top = topIndex(key) {
      if known == nil { tops[top] = leaf } else if known == at { tops[top] = .node(node) }
    }
    return (number, true)
  }

  /// The node above what is on the way to a key, and the side of it; -1 above the root.
  @inlinable func parent(of reference: Reference, on key: Key) -> (index: Int, isYes: Bool) {
    var parent = -1
    var isYes = false
    guard var at = root else { return (parent, isYes) }
    while at != reference, !at.isLeaf {
      let node = nodes[at.index]
      parent = at.index
      isYes = key.answer(node.position)
      at = isYes ? node.yes : node.no
    }
    return (parent, isYes)
  }

  /// Fills ``tops`` by what is there.
  @inlinable mutating func findTops() {
    tops = ContiguousArray(repeating: .nowhere, count: 1 << Self.topLength)
    var pending: ContiguousArray<Reference> = root.map { [$0] } ?? []
    while let next = pending.popLast() {
      // The position past the first bits of a key that goes on there.
      if !next.isLeaf, nodes[next.index].position <= UInt32(Self.topLength) << 1 {
        pending.append(nodes[next.index].no)
        pending.append(nodes[next.index].yes)
        continue
      }
      var any = next
      while !any.isLeaf { any = nodes[any.index].no }
      if let top = topIndex(keys[any.index]) { tops[top] = next }
    }
  }

  /// Takes a prefix out; its number may be given anew. Nil where it was not there.
  @discardableResult
  @inlinable public mutating func remove(_ bits: Bits, _ length: UInt8) -> Int? {
    let key = Key(bits, length)
    guard let start = start(of: key) else { return nil }
    var grandparent = -1
    var parentIsYes = false
    var parent = -1
    var isYes = false
    var at = start
    while !at.isLeaf {
      let node = nodes[at.index]
      (grandparent, parentIsYes) = (parent, isYes)
      parent = at.index
      isYes = key.answer(node.position)
      at = isYes ? node.yes : node.no
    }
    let number = at.index
    guard keys[number].bits == bits, keys[number].length == length else { return nil }
    let isAlone = parent < 0
    if isAlone { (parent, isYes) = self.parent(of: at, on: key) }
    if parent < 0 {
      self.root = nil
    } else {
      if grandparent < 0 { (grandparent, parentIsYes) = self.parent(of: .node(parent), on: key) }
      let other = isYes ? nodes[parent].no : nodes[parent].yes
      replace(child: parentIsYes, of: grandparent, by: other)
      freeNodes.append(UInt32(parent))
      if !isAlone, let top = topIndex(key), start == .node(parent) { tops[top] = other }
    }
    if isAlone, let top = topIndex(key) { tops[top] = .nowhere }
    freeNumbers.append(UInt32(number))
    return number
  }

  /// The number of the longest prefix that covers `bits` up to `length`.
  @inlinable public func longestMatch(_ bits: Bits, _ length: UInt8 = UInt8(Bits.bitWidth)) -> Int? {
    guard var at = root else { return nil }
    let key = Key(bits, length)
    var best: Int?
    while !at.isLeaf {
      let node = nodes[at.index]
      let isYes = key.answer(node.position)
      // Where the way goes on past the end of a prefix, that prefix is the leaf on the other side.
      if isYes, node.position & 1 == 0, node.no.isLeaf, keys[node.no.index].covers(key) { best = node.no.index }
      at = isYes ? node.yes : node.no
    }
    return keys[at.index].covers(key) ? at.index : best
  }

  /// Calls `body` with the number of each prefix within the given one, itself included, in the order of (address,
  /// length). Until it returns false.
  ///
  /// - Parameter last: only those behind this one, which need not be there.
  @inlinable public func forEach(
    within bits: Bits, _ length: UInt8, after last: (bits: Bits, length: UInt8)? = nil, _ body: (Int) -> Bool
  ) {
    guard root != nil else { return }
    let key = Key(bits, length)
    var pending: ContiguousArray<Reference> = []
    // What is behind the last one begins behind the prefix itself, which comes first of all within it.
    if let last, last.bits > bits || last.bits == bits && last.length >= length {
      stack(after: Key(last.bits, last.length), &pending)
    } else {
      stack(from: key, &pending)
    }
    while let next = pending.popLast() {
      guard next.isLeaf else {
        pending.append(nodes[next.index].yes)
        pending.append(nodes[next.index].no)
        continue
      }
      // Those within follow each other, so that the first that is not is the end.
      if !key.covers(keys[next.index]) || !body(next.index) { return }
    }
  }

  /// Puts what begins at a key on the stack of a walk: what is within it, if anything.
  @inlinable func stack(from key: Key, _ pending: inout ContiguousArray<Reference>) {
    guard var at = root else { return }
    while !at.isLeaf {
      let node = nodes[at.index]
      if node.position >= UInt32(key.length) << 1 { break }
      at = key.answer(node.position) ? node.yes : node.no
    }
    pending.append(at)
  }

  /// Puts all that is behind a key on the stack of a walk, the nearest on top.
  @inlinable func stack(after key: Key, _ pending: inout ContiguousArray<Reference>) {
    guard let root else { return }
    // The key's own place: where it is, or where it would be.
    let parting = key.parting(from: keys[leaf(key, from: root)])
    var at = root
    while !at.isLeaf {
      let node = nodes[at.index]
      if let parting, node.position > parting { break }
      if key.answer(node.position) {
        at = node.yes
      } else {
        pending.append(node.yes)
        at = node.no
      }
    }
    if let parting, !key.answer(parting) { pending.append(at) }
  }

  // MARK: Storage

  @inlinable mutating func newNumber(_ key: Key) -> Int {
    if let number = freeNumbers.popLast() {
      keys[Int(number)] = key
      return Int(number)
    }
    precondition(keys.count < 0x7fff_ffff, "2^31 prefixes")
    keys.append(key)
    return keys.count - 1
  }

  @inlinable mutating func newNode(_ node: Node) -> Int {
    if let index = freeNodes.popLast() {
      nodes[Int(index)] = node
      return Int(index)
    }
    nodes.append(node)
    return nodes.count - 1
  }

  @inlinable mutating func replace(child isYes: Bool, of parent: Int, by reference: Reference) {
    if parent < 0 {
      root = reference
    } else if isYes {
      nodes[parent].yes = reference
    } else {
      nodes[parent].no = reference
    }
  }
}
