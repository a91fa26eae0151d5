import CLinux
import Glibc

/// Says when a descriptor that belongs to someone else, such as a terminal's, has something to read.
///
/// Of the ring's thread only. The descriptor must stay open until ``close()``; it is not closed then.
public final class ReadinessSource {
  public let ring: RingExecutor
  public private(set) var isOpen = true
  private var handler: (() -> Void)?
  private let descriptor: Int32
  private let poll = PollOperation()

  /// `handler` runs on the ring's thread each time that more has come, and at the descriptor's end; it
  /// should read until there is nothing left.
  public init(on ring: RingExecutor, descriptor: Int32, handler: @escaping () -> Void) throws(RingError) {
    ring.preconditionIsCurrent()
    self.ring = ring
    self.descriptor = descriptor
    self.handler = handler
    poll.source = self
    try ring.open(self, for: "poll")
    arm()
  }

  private func arm() {
    let descriptor = descriptor
    ring.submit(poll) { cb_prep_poll_multishot($0, descriptor, UInt32(POLLIN | POLLHUP)) }
  }

  fileprivate func ready(_ result: Int32, more: Bool) {
    if isOpen, result > 0 { handler?() }
    guard isOpen else {
      if !poll.isInFlight { ring.remove(self) }
      return
    }
    guard !more else { return }
    // A hang-up ends the poll for good, an error as well; anything else is armed again.
    if result > 0, result & Int32(POLLHUP | POLLERR | POLLNVAL) == 0 { arm() } else { close() }
  }

  public func close() {
    ring.preconditionIsCurrent()
    guard isOpen else { return }
    isOpen = false
    handler = nil
    ring.cancel(poll)
    if !poll.isInFlight { ring.remove(self) }
  }
}

extension ReadinessSource: RingResource {
  func ringStops() { close() }
}

private final class PollOperation: RingOperation {
  // The ring holds the source until this is no longer in flight.
  unowned(unsafe) var source: ReadinessSource!

  override func complete(result: Int32, flags: UInt32) { source.ready(result, more: cb_cqe_more(flags)) }
}
