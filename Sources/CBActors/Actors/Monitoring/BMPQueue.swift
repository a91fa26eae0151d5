import BGP

/// Messages that wait for a monitoring station.
struct BMPQueue {
  private var octets: [UInt8] = []
  /// What of them has been taken.
  private var head = 0
  /// Messages and octets since it was made.
  private(set) var messages: UInt64 = 0
  private(set) var taken: UInt64 = 0

  var count: Int { octets.count - head }
  var isEmpty: Bool { head == octets.count }

  mutating func append(_ message: [UInt8]) {
    octets += message
    messages += 1
  }

  mutating func append(_ update: UnsafeRawBufferPointer, of peer: BMPMessage.Peer) {
    BMPMessage.append(routeMonitoring: update, of: peer, to: &octets)
    messages += 1
  }

  /// Has `write` take from the front; it returns how much it took.
  mutating func take(_ write: (UnsafeRawBufferPointer) -> Int) {
    let count = octets.withUnsafeBytes { write(UnsafeRawBufferPointer(rebasing: $0[head...])) }
    head += count
    taken += UInt64(count)
    if head == octets.count {
      octets.removeAll(keepingCapacity: octets.capacity <= 1 << 20)
      head = 0
    } else if head > 1 << 20, head > octets.count / 2 {
      octets.removeFirst(head)
      head = 0
    }
  }
}
