import Synchronization
import Wire

/// A clock's hand that only a test moves.
final class TestTime: Sendable {
  private let hand = Mutex(Instant.zero)

  var now: Instant { hand.withLock { $0 } }
  func advance(to instant: Instant) { hand.withLock { $0 = max($0, instant) } }
}
