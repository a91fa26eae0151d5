import HTTP3
import QUIC
import Ring
import Wire

/// The graceful end of a connection (RFC 9114 §5.2).
extension HTTP3Session {
  /// How far a server is with it.
  enum Shutdown {
    case none
    /// The client was asked to stop, or will be when HTTP/3 begins; all requests are accepted still.
    case announced
    /// The client knows which requests are accepted.
    case final
  }

  /// A server's way to end without losing a request: tells the client to take its next requests elsewhere, accepts those
  /// that are on their way, and ends the connection when all of them are answered.
  public func drain() {
    guard role == .server, closeReason == nil, shutdown == .none else { return }
    shutdown = .announced
    announceShutdown()
  }

  /// RFC 9114 §5.2: "An endpoint that is attempting to gracefully shut down a connection can send a GOAWAY frame with a value
  /// set to the maximum possible value".
  func announceShutdown() {
    guard shutdown == .announced, shutdownTimer == nil, http.isOpen else { return }
    http.goAway(final: false, on: &quic)
    markDirty()
    let timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.shutdownTimerFired() } }
    timer.schedule(at: ring.refreshNow() + min(max(quic.statistics.smoothedRTT * 2, .milliseconds(50)), .seconds(1)))
    shutdownTimer = timer
  }

  /// How long a client may take to acknowledge the last GOAWAY when it waits for nothing.
  private static let farewell = Interval.seconds(2)

  private func shutdownTimerFired() {
    guard closeReason == nil else { return }
    if shutdown == .final {
      if handlers.isEmpty, http.openRequests == 0 { close() }
      return
    }
    shutdown = .final
    http.goAway(final: true, on: &quic)
    shutdownTimer?.schedule(at: ring.now + Self.farewell)
    markDirty()
  }

  /// RFC 9114 §5.2: "An endpoint that completes a graceful shutdown SHOULD use the H3_NO_ERROR error code when closing the
  /// connection." A server completes it when all that it accepted is answered and acknowledged, a client when it waits for
  /// nothing any more.
  func closeIfDrained() {
    guard closeReason == nil, handlers.isEmpty, role == .server ? shutdown == .final : http.isGoingAway,
      http.openRequests == 0, role == .client || quic.openPeerStreams == 0, quic.statistics.bytesInFlight == 0
    else { return }
    close()
  }

  /// The peer takes no new requests: they belong on another connection.
  public var isGoingAway: Bool { http.isGoingAway }

  /// Returns true when the server has said that it takes no more requests, false when the connection has ended.
  public func waitUntilGoingAway() async -> Bool {
    while true {
      if closeReason != nil { return false }
      if http.isGoingAway { return true }
      await withCheckedContinuation { goingAwayWaiters.append($0) }
    }
  }

  func wakeGoingAwayWaiters() {
    for waiter in goingAwayWaiters { waiter.resume() }
    goingAwayWaiters = []
  }
}
