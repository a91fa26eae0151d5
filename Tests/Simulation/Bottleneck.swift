import CongestionSimulation
import Wire

@testable import QUIC

/// Bulk flows over one bottleneck, with the real loss recovery, congestion control and
/// acknowledgment logic, and packets that are nothing but numbers: what congestion control does
/// shows here without a handshake.
struct Bottleneck {
  /// One sender and its receiver.
  struct Flow {
    var sender: LossRecovery
    var receiver: ReceivedPackets
    var start: Instant
    /// Pieces of data left to send for the first time; nil never ends.
    var unsent: Int?
    var nextPiece: UInt64 = 0
    var lostPieces: [UInt64] = []
    var nextNumber: UInt64 = 0
    /// Probes owed after a timeout.
    var probes = 0
    var pacedUntil: Instant?
    /// Pieces that arrived, and bytes that arrived first in each second.
    var arrived = Set<UInt64>()
    var deliveredBytes = 0
    var finished: Instant?
    var pieces: Int?

    /// Bytes delivered up to the end of each 100 ms.
    var progress: [Int] = []
    /// Smoothed round-trip times, one for each ACK.
    var rtts: [Interval] = []
  }

  enum Happening {
    case data(flow: Int, number: UInt64, piece: UInt64?, ecn: ECN)
    case ack(flow: Int, ranges: [ClosedRange<UInt64>], delay: Interval, ecn: ECNCounts)
  }

  static let packetSize = 1200
  static let ackSize = 40

  var forward: Link
  var backward: Link
  var flows: [Flow] = []
  var now = Instant.zero
  private var heap = Timeline<Happening>()

  init(forward: LinkConditions, backward: LinkConditions, seed: UInt64) {
    self.forward = Link(forward, seed: seed)
    self.backward = Link(backward, seed: seed ^ 0xffff)
  }

  mutating func addFlow(
    _ algorithm: CongestionAlgorithm, pieces: Int?, start: Instant = .zero, ackThreshold: Int = 2, ecn: Bool = false
  ) {
    var sender = LossRecovery(role: .client, algorithm: algorithm, isECNEnabled: ecn)
    sender.isHandshakeConfirmed = true
    flows.append(
      Flow(
        sender: sender, receiver: ReceivedPackets(.applicationData, ackElicitingThreshold: ackThreshold),
        start: start, unsent: pieces, pieces: pieces))
  }

  var isFinished: Bool { flows.allSatisfy { $0.finished != nil } }

  /// Runs until every flow has delivered everything, or until `end`.
  mutating func run(until end: Instant) throws {
    var nextMark = now + .milliseconds(100)
    while now < end, !isFinished {
      for index in flows.indices where flows[index].start <= now { pump(index) }
      var next = min(heap.nextTime ?? end, nextMark, end)
      for flow in flows {
        if flow.start > now {
          next = min(next, flow.start)
          continue
        }
        for deadline in [flow.sender.deadline, flow.receiver.ackDeadline, flow.pacedUntil] {
          if let deadline { next = min(next, deadline) }
        }
      }
      now = max(now, next)
      while now >= nextMark {
        for index in flows.indices { flows[index].progress.append(flows[index].deliveredBytes) }
        nextMark += .milliseconds(100)
      }
      while let happening = heap.popDue(now) { try handle(happening) }
      for index in flows.indices where flows[index].start <= now {
        if let deadline = flows[index].sender.deadline, deadline <= now { timeOut(index) }
        if flows[index].receiver.isAckDue(now) { acknowledge(index) }
      }
    }
  }

  private mutating func handle(_ happening: Happening) throws {
    switch happening {
    case .data(let index, let number, let piece, let ecn):
      if flows[index].receiver.isDuplicate(number) { return }
      flows[index].receiver.received(number, ackEliciting: true, ecn: ecn, now: now)
      if let piece, flows[index].arrived.insert(piece).inserted {
        flows[index].deliveredBytes += Self.packetSize
        if let pieces = flows[index].pieces, flows[index].arrived.count == pieces { flows[index].finished = now }
      }
    case .ack(let index, let ranges, let delay, let ecn):
      _ = try flows[index].sender.onAckReceived(
        .applicationData, largest: ranges[0].upperBound, delay: delay, ecnCounts: ecn.isZero ? nil : ecn,
        ranges: ranges, now: now)
      flows[index].rtts.append(flows[index].sender.rtt.smoothed)
      takeLosses(index)
    }
  }

  private mutating func takeLosses(_ index: Int) {
    for case .stream(_, let piece, _, _) in flows[index].sender.lostFrames where !flows[index].arrived.contains(piece) {
      flows[index].lostPieces.append(piece)
    }
  }

  private mutating func timeOut(_ index: Int) {
    switch flows[index].sender.onTimeout(now) {
    case .none: break
    case .lost: takeLosses(index)
    case .probe(_, let count): flows[index].probes = count
    }
  }

  private mutating func acknowledge(_ index: Int) {
    let ranges = Array(flows[index].receiver.ranges.descending)
    let delay = flows[index].receiver.ackDelay(now)
    let ecn = flows[index].receiver.ecnCounts
    flows[index].receiver.ackSent()
    for arrival in backward.send(size: Self.ackSize, ecn: .notECT, now: now) {
      heap.add(.ack(flow: index, ranges: ranges, delay: delay, ecn: ecn), at: arrival.time)
    }
  }

  /// Sends what may be sent.
  private mutating func pump(_ index: Int) {
    flows[index].pacedUntil = nil
    while flows[index].probes > 0 {
      flows[index].probes -= 1
      sendPacket(index, piece: takePiece(index))
    }
    while true {
      guard !flows[index].lostPieces.isEmpty || flows[index].unsent != 0 else {
        flows[index].sender.markAppLimited()
        return
      }
      switch flows[index].sender.sendBudget(now) {
      case .congestionLimited: return
      case .paced(let until):
        flows[index].pacedUntil = until
        return
      case .bytes(let budget):
        for _ in 0..<max(1, budget / Self.packetSize) {
          guard let piece = takePiece(index) else { break }
          sendPacket(index, piece: piece)
        }
      }
    }
  }

  private mutating func takePiece(_ index: Int) -> UInt64? {
    if let lost = flows[index].lostPieces.popLast() { return lost }
    if let unsent = flows[index].unsent {
      guard unsent > 0 else { return nil }
      flows[index].unsent = unsent - 1
    }
    flows[index].nextPiece += 1
    return flows[index].nextPiece - 1
  }

  private mutating func sendPacket(_ index: Int, piece: UInt64?) {
    let number = flows[index].nextNumber
    flows[index].nextNumber += 1
    let frame =
      piece.map { SentFrame.stream(StreamID(rawValue: 0), offset: $0, length: 1, fin: false) } ?? SentFrame.ping
    flows[index].sender.record(frame, in: .applicationData)
    let codepoint = flows[index].sender.ecn.codepoint
    flows[index].sender.onPacketSent(
      .applicationData, number: number, size: Self.packetSize, isAckEliciting: true, isInFlight: true,
      ecn: codepoint, now: now)
    for arrival in forward.send(size: Self.packetSize, ecn: codepoint, now: now) where arrival.flippedBit == nil {
      heap.add(.data(flow: index, number: number, piece: piece, ecn: arrival.ecn), at: arrival.time)
    }
  }
}
