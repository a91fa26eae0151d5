import Wire

/// Whether packets of a path may carry ECT(0), as learned from the peer's counts (RFC 9000 §13.4.2).
package struct ECNValidation: Sendable {
  enum State: Sendable {
    /// Not asked for.
    case off
    /// The first packets are marked, and none has been acknowledged.
    case testing
    /// Enough are marked to judge by; nothing more is until one is acknowledged.
    case unknown
    case capable
    case failed
  }

  /// RFC 9000 §13.4.2: "only the first ten outgoing packets on a path".
  static let testPackets = 10
  private static let testTimeouts = 3

  private(set) var state: State
  private var marked: UInt64 = 0
  private var markedLost: UInt64 = 0
  private var counts = InlineArray<3, ECNCounts>(repeating: ECNCounts())
  private var markedInSpace = InlineArray<3, UInt64>(repeating: 0)
  /// By how much the counts were beyond what had been marked when the present path was taken: another path's doing.
  private var excess = InlineArray<3, ECNCounts>(repeating: ECNCounts())

  init(isEnabled: Bool) { state = isEnabled ? .testing : .off }

  /// What the next packet is to carry.
  package var codepoint: ECN {
    switch state {
    case .testing, .capable: .ect0
    case .off, .unknown, .failed: .notECT
    }
  }

  mutating func onSent(_ space: PacketNumberSpace) {
    marked += 1
    markedInSpace[Int(space.rawValue)] += 1
    if state == .testing, marked >= UInt64(Self.testPackets) { state = .unknown }
  }

  /// Nothing has been acknowledged for `count` probe timeouts in a row: a path that drops what is marked would go on
  /// doing so for as many more as it takes to send ten packets, each twice as long as the one before.
  mutating func onProbeTimeout(count: Int) {
    // RFC 9000 §13.4.2: "or for a period of three PTOs"
    if state == .testing, count >= Self.testTimeouts { state = .unknown }
  }

  mutating func onLost() {
    markedLost += 1
    // RFC 9000 §13.4.2: whether all packets sent with an ECT codepoint are eventually deemed lost
    if state == .unknown, markedLost >= marked { state = .failed }
  }

  /// Checks an ACK that raised the largest acknowledged number. Returns how many packets it newly reports as marked CE.
  ///
  /// - Parameter isOfThisPath: some of what it newly acknowledged was marked and sent on the present path.
  mutating func onAcknowledged(
    _ space: PacketNumberSpace, reported: ECNCounts?, newlyAckedMarked: UInt64, isOfThisPath: Bool = true
  ) -> UInt64 {
    let index = Int(space.rawValue)
    switch state {
    case .off: return 0
    case .failed:
      // Where the counts are is what the next path is judged from.
      if let reported { counts[index] = reported }
      return 0
    case .testing, .unknown, .capable: break
    }
    guard let reported else {
      // RFC 9000 §13.4.2.1: ECN validation fails if the corresponding ECN counts are not present in the ACK frame.
      if newlyAckedMarked > 0 { state = .failed }
      return 0
    }
    let previous = counts[index]
    guard reported.ect0 >= previous.ect0, reported.ect1 >= previous.ect1, reported.ce >= previous.ce,
      // A codepoint that was never applied, or applied less often than it is reported.
      reported.ect1 == previous.ect1, reported.ect0 <= markedInSpace[index] + excess[index].ect0,
      reported.ce <= markedInSpace[index] + excess[index].ce,
      // RFC 9000 §13.4.2.1: ECN validation also fails if the sum of the increase in ECT(0) and ECN-CE counts
      // is less than the number of newly acknowledged packets that were originally sent
      // with an ECT(0) marking.
      (reported.ect0 - previous.ect0) + (reported.ce - previous.ce) >= newlyAckedMarked
    else {
      // RFC 9000 §13.4.2.2: If validation fails, then the endpoint MUST disable ECN.
      state = .failed
      counts[index] = reported
      return 0
    }
    counts[index] = reported
    if newlyAckedMarked > 0, isOfThisPath { state = .capable }
    return reported.ce - previous.ce
  }

  /// A new path is tested afresh; the peer's counts go on from where they were.
  mutating func onNewPath() {
    guard state != .off else { return }
    state = .testing
    marked = 0
    markedLost = 0
    for index in counts.indices {
      excess[index].ect0 = counts[index].ect0 - min(counts[index].ect0, markedInSpace[index])
      excess[index].ce = counts[index].ce - min(counts[index].ce, markedInSpace[index])
    }
  }
}
