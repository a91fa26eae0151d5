import CLinux

/// What a submitted operation's `user_data` points at: one object for each operation that its owner
/// can have in flight, used again and again. No closure and no continuation per operation.
///
/// The ring retains the object from submission to the last completion, so the memory that the kernel
/// reads or writes, which the object owns, lives as long as the kernel may touch it.
class RingOperation {
  /// True from submission until the last completion is being delivered.
  final fileprivate(set) var isInFlight = false

  /// Called on the ring's thread for each completion. `result` is as the system call's, negated errno
  /// for a failure; `flags` are the completion's (IORING_CQE_F_*).
  func complete(result: Int32, flags: UInt32) {}
}

/// The submission side of a ring. Of the ring's thread only.
struct SubmissionQueue: ~Copyable {
  private let ring: UnsafeMutablePointer<io_uring>
  /// Entries that found the queue full while the kernel took no more; at most one per operation object
  /// and one per cancellation. Submitted in order before anything newer.
  private var backlog: ContiguousArray<cb_io_uring_sqe> = []
  /// Operations whose last completion has not come.
  private(set) var inFlight = 0

  init(_ ring: UnsafeMutablePointer<io_uring>) { self.ring = ring }

  var hasBacklog: Bool { !backlog.isEmpty }

  @inline(__always)
  mutating func submit(_ operation: RingOperation, _ prepare: (UnsafeMutablePointer<cb_io_uring_sqe>) -> Void) {
    precondition(!operation.isInFlight, "an operation is in flight once")
    operation.isInFlight = true
    inFlight += 1
    let data = UInt64(UInt(bitPattern: Unmanaged.passRetained(operation).toOpaque()))
    append(data, prepare)
  }

  /// Asks the kernel to give an operation up. Its completion comes all the same, with ECANCELED or
  /// with what it had done already.
  mutating func cancel(_ operation: RingOperation) {
    guard operation.isInFlight else { return }
    let data = UInt64(UInt(bitPattern: Unmanaged.passUnretained(operation).toOpaque()))
    append(0) { cb_prep_cancel($0, data) }
  }

  @inline(__always)
  private mutating func append(_ data: UInt64, _ prepare: (UnsafeMutablePointer<cb_io_uring_sqe>) -> Void) {
    if backlog.isEmpty, let entry = next() {
      prepare(entry)
      entry.pointee.user_data = data
    } else {
      var entry = cb_io_uring_sqe()
      prepare(&entry)
      entry.user_data = data
      backlog.append(entry)
    }
  }

  private func next() -> UnsafeMutablePointer<cb_io_uring_sqe>? {
    if let entry = cb_ring_sqe(ring) { return entry }
    // Full. The kernel may refuse with EBUSY while completions wait to be read: then the backlog takes it.
    _ = cb_ring_submit(ring)
    return cb_ring_sqe(ring)
  }

  mutating func submitBacklog() {
    guard !backlog.isEmpty else { return }
    var taken = 0
    while taken < backlog.count, let entry = next() {
      entry.pointee = backlog[taken]
      taken += 1
    }
    backlog.removeFirst(taken)
  }

  /// Delivers one completion to its operation.
  @inline(__always)
  mutating func operation(
    of data: UInt64, flags: UInt32
  ) -> (operation: Unmanaged<RingOperation>, isLast: Bool)? {
    guard let pointer = UnsafeRawPointer(bitPattern: UInt(data)) else { return nil }
    let operation = Unmanaged<RingOperation>.fromOpaque(pointer)
    let isLast = !cb_cqe_more(flags)
    if isLast {
      operation._withUnsafeGuaranteedRef { $0.isInFlight = false }
      inFlight -= 1
    }
    return (operation, isLast)
  }
}

extension cb_io_uring_sqe {
  /// An operation that only completes.
  mutating func prepareNothing() { cb_prep_nop(&self) }
}
