import Testing
import Wire

@testable import QUIC

@Suite struct StreamsBufferTests {
  @Test(arguments: 0..<20) func byteRangesAgreeWithASet(seed: Int) {
    let dice = SeededEntropy(seed: UInt64(seed))
    var ranges = ByteRanges()
    var model: Set<UInt64> = []
    for _ in 0..<400 {
      let start = dice.nextUInt64() % 200
      let range = start..<start + dice.nextUInt64() % 12
      if dice.nextUInt64() % 3 == 0 {
        ranges.subtract(range)
        model.subtract(range)
      } else {
        ranges.insert(range)
        model.formUnion(range)
      }
      #expect(ranges.ranges.flatMap { Array($0) } == model.sorted())
      for (one, next) in zip(ranges.ranges, ranges.ranges.dropFirst()) { #expect(one.upperBound < next.lowerBound) }
      #expect(ranges.ranges.allSatisfy { !$0.isEmpty })
    }
  }

  @Test(arguments: 0..<10) func receiveBufferPutsPiecesInOrder(seed: Int) {
    let dice = SeededEntropy(seed: UInt64(seed))
    let pool = ChunkPool()
    var buffer = ReceiveBuffer(pool: pool)
    let total = 200_000
    let source = dice.bytes(total)
    var pieces: [Range<Int>] = []
    var start = 0
    while start < total {
      let end = min(total, start + 1 + Int(dice.nextUInt64() % 3_000))
      // Pieces overlap, and some come twice.
      pieces.append(max(0, start - Int(dice.nextUInt64() % 50))..<end)
      if dice.nextUInt64() % 5 == 0 { pieces.append(start..<end) }
      start = end
    }
    // Shuffled within a window, as a network does.
    for index in pieces.indices.dropLast(8) where dice.nextUInt64() % 2 == 0 {
      pieces.swapAt(index, index + Int(dice.nextUInt64() % 8))
    }
    var read: [UInt8] = []
    for piece in pieces {
      let kept = source[piece].withUnsafeBytes { buffer.insert($0, at: UInt64(piece.lowerBound)) }
      #expect(kept)
      while buffer.isReadable {
        let bytes = buffer.readable
        let take = Int(dice.nextUInt64() % UInt64(bytes.count)) + 1
        read.append(contentsOf: bytes.prefix(take))
        buffer.consume(take)
        if dice.nextUInt64() % 4 == 0 { break }
      }
    }
    while buffer.isReadable {
      let bytes = buffer.readable
      read.append(contentsOf: bytes)
      buffer.consume(bytes.count)
    }
    #expect(read == source)
  }

  @Test(arguments: 0..<10) func sendBufferKeepsWhatIsNotAcknowledged(seed: Int) {
    let dice = SeededEntropy(seed: UInt64(seed) &+ 50)
    let pool = ChunkPool()
    var buffer = SendBuffer(pool: pool)
    let total = 150_000
    let source = dice.bytes(total)
    var arrived = [UInt8](repeating: 0, count: total)
    var written = 0
    var outstanding: [Range<UInt64>] = []
    var steps = 0
    while buffer.acknowledgedEnd < UInt64(total) {
      steps += 1
      if steps > 100_000 { break }
      switch dice.nextUInt64() % 4 {
      case 0 where written < total:
        let size = min(total - written, Int(dice.nextUInt64() % 9_000))
        source[written..<written + size].withUnsafeBytes { buffer.append($0) }
        written += size
      case 1, 2:
        let range = buffer.nextRange(limit: .max)
        guard !range.isEmpty else { continue }
        let part = range.lowerBound..<min(range.upperBound, range.lowerBound + 1 + dice.nextUInt64() % 1_400)
        arrived.withUnsafeMutableBytes { buffer.copy(part, to: $0.baseAddress! + Int(part.lowerBound)) }
        buffer.sent(part)
        outstanding.append(part)
      default:
        guard !outstanding.isEmpty else { continue }
        let range = outstanding.remove(at: Int(dice.nextUInt64() % UInt64(outstanding.count)))
        if dice.nextUInt64() % 5 == 0 { buffer.lose(range) } else { buffer.acknowledge(range) }
      }
    }
    let acknowledged = buffer.acknowledgedEnd
    #expect(acknowledged == UInt64(total))
    #expect(arrived == source)
    let isEmpty = buffer.isEmpty
    #expect(isEmpty)
  }

  @Test(arguments: 0..<10) func datagramQueueDropsOnlyTheOldest(seed: Int) {
    let dice = SeededEntropy(seed: UInt64(seed) &+ 90)
    var queue = DatagramQueue(limit: 4_096)
    var model: [[UInt8]] = []
    var appended: UInt64 = 0
    var taken: UInt64 = 0
    for _ in 0..<5_000 {
      if dice.nextUInt64() % 5 < 3 {
        let payload = dice.bytes(Int(dice.nextUInt64() % 700))
        let cut = payload.count / 3
        let kept = payload.withUnsafeBytes {
          queue.append(
            UnsafeRawBufferPointer(rebasing: $0[..<cut]), UnsafeRawBufferPointer(rebasing: $0[cut...]))
        }
        #expect(kept)
        appended += 1
        model.append(payload)
        while model.count > queue.count { model.removeFirst() }
      } else if queue.withFirst({ [UInt8]($0) }) == model.first, !model.isEmpty {
        queue.removeFirst()
        model.removeFirst()
        taken += 1
      }
      #expect(queue.withFirst { [UInt8]($0) } == model.first)
      #expect(queue.count == model.count)
    }
    #expect(appended == taken + queue.dropped + UInt64(queue.count))
    let tooLarge = [UInt8](repeating: 0, count: 4_097).withUnsafeBytes {
      queue.append($0, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    #expect(!tooLarge)
  }

  @Test func windowsDoubleOnlyForAReaderThatKeepsUp() {
    var window = ReceiveWindow(initial: 1_000, maximum: 3_000)
    var now = Instant(nanoseconds: 0)
    let accepted = window.receive(1_000)
    #expect(accepted)
    let beyond = window.receive(1)
    #expect(!beyond)
    window.consume(600)
    #expect(window.isUpdateDue)
    #expect(window.update(now: now, roundTrip: .milliseconds(10)) == 1_600)
    now += .milliseconds(5)
    window.consume(400)
    #expect(window.update(now: now, roundTrip: .milliseconds(10)) == 3_000)
    _ = window.receive(2_000)
    window.consume(2_000)
    now += .milliseconds(5)
    #expect(window.update(now: now, roundTrip: .milliseconds(10)) == 6_000)
    now += .seconds(1)
    #expect(window.update(now: now, roundTrip: .milliseconds(10)) == 6_000)
  }

  @Test func mtuSearchFindsWhatPasses() {
    for limit in stride(from: 1_200, through: 9_000, by: 137) {
      var search = MTUDiscovery(initial: 1_200, maximum: 9_000)
      search.start()
      var probes = 0
      while let size = search.probeSize {
        probes += 1
        search.probeSent()
        if size <= limit { _ = search.probeAcknowledged(size) } else { search.probeLost(size) }
        if probes > 100 { break }
      }
      #expect(probes < 60)
      #expect(search.current <= limit)
      #expect(limit - search.current < 32, "limit \(limit), found \(search.current)")
    }
  }
}
