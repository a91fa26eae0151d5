package import QUIC
package import Wire

/// A sender, its receiver and the application that feeds it, over packets that are nothing but numbers: the loss recovery,
/// congestion control, pacing and acknowledgments are the real ones.
package struct Flow {
  package enum Application: Sendable {
    /// Always has more to send.
    case bulk
    case silent
    /// Writes so many bytes each so often.
    case writes(bytes: Int, every: Interval)
  }

  package struct Plan: Sendable {
    package var algorithm: CongestionAlgorithm
    /// Propagation, there and back.
    package var roundTrip: Interval
    package var start = Instant.zero
    /// Bytes in all; nil never ends.
    package var bytes: Int?
    package var application = Application.bulk
    /// From each of these times, in rising order, it does something else.
    package var applicationSteps: [(from: Instant, application: Application)] = []
    package var ackThreshold = 2
    package var isECNEnabled = false
    /// Acknowledgments arrive all at once, at multiples of this time.
    package var ackSlot: Interval?
    package var datagramSize = 1_200
    /// Bytes per second of the sender's own interface, before the shared link; nil is without limit.
    package var accessRate: Double?
    /// Note how long each packet was on its way.
    package var notesTransits = false

    package init(_ algorithm: CongestionAlgorithm, roundTrip: Interval) {
      self.algorithm = algorithm
      self.roundTrip = roundTrip
    }
  }

  package static let ackDelay = Interval.milliseconds(25)

  package let plan: Plan
  package var sender: LossRecovery
  package var receiver: ReceivedPackets
  var nextNumber: UInt64 = 0
  var nextPiece: UInt64 = 0
  var lostPieces: [UInt64] = []
  /// Pieces that the application has written and that were never sent; nil is without end.
  private var unsent: Int? = 0
  /// Pieces still to be written; nil is without end.
  private var unwritten: Int?
  private var application = Application.silent
  private var steps: [(from: Instant, application: Application)]
  private var nextWrite: Instant?
  /// Probes owed after a time-out.
  var probes = 0
  var pacedUntil: Instant?
  /// When the sender's interface has sent what it was given.
  var accessBusyUntil = Instant.zero
  /// The instant of the wake-up on the timeline; later ones are stale.
  var wakeUp = Instant.distantFuture
  private var arrived: [UInt64] = []
  var arrivedCount = 0

  /// Bytes that arrived for the first time.
  package internal(set) var deliveredBytes = 0
  /// Bytes sent again, whether that was needed or not.
  package internal(set) var resentBytes = 0
  package internal(set) var finished: Instant?
  /// ``deliveredBytes`` at the end of each ``Dumbbell/period``.
  package internal(set) var progress: [Int] = []
  /// When each acknowledgment came, and the round-trip time it measured beyond the path's own, both in seconds.
  package internal(set) var delays: [(time: Float, induced: Float)] = []
  /// When each packet of new data arrived, and how long that took, both in seconds.
  package private(set) var transits: [(time: Float, taken: Float)] = []

  init(_ plan: Plan, seed: UInt64) {
    self.plan = plan
    sender = LossRecovery(
      role: .client, algorithm: plan.algorithm, maximumDatagramSize: plan.datagramSize,
      isECNEnabled: plan.isECNEnabled, seed: seed)
    sender.isHandshakeConfirmed = true
    sender.peerMaxAckDelay = Self.ackDelay
    receiver = ReceivedPackets(
      .applicationData, maxAckDelay: Self.ackDelay, ackElicitingThreshold: plan.ackThreshold)
    pieces = plan.bytes.map { ($0 + plan.datagramSize - 1) / plan.datagramSize }
    unwritten = pieces
    steps = [(plan.start, plan.application)] + plan.applicationSteps
  }

  private let pieces: Int?

  /// The application does something else from now on; what it had written and was not sent is dropped.
  mutating func change(_ application: Application, now: Instant) {
    self.application = application
    nextWrite = nil
    switch application {
    case .bulk: unsent = unwritten
    case .silent: unsent = 0
    case .writes:
      unsent = 0
      nextWrite = now
    }
  }

  /// The application writes what is due.
  mutating func write(_ now: Instant) {
    while let step = steps.first, step.from <= now {
      steps.removeFirst()
      change(step.application, now: now)
    }
    guard case .writes(let bytes, let period) = application else { return }
    while let time = nextWrite, time <= now {
      let count = min(max(1, bytes / plan.datagramSize), unwritten ?? .max)
      unsent = (unsent ?? 0) + count
      unwritten = unwritten.map { $0 - count }
      nextWrite = time + period
    }
  }

  var hasData: Bool { !lostPieces.isEmpty || unsent != 0 }

  mutating func takePiece() -> UInt64? {
    if let lost = lostPieces.popLast() {
      resentBytes += plan.datagramSize
      return lost
    }
    if let unsent {
      guard unsent > 0 else { return nil }
      self.unsent = unsent - 1
    }
    nextPiece += 1
    return nextPiece - 1
  }

  /// Notes a piece, which may have arrived before.
  mutating func arrive(_ piece: UInt64, sent: Instant, now: Instant) {
    let word = Int(piece >> 6)
    while arrived.count <= word { arrived.append(0) }
    guard arrived[word] >> (piece & 63) & 1 == 0 else { return }
    arrived[word] |= 1 << (piece & 63)
    arrivedCount += 1
    deliveredBytes += plan.datagramSize
    if plan.notesTransits { transits.append((Float((now - .zero).seconds), Float((now - sent).seconds))) }
    if arrivedCount == pieces { finished = now }
  }

  mutating func takeLosses() {
    for case .stream(_, let piece, _, _) in sender.lostFrames { lostPieces.append(piece) }
  }

  /// When something is to be done though nothing arrives.
  var deadline: Instant {
    var earliest = Instant.distantFuture
    for time in [sender.deadline, receiver.ackDeadline, pacedUntil, nextWrite, steps.first?.from] {
      if let time, time < earliest { earliest = time }
    }
    return earliest
  }
}
