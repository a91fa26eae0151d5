import Wire

/// Each distinct set of path attributes once, counted and numbered, so that a route holds four octets of it.
struct AttributeTable: ~Copyable {
  /// Names a set while it is held. 0 is none.
  struct ID: Hashable {
    var raw: UInt32
    static let none = ID(raw: 0)
  }

  private struct Entry {
    var summary = AttributeSummary()
    /// The canonical form.
    var bytes: UnsafeMutableRawPointer?
    var count: UInt32 = 0
    var hash: UInt32 = 0
  }

  /// How often a set is held, and how many have had its ID before.
  private struct Holds {
    var count: UInt32
    var generation: UInt32 = 0
  }

  private var entries: ContiguousArray<Entry> = [Entry()]
  /// By ID. Apart, as they change with every route: so many more of them are near.
  private var holds: ContiguousArray<Holds> = [Holds(count: 0)]
  private var free: ContiguousArray<UInt32> = []
  /// Open addressing: a hash on top of an ID; 0 is an empty slot. Never more than half full.
  private var slots: ContiguousArray<UInt64>
  private(set) var count = 0
  /// Makes the slots that a peer's attributes come to unknown to the peer.
  private let seed: UInt64

  init(seed: UInt64) {
    self.seed = seed
    slots = ContiguousArray(repeating: 0, count: 1_024)
  }

  deinit { for entry in entries { entry.bytes?.deallocate() } }

  /// The ID of a set, held once more.
  ///
  /// - Parameter summary: of the same set; kept when it is new.
  mutating func intern(_ bytes: UnsafeRawBufferPointer, _ summary: AttributeSummary) -> ID {
    let hash = Self.hash(bytes, seed)
    let mask = slots.count - 1
    var at = Int(hash) & mask
    while slots[at] != 0 {
      if UInt32(slots[at] >> 32) == hash {
        let raw = UInt32(truncatingIfNeeded: slots[at])
        if isEqual(entries[Int(raw)], bytes) {
          holds[Int(raw)].count += 1
          return ID(raw: raw)
        }
      }
      at = (at + 1) & mask
    }
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
    if let source = bytes.baseAddress { memory.copyMemory(from: source, byteCount: bytes.count) }
    let entry = Entry(summary: summary, bytes: memory, count: UInt32(bytes.count), hash: hash)
    let raw: UInt32
    if let reused = free.popLast() {
      raw = reused
      entries[Int(raw)] = entry
      holds[Int(raw)].count = 1
    } else {
      raw = UInt32(entries.count)
      entries.append(entry)
      holds.append(Holds(count: 1))
    }
    slots[at] = UInt64(hash) << 32 | UInt64(raw)
    count += 1
    if count * 2 > slots.count { grow() }
    return ID(raw: raw)
  }

  /// Holds a set once more.
  mutating func retain(_ id: ID) { if id != .none { holds[Int(id.raw)].count += 1 } }

  /// Lets go of a set once; the last to let go frees it.
  @inline(__always)
  mutating func release(_ id: ID) {
    guard id != .none else { return }
    holds[Int(id.raw)].count -= 1
    if holds[Int(id.raw)].count == 0 { remove(id) }
  }

  private mutating func remove(_ id: ID) {
    holds[Int(id.raw)].generation &+= 1
    removeSlot(of: id)
    entries[Int(id.raw)].bytes?.deallocate()
    entries[Int(id.raw)] = Entry()
    free.append(id.raw)
    count -= 1
  }

  /// Differs from an earlier one of the same ID if that set has gone since: for who remembers sets without holding them.
  @inline(__always)
  func generation(_ id: ID) -> UInt32 { holds[Int(id.raw)].generation }

  func summary(_ id: ID) -> AttributeSummary { entries[Int(id.raw)].summary }

  func withSummary<Result>(_ id: ID, _ body: (AttributeSummary) -> Result) -> Result {
    body(entries[Int(id.raw)].summary)
  }

  /// The canonical form, valid until the set is let go of.
  func bytes(_ id: ID) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: entries[Int(id.raw)].bytes, count: Int(entries[Int(id.raw)].count))
  }

  func attributes(_ id: ID) -> PathAttributes {
    var attributes = PathAttributes(canonical: bytes(id))
    attributes.nextHop = summary(id).nextHop
    return attributes
  }

  // MARK: The slots

  private func isEqual(_ entry: Entry, _ bytes: UnsafeRawBufferPointer) -> Bool {
    UnsafeRawBufferPointer(start: entry.bytes, count: Int(entry.count)).elementsEqualByWords(bytes)
  }

  private mutating func grow() {
    var larger = ContiguousArray<UInt64>(repeating: 0, count: slots.count * 2)
    let mask = larger.count - 1
    for slot in slots where slot != 0 {
      var at = Int(slot >> 32) & mask
      while larger[at] != 0 { at = (at + 1) & mask }
      larger[at] = slot
    }
    slots = larger
  }

  /// Empties a slot and moves up those behind that would no longer be found.
  private mutating func removeSlot(of id: ID) {
    let mask = slots.count - 1
    var hole = Int(entries[Int(id.raw)].hash) & mask
    while UInt32(truncatingIfNeeded: slots[hole]) != id.raw { hole = (hole + 1) & mask }
    var at = (hole + 1) & mask
    while slots[at] != 0 {
      let home = Int(slots[at] >> 32) & mask
      // Whether the hole lies between its home and where it is.
      if (at - home) & mask >= (at - hole) & mask {
        slots[hole] = slots[at]
        hole = at
      }
      at = (at + 1) & mask
    }
    slots[hole] = 0
  }

  /// Eight octets at a time through a 128-bit product, as wyhash does.
  private static func hash(_ bytes: UnsafeRawBufferPointer, _ seed: UInt64) -> UInt32 {
    func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
      let product = a.multipliedFullWidth(by: b)
      return product.high ^ product.low
    }
    var state = seed ^ UInt64(bytes.count)
    var offset = 0
    while bytes.count - offset >= 8 {
      state = mix(
        state ^ 0xa076_1d64_78bd_642f,
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) ^ 0xe703_7ed1_a0b4_28db)
      offset += 8
    }
    var rest: UInt64 = 0
    while offset < bytes.count {
      rest = rest << 8 | UInt64(bytes[offset])
      offset += 1
    }
    state = mix(state ^ 0x8ebc_6af0_9c88_c6e3, rest ^ 0x5899_65cc_7537_4cc3)
    return UInt32(truncatingIfNeeded: state ^ state >> 32)
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func elementsEqualByWords(_ other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count else { return false }
    var offset = 0
    while count - offset >= 8 {
      guard
        loadUnaligned(fromByteOffset: offset, as: UInt64.self)
          == other.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      else { return false }
      offset += 8
    }
    while offset < count {
      guard self[offset] == other[offset] else { return false }
      offset += 1
    }
    return true
  }
}
