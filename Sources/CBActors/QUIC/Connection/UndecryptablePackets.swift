/// Packets that came before the keys that open them, kept within a small bound (RFC 9001 §5.7).
struct UndecryptablePackets {
  struct Entry {
    var bytes: [UInt8]
    var path: Path
    var ecn: ECN
  }

  private static let mostPackets = 16
  private static let mostBytes = 24_576

  private var entries: [Entry] = []
  private var byteCount = 0

  var isEmpty: Bool { entries.isEmpty }

  /// False when there is no room.
  mutating func append(_ packet: UnsafeRawBufferPointer, path: Path, ecn: ECN) -> Bool {
    guard entries.count < Self.mostPackets, byteCount + packet.count <= Self.mostBytes else { return false }
    entries.append(Entry(bytes: [UInt8](packet), path: path, ecn: ecn))
    byteCount += packet.count
    return true
  }

  /// A Handshake packet waits, not only 1-RTT packets.
  var hasLongHeader: Bool { entries.contains { $0.bytes[0] & 0x80 != 0 } }

  mutating func takeAll() -> [Entry] {
    defer {
      entries = []
      byteCount = 0
    }
    return entries
  }
}
