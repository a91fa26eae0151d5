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
  /// When to challenge again, or to give up.
  var challengeDeadline: Instant?
  var validationDeadline: Instant?
  /// Data of PATH_CHALLENGE frames received on this path and not answered.
  var responsesDue: [UInt64] = []

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
    challenges.removeAll(keepingCapacity: true)
    validationDeadline = deadline
  }

  /// No answer came in time: another challenge, with other data (RFC 9000 §8.2.1).
  mutating func challengeAgain() {
    challengeDeadline = nil
    if challenges.count < Self.mostChallenges { isChallengeDue = true }
  }

  mutating func endValidation() {
    isValidated = true
    stopChallenging()
  }

  mutating func stopChallenging() {
    challenges.removeAll(keepingCapacity: true)
    isChallengeDue = false
    challengeDeadline = nil
    validationDeadline = nil
  }
}
