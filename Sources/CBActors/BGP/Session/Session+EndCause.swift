extension Session {
  /// Why a connection came to its end.
  public enum EndCause: Hashable, Sendable {
    case sent(NotificationMessage)
    case received(NotificationMessage)
    /// The transport failed, or the peer closed it without a word.
    case transport
    /// The other one of two connections was kept.
    case collision
  }
}

extension Session.EndCause {
  /// Somebody meant it, or the path is to blame: what comes and goes so is no oscillation of the peer. RFC 4271 §8.1.1 leaves
  /// open what damps: here errors do.
  var isOrderly: Bool {
    switch self {
    case .sent(let notification), .received(let notification): notification.isOrderly
    case .transport, .collision: false
    }
  }
}

extension NotificationMessage {
  fileprivate var isOrderly: Bool {
    guard code == .cease else { return false }
    if let hardResetReason { return hardResetReason.isOrderly }
    let orderly: [CeaseReason] = [
      .administrativeShutdown, .peerDeconfigured, .administrativeReset, .otherConfigurationChange, .bfdDown,
    ]
    return orderly.contains(CeaseReason(rawValue: subcode))
  }
}

extension Session.EndCause: CustomStringConvertible {
  public var description: String {
    switch self {
    case .sent(let notification): "sent \(notification)"
    case .received(let notification): "received \(notification)"
    case .transport: "the connection failed or was closed"
    case .collision: "another connection was kept"
    }
  }
}
