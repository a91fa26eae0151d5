import CLinux
import Glibc
import Wire

/// Carries packets between two TUN devices through a bottleneck each way, in real time.
struct Link: ~Copyable {
  private let left: TUNDevice
  private let right: TUNDevice
  private var toRight: Bottleneck
  private var toLeft: Bottleneck
  private var log: PacketLog?
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

  /// What the link did, of both directions.
  struct Counts {
    var passed = 0
    var lostByChance = 0
    var queueFull = 0
    /// Packets that the device at the far end did not take.
    var notTaken = 0
    /// How late packets were handed over, nanoseconds in sum and at most.
    var lateness: Int64 = 0
    var latest: Int64 = 0

    /// Microseconds.
    var meanLateness: Double { passed > 0 ? Double(lateness) / Double(passed) / 1000 : 0 }
  }
  private(set) var counts = Counts()

  init(
    left: consuming TUNDevice, right: consuming TUNDevice, toRight: consuming Bottleneck, toLeft: consuming Bottleneck,
    log: consuming PacketLog?
  ) {
    self.left = left
    self.right = right
    self.toRight = toRight
    self.toLeft = toLeft
    self.log = log
  }

  deinit { buffer.deallocate() }

  private static var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  /// Runs until `stop` becomes readable.
  mutating func run(until stop: Int32) {
    // The kernel otherwise wakes up to 50 µs late on purpose.
    _ = cb_timer_slack(1)
    var descriptors = [left.descriptor, right.descriptor, stop].map {
      pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
    }
    while true {
      deliver()
      let now = Self.now
      let next = min(toRight.nextDelivery ?? .distantFuture, toLeft.nextDelivery ?? .distantFuture)
      let wait = max(min(next - now, .seconds(1)), .zero).nanoseconds
      guard cb_poll(&descriptors, UInt32(descriptors.count), wait) > 0 else { continue }
      if descriptors[0].revents != 0 { take(fromLeft: true) }
      if descriptors[1].revents != 0 { take(fromLeft: false) }
      if descriptors[2].revents != 0 { break }
    }
    log?.flush()
  }

  /// A bounded number, so that deliveries are not kept waiting by a flood.
  private mutating func take(fromLeft: Bool) {
    for _ in 0..<64 {
      guard let count = fromLeft ? left.read(into: buffer) : right.read(into: buffer) else { return }
      let packet = UnsafeRawBufferPointer(rebasing: buffer[..<count])
      let now = Self.now
      let verdict = fromLeft ? toRight.arrive(packet, now: now) : toLeft.arrive(packet, now: now)
      switch verdict.fate {
      case .queued: break
      case .lostByChance: counts.lostByChance += 1
      case .queueFull: counts.queueFull += 1
      }
      log?.append(packet, verdict, arrival: now, toLeft: !fromLeft)
    }
  }

  private mutating func deliver() {
    var counts = counts
    let now = Self.now
    func count(_ taken: Bool, due: Instant) {
      counts.passed += taken ? 1 : 0
      counts.notTaken += taken ? 0 : 1
      counts.lateness += (now - due).nanoseconds
      counts.latest = max(counts.latest, (now - due).nanoseconds)
    }
    while toRight.deliver(now: now, { count(right.write($0), due: $1) }) {}
    while toLeft.deliver(now: now, { count(left.write($0), due: $1) }) {}
    self.counts = counts
  }
}
