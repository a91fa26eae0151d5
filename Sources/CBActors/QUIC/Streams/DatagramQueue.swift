/// Datagrams that wait to be sent or read (RFC 9221), oldest first, within a bound in bytes.
///
/// Payloads lie in one block of memory used as a ring, each in one piece. When a new one does not
/// fit, the oldest go: late datagrams are worth less than fresh ones.
struct DatagramQueue: ~Copyable {
  private struct Entry {
    var offset: Int
    var count: Int
  }

  /// Bytes of payload held at most.
  let limit: Int
  /// How many were dropped to make room.
  private(set) var dropped: UInt64 = 0
  private var memory: UnsafeMutableRawBufferPointer?
  private var entries: [Entry] = []
  private var head = 0
  /// Where the next payload goes, if there is room behind it.
  private var tail = 0

  init(limit: Int) { self.limit = limit }

  deinit { memory?.deallocate() }

  var isEmpty: Bool { head == entries.count }
  var count: Int { entries.count - head }
  /// Bytes of the oldest payload.
  var firstCount: Int? { isEmpty ? nil : entries[head].count }

  /// Appends a payload made of two parts. False when it is larger than the whole queue.
  mutating func append(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> Bool {
    let size = first.count + second.count
    guard size <= limit, limit >= Self.smallestSlot else { return false }
    if memory == nil { memory = .allocate(byteCount: limit, alignment: 16) }
    let memory = memory!
    var offset = place(size)
    while offset == nil {
      removeFirst()
      dropped += 1
      offset = place(size)
    }
    let base = memory.baseAddress! + offset!
    if let source = first.baseAddress { base.copyMemory(from: source, byteCount: first.count) }
    if let source = second.baseAddress { (base + first.count).copyMemory(from: source, byteCount: second.count) }
    entries.append(Entry(offset: offset!, count: size))
    tail = offset! + max(size, Self.smallestSlot)
    return true
  }

  /// Even an empty payload takes this much of the ring, so that entries are bounded too and a full
  /// ring differs from an empty one.
  private static let smallestSlot = 64

  /// Where `size` bytes in one piece are free.
  private func place(_ size: Int) -> Int? {
    guard !isEmpty else { return 0 }
    let slot = max(size, Self.smallestSlot)
    let start = entries[head].offset
    if tail > start {
      if limit - tail >= slot { return tail }
      return slot <= start ? 0 : nil
    }
    return start - tail >= slot ? tail : nil
  }

  /// Room for another of `size` bytes without dropping any.
  func hasRoom(for size: Int) -> Bool { place(size) != nil }

  func withFirst<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
    guard !isEmpty, let memory else { return nil }
    let entry = entries[head]
    return body(UnsafeRawBufferPointer(rebasing: memory[entry.offset..<entry.offset + entry.count]))
  }

  mutating func removeFirst() {
    head += 1
    if isEmpty {
      entries.removeAll(keepingCapacity: true)
      head = 0
      tail = 0
    } else if head >= 256, head * 2 >= entries.count {
      entries.removeFirst(head)
      head = 0
    }
  }

  mutating func removeAll() {
    while !isEmpty { removeFirst() }
  }
}
