import CLinux
import Dispatch
import Glibc
import Synchronization
public import Wire

/// One thread, one io_uring, and the serial executor of every actor that is pinned to it.
///
/// An actor is pinned for life by returning ``asUnownedSerialExecutor()`` from `unownedExecutor` while
/// it holds the ring. All actors of a ring share its one executor object: an `await` between them does
/// not leave the thread. Work comes from three sources, taken in this order each turn: jobs enqueued on
/// the ring's own thread, jobs that other threads brought, and completions. The ring sleeps in the
/// kernel when it has none; idle, it uses no processor time.
///
/// It is no `TaskExecutor`: the runtime would compare both kinds at each hop, and a one-sided
/// preference makes an `await` on the same ring ten times as dear.
///
/// `@unchecked Sendable`: what changes is atomic, or is touched only by the ring's thread (checked by
/// ``preconditionIsCurrent()`` at each way in), or after that thread has ended by the one holder of `draining`.
public final class RingExecutor: SerialExecutor, @unchecked Sendable {
  /// How large a ring is.
  public struct Configuration: Sendable {
    /// Submission entries; a power of two up to 32,768. More operations than these wait in memory.
    public var submissionEntries: UInt32 = 512
    /// Completion entries; a power of two, at least twice the submission entries.
    public var completionEntries: UInt32 = 4_096
    /// Receive buffers of 64 KiB for sockets that take trains; a power of two. Touched only when used.
    public var trainBuffers = 64
    /// Receive buffers of 2 KiB for sockets that take single datagrams; a power of two.
    public var datagramBuffers = 1_024
    public init() {}
  }

  enum Phase: UInt8, AtomicRepresentable {
    case idle, running, stopping, stopped
  }

  public let configuration: Configuration

  // Of the ring's thread.
  let ring: UnsafeMutablePointer<io_uring>
  var jobs = JobQueue()
  var timers = TimerHeap()
  var submissions: SubmissionQueue
  var batchEnds: ContiguousArray<any BatchEndObserver> = []
  var batchEndsRunning: ContiguousArray<any BatchEndObserver> = []
  var resources: [ObjectIdentifier: any RingResource] = [:]
  var retired: ContiguousArray<any RingResource> = []
  var trainGroup: BufferGroup?
  var datagramGroup: BufferGroup?
  let completions: UnsafeMutablePointer<UnsafeMutablePointer<cb_io_uring_cqe>?>
  let sendScratch: UnsafeMutableRawBufferPointer
  let sendMessage: UnsafeMutablePointer<cb_message>
  var sendScratchLent = false
  var nowNanoseconds: Int64
  var heat = 0
  var setupFlags: UInt32 = 0
  var counted = Statistics()
  let wakeDescriptor: Int32
  lazy var wake = WakeOperation(self)

  // Of every thread.
  let foreign = ForeignJobs()
  let sleeping = Atomic<Bool>(false)
  let phase = Atomic<Phase>(.idle)
  let draining = Atomic<Bool>(false)
  private let thread = Mutex<pthread_t?>(nil)

  public init(configuration: Configuration = Configuration()) {
    self.configuration = configuration
    ring = .allocate(capacity: 1)
    ring.initialize(to: io_uring())
    submissions = SubmissionQueue(ring)
    completions = .allocate(capacity: Self.completionBatch)
    sendScratch = .allocate(byteCount: UDPSocket.maximumTrainSize, alignment: 64)
    sendMessage = .allocate(capacity: 1)
    nowNanoseconds = cb_monotonic_nanoseconds()
    wakeDescriptor = cb_eventfd()
  }

  deinit {
    ring.deallocate()
    completions.deallocate()
    sendScratch.deallocate()
    sendMessage.deallocate()
    if wakeDescriptor >= 0 { close(wakeDescriptor) }
  }

  // MARK: Life

  /// Starts the thread and returns when its ring is set up.
  ///
  /// - Parameters:
  ///   - name: the thread's, of which the kernel keeps 15 bytes.
  ///   - cpu: the processor to pin the thread to; nil leaves it to the scheduler.
  /// - Throws: ``RingError`` with code `unavailable` where io_uring is missing or forbidden.
  public func start(name: String = "ring", cpu: Int? = nil) throws(RingError) {
    guard wakeDescriptor >= 0 else { throw .system("eventfd", wakeDescriptor) }
    let (begins, _) = phase.compareExchange(expected: .idle, desired: .running, ordering: .sequentiallyConsistent)
    precondition(begins, "a ring is started once")
    cb_keep_global_jobs { ring, job in
      // The runtime hands its hook a `Job *`, which is what an UnownedJob holds and nothing else.
      let job = unsafeBitCast(job!, to: UnownedJob.self)
      Unmanaged<RingExecutor>.fromOpaque(ring!)._withUnsafeGuaranteedRef { $0.jobs.append(job) }
    }
    let launch = Launch(ring: self, name: name, cpu: cpu)
    var handle = pthread_t()
    let result = pthread_create(
      &handle, nil,
      { context in
        Unmanaged<Launch>.fromOpaque(context!).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(launch).toOpaque())
    guard result == 0 else {
      Unmanaged.passUnretained(launch).release()
      phase.store(.stopped, ordering: .sequentiallyConsistent)
      throw .system("pthread_create", -result)
    }
    sem_wait(launch.ready)
    if let error = launch.error {
      pthread_join(handle, nil)
      phase.store(.stopped, ordering: .sequentiallyConsistent)
      throw error
    }
    thread.withLock { $0 = handle }
  }

  /// Closes every socket of the ring, waits until the kernel has let go of all memory, runs the jobs
  /// that are left and joins the thread. Jobs enqueued later run on the thread that brings them, one
  /// at a time, so that no task waits for ever. Not to be called on the ring itself.
  public func stop() {
    precondition(!isCurrent, "a ring cannot join itself")
    guard let handle = thread.withLock({ $0.take() }) else { return }
    phase.store(.stopping, ordering: .sequentiallyConsistent)
    cb_eventfd_signal(wakeDescriptor)
    pthread_join(handle, nil)
  }

  /// ``stop()`` for asynchronous code, which may be running on this very ring: nonisolated code that
  /// awaited an actor of a ring goes on there.
  public func shutdown() async {
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async {
        self.stop()
        continuation.resume()
      }
    }
  }

