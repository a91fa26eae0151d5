import Wire

/// The credit that we give the peer, for one stream or for the whole connection (RFC 9000 §4.1).
///
/// The window starts small and doubles, up to a cap, while the reader consumes a half of it within
/// two round trips: then the window, not the reader, is what holds the peer back.
struct ReceiveWindow {
  /// The limit that the peer has been told.
  private(set) var advertised: UInt64
  /// The highest offset (for a connection: the sum over streams) that has come.
  private(set) var received: UInt64 = 0
  /// What the application has consumed.
  private(set) var consumed: UInt64 = 0
  private(set) var size: UInt64
  private let maximumSize: UInt64
  private var lastUpdate: Instant?

  init(initial: UInt64, maximum: UInt64) {
    advertised = initial
    size = initial
    maximumSize = max(initial, maximum)
  }

  /// Counts bytes that came. False when the peer has overstepped its credit.
  mutating func receive(_ count: UInt64) -> Bool {
    let (sum, overflow) = received.addingReportingOverflow(count)
    guard !overflow, sum <= advertised else { return false }
    received = sum
    return true
  }

  mutating func consume(_ count: UInt64) { consumed = min(consumed + count, received) }

  /// Less than half of the window is left: time to tell the peer more.
  var isUpdateDue: Bool { advertised - consumed < size / 2 }

  /// The new limit to advertise.
  mutating func update(now: Instant, roundTrip: Interval) -> UInt64 {
    if let lastUpdate, now - lastUpdate < roundTrip * 2 { size = min(size * 2, maximumSize) }
    lastUpdate = now
    advertised = max(advertised, min(consumed + size, Varint.max))
    return advertised
  }
}

/// The credit that the peer gives us for the whole connection.
struct SendCredit {
  /// The sum over all streams up to which we may send (RFC 9000 §19.9).
  private(set) var limit: UInt64 = 0
  private(set) var used: UInt64 = 0
  /// The limit that the last DATA_BLOCKED complained of.
  var blockedAt: UInt64?

  var available: UInt64 { limit - used }

  // RFC 9000 §4.1: "A sender MUST ignore any MAX_STREAM_DATA or MAX_DATA frames that do not increase flow control limits"
  mutating func raise(to limit: UInt64) -> Bool {
    guard limit > self.limit else { return false }
    self.limit = limit
    return true
  }

  mutating func use(_ count: UInt64) { used += count }
}
