import Wire

/// The 1-RTT packets declared lost in the newest recovery period, until each has been acknowledged after all: then the
/// whole period was spurious (draft-ietf-ccwg-bbr, "Spurious Loss Recovery Steps"). Packet numbers are never used twice,
/// so an acknowledgment of one that was declared lost says that the original arrived.
struct LossEpisode: Sendable {
  /// An episode of more ranges is taken for what it looks like.
  static let capacity = 32

  /// Rising and disjoint; nothing once the matter is settled.
  private var lost: [ClosedRange<UInt64>] = []
  private var began: Instant?

  var isOpen: Bool { !lost.isEmpty }
  /// The smallest number that an acknowledgment could still surprise with.
  var lowest: UInt64? { lost.first?.lowerBound }

  /// A packet was declared lost: of this period, or, if it was sent after that began, the first of another.
  /// - Parameter isOneRTT: others are never found spurious; they are few, and their spaces soon discarded.
  mutating func onLost(_ number: UInt64, isOneRTT: Bool, sent: Instant, now: Instant) {
    if began.map({ sent > $0 }) ?? true {
      began = now
      lost.removeAll(keepingCapacity: true)
      if isOneRTT { lost.append(number...number) }
      return
    }
    guard let last = lost.last else { return }
    guard isOneRTT, number > last.upperBound else { return lost.removeAll(keepingCapacity: true) }
    if number == last.upperBound + 1 {
      lost[lost.count - 1] = last.lowerBound...number
    } else if lost.count < Self.capacity {
      lost.append(number...number)
    } else {
      lost.removeAll(keepingCapacity: true)
    }
  }

  /// True when this settles the last doubt: every packet of the episode has arrived.
  mutating func onAcknowledged(_ range: ClosedRange<UInt64>) -> Bool {
    guard let first = lost.first, let last = lost.last,
      range.upperBound >= first.lowerBound, range.lowerBound <= last.upperBound
    else { return false }
    var index = lost.count - 1
    while index >= 0, lost[index].upperBound >= range.lowerBound {
      let packets = lost[index]
      if packets.lowerBound <= range.upperBound {
        let keepsBelow = packets.lowerBound < range.lowerBound
        let keepsAbove = packets.upperBound > range.upperBound
        switch (keepsBelow, keepsAbove) {
        case (false, false): lost.remove(at: index)
        case (true, false): lost[index] = packets.lowerBound...range.lowerBound - 1
        case (false, true): lost[index] = range.upperBound + 1...packets.upperBound
        case (true, true):
          lost[index] = range.upperBound + 1...packets.upperBound
          lost.insert(packets.lowerBound...range.lowerBound - 1, at: index)
        }
      }
      index -= 1
    }
    guard lost.isEmpty else { return false }
    began = nil
    return true
  }
}
