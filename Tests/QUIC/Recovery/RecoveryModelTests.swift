import Testing
import Wire

@testable import QUIC

/// Random sends, ACKs, timeouts and discards against a plain dictionary of what is outstanding.
@Suite struct RecoveryModelTests {
  struct Outstanding {
    var size: UInt64
    var isEliciting: Bool
  }

  struct Model {
    var sender: Sender
    let entropy: SeededEntropy
    var now = Instant.zero
    var next: [UInt64] = [0, 0, 0]
    var skipped: [Set<UInt64>] = [[], [], []]
    var outstanding: [[UInt64: Outstanding]] = [[:], [:], [:]]
    var settledOnce = Set<UInt64>()
    var acked = 0
    var lost = 0

    init(seed: UInt64, algorithm: CongestionAlgorithm) {
      sender = Sender(seed % 2 == 0 ? .client : .server, algorithm, confirmed: seed % 3 == 0)
      entropy = SeededEntropy(seed: seed)
    }

    mutating func random(_ bound: UInt64) -> UInt64 { entropy.nextUInt64() % bound }

    /// The spaces share stream offsets here: the space stands in the upper bits.
    static func tag(_ space: Int, _ number: UInt64) -> UInt64 { UInt64(space) << 56 | number }

    mutating func send(_ space: Int) {
      if random(10) == 0 {
        skipped[space].insert(next[space])
        next[space] += 1
      }
      let number = next[space]
      next[space] += 1
      let isEliciting = random(4) != 0
      let size = 40 + random(1400)
      let spaceName = PacketNumberSpace.allCases[space]
      for _ in 0...random(3) {
        sender.recovery.record(
          .stream(StreamID(rawValue: 0), offset: Self.tag(space, number), length: 1, fin: false), in: spaceName)
      }
      sender.recovery.onPacketSent(
        spaceName, number: number, size: Int(size), isAckEliciting: isEliciting, isInFlight: isEliciting, now: now)
      outstanding[space][number] = Outstanding(size: size, isEliciting: isEliciting)
    }

    mutating func ack(_ space: Int) throws {
      guard next[space] > 0 else { return }
      var ranges: [ClosedRange<UInt64>] = []
      var upper = next[space] - 1 - random(min(next[space], 5))
      while ranges.count < 5 {
        // A range of numbers that were all sent.
        if skipped[space].contains(upper) {
          if upper == 0 { break }
          upper -= 1
          continue
        }
        var lower = upper
        let length = random(8)
        while upper - lower < length, lower > 0, !skipped[space].contains(lower - 1) { lower -= 1 }
        ranges.append(lower...upper)
        let gap = 2 + random(4)
        if lower < gap { break }
        upper = lower - gap
      }
      guard let largest = ranges.first?.upperBound else { return }
      let before = outstanding[space]
      _ = try sender.recovery.onAckReceived(
        PacketNumberSpace.allCases[space], largest: largest, delay: .milliseconds(Int64(random(30))),
        ranges: ranges, now: now)
      // Bare ACKs may have been forgotten quietly; all else that the ranges name comes back.
      var named = Set<UInt64>()
      for range in ranges { for number in range where before[number] != nil { named.insert(number) } }
      let eliciting = named.filter { before[$0]?.isEliciting == true }
      #expect(Set(sender.acked).isSuperset(of: eliciting.map { Self.tag(space, $0) }))
      #expect(Set(sender.acked).isSubset(of: named.map { Self.tag(space, $0) }))
      acked += settle(sender.acked)
      settleLosses()
    }

    /// Each packet is acknowledged or lost once at most.
    mutating func settle(_ tags: [UInt64]) -> Int {
      let packets = Set(tags)
      for tag in packets {
        let isFirst = settledOnce.insert(tag).inserted
        #expect(isFirst, "settled twice: \(tag)")
        outstanding[Int(tag >> 56)][tag & (1 << 56 - 1)] = nil
      }
      return packets.count
    }

    mutating func settleLosses() {
      let tags = sender.lost
      for tag in Set(tags) {
        #expect(outstanding[Int(tag >> 56)][tag & (1 << 56 - 1)]?.isEliciting == true)
      }
      lost += settle(tags)
    }

