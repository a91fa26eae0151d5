import Wire

/// The packets of one space that are neither acknowledged nor lost: a ring indexed by packet number.
struct SentPackets: Sendable {
  /// ``LossRecovery`` never lets more be tracked.
  static let limit = 1 << 16

  private var storage: [SentPacket] = []
  private var mask = 0
  /// The oldest number that may be outstanding.
  private(set) var base: UInt64 = 0
  /// One above the largest number sent.
  private(set) var next: UInt64 = 0
  private(set) var frames = FrameLog()
  /// Where the frames of the packet being built begin.
  private var pendingFrames: UInt64 = 0

  var isEmpty: Bool { base == next }
  var count: Int { Int(next - base) }
  /// Slots allocated.
  var capacity: Int { storage.count }
  var isFull: Bool { count >= Self.limit }

  /// Only for numbers in `base..<next`.
  subscript(number: UInt64) -> SentPacket {
    get { storage[Int(truncatingIfNeeded: number) & mask] }
    set { storage[Int(truncatingIfNeeded: number) & mask] = newValue }
  }

  /// Notes a frame of the packet being built.
  mutating func record(_ frame: SentFrame) { frames.append(frame) }

  /// Forgets the frames noted since the last packet: it will not be sent.
  mutating func abandonRecorded() { frames.truncate(to: pendingFrames) }

  /// Adds a packet with the frames recorded since the one before. Numbers rise; those passed over
  /// are marked, unless nothing is outstanding that would have to be kept with them.
  mutating func append(_ number: UInt64, _ packet: SentPacket) {
    precondition(number >= next, "packet numbers rise within a space (RFC 9000 §12.3)")
    if isEmpty, number - next > 64 {
      base = number
      next = number
    }
    while next < number { push(.skipped) }
    var packet = packet
    packet.firstFrame = pendingFrames
    packet.frameCount = UInt16(clamping: frames.end - pendingFrames)
    pendingFrames = frames.end
    push(packet)
  }

  private mutating func push(_ packet: SentPacket) {
    if count == storage.count { grow() }
    storage[Int(truncatingIfNeeded: next) & mask] = packet
    next += 1
  }

  private mutating func grow() {
    let capacity = max(4, storage.count * 2)
    var larger = [SentPacket](repeating: .skipped, count: capacity)
    var number = base
    while number < next {
      larger[Int(truncatingIfNeeded: number) & (capacity - 1)] = self[number]
      number += 1
    }
    storage = larger
    mask = capacity - 1
  }

  /// Appends the frames that a packet carried to a buffer of the caller's.
  func copyFrames(of packet: SentPacket, to buffer: inout [SentFrame]) {
    var position = packet.firstFrame
    let end = position + UInt64(packet.frameCount)
    while position < end {
      buffer.append(frames[position])
      position += 1
    }
  }

  mutating func settle(_ number: UInt64) {
    storage[Int(truncatingIfNeeded: number) & mask].state = .settled
  }

  mutating func updateFlags(_ number: UInt64, _ change: (inout SentPacket.Flags) -> Void) {
    change(&storage[Int(truncatingIfNeeded: number) & mask].flags)
  }

  /// Frees the slots and frames before the oldest outstanding packet. Numbers passed over go with
  /// what follows them, so that an acknowledgment of one is still caught while its neighbours fly.
  mutating func releaseSettled() {
    var oldest = base
    while oldest < next, self[oldest].state != .outstanding { oldest += 1 }
    base = oldest
    // An idle connection does not keep what its busiest moment needed.
    if isEmpty, storage.count > 32 {
      storage = []
      mask = 0
    }
    frames.release(before: oldest < next ? self[oldest].firstFrame : pendingFrames)
  }
}
