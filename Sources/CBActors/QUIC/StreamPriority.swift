/// How urgently a stream is sent: the parameters of RFC 9218 §4.
public struct StreamPriority: Hashable, Sendable {
  /// 0 is the most urgent, 7 the least.
  public let urgency: UInt8
  /// The receiver can make use of a part: such streams of one urgency share, others go one after the other.
  public let isIncremental: Bool

  public init(urgency: UInt8, isIncremental: Bool) {
    self.urgency = min(urgency, Self.leastUrgent)
    self.isIncremental = isIncremental
  }

  public static let leastUrgent: UInt8 = 7
  /// What a stream has until its owner says otherwise: all share alike.
  public static let shared = StreamPriority(urgency: 3, isIncremental: true)
}
