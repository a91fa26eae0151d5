/// The streams with something to send, in the order in which packets are given to them (RFC 9218 §10).
///
/// The most urgent go first. Within one urgency, those that are not incremental go one after the other, in the order of
/// their IDs; incremental ones take turns; and where there are both, each kind has every other packet. So that an
/// endless stream starves no other, the less urgent have one packet in sixteen among them.
///
/// Streams are linked through themselves: nothing is allocated, and each packet costs the same however many wait.
struct ReadyStreams {
  /// By urgency, streams that are not incremental before those that are.
  private var queues = InlineArray<16, StreamQueue>(repeating: StreamQueue(.ready))
  /// One bit for each queue that is not empty.
  private var occupied: UInt16 = 0
  /// One bit for each urgency at which it is the incremental streams' turn.
  private var incrementalTurns: UInt8 = 0
  /// Packets given to the most urgent while others waited, since the last that was given to those.
  private var packets: UInt8 = 0
  /// The urgency that had the last packet of the less urgent.
  private var lastShared: UInt8 = 0

  /// One packet in this many is for the less urgent.
  private static let share: UInt8 = 16

  var isEmpty: Bool { occupied == 0 }

  private static func index(_ priority: StreamPriority) -> Int {
    Int(priority.urgency) * 2 + (priority.isIncremental ? 1 : 0)
  }

  func contains(_ stream: StreamPointer) -> Bool { stream.pointee.dataLink.queue == .ready }

  /// Does nothing when the stream is already here or waits for credit.
  mutating func append(_ stream: StreamPointer) {
    guard stream.pointee.dataLink.queue == nil else { return }
    let index = Self.index(stream.pointee.priority)
    if stream.pointee.priority.isIncremental {
      queues[index].append(stream)
    } else {
      queues[index].insertByID(stream)
    }
    occupied |= 1 << UInt16(index)
  }

  mutating func remove(_ stream: StreamPointer) {
    guard contains(stream) else { return }
    let index = Self.index(stream.pointee.priority)
    queues[index].remove(stream)
    if queues[index].isEmpty { occupied &= ~(1 << UInt16(index)) }
  }

  /// The stream whose turn it is.
  var first: StreamPointer? { current.flatMap { queues[$0].first } }

  private var mostUrgent: UInt8 { UInt8(occupied.trailingZeroBitCount / 2) }

  /// Bits of the queues that are less urgent than `urgency`.
  private func waiting(below urgency: UInt8) -> UInt16 {
    urgency >= StreamPriority.leastUrgent ? 0 : occupied & (UInt16.max << (UInt16(urgency) * 2 + 2))
  }

  private var current: Int? {
    guard occupied != 0 else { return nil }
    var urgency = mostUrgent
    if packets >= Self.share - 1, let shared = nextShared { urgency = shared }
    let pair = occupied >> (UInt16(urgency) * 2) & 0b11
    let isIncremental = pair == 0b11 ? incrementalTurns >> urgency & 1 == 1 : pair == 0b10
    return Int(urgency) * 2 + (isIncremental ? 1 : 0)
  }

  /// The less urgent take their packets in turn.
  private var nextShared: UInt8? {
    let others = waiting(below: mostUrgent)
    guard others != 0 else { return nil }
    let next = waiting(below: max(lastShared, mostUrgent))
    return UInt8((next != 0 ? next : others).trailingZeroBitCount / 2)
  }

  /// A packet is full. `rotates` when the first stream had a part of it and goes on: the others get their turn.
  mutating func endTurn(rotates: Bool) {
    guard let index = current else { return }
    let urgency = UInt8(index / 2)
    if rotates, index & 1 == 1 { queues[index].rotate() }
    incrementalTurns ^= 1 << urgency
    if urgency != mostUrgent {
      lastShared = urgency
      packets = 0
    } else {
      packets = waiting(below: urgency) == 0 ? 0 : packets + 1
    }
  }
}
