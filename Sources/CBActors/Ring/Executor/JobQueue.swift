import Synchronization

/// Jobs in the order in which they came, of the ring's own thread. It grows with the number of tasks
/// that exist, which is what bounds it.
struct JobQueue: ~Copyable {
  private var slots: UnsafeMutablePointer<UnownedJob>
  private var mask: Int
  private var head = 0
  private var tail = 0

  init(capacity: Int = 1024) {
    precondition(capacity & (capacity - 1) == 0, "a power of two")
    slots = .allocate(capacity: capacity)
    mask = capacity - 1
  }

  deinit { slots.deallocate() }

  var isEmpty: Bool { head == tail }

  @inline(__always)
  mutating func append(_ job: UnownedJob) {
    if tail &- head > mask { grow() }
    (slots + (tail & mask)).initialize(to: job)
    tail &+= 1
  }

  @inline(__always)
  mutating func popFirst() -> UnownedJob? {
    guard head != tail else { return nil }
    defer { head &+= 1 }
    return (slots + (head & mask)).move()
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<UnownedJob>.allocate(capacity: (mask + 1) * 2)
    let count = tail &- head
    for index in 0..<count { (larger + index).initialize(to: slots[(head &+ index) & mask]) }
    slots.deallocate()
    slots = larger
    mask = mask * 2 + 1
    head = 0
    tail = count
  }
}

/// Jobs that other threads bring: a lock-free stack which the ring takes whole.
///
/// A node is allocated per job: the runtime keeps words in a job's header for a scheduler's link, but
/// where they lie is no part of its interface. A hop between threads costs far more than the node.
struct ForeignJobs: ~Copyable {
  private struct Node {
    var job: UnownedJob
    var next: UnsafeMutablePointer<Node>?
  }

  private let top = Atomic<UnsafeMutableRawPointer?>(nil)

  deinit { take { _ in } }

  var isEmpty: Bool { top.load(ordering: .acquiring) == nil }

  func push(_ job: UnownedJob) {
    let node = UnsafeMutablePointer<Node>.allocate(capacity: 1)
    var expected = top.load(ordering: .relaxed)
    node.initialize(to: Node(job: job, next: expected?.assumingMemoryBound(to: Node.self)))
    while true {
      let (done, found) = top.weakCompareExchange(
        expected: expected, desired: UnsafeMutableRawPointer(node), ordering: .releasing)
      if done { return }
      expected = found
      node.pointee.next = found?.assumingMemoryBound(to: Node.self)
    }
  }

  /// Hands over everything pushed so far, oldest first.
  func take(_ body: (UnownedJob) -> Void) {
    guard top.load(ordering: .relaxed) != nil else { return }
    var newest = top.exchange(nil, ordering: .acquiring)?.assumingMemoryBound(to: Node.self)
    var oldest: UnsafeMutablePointer<Node>?
    while let node = newest {
      newest = node.pointee.next
      node.pointee.next = oldest
      oldest = node
    }
    while let node = oldest {
      oldest = node.pointee.next
      let job = node.pointee.job
      node.deallocate()
      body(job)
    }
  }
}
