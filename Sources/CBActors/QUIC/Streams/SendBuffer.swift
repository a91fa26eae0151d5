/// What an application has written to a stream, kept until the peer has acknowledged it.
///
/// Each byte is unsent, in flight, lost (to be sent again) or acknowledged. Chunks are freed as
/// soon as everything in them, and before them, is acknowledged.
struct SendBuffer: ~Copyable {
  private let pool: ChunkPool
  private var chunks = ChunkRing()
  /// The stream offset of the first chunk's first byte.
  private var chunkBase: UInt64 = 0
  /// Everything below is acknowledged.
  private(set) var acknowledgedEnd: UInt64 = 0
  /// Everything below has been sent at least once.
  private(set) var sentEnd: UInt64 = 0
  /// Everything below has been written.
  private(set) var writtenEnd: UInt64 = 0
  /// Acknowledged beyond a gap.
  private var acknowledged = ByteRanges()
  private var lost = ByteRanges()

  init(pool: ChunkPool) { self.pool = pool }

  deinit {
    var index = 0
    while index < chunks.count {
      if let chunk = chunks[index] { pool.giveFromSending(chunk) }
      index += 1
    }
  }

  /// Bytes held: written and not acknowledged.
  var count: Int { Int(writtenEnd - acknowledgedEnd) }
  var isEmpty: Bool { writtenEnd == acknowledgedEnd }
  var hasLost: Bool { !lost.isEmpty }
  var hasUnsent: Bool { sentEnd < writtenEnd }

  /// Copies bytes in at the end.
  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    var source = bytes
    while !source.isEmpty {
      if chunks.count == 0 { chunkBase = writtenEnd }
      let position = Int(writtenEnd - chunkBase)
      let index = position / ChunkPool.chunkSize
      if index == chunks.count { chunks.append(pool.takeForSending()) }
      let within = position % ChunkPool.chunkSize
      let size = min(source.count, ChunkPool.chunkSize - within)
      (chunks[index]! + within).copyMemory(from: source.baseAddress!, byteCount: size)
      writtenEnd += UInt64(size)
      source = UnsafeRawBufferPointer(rebasing: source[size...])
    }
  }

  /// The next bytes worth sending: what was lost first, then what was never sent and lies below
  /// `limit`. Empty when there is nothing.
  func nextRange(limit: UInt64) -> Range<UInt64> {
    if let range = lost.first { return range }
    return sentEnd..<max(sentEnd, min(writtenEnd, limit))
  }

  /// Copies out bytes that are still held.
  func copy(_ range: Range<UInt64>, to target: UnsafeMutableRawPointer) {
    precondition(range.lowerBound >= chunkBase && range.upperBound <= writtenEnd, "bytes that are no longer held")
    var position = Int(range.lowerBound - chunkBase)
    var left = range.count
    var target = target
    while left > 0 {
      let within = position % ChunkPool.chunkSize
      let size = min(left, ChunkPool.chunkSize - within)
      target.copyMemory(from: chunks[position / ChunkPool.chunkSize]! + within, byteCount: size)
      position += size
      target += size
      left -= size
    }
  }

  mutating func sent(_ range: Range<UInt64>) {
    if range.lowerBound < sentEnd { lost.subtract(range) }
    sentEnd = max(sentEnd, range.upperBound)
  }

  mutating func acknowledge(_ range: Range<UInt64>) {
    let range = range.clamped(to: acknowledgedEnd..<max(acknowledgedEnd, sentEnd))
    guard !range.isEmpty else { return }
    if !lost.isEmpty { lost.subtract(range) }
    guard range.lowerBound == acknowledgedEnd else {
      acknowledged.insert(range)
      return
    }
    acknowledgedEnd = range.upperBound
    while let next = acknowledged.first, next.lowerBound <= acknowledgedEnd {
      acknowledgedEnd = max(acknowledgedEnd, next.upperBound)
      acknowledged.removeFirst()
    }
    releaseChunks()
  }

  mutating func lose(_ range: Range<UInt64>) {
    let range = range.clamped(to: acknowledgedEnd..<max(acknowledgedEnd, sentEnd))
    guard !range.isEmpty else { return }
    lost.insert(range)
    lost.subtract(acknowledged)
  }

  /// Everything in flight counts as lost: a Retry came, or 0-RTT was refused.
  mutating func loseEverything() { lose(acknowledgedEnd..<sentEnd) }

  /// Forgets what is held: the stream was reset. Nothing can be written or sent after this.
  mutating func discard() {
    acknowledgedEnd = writtenEnd
    sentEnd = writtenEnd
    acknowledged.removeAll()
    lost.removeAll()
    releaseChunks()
    chunks = ChunkRing()
  }

  private mutating func releaseChunks() {
    while chunks.count > 0 {
      guard isEmpty || chunkBase + UInt64(ChunkPool.chunkSize) <= acknowledgedEnd else { return }
      if let chunk = chunks.removeFirst() { pool.giveFromSending(chunk) }
      chunkBase += UInt64(ChunkPool.chunkSize)
    }
  }
}
