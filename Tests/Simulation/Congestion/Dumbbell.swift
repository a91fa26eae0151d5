import QUIC
package import Wire

/// Flows that meet at one bottleneck, in virtual time.
package struct Dumbbell {
  private enum Happening {
    case start(flow: Int)
    case wake(flow: Int)
    /// At the shared link's queue, and at the receiver.
    case queued(flow: Int, Packet)
    case data(flow: Int, Packet)
    case ack(flow: Int, ranges: [ClosedRange<UInt64>], delay: Interval, ecn: ECNCounts)
  }

  private struct Packet {
    var number: UInt64
    /// What of the application's data it carries; a bare probe nothing.
    var piece: UInt64?
    var ecn: ECN
    var sent: Instant
  }

  /// How often the queue's depth and the flows' progress are noted.
  package static let period = Interval.milliseconds(10)

  package private(set) var link: SharedLink
  package private(set) var flows: [Flow] = []
  package private(set) var now = Instant.zero
  /// Bytes that wait at the end of each ``period``.
  package private(set) var queue: [Int] = []
  /// Called after each ACK that a flow's sender has taken in.
  package var onAck: ((_ flow: inout Flow, _ index: Int, _ now: Instant) -> Void)?
  private var timeline = Timeline<Happening>()
  private var nextMark = Instant.zero + Dumbbell.period
  private let seed: UInt64

  package init(_ conditions: SharedLink.Conditions, seed: UInt64 = 1) {
    link = SharedLink(conditions, seed: seed)
    self.seed = seed
  }

  package mutating func add(_ plan: Flow.Plan) {
    flows.append(Flow(plan, seed: seed &* 1_000 &+ UInt64(flows.count)))
    timeline.add(.start(flow: flows.count - 1), at: max(plan.start, now))
  }

  /// Changes the link from now on.
  package mutating func changeLink(_ change: (inout SharedLink.Conditions) -> Void) { change(&link.conditions) }

  /// Has a flow's application do something else from now on.
  package mutating func changeApplication(_ index: Int, _ application: Flow.Application) {
    flows[index].change(application, now: now)
    settle(index)
  }

  /// Runs until `end`, or until `isOver` says so of the flows after a step, or every flow has delivered everything.
  package mutating func run(until end: Instant, isOver: ((Dumbbell) -> Bool)? = nil) throws {
    while let next = timeline.nextTime, next <= end {
      mark(until: next)
      now = max(now, next)
      while let happening = timeline.popDue(now) { try handle(happening) }
      if flows.allSatisfy({ $0.finished != nil }) { return }
      if let isOver, isOver(self) { return }
    }
    mark(until: end + .nanoseconds(1))
    now = end
  }

  private mutating func mark(until time: Instant) {
    while nextMark < time {
      queue.append(link.backlog(nextMark))
      for index in flows.indices { flows[index].progress.append(flows[index].deliveredBytes) }
      nextMark += Self.period
    }
  }

  private mutating func handle(_ happening: Happening) throws {
    switch happening {
    case .start(let index): settle(index)
    case .wake(let index):
      guard flows[index].wakeUp <= now else { return }
      flows[index].wakeUp = .distantFuture
      if let deadline = flows[index].sender.deadline, deadline <= now { timeOut(index) }
      settle(index)
    case .queued(let index, let packet): forward(index, packet)
    case .data(let index, let packet):
      guard !flows[index].receiver.isDuplicate(packet.number) else { return }
      flows[index].receiver.received(packet.number, ackEliciting: true, ecn: packet.ecn, now: now)
      if let piece = packet.piece { flows[index].arrive(piece, sent: packet.sent, now: now) }
      if flows[index].receiver.isAckDue(now) { acknowledge(index) }
      schedule(index)
    case .ack(let index, let ranges, let delay, let ecn):
      let outcome = try flows[index].sender.onAckReceived(
        .applicationData, largest: ranges[0].upperBound, delay: delay, ecnCounts: ecn.isZero ? nil : ecn,
        ranges: ranges, now: now)
      flows[index].takeLosses()
      if outcome.newlyAckedPackets > 0 {
        let induced = flows[index].sender.rtt.latest - flows[index].plan.roundTrip
        flows[index].delays.append((Float((now - .zero).seconds), Float(max(induced.seconds, 0))))
      }
      onAck?(&flows[index], index, now)
      settle(index)
    }
  }

  private mutating func timeOut(_ index: Int) {
    switch flows[index].sender.onTimeout(now) {
    case .none: break
    case .lost: flows[index].takeLosses()
    case .probe(_, let count): flows[index].probes = count
    }
  }

  /// Lets a flow do what it can now, and wakes it when it next can.
  private mutating func settle(_ index: Int) {
    flows[index].write(now)
    pump(index)
    if flows[index].receiver.isAckDue(now) { acknowledge(index) }
    schedule(index)
  }

  private mutating func schedule(_ index: Int) {
    let deadline = max(flows[index].deadline, now)
    guard deadline < flows[index].wakeUp else { return }
    flows[index].wakeUp = deadline
    timeline.add(.wake(flow: index), at: deadline)
  }

  private mutating func acknowledge(_ index: Int) {
    let ranges = Array(flows[index].receiver.ranges.descending)
    let delay = flows[index].receiver.ackDelay(now)
    let ecn = flows[index].receiver.ecnCounts
    flows[index].receiver.ackSent()
    var arrival = now + flows[index].plan.roundTrip / 2
    if let slot = flows[index].plan.ackSlot { arrival = arrival.nextMultiple(of: slot) }
    timeline.add(.ack(flow: index, ranges: ranges, delay: delay, ecn: ecn), at: arrival)
  }

  /// Sends what may be sent.
  private mutating func pump(_ index: Int) {
    flows[index].pacedUntil = nil
    while flows[index].probes > 0 {
      flows[index].probes -= 1
      send(flows[index].takePiece(), index)
    }
    let size = flows[index].plan.datagramSize
    while flows[index].hasData {
      switch flows[index].sender.sendBudget(now) {
      case .congestionLimited: return
      case .paced(let until):
        flows[index].pacedUntil = until
        return
      case .bytes(let budget):
        for _ in 0..<max(1, budget / size) {
          guard let piece = flows[index].takePiece() else { break }
          send(piece, index)
        }
      }
    }
    flows[index].sender.markAppLimited()
  }

  private mutating func send(_ piece: UInt64?, _ index: Int) {
    let number = flows[index].nextNumber
    let size = flows[index].plan.datagramSize
    flows[index].nextNumber += 1
    let frame = piece.map { SentFrame.stream(StreamID(rawValue: 0), offset: $0, length: 1, fin: false) } ?? .ping
    flows[index].sender.record(frame, in: .applicationData)
    let codepoint = flows[index].sender.ecn.codepoint
    flows[index].sender.onPacketSent(
      .applicationData, number: number, size: size, isAckEliciting: true, isInFlight: true, ecn: codepoint, now: now)
    let packet = Packet(number: number, piece: piece, ecn: codepoint, sent: now)
    guard let rate = flows[index].plan.accessRate else { return forward(index, packet) }
    flows[index].accessBusyUntil =
      max(now, flows[index].accessBusyUntil) + .nanoseconds(Int64(Double(size) / rate * 1e9))
    timeline.add(.queued(flow: index, packet), at: flows[index].accessBusyUntil)
  }

  private mutating func forward(_ index: Int, _ packet: Packet) {
    let plan = flows[index].plan
    guard let arrival = link.send(size: plan.datagramSize, ecn: packet.ecn, now: now) else { return }
    var packet = packet
    packet.ecn = arrival.ecn
    timeline.add(.data(flow: index, packet), at: arrival.time + plan.roundTrip / 2)
  }
}
