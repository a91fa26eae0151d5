import Wire

/// The search for the largest UDP payload that the path carries (RFC 9000 §14.3, RFC 8899).
///
/// The largest size allowed is tried first, since it mostly passes; the search halves only below it.
struct MTUDiscovery {
  /// RFC 9000 §14: "QUIC MUST NOT be used if the network path cannot support a maximum datagram size of at least 1200
  /// bytes."
  static let base = 1_200
  /// What an application fills a packet with may leave it this short of the base.
  static let nearlyBase = base - 64
  /// Probes of the base's size that are lost, one after the other and with smaller packets passing, before it is believed
  /// that a path does not carry it. More than of others: the connection may end over it.
  private static let baseAttempts = 5
  /// Bytes of a packet that passes where the base does not.
  static let narrow = 256
  /// A probe lost this often is too large (RFC 8899 §5.1.2, MAX_PROBES).
  private static let attempts = 3
  /// The search ends within this many bytes.
  private static let resolution = 16
  /// RFC 8899 §5.1.1: "The PMTU_RAISE_TIMER is configured to the period a sender will continue to use the current PLPMTU,
  /// after which it reenters the Search Phase."
  static let raisePeriod = Interval.seconds(600)
  /// Loss events with large packets alone, and none of those acknowledged between them, that make a black hole.
  static let blackHoleThreshold = 3

  /// Packets are filled to this.
  private(set) var current: Int
  private let initial: Int
  private let configuredMaximum: Int
  private var ceiling: Int
  /// The smallest size known not to pass, or one above the ceiling.
  private var tooLarge: Int
  private var candidate = 0
  private var losses = 0
  private var isInFlight = false
  private var isRunning = false
  private var hasStarted = false
  /// The search is for whether even the base passes (RFC 8899 §5.2, the BASE state).
  private(set) var isConfirmingBase = false
  /// Not even the base passes (RFC 8899 §5.2, the ERROR state).
  private(set) var isTooNarrow = false
  /// When to look whether the path has become wider.
  private(set) var raiseDeadline: Instant?

  init(initial: Int, maximum: Int) {
    self.initial = max(initial, Self.base)
    current = self.initial
    configuredMaximum = max(maximum, self.initial)
    ceiling = configuredMaximum
    tooLarge = ceiling + 1
  }

  /// The peer's max_udp_payload_size, which no packet may exceed.
  mutating func limit(to peerMaximum: UInt64) {
    ceiling = min(ceiling, max(Self.base, Int(clamping: peerMaximum)))
    current = min(current, ceiling)
    tooLarge = min(tooLarge, ceiling + 1)
  }

  /// The handshake is confirmed, or a new path is in use: look for what it carries.
  mutating func start() {
    hasStarted = true
    search()
  }

  private mutating func search() {
    isRunning = true
    losses = 0
    raiseDeadline = nil
    chooseCandidate()
  }

  /// Sets the timer once the search has ended below what it might have found.
  mutating func armRaise(_ now: Instant) {
    if hasStarted, !isRunning, current < ceiling, raiseDeadline == nil { raiseDeadline = now + Self.raisePeriod }
  }

  /// The present size has been used for long: the path may have become wider.
  mutating func raise() {
    tooLarge = ceiling + 1
    search()
  }

  /// A new path: nothing is known of it.
  mutating func reset() {
    current = min(initial, ceiling)
    tooLarge = ceiling + 1
    isInFlight = false
    isConfirmingBase = false
    isTooNarrow = false
    start()
  }

  /// Large packets have stopped passing: back to what every path carries, and from there up to less than what failed
  /// (RFC 8899 §4.3). What ICMP says of a path's size is not listened to (the sockets' IP_PMTUDISC_PROBE): anyone can
  /// say it.
  mutating func blackHole() {
    tooLarge = current
    current = Self.base
    isInFlight = false
    doubtBase()
  }

  /// There is reason to doubt that even the base passes: that is seen to first.
  mutating func doubtBase() {
    guard hasStarted, current == Self.base, !isConfirmingBase else { return }
    isConfirmingBase = true
    isRunning = true
    losses = 0
    raiseDeadline = nil
    candidate = Self.base
  }

  /// Something of at least the base's size has passed.
  mutating func confirmBase() {
    guard isConfirmingBase else { return }
    isConfirmingBase = false
    search()
  }

  /// Our own system refuses to send so large a datagram: the link is too narrow for it.
  mutating func refused(_ size: Int) {
    guard size > Self.base, size < tooLarge else { return }
    tooLarge = size
    isInFlight = false
    if current >= size { current = Self.base }
    if !isConfirmingBase, hasStarted { search() }
  }

  private mutating func chooseCandidate() {
    let largest = tooLarge - 1
    guard largest > current, largest - current >= Self.resolution || tooLarge == ceiling + 1 else {
      isRunning = false
      return
    }
    candidate = tooLarge == ceiling + 1 ? ceiling : (current + tooLarge) / 2
    if candidate <= current { isRunning = false }
  }

  /// The size of the probe to send now, if one is due.
  var probeSize: Int? { isRunning && !isInFlight ? candidate : nil }

  mutating func probeSent() { isInFlight = true }

  /// True when packets may now be larger.
  mutating func probeAcknowledged(_ size: Int) -> Bool {
    isInFlight = false
    losses = 0
    guard !isConfirmingBase, size > current, size <= ceiling else { return false }
    current = size
    chooseCandidate()
    return true
  }

  mutating func probeLost(_ size: Int) {
    isInFlight = false
    // Another was the candidate when that one was sent.
    guard size == candidate else { return }
    losses += 1
    guard losses >= (isConfirmingBase ? Self.baseAttempts : Self.attempts) else { return }
    losses = 0
    if isConfirmingBase {
      isConfirmingBase = false
      isRunning = false
      isTooNarrow = true
      return
    }
    tooLarge = candidate
    chooseCandidate()
  }
}
