public import HTTP3
public import QUIC
import QUICTLS

extension HTTP3Session {
  public var statistics: QUIC.Statistics { quic.statistics }
  /// The TLS group and cipher suite that were agreed on, as IANA names them; nil before that.
  public var keyExchange: String? { (tls as? TLSHandshake)?.keyExchangeGroup }
  public var cipherSuite: String? { (tls as? TLSHandshake)?.cipherSuiteName }

  /// The session was resumed, and whether with early data.
  public var isResumed: Bool { quic.isResumed }
  public var earlyData: EarlyDataState { quic.earlyData }

  /// Ends the connection with an HTTP/3 error code, H3_NO_ERROR for a proper end (RFC 9114 §8.1).
  public func close(_ code: HTTP3.ErrorCode = .noError, reason: String = "") {
    guard closeReason == nil else { return }
    quic.close(code: code.rawValue, reason: reason)
    markDirty()
  }

  /// Why the connection has ended; nil while it has not.
  public var endReason: CloseReason? { closeReason }

  /// Returns when the connection has ended.
  public func waitUntilClosed() async -> CloseReason {
    while true {
      if let closeReason { return closeReason }
      await withCheckedContinuation { closedWaiters.append($0) }
    }
  }
}
