import Testing
import Wire

@testable import QUIC

private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

@Suite struct PacketNumberRangesTests {
  @Test func joinsNeighbours() {
    var ranges = PacketNumberRanges()
    for number: UInt64 in [0, 1, 2, 5, 4, 8, 3] { #expect(whole { ranges.insert(number) }) }
    #expect(Array(ranges.descending) == [8...8, 0...5])
    #expect(!whole { ranges.insert(4) })
    #expect(ranges.contains(5))
    #expect(!ranges.contains(6))
    ranges.remove(through: 3)
    #expect(Array(ranges.descending) == [8...8, 4...5])
    ranges.remove(through: 100)
    #expect(ranges.isEmpty)
  }

  @Test func dropsTheOldestWhenFull() {
    var ranges = PacketNumberRanges()
    for index in 0..<200 { ranges.insert(UInt64(index) * 2) }
    #expect(ranges.count == PacketNumberRanges.capacity)
    #expect(ranges.largest == 398)
    #expect(!whole { ranges.insert(1) }, "below everything kept, in a full set")
    #expect(whole { ranges.insert(305) }, "fills a gap without a new range")
  }

  @Test(arguments: 0..<20 as Range<UInt64>) func agreesWithASet(seed: UInt64) {
    let entropy = SeededEntropy(seed: seed)
    var ranges = PacketNumberRanges()
    var model = Set<UInt64>()
    for _ in 0..<2000 {
      let number = entropy.nextUInt64() % 60
      if entropy.nextUInt64() % 20 == 0 {
        ranges.remove(through: number)
        model = model.filter { $0 > number }
      } else {
        #expect(whole { ranges.insert(number) } == whole { model.insert(number).inserted })
      }
      #expect(Set(ranges.descending.flatMap { Array($0) }) == model)
      let list = Array(ranges.descending)
      for (higher, lower) in zip(list, list.dropFirst()) { #expect(higher.lowerBound > lower.upperBound + 1) }
    }
  }
}

@Suite struct DuplicateWindowTests {
  @Test(arguments: 0..<20 as Range<UInt64>) func neverAcceptsANumberTwice(seed: UInt64) {
    let entropy = SeededEntropy(seed: seed)
    var window = DuplicateWindow()
    var model = Set<UInt64>()
    var largest: UInt64 = 0
    for _ in 0..<4000 {
      var number = largest &+ entropy.nextUInt64() % 40 &- 20
      if entropy.nextUInt64() % 100 == 0 { number = largest + entropy.nextUInt64() % 5000 }
      if entropy.nextUInt64() % 50 == 0 { number = largest &- entropy.nextUInt64() % 4000 }
      if number >= 1 << 62 { continue }
      let isNew = window.insert(number)
      if isNew { #expect(whole { model.insert(number).inserted }) }
      // What is refused was seen, or is old.
      if !isNew { #expect(model.contains(number) || largest - number >= DuplicateWindow.span - 64 - 1) }
      largest = max(largest, number)
    }
  }

  @Test func refusesNumbersThatCannotBe() {
    var window = DuplicateWindow()
    #expect(!whole { window.insert(.max) })
    #expect(!whole { window.insert(1 << 62) })
    let last = UInt64(1) << 62 - 1
    #expect(whole { window.insert(last) })
    #expect(!whole { window.insert(last) })
    #expect(!whole { window.insert(0) })
  }
}

@Suite struct ReceivedPacketsTests {
  @Test(arguments: [PacketNumberSpace.initial, .handshake]) func handshakePacketsAreAcknowledgedAtOnce(
    space: PacketNumberSpace
  ) {
    var received = ReceivedPackets(space)
    received.received(0, ackEliciting: true, ecn: .notECT, now: at(1))
    #expect(received.isAckDue(at(1)))
  }

  @Test func delaysUntilTheSecondPacketOrTheTimer() {
    var received = ReceivedPackets(.applicationData)
    received.received(0, ackEliciting: true, ecn: .notECT, now: at(10))
    #expect(!received.isAckDue(at(10)))
    #expect(received.ackDeadline == at(35))
    #expect(received.isAckDue(at(35)))
    received.received(1, ackEliciting: true, ecn: .notECT, now: at(12))
    #expect(received.isAckDue(at(12)))
    #expect(received.ackDelay(at(15)) == .milliseconds(3))
    received.ackSent()
    #expect(received.ackDeadline == nil)
    #expect(!received.hasUnacknowledged)
  }

  @Test func thresholdIsConfigurable() {
    var received = ReceivedPackets(.applicationData, ackElicitingThreshold: 10)
    for number: UInt64 in 0..<9 { received.received(number, ackEliciting: true, ecn: .notECT, now: at(0)) }
    #expect(!received.isAckDue(at(0)))
    received.received(9, ackEliciting: true, ecn: .notECT, now: at(0))
    #expect(received.isAckDue(at(0)))
  }

  @Test func bareAcksAreNeverAnsweredEvenWithGaps() {
    var received = ReceivedPackets(.applicationData)
    for number: UInt64 in [0, 5, 3, 9] { received.received(number, ackEliciting: false, ecn: .ce, now: at(0)) }
    #expect(received.ackDeadline == nil)
    #expect(!received.isAckDue(at(1000)))
    #expect(received.ecnCounts == ECNCounts(ce: 4))
  }

  @Test func answersReorderingGapsAndMarksAtOnce() {
    var received = ReceivedPackets(.applicationData, ackElicitingThreshold: 100)
    received.received(0, ackEliciting: true, ecn: .ect0, now: at(0))
    #expect(!received.isAckDue(at(0)))
    received.received(2, ackEliciting: true, ecn: .ect0, now: at(0))
    #expect(received.isAckDue(at(0)), "a gap")
    received.ackSent()
    received.received(3, ackEliciting: true, ecn: .ect0, now: at(0))
    #expect(!received.isAckDue(at(0)), "no new gap")
    received.received(1, ackEliciting: true, ecn: .ect0, now: at(0))
    #expect(received.isAckDue(at(0)), "reordered")
    received.ackSent()
    received.received(4, ackEliciting: true, ecn: .ce, now: at(0))
    #expect(received.isAckDue(at(0)), "marked")
    #expect(received.ecnCounts == ECNCounts(ect0: 4, ce: 1))
  }

  @Test func duplicatesChangeNothing() {
    var received = ReceivedPackets(.applicationData)
    received.received(7, ackEliciting: true, ecn: .ect0, now: at(0))
    #expect(received.isDuplicate(7))
    received.received(7, ackEliciting: true, ecn: .ect0, now: at(0))
    #expect(received.ecnCounts.ect0 == 1)
    #expect(!received.isAckDue(at(0)))
  }

  @Test func acknowledgedAcksPruneButKeepTheLargest() {
    var received = ReceivedPackets(.applicationData)
    for number: UInt64 in [0, 1, 2, 4, 5, 9] { received.received(number, ackEliciting: true, ecn: .notECT, now: at(0)) }
    received.ackAcknowledged(largest: 4)
    #expect(Array(received.ranges.descending) == [9...9, 5...5])
    received.ackAcknowledged(largest: 50)
    #expect(Array(received.ranges.descending) == [9...9])
    #expect(received.largest == 9)
    // A packet below what was pruned is still new, and acknowledged.
    #expect(!received.isDuplicate(3))
    received.received(3, ackEliciting: true, ecn: .notECT, now: at(0))
    #expect(Array(received.ranges.descending) == [9...9, 3...3])
    #expect(received.isDuplicate(2))
  }
}
