import Glibc
import QUIC

/// What both applications do, and the bytes that they do it with.
struct TransferPlan {
  /// Streams that the client opens; each end sends `bytes` on each.
  var streams = 1
  var bytes = 100_000
  /// Datagrams that each end sends.
  var datagrams: UInt64 = 0

  /// A prime, so that no piece of a stream looks like the one a round number of bytes further on.
  private static let period = 65_521
  private static let pattern: [UInt8] = {
    var dice = Dice(seed: 99)
    let once = (0..<period).map { _ in UInt8(truncatingIfNeeded: dice.next()) }
    return once + once
  }()

  private static func start(_ offset: Int, _ stream: StreamID, _ role: Role) -> Int {
    (offset + Int(stream.rawValue) * 7919 + (role == .client ? 0 : 31_337)) % period
  }

  /// At most 65,521 bytes of what `role` sends on `stream`.
  static func withBytes<R>(
    at offset: Int, _ count: Int, of stream: StreamID, from role: Role, _ body: (UnsafeRawBufferPointer) -> R
  ) -> R {
    let first = start(offset, stream, role)
    return pattern.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[first..<first + min(count, period)])) }
  }

  static func matches(_ bytes: UnsafeRawBufferPointer, at offset: Int, of stream: StreamID, from role: Role) -> Bool {
    var checked = 0
    while checked < bytes.count {
      let count = min(bytes.count - checked, period)
      let isEqual = withBytes(at: offset + checked, count, of: stream, from: role) {
        memcmp($0.baseAddress!, bytes.baseAddress! + checked, count) == 0
      }
      guard isEqual else { return false }
      checked += count
    }
    return true
  }
}
