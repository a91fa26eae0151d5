/// Bytes of a stream (or of CRYPTO frames) put into order (RFC 9000 §2.2).
///
/// Each byte is copied once, into the chunk where its offset belongs. How far ahead bytes may lie is
/// the caller's flow control; how many gaps there may be is bounded here.
struct ReceiveBuffer: ~Copyable {
  /// More separate stretches than any honest path makes; bounds the work of a hostile peer's one-byte frames.
  static let maximumGaps = 4_096

  private let pool: ChunkPool
  private var chunks = ChunkRing()
  /// The stream offset of the first chunk's first byte; a multiple of the chunk size.
  private var chunkBase: UInt64 = 0
  /// Everything below has been consumed.
  private(set) var readOffset: UInt64 = 0
  /// Everything from `readOffset` to here can be read.
  private(set) var contiguousEnd: UInt64 = 0
  /// What lies beyond a gap.
  private var ahead = ByteRanges()

  init(pool: ChunkPool) { self.pool = pool }

  deinit {
    var index = 0
    while index < chunks.count {
      if let chunk = chunks[index] { pool.give(chunk) }
      index += 1
    }
  }

  /// Copies in what is new of `bytes`. False when there are too many gaps to keep.
  mutating func insert(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) -> Bool {
    let end = offset + UInt64(bytes.count)
    // RFC 9000 §2.2: "The data at a given offset MUST NOT change if it is sent multiple times";
    // what came first is kept where it can already be read.
    guard end > contiguousEnd else { return true }
    let start = max(offset, contiguousEnd)
    copy(UnsafeRawBufferPointer(rebasing: bytes[Int(start - offset)...]), at: start)
    guard start == contiguousEnd else {
      ahead.insert(start..<end)
      return ahead.count <= Self.maximumGaps
    }
    contiguousEnd = end
    while let next = ahead.first, next.lowerBound <= contiguousEnd {
      contiguousEnd = max(contiguousEnd, next.upperBound)
      ahead.removeFirst()
    }
    return true
  }

  private mutating func copy(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    let size = UInt64(ChunkPool.chunkSize)
    if chunks.count == 0 { chunkBase = contiguousEnd / size * size }
    var source = bytes
    var position = Int(offset - chunkBase)
    while !source.isEmpty {
      let index = position / ChunkPool.chunkSize
      while chunks.count <= index { chunks.append(nil) }
      let chunk: UnsafeMutableRawPointer
      if let present = chunks[index] {
        chunk = present
      } else {
        chunk = pool.take()
        chunks[index] = chunk
      }
      let within = position % ChunkPool.chunkSize
      let count = min(source.count, ChunkPool.chunkSize - within)
      (chunk + within).copyMemory(from: source.baseAddress!, byteCount: count)
      position += count
      source = UnsafeRawBufferPointer(rebasing: source[count...])
    }
  }

  var isReadable: Bool { readOffset < contiguousEnd }
  /// Nothing waits to be read, not even beyond a gap.
  var isEmpty: Bool { !isReadable && ahead.isEmpty }

  /// The next bytes in order that lie in one piece; empty when there are none.
  var readable: UnsafeRawBufferPointer {
    guard isReadable, let chunk = chunks[0] else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let within = Int(readOffset - chunkBase)
    let count = min(Int(contiguousEnd - readOffset), ChunkPool.chunkSize - within)
    return UnsafeRawBufferPointer(start: chunk + within, count: count)
  }

  /// Frees the next `count` bytes, which have been read. At most ``readable``'s count.
  mutating func consume(_ count: Int) {
    readOffset += UInt64(count)
    if readOffset == contiguousEnd && ahead.isEmpty {
      releaseAll()
    } else if readOffset - chunkBase >= UInt64(ChunkPool.chunkSize) {
      if let chunk = chunks.removeFirst() { pool.give(chunk) }
      chunkBase += UInt64(ChunkPool.chunkSize)
    }
  }

  /// Forgets everything held.
  mutating func discard() {
    ahead.removeAll()
    readOffset = contiguousEnd
    releaseAll()
    chunks = ChunkRing()
  }

  private mutating func releaseAll() {
    while chunks.count > 0 {
      if let chunk = chunks.removeFirst() { pool.give(chunk) }
    }
  }
}
