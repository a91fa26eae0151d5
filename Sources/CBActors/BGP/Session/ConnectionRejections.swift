public import Wire

/// What is said to those who connect and are no neighbor: RFC 4486 §4 has them told by a Cease, Connection Rejected.
///
/// Nothing is remembered of any of them, and those beyond ``perSecond`` hear nothing, so that to ask costs the asker more
/// than us.
public struct ConnectionRejections: Sendable {
  public static let perSecond = 10

  private var second = Instant.zero
  private var told = 0

  public init() {}

  /// The whole message; nil for one too many.
  public mutating func next(now: Instant) -> [UInt8]? {
    if now - second >= .seconds(1) {
      second = now
      told = 0
    }
    guard told < Self.perSecond else { return nil }
    told += 1
    return NotificationMessage.cease(.connectionRejected).serialized
  }
}