    mutating func step() throws {
      now += .microseconds(Int64(random(20_000)))
      let space = Int(random(3))
      switch random(100) {
      case 0..<50: for _ in 0...random(6) { send(space) }
      case 50..<85: try ack(space)
      case 85..<97:
        if let deadline = sender.recovery.deadline, deadline < now + .seconds(2) {
          now = max(now, deadline)
          _ = sender.recovery.onTimeout(now)
          settleLosses()
        }
      case 97:
        sender.recovery.collectProbeFrames(PacketNumberSpace.allCases[space], packets: 2)
        let probes = Set(sender.recovery.probeFrames.compactMap(Sender.offset))
        #expect(probes.count <= 2)
        #expect(probes.allSatisfy { outstanding[space][$0 & (1 << 56 - 1)]?.isEliciting == true })
      default: break
      }
      check()
    }

    func check() {
      var inFlight: UInt64 = 0
      for space in 0..<3 {
        let eliciting = outstanding[space].values.filter(\.isEliciting)
        inFlight += eliciting.reduce(0) { $0 + $1.size }
        #expect(sender.recovery.spaces[space].ackElicitingInFlight == eliciting.count)
      }
      #expect(sender.recovery.bytesInFlight == inFlight)
      #expect(sender.recovery.controller.congestionWindow >= 2400)
    }
  }

  @Test(arguments: 0..<60 as Range<UInt64>) func bytesInFlightAreWhatIsOutstanding(seed: UInt64) throws {
    var model = Model(seed: seed, algorithm: seed % 2 == 0 ? .cubic : .newReno)
    for _ in 0..<600 { try model.step() }
    #expect(model.acked > 0)
    #expect(model.lost > 0)
    model.sender.recovery.discard(.initial, now: model.now)
    model.sender.recovery.discard(.handshake, now: model.now)
    model.outstanding[0] = [:]
    model.outstanding[1] = [:]
    model.check()
    // Another path: nothing is in flight on it, and what is still out is settled without a trace.
    model.sender.recovery.onPathChanged(keepingState: false, now: model.now)
    #expect(model.sender.recovery.bytesInFlight == 0)
    #expect(!model.sender.recovery.rtt.hasSample)
    let rest = model.outstanding[2].filter(\.value.isEliciting).keys.sorted()
    if let last = rest.last {
      let ranges = rest.reversed().map { $0...$0 }
      _ = try model.sender.recovery.onAckReceived(
        .applicationData, largest: last, delay: .zero, ranges: ranges, now: model.now + .milliseconds(50))
      #expect(Set(model.sender.acked).count == rest.count)
    }
    #expect(model.sender.recovery.bytesInFlight == 0)
    #expect(!model.sender.recovery.rtt.hasSample)
  }

  @Test func theRingsReachASteadySize() throws {
    var sender = Sender()
    var number: UInt64 = 0
    for round: Int64 in 0..<2000 {
      let now = Instant.zero + .milliseconds(round * 10)
      sender.send(number...number + 9, at: now)
      try sender.ack(number...number + 9, at: now + .milliseconds(5))
      number += 10
    }
    #expect(sender.recovery.spaces[2].sent.isEmpty)
    #expect(sender.recovery.spaces[2].sent.frames.count == 0)
    #expect(sender.recovery.spaces[2].sent.capacity <= 16)
    #expect(sender.recovery.spaces[2].sent.frames.capacity <= 32)
  }

  @Test func deliveryRateIsThatOfTheBottleneck() throws {
    // 100 packets of 1250 bytes, one a millisecond, each acknowledged 20 ms later: 1.25 MB/s.
    var sampler = DeliveryRateSampler()
    var packets: [SentPacket] = []
    var inFlight: UInt64 = 0
    var last: DeliveryRateSample?
    for step in 0..<100 {
      let now = Instant.zero + .milliseconds(Int64(step))
      if step >= 20 {
        sampler.onAcknowledged(packets[step - 20], number: UInt64(step - 20))
        inFlight -= 1250
        last = sampler.sample(minimumRTT: .milliseconds(20), now: now)
      }
      var packet = SentPacket(
        timeSent: now, size: 1250, flags: .inFlight, state: .outstanding, frameCount: 0, firstFrame: 0)
      sampler.onSent(&packet, inFlightBefore: inFlight)
      inFlight += 1250
      packets.append(packet)
    }
    let rate = try #require(last?.bytesPerSecond)
    #expect(rate >= 1_150_000 && rate <= 1_260_000)
    #expect(last?.isAppLimited == false)
    sampler.markAppLimited(inFlight: inFlight)
    #expect(sampler.isAppLimited)
  }
}
