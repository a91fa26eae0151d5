import Wire

/// Decides which of several candidates to keep, by racing QUIC handshakes (after RFC 8305 §5).
///
/// Attempts start one after another, a step apart, or at once when one fails. The first success opens a
/// short grace, in which attempts already under way may beat it by a lower handshake RTT; then the fastest
/// stays and the others are cancelled. A pure state machine: it opens nothing and reads no clock.
struct Race {
  struct Configuration: Hashable, Sendable {
    /// Between the starts of attempts: the Connection Attempt Delay that RFC 8305 §8 recommends.
    var step: Interval = .milliseconds(250)
    /// The longest grace; it is no longer than the first success's RTT either.
    var maximumGrace: Interval = .milliseconds(50)
    /// After which an attempt counts as failed.
    var attemptTimeout: Interval = .seconds(10)

    init() {}
  }

  enum Action: Hashable, Sendable {
    /// Begin a handshake with the candidate at this index.
    case start(Int)
    /// Close the connection or attempt at this index.
    case cancel(Int)
    /// Keep the connection at this index; the others have been cancelled.
    case won(Int, rtt: Interval)
    /// All failed.
    case lost(Failure)
  }

  struct Failure: Error, Hashable, Sendable {
    /// Each candidate with what became of it, in the order of the race; empty when there was none.
    var reasons: [Reason]

    struct Reason: Hashable, Sendable {
      var candidate: Candidate
      var text: String
    }
  }

  private enum Attempt: Hashable {
    case waiting
    case underWay(since: Instant)
    case succeeded(rtt: Interval)
    case failed(String)
  }

  private enum Phase: Hashable {
    case ready
    case racing(nextStart: Instant)
    case grace(until: Instant)
    case over
  }

  /// In the order of their attempts; actions speak of its indices.
  let candidates: [Candidate]
  private let configuration: Configuration
  private var attempts: [Attempt]
  private var phase = Phase.ready
  private var actions: [Action] = []

  /// - Parameter candidates: put in the order that ``Candidate/ordered(_:)`` says.
  init(_ candidates: [Candidate], _ configuration: Configuration = Configuration()) {
    self.candidates = Candidate.ordered(candidates)
    self.configuration = configuration
    attempts = [Attempt](repeating: .waiting, count: candidates.count)
  }

  mutating func start(now: Instant) {
    guard phase == .ready else { return }
    phase = .racing(nextStart: now)
    advance(now: now)
  }

  /// A handshake is complete and confirmed the peer; `rtt` is its measured round trip.
  mutating func succeeded(_ index: Int, rtt: Interval, now: Instant) {
    guard isUnderWay(index) else { return }
    attempts[index] = .succeeded(rtt: rtt)
    if case .racing = phase {
      phase = .grace(until: now + min(configuration.maximumGrace, max(.zero, rtt)))
    }
    advance(now: now)
  }

  mutating func failed(_ index: Int, _ reason: String, now: Instant) {
    guard isUnderWay(index) else { return }
    attempts[index] = .failed(reason)
    if case .racing = phase { phase = .racing(nextStart: now) }
    advance(now: now)
  }

  /// Gives up: cancels what is under way. Nothing follows but those cancellations.
  mutating func cancel() {
    guard phase != .over else { return }
    for index in attempts.indices where isAlive(index) { actions.append(.cancel(index)) }
    phase = .over
  }

  mutating func nextAction() -> Action? { actions.isEmpty ? nil : actions.removeFirst() }

  var isOver: Bool { phase == .over }

  /// When to call ``handleTimeout(now:)``.
  var deadline: Instant {
    switch phase {
    case .ready, .over: return .distantFuture
    case .grace(let until): return until
    case .racing(let nextStart):
      let timeouts = attempts.compactMap { attempt in
        if case .underWay(let since) = attempt { since + configuration.attemptTimeout } else { nil }
      }
      return (attempts.contains(.waiting) ? timeouts + [nextStart] : timeouts).min() ?? .distantFuture
    }
  }

  mutating func handleTimeout(now: Instant) {
    guard case .racing = phase else {
      advance(now: now)
      return
    }
    for index in attempts.indices {
      guard case .underWay(let since) = attempts[index], since + configuration.attemptTimeout <= now else { continue }
      attempts[index] = .failed("no handshake within \(Int(configuration.attemptTimeout.seconds)) s")
      actions.append(.cancel(index))
      phase = .racing(nextStart: now)
    }
    advance(now: now)
  }

  // MARK: The rule

  private mutating func advance(now: Instant) {
    switch phase {
    case .ready, .over: return
    case .grace(let until):
      if now >= until || !attempts.indices.contains(where: isUnderWay) { decide() }
    case .racing(let nextStart):
      if let next = attempts.firstIndex(of: .waiting) {
        guard now >= nextStart else { return }
        attempts[next] = .underWay(since: now)
        actions.append(.start(next))
        phase = .racing(nextStart: now + configuration.step)
      } else if !attempts.indices.contains(where: isUnderWay) {
        phase = .over
        actions.append(.lost(Failure(reasons: reasons)))
      }
    }
  }

  /// The lowest RTT wins; among equals the one that came first in the order.
  private mutating func decide() {
    var winner: (index: Int, rtt: Interval)?
    for (index, attempt) in attempts.enumerated() {
      if case .succeeded(let rtt) = attempt, winner.map({ rtt < $0.rtt }) ?? true { winner = (index, rtt) }
    }
    guard let winner else { return }
    for index in attempts.indices where index != winner.index && isAlive(index) { actions.append(.cancel(index)) }
    actions.append(.won(winner.index, rtt: winner.rtt))
    phase = .over
  }

  private func isUnderWay(_ index: Int) -> Bool {
    guard attempts.indices.contains(index), case .underWay = attempts[index] else { return false }
    return true
  }

  private func isAlive(_ index: Int) -> Bool {
    switch attempts[index] {
    case .underWay, .succeeded: true
    case .waiting, .failed: false
    }
  }

  /// What each attempt has come to so far, in the order of the race.
  var measurements: [(candidate: Candidate, rtt: Interval?, failure: String?)] {
    zip(candidates, attempts).map { candidate, attempt in
      switch attempt {
      case .waiting, .underWay: (candidate, nil, nil)
      case .succeeded(let rtt): (candidate, rtt, nil)
      case .failed(let reason): (candidate, nil, reason)
      }
    }
  }

  private var reasons: [Failure.Reason] {
    zip(candidates, attempts).compactMap { candidate, attempt in
      if case .failed(let text) = attempt { Failure.Reason(candidate: candidate, text: text) } else { nil }
    }
  }
}

extension Race.Failure: CustomStringConvertible {
  var description: String {
    guard !reasons.isEmpty else { return "no candidate to try" }
    return reasons.map { "\($0.candidate.name) (\($0.candidate.address)): \($0.text)" }.joined(separator: "; ")
  }
}
