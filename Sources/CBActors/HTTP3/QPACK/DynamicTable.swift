/// The dynamic table (RFC 9204 §3.2), as its encoder or its decoder keeps it: first in, first out, bounded in bytes.
struct DynamicTable {
  struct Entry {
    let name: String
    let value: String
    /// Bytes on the wire. They differ from the strings' where a peer sent what is not UTF-8, and both ends must count
    /// alike.
    let nameLength: Int
    let valueLength: Int

    // RFC 9204 §3.2.1: "The size of an entry is the sum of its name's length in bytes, its value's length in bytes, and
    // 32 additional bytes."
    var size: Int { nameLength + valueLength + 32 }

    init(name: String, value: String, nameLength: Int, valueLength: Int) {
      self.name = name
      self.value = value
      self.nameLength = nameLength
      self.valueLength = valueLength
    }

    init(_ field: Field) {
      self.init(
        name: field.name, value: field.value, nameLength: field.name.utf8.count, valueLength: field.value.utf8.count)
    }
  }

  /// In bytes, as is ``size``.
  private(set) var capacity = 0
  private(set) var size = 0
  /// Insertions so far: the absolute index of the next entry (RFC 9204 §3.2.4).
  private(set) var insertCount: UInt64 = 0
  /// Evictions so far: the absolute index of the oldest entry.
  private(set) var dropCount: UInt64 = 0
  /// A ring whose length is a power of two; the entry of absolute index i lies at i modulo that.
  private var slots: [Entry?] = []

  private var count: Int { Int(insertCount - dropCount) }

  /// Nil when there is no such entry, or none any more.
  func entry(at index: UInt64) -> Entry? {
    guard index >= dropCount, index < insertCount else { return nil }
    return slots[slot(index)]
  }

  /// The entry at an index relative to the newest (RFC 9204 §3.2.5), as encoder instructions name it.
  func entry(relative index: UInt64) -> Entry? {
    index < insertCount ? entry(at: insertCount - 1 - index) : nil
  }

  // RFC 9204 §3.2.2: "entries are evicted from the end of the dynamic table until the size of the dynamic table is less
  // than or equal to the new table capacity."
  mutating func setCapacity(_ capacity: Int) {
    self.capacity = capacity
    evict(to: capacity)
  }

  /// What ``dropCount`` would be with an entry of `size` more; nil when it could never fit.
  func dropCount(afterInserting size: Int) -> UInt64? {
    guard size <= capacity else { return nil }
    var left = self.size
    var index = dropCount
    while left > capacity - size {
      left -= slots[slot(index)]?.size ?? 0
      index += 1
    }
    return index
  }

  /// False when the entry is larger than the table.
  mutating func insert(_ entry: Entry) -> Bool {
    guard entry.size <= capacity else { return false }
    evict(to: capacity - entry.size)
    if count == slots.count { grow() }
    slots[slot(insertCount)] = entry
    insertCount += 1
    size += entry.size
    return true
  }

  private func slot(_ index: UInt64) -> Int { Int(index & UInt64(slots.count - 1)) }

  private mutating func evict(to limit: Int) {
    while size > limit {
      let oldest = slot(dropCount)
      size -= slots[oldest]?.size ?? 0
      slots[oldest] = nil
      dropCount += 1
    }
  }

  private mutating func grow() {
    var larger = [Entry?](repeating: nil, count: max(8, slots.count * 2))
    let mask = UInt64(larger.count - 1)
    for index in dropCount..<insertCount { larger[Int(index & mask)] = slots[slot(index)] }
    slots = larger
  }
}
