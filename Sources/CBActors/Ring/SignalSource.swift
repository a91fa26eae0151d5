import CLinux
import Glibc

/// Signals as events on a ring (signalfd), in place of handlers that may interrupt anything.
///
/// Of the ring's thread only. A signal reaches the source only if every thread blocks it: call
/// ``block(_:)`` in `main`, before other threads start.
public final class SignalSource {
  public let ring: RingExecutor
  public private(set) var isOpen = true
  private var handler: ((Int32) -> Void)?
  private let descriptor: Int32
  private let read: SignalRead

  /// Blocks `signals` for the calling thread and for those that it starts later.
  public static func block(_ signals: [Int32]) throws(RingError) {
    let descriptor = cb_signal_descriptor(mask(signals))
    guard descriptor >= 0 else { throw .system("signalfd", descriptor) }
    Glibc.close(descriptor)
  }

  /// `handler` gets each signal's number on the ring's thread. Equal signals that come before one is
  /// handled count as one.
  public init(
    on ring: RingExecutor, signals: [Int32], handler: @escaping (Int32) -> Void
  ) throws(RingError) {
    ring.preconditionIsCurrent()
    guard ring.acceptsOperations else { throw .closed("signalfd") }
    let result = cb_signal_descriptor(Self.mask(signals))
    guard result >= 0 else { throw .system("signalfd", result) }
    self.ring = ring
    self.handler = handler
    descriptor = result
    read = SignalRead()
    read.source = self
    try ring.open(self, for: "signalfd")
    read.submit(on: ring, descriptor)
  }

  private static func mask(_ signals: [Int32]) -> UInt64 {
    signals.reduce(0) { mask, signal in
      precondition(signal > 0 && signal <= 64, "a signal's number")
      return mask | 1 << UInt64(signal - 1)
    }
  }

  fileprivate func received(_ signal: Int32?) {
    if isOpen, let signal { handler?(signal) }
    guard isOpen else { return finishIfIdle() }
    read.submit(on: ring, descriptor)
  }

  public func close() {
    ring.preconditionIsCurrent()
    guard isOpen else { return }
    isOpen = false
    handler = nil
    ring.cancel(read)
    finishIfIdle()
  }

  private func finishIfIdle() {
    guard !read.isInFlight else { return }
    Glibc.close(descriptor)
    ring.remove(self)
  }
}

extension SignalSource: RingResource {
  func ringStops() { close() }
}

private final class SignalRead: RingOperation {
  // The ring holds the source until this is no longer in flight.
  unowned(unsafe) var source: SignalSource!
  private let info = UnsafeMutablePointer<signalfd_siginfo>.allocate(capacity: 1)

  deinit { info.deallocate() }

  func submit(on ring: RingExecutor, _ descriptor: Int32) {
    let info = info
    ring.submit(self) { cb_prep_read($0, descriptor, info, UInt32(MemoryLayout<signalfd_siginfo>.size)) }
  }

  override func complete(result: Int32, flags: UInt32) {
    let whole = result == Int32(MemoryLayout<signalfd_siginfo>.size)
    source.received(whole ? Int32(truncatingIfNeeded: info.pointee.ssi_signo) : nil)
  }
}
