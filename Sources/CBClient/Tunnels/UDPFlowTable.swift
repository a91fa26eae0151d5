import CBActors
import Wire

/// UDP tunnels by what they are for: opened with the first datagram, closed after silence.
struct UDPFlowTable<Key: Hashable & Sendable> {
  /// Tunnels at once; datagrams that would need another are dropped.
  static var maximumFlows: Int { 256 }
  /// Datagrams kept for a tunnel that is being opened.
  static var pendingLimit: Int { 16 }
  /// RFC 4787 §4.3 asks for two minutes or more.
  static var idleTimeout: Interval { .seconds(150) }
  static var sweepInterval: Interval { .seconds(15) }

  private enum Entry {
    case opening([[UInt8]])
    case open(UDPFlow)
  }
  private var entries: [Key: Entry] = [:]
  private(set) var bytesSent: UInt64 = 0

  enum Sent {
    case sent
    case dropped
    /// Kept; the caller is to open a tunnel for the key.
    case opening
  }

  var count: Int { entries.count }

  mutating func send(_ payload: UnsafeRawBufferPointer, to key: Key) -> Sent {
    switch entries[key] {
    case .open(let flow):
      let bytes = RingBound(payload)
      guard flow.assumeIsolated({ $0.send(bytes.value) }) else { return .dropped }
      bytesSent += UInt64(payload.count)
      return .sent
    case .opening(var pending):
      guard pending.count < Self.pendingLimit else { return .dropped }
      pending.append(Array(payload))
      entries[key] = .opening(pending)
      return .sent
    case nil:
      guard entries.count < Self.maximumFlows else { return .dropped }
      entries[key] = .opening([Array(payload)])
      return .opening
    }
  }

  /// Puts a tunnel to use and sends what waited for it. False when nobody waits any more: the caller closes it.
  mutating func opened(_ flow: UDPFlow, for key: Key) -> Bool {
    guard case .opening(let pending) = entries[key] else { return false }
    entries[key] = .open(flow)
    for datagram in pending { datagram.withUnsafeBytes { _ = send($0, to: key) } }
    return true
  }

  mutating func remove(_ key: Key) { entries[key] = nil }

  /// Forgets the tunnels that have been silent, for the caller to close: a tunnel's end comes back to its table.
  mutating func takeIdle(now: Instant) -> [UDPFlow] {
    var idle: [UDPFlow] = []
    for (key, entry) in entries {
      guard case .open(let flow) = entry, flow.assumeIsolated({ $0.lastActivity }) + Self.idleTimeout <= now else {
        continue
      }
      entries[key] = nil
      idle.append(flow)
    }
    return idle
  }

  mutating func takeAll() -> [UDPFlow] {
    defer { entries = [:] }
    return entries.values.compactMap { if case .open(let flow) = $0 { flow } else { nil } }
  }
}
