import Wire

/// What is known of one network path (RFC 9000 §8, §9).
struct PathState {
  var path: Path
  /// The peer has shown that it receives at this address (RFC 9000 §8.1, §8.2).
  var isValidated: Bool
  var bytesReceived: UInt64 = 0
  var bytesSent: UInt64 = 0
  /// Which of the peer's connection IDs packets on this path carry.
  var peerIDSequence: UInt64
  /// Data of PATH_CHALLENGE frames sent on this path and not answered, the newest last.
  var challenges: [UInt64] = []
  var isChallengeDue = false
  /// A challenge went out in a datagram of less than 1200 bytes, all that the peer's address was good for.
  var wasChallengedSmall = false
  /// The address is validated, and what is being validated is that datagrams of full size pass.
  var isProvingSize = false
  /// When to challenge again, or to give up.
  var challengeDeadline: Instant?
  var validationDeadline: Instant?
  /// Data of PATH_CHALLENGE frames received on this path and not answered.
  var responsesDue: [UInt64] = []

  /// Leads to the address that the server prefers, or from the one that the client's machine does: taken as soon as it is
  /// validated.
  var isPreferred = false
  /// The peer has sent something that is no probe on this path, which waits to be validated before it is followed.
  var isClaimed = false
  /// Was left for good: released when its validation period ends.
  var isLeft = false

  /// RFC 9000 §8.2.1: an endpoint need not answer every challenge of a flood at once.
  private static let mostResponses = 4
  static let mostChallenges = 3

  /// Whether ``sendAllowance`` binds: a server's does, until the path is validated.
  private let isLimited: Bool

  init(_ path: Path, role: Role, isValidated: Bool, peerIDSequence: UInt64) {
    self.path = path
    isLimited = role == .server
    self.isValidated = isValidated
    self.peerIDSequence = peerIDSequence
  }

  /// How many bytes may be sent before more are received.
  ///
  /// RFC 9000 §8.1: "servers MUST NOT send more than three times as many bytes as the number of bytes they have
  /// received."
  var sendAllowance: UInt64 {
    if isValidated || !isLimited { return .max }
    let (allowed, overflow) = bytesReceived.multipliedReportingOverflow(by: 3)
    return overflow ? .max : allowed - min(allowed, bytesSent)
  }

  mutating func queueResponse(_ data: UInt64) {
    if responsesDue.count < Self.mostResponses, !responsesDue.contains(data) { responsesDue.append(data) }
  }

  var isProbeDue: Bool { isChallengeDue || !responsesDue.isEmpty }

  /// Begins to challenge; without an answer by `deadline` the path is given up (RFC 9000 §8.2.4).
  mutating func beginValidation(until deadline: Instant) {
    isChallengeDue = true
    wasChallengedSmall = false
    isProvingSize = false
    challenges.removeAll(keepingCapacity: true)
    validationDeadline = deadline
  }

  /// No answer came in time: another challenge, with other data (RFC 9000 §8.2.1).
  mutating func challengeAgain() {
    challengeDeadline = nil
    if challenges.count < Self.mostChallenges { isChallengeDue = true }
  }

  /// Packets that are on their way are still taken, until `deadline`.
  mutating func leave(until deadline: Instant) {
    stopChallenging()
    isLeft = true
    validationDeadline = deadline
  }

  /// The peer receives at its address. One more validation follows, until `deadline`, when the first has not shown that
  /// datagrams of full size pass.
  mutating func endValidation(nextUntil deadline: Instant) {
    isValidated = true
    stopChallenging()
    guard wasChallengedSmall else { return }
    // RFC 9000 §8.2.1: "To ensure that the path MTU is large enough, the endpoint MUST perform a second path validation by
    // sending a PATH_CHALLENGE frame in a datagram of at least 1200 bytes."
    // RFC 9000 §8.2.3: "the endpoint MUST initiate another path validation with an expanded datagram to verify that the
    // path supports the required MTU."
    beginValidation(until: deadline)
    isProvingSize = true
  }

  mutating func stopChallenging() {
    challenges.removeAll(keepingCapacity: true)
    isChallengeDue = false
    isProvingSize = false
    challengeDeadline = nil
    validationDeadline = nil
  }
}
