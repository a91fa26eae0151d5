/// How packet numbers are shortened for the wire and restored (RFC 9000 §17.1, Appendix A).
public enum PacketNumber {
  /// The largest packet number (RFC 9000 §12.3).
  public static let max: UInt64 = 0x3fff_ffff_ffff_ffff

  /// How many bytes, 1 to 4, let the peer restore `number` (RFC 9000 §A.2).
  ///
  /// - Parameter largestAcknowledged: nil when the peer has acknowledged nothing yet in this space.
  @inline(__always)
  public static func encodedLength(_ number: UInt64, largestAcknowledged: UInt64?) -> Int {
    let unacknowledged = largestAcknowledged.map { number &- $0 } ?? number &+ 1
    // RFC 9000 §17.1: "the sender MUST use a packet number size able to represent more than twice as large a range as
    // the difference between the largest acknowledged packet number and the packet number being sent."
    return unacknowledged < 1 << 7 ? 1 : unacknowledged < 1 << 15 ? 2 : unacknowledged < 1 << 23 ? 3 : 4
  }

  /// The whole packet number of which `truncated` is the low end (RFC 9000 §A.3).
  ///
  /// - Parameters:
  ///   - length: bytes of `truncated`, 1 to 4.
  ///   - largestReceived: largest number processed in this space so far; nil when there is none.
  @inline(__always)
  public static func decode(_ truncated: UInt32, length: Int, largestReceived: UInt64?) -> UInt64 {
    let expected = largestReceived.map { $0 &+ 1 } ?? 0
    let window: UInt64 = 1 << UInt64(length * 8)
    let half = window >> 1
    let candidate = expected & ~(window - 1) | UInt64(truncated)
    // Computed, not branched on: the number is not to show in how long this takes (RFC 9001 §9.5).
    let isBelow = bit(candidate &+ half <= expected) & bit(candidate < (1 << 62) - window)
    let isAbove = bit(candidate > expected &+ half) & bit(candidate >= window)
    // Beyond the last number there is none: below it, then, and the AEAD decides.
    let isBeyond = bit(candidate > max)
    return candidate &+ window &* isBelow &- window &* ((isAbove | isBeyond) & (isBelow ^ 1))
  }

  @inline(__always) private static func bit(_ condition: Bool) -> UInt64 { condition ? 1 : 0 }
}
