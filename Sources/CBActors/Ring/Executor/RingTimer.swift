public import Wire

/// A deadline on a ring. Set, moved and cancelled without a system call; of the ring's thread only.
///
/// A timer that is set is kept alive by its ring; one that is dropped must be cancelled first if its
/// handler is not to run.
public final class RingTimer {
  public let ring: RingExecutor
  private let handler: () -> Void
  /// Its index in the ring's heap, or -1 when it is not set.
  var place = -1

  /// `handler` runs on the ring's thread, not before the deadline; the timer is unset by then and may
  /// be set again from inside. A deadline already past is handled in the ring's next turn.
  public init(on ring: RingExecutor, handler: @escaping () -> Void) {
    self.ring = ring
    self.handler = handler
  }

  /// True between ``schedule(at:)`` and the handler or ``cancel()``.
  public var isScheduled: Bool { place >= 0 }

  /// Sets the deadline, or moves it. `Instant.distantFuture` cancels. Does nothing once the ring has stopped.
  public func schedule(at deadline: Instant) {
    ring.preconditionIsCurrent()
    if deadline == .distantFuture {
      ring.timers.remove(self)
    } else if ring.acceptsOperations {
      ring.timers.set(self, deadline: deadline.nanoseconds)
    }
  }

  public func cancel() {
    ring.preconditionIsCurrent()
    ring.timers.remove(self)
  }

  func fire() { handler() }
}
