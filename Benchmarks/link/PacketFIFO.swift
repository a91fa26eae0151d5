import Wire

/// Packets in the order of their departure, in one block of memory: no allocation for each.
struct PacketFIFO: ~Copyable {
  /// Before each packet: its departure in nanoseconds and its size. A negative size says that the rest of the block is
  /// unused, and the next packet stands at its beginning.
  private static let headerSize = 16

  private let block: UnsafeMutableRawBufferPointer
  private var head = 0
  private var tail = 0
  /// The first packet that has not left the bottleneck; behind it all wait.
  private var waiting = 0
  private var count = 0
  private var waitingCount = 0

  init(capacity: Int) {
    block = .allocate(byteCount: max(capacity, 1 << 17) & ~15, alignment: 16)
  }

  deinit { block.deallocate() }

  /// False when there is no room.
  mutating func append(_ packet: UnsafeRawBufferPointer, departure: Instant) -> Bool {
    let needed = Self.headerSize + (packet.count + 15) & ~15
    // One header's room stays free, so that a full block differs from an empty one.
    if count > 0, tail < head {
      guard tail + needed < head else { return false }
    } else if tail + needed + Self.headerSize > block.count {
      guard count == 0 || needed < head else { return false }
      block.storeBytes(of: -1, toByteOffset: tail + 8, as: Int.self)
      tail = 0
    }
    block.storeBytes(of: departure.nanoseconds, toByteOffset: tail, as: Int64.self)
    block.storeBytes(of: packet.count, toByteOffset: tail + 8, as: Int.self)
    UnsafeMutableRawBufferPointer(rebasing: block[(tail + Self.headerSize)...]).copyMemory(from: packet)
    if count == 0 { head = tail }
    if waitingCount == 0 { waiting = tail }
    tail += needed
    count += 1
    waitingCount += 1
    return true
  }

  private func size(at offset: Int) -> Int { block.load(fromByteOffset: offset + 8, as: Int.self) }

  private func departure(at offset: Int) -> Instant {
    Instant(nanoseconds: block.load(fromByteOffset: offset, as: Int64.self))
  }

  private func next(after offset: Int) -> Int {
    let next = offset + Self.headerSize + (size(at: offset) + 15) & ~15
    return next != tail && size(at: next) < 0 ? 0 : next
  }

  /// The departure of the first packet.
  var first: Instant? { count > 0 ? departure(at: head) : nil }

  /// The departure of the first packet that waits still.
  var nextDeparture: Instant? { waitingCount > 0 ? departure(at: waiting) : nil }

  /// The first packet that waits has left; returns its bytes.
  mutating func markDeparted() -> Int {
    let bytes = size(at: waiting)
    waitingCount -= 1
    if waitingCount > 0 { waiting = next(after: waiting) }
    return bytes
  }

  mutating func removeFirst(_ body: (UnsafeRawBufferPointer) -> Void) {
    let start = head + Self.headerSize
    body(UnsafeRawBufferPointer(rebasing: block[start..<start + size(at: head)]))
    count -= 1
    if count > 0 { head = next(after: head) }
  }
}
