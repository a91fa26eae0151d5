import Wire

/// Spreads packets over the round trip with a token bucket (RFC 9002 §7.7).
struct Pacer: Sendable {
  /// RFC 9002 §7.7: "Using a value for N that is small, but at least 1 (for example, 1.25)".
  static let gainNumerator: UInt64 = 5
  static let gainDenominator: UInt64 = 4
  /// Datagrams that may leave back to back.
  static let burstDatagrams: UInt64 = 16
  /// A burst may also be what leaves in this time: at high rates 16 datagrams would mean a timer
  /// for every one of the kernel's segmentation batches.
  static let burstTime = Interval.milliseconds(1)
  /// One segmentation batch of the kernel (UDP_SEGMENT).
  static let largestBurst: UInt64 = 64 * 1024

  private var tokens: UInt64
  private var capacity: UInt64
  /// Bytes that are worth a timer, once the tokens are spent.
  private var batch: UInt64
  /// Bytes per second, at least 1.
  private var rate: UInt64
  private var refilled: Instant?
  private var maximumDatagramSize: UInt64

  /// `rate` in bytes per second.
  init(maximumDatagramSize: UInt64, rate: UInt64) {
    self.maximumDatagramSize = maximumDatagramSize
    self.rate = max(rate, 1)
    capacity = maximumDatagramSize * Self.burstDatagrams
    batch = maximumDatagramSize * 2
    tokens = capacity
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    maximumDatagramSize = bytes
    capacity = max(capacity, bytes * Self.burstDatagrams)
    batch = max(batch, bytes * 2)
    tokens = capacity
  }

  /// The rate that a window-based controller implies: 1.25 windows in a smoothed round trip.
  static func rate(window: UInt64, smoothedRTT: Interval) -> UInt64 {
    let nanoseconds = UInt64(max(smoothedRTT.nanoseconds, 1))
    let gained = window.multipliedFullWidth(by: 1_000_000_000 * gainNumerator / gainDenominator)
    guard gained.high < nanoseconds else { return .max }
    return nanoseconds.dividingFullWidth(gained).quotient
  }

  /// Sets the rate in bytes per second. What has been earned so far was earned at the rate before.
  /// - Parameter quantum: what is to leave together, as one segmentation batch. A second one, or ``burstTime``, may be
  ///   saved up, for a timer that is late is no reason to send slower. Nil lets bursts be as large as the constants above
  ///   say.
  mutating func setRate(_ bytesPerSecond: UInt64, quantum: UInt64? = nil, now: Instant) {
    refill(now)
    rate = max(bytesPerSecond, 1)
    let inBurstTime = earned(in: Self.burstTime)
    if let quantum {
      batch = max(quantum, maximumDatagramSize)
      capacity = batch + max(batch, min(inBurstTime, Self.largestBurst))
    } else {
      capacity = max(maximumDatagramSize * Self.burstDatagrams, min(inBurstTime, Self.largestBurst))
      // At least two datagrams' worth, where there is room, halves the number of timers.
      batch = min(capacity, maximumDatagramSize * 2)
    }
    tokens = min(tokens, capacity)
  }

  private func earned(in time: Interval) -> UInt64 {
    let product = rate.multipliedFullWidth(by: UInt64(max(time.nanoseconds, 0)))
    guard product.high < 1_000_000_000 else { return .max }
    return UInt64(1_000_000_000).dividingFullWidth(product).quotient
  }

  private mutating func refill(_ now: Instant) {
    guard let last = refilled else {
      refilled = now
      return
    }
    guard now > last else { return }
    let gained = earned(in: now - last)
    // Fractions of a byte are not lost: the clock of the bucket moves only when it earns something.
    if gained == 0 { return }
    refilled = now
    tokens = gained >= capacity - min(tokens, capacity) ? capacity : tokens + gained
  }

  /// Bytes that may leave now: zero, or at least one whole datagram.
  mutating func budget(_ now: Instant) -> Int {
    refill(now)
    return tokens >= maximumDatagramSize ? Int(clamping: tokens) : 0
  }

  mutating func onSent(_ bytes: UInt64) { tokens -= min(tokens, bytes) }

  /// When ``budget(_:)`` will next be more than zero.
  var nextSendTime: Instant {
    guard let refilled, tokens < maximumDatagramSize else { return .zero }
    let wanted = batch - tokens
    let product = wanted.multipliedFullWidth(by: 1_000_000_000)
    guard product.high < rate else { return .distantFuture }
    let nanoseconds = rate.dividingFullWidth(product).quotient
    return refilled + Interval(nanoseconds: Int64(clamping: nanoseconds) &+ 1)
  }
}