  /// Moves the nonisolated code that calls it to the global pool. Code that awaited an actor of a ring
  /// goes on at the ring's thread, where it would hold up packets: whatever computes long or blocks
  /// leaves first. An actor's own code is back on its ring after the call.
  @concurrent
  public static func leave() async {
    // Resumed before it has suspended, the task would go on here: then once more.
    while current != nil {
      await withCheckedContinuation { continuation in DispatchQueue.global().async { continuation.resume() } }
    }
  }

  /// What the starting thread hands the new one, and hears back.
  private final class Launch {
    let ring: RingExecutor
    let name: String
    let cpu: Int?
    let ready: UnsafeMutablePointer<sem_t>
    var error: RingError?

    init(ring: RingExecutor, name: String, cpu: Int?) {
      self.ring = ring
      self.name = name
      self.cpu = cpu
      ready = .allocate(capacity: 1)
      sem_init(ready, 0, 0)
    }

    deinit {
      sem_destroy(ready)
      ready.deallocate()
    }

    func run() {
      let pinned = cb_thread_setup(name, Int32(clamping: cpu ?? -1))
      var flags: UInt32 = 0
      let result = cb_ring_setup(
        ring.ring, ring.configuration.submissionEntries, ring.configuration.completionEntries, &flags)
      if pinned < 0 {
        error = .system("sched_setaffinity", pinned)
        if result == 0 { cb_ring_exit(ring.ring) }
      } else if result < 0 {
        error = .setup(result)
      }
      ring.setupFlags = flags
      let failed = error != nil
      sem_post(ready)
      if !failed { ring.run() }
    }
  }

  // MARK: Executor

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent { jobs.append(job) } else { enqueueForeign(job) }
  }

  public func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

  public func checkIsolated() { preconditionIsCurrent() }

  public func isIsolatingCurrentContext() -> Bool? { isCurrent }

  private func enqueueForeign(_ job: UnownedJob) {
    // Once pushed, the job may run, end its task and let the last owner of this ring go.
    let lifetime = Unmanaged.passRetained(self)
    defer { lifetime.release() }
    foreign.push(job)
    // Pairs with the fence before sleep: either this sees `sleeping`, or the ring sees the job.
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    if sleeping.load(ordering: .relaxed), sleeping.exchange(false, ordering: .relaxed) {
      cb_eventfd_signal(wakeDescriptor)
    }
    if phase.load(ordering: .sequentiallyConsistent) == .stopped { drainAfterStop() }
  }

  /// True on the ring's own thread.
  public var isCurrent: Bool {
    cb_current_ring() == UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())
  }

  @inline(__always)
  public func preconditionIsCurrent() { precondition(isCurrent, "not on this ring's thread") }

  /// The ring whose thread this is.
  public static var current: RingExecutor? {
    cb_current_ring().map { Unmanaged<RingExecutor>.fromOpaque($0).takeUnretainedValue() }
  }

  // MARK: Clock

  /// CLOCK_MONOTONIC as it was when the ring's present turn began. Of the ring's thread.
  public var now: Instant { Instant(nanoseconds: nowNanoseconds) }

  /// Reads the clock, which costs some 20 ns, and keeps it as ``now``. Of the ring's thread.
  @discardableResult
  public func refreshNow() -> Instant {
    nowNanoseconds = cb_monotonic_nanoseconds()
    return now
  }

  /// CLOCK_MONOTONIC, from any thread.
  public static func monotonicNow() -> Instant { Instant(nanoseconds: cb_monotonic_nanoseconds()) }

  // MARK: Batches

  /// Calls `observer` once, after the completions, jobs or timers that are being handled now. Asked
  /// twice, it is called twice.
  public func atBatchEnd(_ observer: any BatchEndObserver) {
    preconditionIsCurrent()
    batchEnds.append(observer)
  }

  /// What the ring has done so far. Of the ring's thread.
  public var statistics: Statistics { counted }

  public struct Statistics: Sendable {
    /// Turns of the loop.
    public var turns: UInt64 = 0
    /// Turns that slept in the kernel.
    public var sleeps: UInt64 = 0
    public var completions: UInt64 = 0
    public var timersFired: UInt64 = 0
  }
}

/// Something that wants a call when a batch of work has been handled: an endpoint that sends once for
/// all that it received.
public protocol BatchEndObserver: AnyObject {
  func batchEnded()
}

/// What a ring closes when it stops. The ring keeps it alive from opening until the kernel is done with it.
protocol RingResource: AnyObject {
  func ringStops()
}
