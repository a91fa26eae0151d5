/// Fixed-size pieces of memory for stream data, shared by all streams of one connection.
///
/// A bounded number of free chunks is kept while others are in use; a connection that holds no data holds no chunk.
final class ChunkPool {
  /// Bytes in a chunk.
  static let chunkSize = 16_384
  private let retained: Int
  private var free: [UnsafeMutableRawPointer] = []
  private var inUse = 0
  /// Chunks in use that hold what we send.
  private(set) var sending = 0

  /// Keeps at most `retained` chunks for reuse.
  init(retained: Int = 32) { self.retained = retained }

  deinit { for chunk in free { chunk.deallocate() } }

  func take() -> UnsafeMutableRawPointer {
    inUse += 1
    return free.popLast() ?? .allocate(byteCount: Self.chunkSize, alignment: 64)
  }

  func takeForSending() -> UnsafeMutableRawPointer {
    sending += 1
    return take()
  }

  func giveFromSending(_ chunk: UnsafeMutableRawPointer) {
    sending -= 1
    give(chunk)
  }

  func give(_ chunk: UnsafeMutableRawPointer) {
    inUse -= 1
    if inUse > 0, free.count < retained {
      free.append(chunk)
      return
    }
    chunk.deallocate()
    // Of ten thousand connections nearly all are idle.
    guard inUse == 0, !free.isEmpty else { return }
    for idle in free { idle.deallocate() }
    free = []
  }
}

/// A queue of chunks, some of which may be absent, that hold consecutive stretches of one stream.
struct ChunkRing {
  private var slots: [UnsafeMutableRawPointer?] = []
  private var head = 0
  private(set) var count = 0

  subscript(index: Int) -> UnsafeMutableRawPointer? {
    get { slots[(head + index) & (slots.count - 1)] }
    set { slots[(head + index) & (slots.count - 1)] = newValue }
  }

  mutating func append(_ chunk: UnsafeMutableRawPointer?) {
    if count == slots.count { grow() }
    count += 1
    self[count - 1] = chunk
  }

  mutating func removeFirst() -> UnsafeMutableRawPointer? {
    let chunk = self[0]
    self[0] = nil
    head = (head + 1) & (slots.count - 1)
    count -= 1
    return chunk
  }

  private mutating func grow() {
    var larger = [UnsafeMutableRawPointer?](repeating: nil, count: max(4, slots.count * 2))
    for index in 0..<count { larger[index] = self[index] }
    slots = larger
    head = 0
  }
}
