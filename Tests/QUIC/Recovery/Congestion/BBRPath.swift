import CongestionSimulation
import Wire

@testable import QUIC

/// One BBRv3 flow over a controlled path, and a record of its way through the states: what the test cases of the draft's
/// appendix want ("BBR Example Test Cases").
struct BBRPath {
  struct Transition {
    var time: Instant
    /// After the ACK before the transition, and after the one that brought it.
    var before: BBR
    var after: BBR
  }

  final class Journal {
    var transitions: [Transition] = []
    /// Called after each ACK with what the flow was before it, and is after.
    var onAck: ((_ before: BBR, _ after: BBR) -> Void)?
    private var last: BBR?

    func note(_ bbr: BBR, _ now: Instant) {
      if let last {
        if last.state != bbr.state { transitions.append(Transition(time: now, before: last, after: bbr)) }
        onAck?(last, bbr)
      }
      last = bbr
    }
  }

  private(set) var world: Dumbbell
  let journal = Journal()
  /// Bytes per second, and the bytes that the path holds at that rate.
  let rate: Double
  let bdp: Double

  /// - Parameters:
  ///   - roundTrip: propagation there and back, in milliseconds.
  ///   - buffer: in bandwidth-delay products, but ten packets at least.
  init(
    megabits: Double, roundTrip: Double, buffer: Double, seed: UInt64 = 1,
    plan change: (inout Flow.Plan) -> Void = { _ in },
    link: (inout SharedLink.Conditions) -> Void = { _ in }
  ) {
    rate = megabits * 125_000
    bdp = rate * roundTrip / 1000
    var conditions = SharedLink.Conditions(rate: rate, queueBytes: max(Int(bdp * buffer), 12_000))
    link(&conditions)
    world = Dumbbell(conditions, seed: seed)
    var plan = Flow.Plan(.bbrV3, roundTrip: .nanoseconds(Int64(roundTrip * 1e6)))
    change(&plan)
    world.add(plan)
    let journal = journal
    world.onAck = { flow, _, now in
      if let bbr = flow.sender.controller.bbr { journal.note(bbr, now) }
    }
  }

  var now: Instant { world.now }
  var flow: Flow { world.flows[0] }
  /// Proof for the unwrap: the one flow is planned with BBRv3.
  var bbr: BBR { world.flows[0].sender.controller.bbr! }
  var statistics: RecoveryStatistics { flow.sender.statistics }

  /// The last transition into one of these states.
  func entry(_ states: BBR.State...) -> Transition? { journal.transitions.last { states.contains($0.after.state) } }
  /// The last transition out of this state.
  func exit(_ state: BBR.State) -> Transition? { journal.transitions.last { $0.before.state == state } }

  mutating func run(_ interval: Interval) throws { try world.run(until: world.now + interval) }

  /// Runs until the flow is in `state`. False when it is not within `limit`.
  mutating func run(to state: BBR.State, within limit: Interval = .seconds(15)) throws -> Bool {
    try run(within: limit) { $0.state == state }
  }

  /// Runs until the flow is as wanted. False when it is not within `limit`.
  mutating func run(within limit: Interval, until isSo: (BBR) -> Bool) throws -> Bool {
    try withoutActuallyEscaping(isSo) { isSo in
      try world.run(until: world.now + limit) { world in world.flows[0].sender.controller.bbr.map(isSo) ?? false }
    }
    return isSo(bbr)
  }

  mutating func write(_ application: Flow.Application) { world.changeApplication(0, application) }
  mutating func changeLink(_ change: (inout SharedLink.Conditions) -> Void) { world.changeLink(change) }

  /// From now on the link has this many times its first rate.
  mutating func changeRate(times factor: Double) {
    let step = (from: world.now, rate: rate * factor)
    world.changeLink { $0.rateSteps.append(step) }
  }

  /// The share of the link's first rate that was delivered.
  func utilisation(from: Double, to: Double) -> Double { world.goodput(0, from: from, to: to) / rate }
}
