import Wire

/// One direction of a link: chance loss, a byte-limited drop-tail queue, a rate and a delay, by a virtual clock.
///
/// A packet's departure is reckoned when it arrives, from the rate and from what waits before it, so being woken late
/// delays a packet but never changes the rate. Reads no clock and draws no random numbers but its seed's.
struct Bottleneck: ~Copyable {
  /// What became of a packet.
  enum Fate {
    case queued, lostByChance, queueFull
  }

  struct Verdict {
    var fate: Fate
    /// When the last bit leaves the bottleneck; the arrival for a packet that is dropped.
    var departure: Instant
    /// Bytes that waited or were being sent when the packet arrived.
    var backlog: Int
  }

  /// Bits per second.
  let rate: Int64
  let delay: Interval
  /// Bytes that may wait, the packet in service counted.
  let limit: Int
  /// Share of packets lost by chance, of 2^32.
  private let lossThreshold: UInt64
  private var generator: UInt64

  private var packets: PacketFIFO
  private var busyUntil = Instant.zero
  private var backlog = 0

  /// - Parameters:
  ///   - loss: from 0 to 1.
  init(rate: Int64, delay: Interval, limit: Int, loss: Double, seed: UInt64) {
    self.rate = rate
    self.delay = delay
    self.limit = limit
    lossThreshold = UInt64(loss * 4_294_967_296)
    generator = seed
    // What waits, and what is on its way: packets of 40 bytes need the most room for their headers.
    let underWay = Int(Double(rate) / 8 * delay.seconds)
    packets = PacketFIFO(capacity: 2 * (limit + underWay) + (1 << 20))
  }

  /// SplitMix64.
  private mutating func draw() -> UInt64 {
    generator &+= 0x9E37_79B9_7F4A_7C15
    var z = generator
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return (z ^ (z >> 31)) >> 32
  }

  mutating func arrive(_ packet: UnsafeRawBufferPointer, now: Instant) -> Verdict {
    while let departed = packets.nextDeparture, departed <= now { backlog -= packets.markDeparted() }
    if draw() < lossThreshold { return Verdict(fate: .lostByChance, departure: now, backlog: backlog) }
    let start = max(busyUntil, now)
    let departure = start + .nanoseconds(Int64(packet.count) * 8 * 1_000_000_000 / rate)
    guard backlog + packet.count <= limit, packets.append(packet, departure: departure) else {
      return Verdict(fate: .queueFull, departure: now, backlog: backlog)
    }
    let verdict = Verdict(fate: .queued, departure: departure, backlog: backlog)
    busyUntil = departure
    backlog += packet.count
    return verdict
  }

  /// When the next packet reaches the other end.
  var nextDelivery: Instant? { packets.first.map { $0 + delay } }

  /// Hands the next packet over, if it is due.
  mutating func deliver(now: Instant, _ body: (UnsafeRawBufferPointer, _ due: Instant) -> Void) -> Bool {
    guard let due = nextDelivery, due <= now else { return false }
    if let departed = packets.nextDeparture, departed + delay == due { backlog -= packets.markDeparted() }
    packets.removeFirst { body($0, due) }
    return true
  }
}
