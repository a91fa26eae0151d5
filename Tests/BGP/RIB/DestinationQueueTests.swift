import Testing
import Wire

@testable import BGP

@Suite("The queue of destinations that have changed")
struct DestinationQueueTests {
  /// Against a list and a set, past the lengths at which what was taken is dropped.
  @Test(arguments: 1...3) func agreesWithAList(seed: UInt64) {
    let entropy = SeededEntropy(seed: seed)
    var queue = DestinationQueue()
    var list: [Int] = []
    var taken = 0
    var members: Set<Int> = []
    for step in 0..<600_000 {
      // It grows, goes on at one length, and empties.
      let inserted = step < 200_000 ? 75 : step < 400_000 ? 50 : 20
      if Int(entropy.nextUInt64() % 100) < inserted {
        let number = Int(entropy.nextUInt64() % 300_000)
        let isNew = members.insert(number).inserted
        if isNew { list.append(number) }
        #expect(queue.insert(number) == isNew)
      } else {
        let expected = taken < list.count ? list[taken] : nil
        if let expected {
          members.remove(expected)
          taken += 1
        }
        #expect(queue.next() == expected)
      }
      if step % 50_000 == 0 { #expect(queue.waiting.map { Int($0) } == Array(list[taken...])) }
    }
    #expect(queue.isEmpty == (taken == list.count) && taken > 200_000)
  }
}
