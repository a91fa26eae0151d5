import CLinux
import Glibc
import Synchronization

/// The turns of a ring's thread.
extension RingExecutor {
  static let completionBatch = 256
  /// Jobs run before completions and timers get their turn.
  private static let jobBudget = 512
  private static let spinNanoseconds: Int64 = 5_000
  /// A sleep that another thread ends sooner than this was not worth its two context switches.
  private static let shortSleepNanoseconds: Int64 = 50_000

  func run() {
    cb_set_current_ring(Unmanaged.passUnretained(self).toOpaque())
    wake.arm()
    while phase.load(ordering: .relaxed) == .running { turn() }
    windDown()
    cb_set_current_ring(nil)
    // A job that came after the last look into the stack is run by this thread or by its bringer.
    phase.store(.stopped, ordering: .sequentiallyConsistent)
    drainAfterStop()
  }

  private func turn() {
    counted.turns &+= 1
    refreshNow()
    foreign.take { jobs.append($0) }
    runJobs()
    fireTimers()
    runBatchEnds()
    submissions.submitBacklog()
    if mustPoll { _ = cb_ring_submit_and_poll(ring) } else { sleep() }
    reap()
    runBatchEnds()
    if !retired.isEmpty { retired = [] }
  }

  private var mustPoll: Bool { !jobs.isEmpty || !batchEnds.isEmpty || submissions.hasBacklog }

  func runJobs() {
    let executor = asUnownedSerialExecutor()
    var budget = Self.jobBudget
    while budget > 0, let job = jobs.popFirst() {
      job.runSynchronously(on: executor)
      budget -= 1
    }
  }

  private func fireTimers() {
    guard let earliest = timers.earliest, earliest <= nowNanoseconds else { return }
    // A handler that sets its timer into the past again is called in the next turn.
    var budget = timers.count
    while budget > 0, let timer = timers.popFirst(dueAt: nowNanoseconds) {
      counted.timersFired &+= 1
      timer.fire()
      budget -= 1
    }
  }

  func runBatchEnds() {
    guard !batchEnds.isEmpty else { return }
    swap(&batchEnds, &batchEndsRunning)
    for observer in batchEndsRunning { observer.batchEnded() }
    batchEndsRunning.removeAll(keepingCapacity: true)
  }

  private func sleep() {
    if heat > 0, spin() { return }
    sleeping.store(true, ordering: .relaxed)
    // Pairs with the fence after a foreign push.
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    guard foreign.isEmpty else {
      sleeping.store(false, ordering: .relaxed)
      _ = cb_ring_submit_and_poll(ring)
      return
    }
    let limit = timers.earliest.map { max(0, $0 - cb_monotonic_nanoseconds()) } ?? -1
    counted.sleeps &+= 1
    let began = nowNanoseconds
    _ = cb_ring_submit_and_wait(ring, limit)
    refreshNow()
    let wokenByThread = !sleeping.exchange(false, ordering: .relaxed)
    if wokenByThread, nowNanoseconds - began < Self.shortSleepNanoseconds {
      heat = 8
    } else if heat > 0 {
      heat -= 1
    }
  }

  /// Watches for a foreign job for a few microseconds: only after such a job has just cut a sleep
  /// short, so an idle ring never gets here.
  private func spin() -> Bool {
    _ = cb_ring_submit_and_poll(ring)
    if cb_ring_ready(ring) > 0 { return true }
    let end = cb_monotonic_nanoseconds() + Self.spinNanoseconds
    repeat {
      for _ in 0..<16 {
        if !foreign.isEmpty {
          heat = 8
          return true
        }
        cb_cpu_relax()
      }
    } while cb_monotonic_nanoseconds() < end
    return false
  }

  private func reap() {
    // Four batches, then jobs and timers have their turn.
    for _ in 0..<4 {
      let count = Int(cb_ring_peek(ring, completions, UInt32(Self.completionBatch)))
      guard count > 0 else { return }
      for index in 0..<count {
        let entry = completions[index]!.pointee
        guard let (operation, isLast) = submissions.operation(of: entry.user_data, flags: entry.flags) else { continue }
        operation._withUnsafeGuaranteedRef { $0.complete(result: entry.res, flags: entry.flags) }
        if isLast { operation.release() }
      }
      cb_ring_advance(ring, UInt32(count))
      counted.completions &+= UInt64(count)
      if count < Self.completionBatch { return }
    }
  }

  // MARK: The end

  private func windDown() {
    for resource in resources.values { resource.ringStops() }
    timers.removeAll()
    while submissions.inFlight > 1 || !jobs.isEmpty || !batchEnds.isEmpty || !foreign.isEmpty { turn() }
    wake.isLast = true
    submissions.cancel(wake)
    while submissions.inFlight > 0 { turn() }
    cb_ring_exit(ring)
    trainGroup = nil
    datagramGroup = nil
  }

  /// Runs what is enqueued on a stopped ring, on whichever thread brought it, one thread at a time.
  func drainAfterStop() {
    let outer = cb_current_ring()
    repeat {
      guard !draining.exchange(true, ordering: .sequentiallyConsistent) else { return }
      cb_set_current_ring(Unmanaged.passUnretained(self).toOpaque())
      foreign.take { jobs.append($0) }
      while !jobs.isEmpty || !batchEnds.isEmpty {
        refreshNow()
        runJobs()
        runBatchEnds()
      }
      cb_set_current_ring(outer)
      draining.store(false, ordering: .sequentiallyConsistent)
    } while !foreign.isEmpty
  }

  // MARK: Operations

  /// False before the start and from the moment that the ring is told to stop.
  var acceptsOperations: Bool { phase.load(ordering: .relaxed) == .running }

  @inline(__always)
  func submit(_ operation: RingOperation, _ prepare: (UnsafeMutablePointer<cb_io_uring_sqe>) -> Void) {
    submissions.submit(operation, prepare)
  }

  func cancel(_ operation: RingOperation) { submissions.cancel(operation) }

  func open(_ resource: any RingResource, for operation: String) throws(RingError) {
    preconditionIsCurrent()
    guard acceptsOperations else { throw .closed(operation) }
    resources[ObjectIdentifier(resource)] = resource
  }

  /// Lets go of a resource at the end of the turn: it is still in the middle of its own call.
  func remove(_ resource: any RingResource) {
    if let removed = resources.removeValue(forKey: ObjectIdentifier(resource)) { retired.append(removed) }
  }

  func buffers(_ kind: BufferGroup.Kind) throws(RingError) -> BufferGroup {
    switch kind {
    case .trains:
      if let group = trainGroup { return group }
      let group = try BufferGroup(kind, count: configuration.trainBuffers, ring: ring)
      trainGroup = group
      return group
    case .datagrams:
      if let group = datagramGroup { return group }
      let group = try BufferGroup(kind, count: configuration.datagramBuffers, ring: ring)
      datagramGroup = group
      return group
    }
  }
}

/// The read of the eventfd that other threads wake the ring with.
final class WakeOperation: RingOperation {
  private unowned let executor: RingExecutor
  private let count = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
  /// Set when the ring winds down: not armed again.
  var isLast = false

  init(_ executor: RingExecutor) { self.executor = executor }

  deinit { count.deallocate() }

  func arm() {
    let count = count
    let descriptor = executor.wakeDescriptor
    executor.submit(self) { cb_prep_read($0, descriptor, count, 8) }
  }

  override func complete(result: Int32, flags: UInt32) {
    if !isLast { arm() }
  }
}
