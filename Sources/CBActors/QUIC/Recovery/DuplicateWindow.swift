/// Remembers which of the newest packet numbers have been processed, one bit each.
///
/// RFC 9000 §12.3: a receiver MUST discard a newly unprotected packet unless it is certain that it
/// has not processed another packet with the same packet number from the same packet number space.
/// Older numbers than the window reaches count as seen. Separate from the ACK ranges, which shrink
/// as the peer learns what arrived.
struct DuplicateWindow: Sendable {
  /// How many numbers below and with the largest are told apart.
  static let span: UInt64 = 2048
  private static let wordCount = 32

  /// Bit n of word w is number (w * 64 + n) modulo the span.
  ///
  /// Allocated with the first number, and freed with a space whose keys are gone: two of three spaces live only through
  /// the handshake.
  private var words: [UInt64] = []
  /// One above the largest number seen.
  private var end: UInt64 = 0

  /// Whether the number was processed before, or is too old to know.
  func contains(_ number: UInt64) -> Bool {
    if number >= end { return false }
    // The word that holds the largest is partly from before: keep only what is surely current.
    if end - number > Self.span - 64 { return true }
    return words[Self.word(number)] & Self.bit(number) != 0
  }

  /// False when it had been there, or is too old.
  mutating func insert(_ number: UInt64) -> Bool {
    // Packet numbers are below 2^62 (RFC 9000 §12.3); anything else cannot have been decoded.
    guard number < 1 << 62, !contains(number) else { return false }
    if words.isEmpty { words = [UInt64](repeating: 0, count: Self.wordCount) }
    if number >= end {
      clear(from: end, to: number)
      end = number + 1
    }
    words[Self.word(number)] |= Self.bit(number)
    return true
  }

  /// Clears the words that numbers in `old..<=new` enter for the first time.
  private mutating func clear(from old: UInt64, to new: UInt64) {
    // The word of `old - 1` is in use already.
    let firstWord = (old + 63) >> 6
    let lastWord = new >> 6
    guard lastWord >= firstWord else { return }
    if lastWord - firstWord >= UInt64(Self.wordCount) {
      for word in words.indices { words[word] = 0 }
      return
    }
    for word in firstWord...lastWord { words[Int(word) & (Self.wordCount - 1)] = 0 }
  }

  private static func word(_ number: UInt64) -> Int { Int(number >> 6) & (wordCount - 1) }
  private static func bit(_ number: UInt64) -> UInt64 { 1 << (number & 63) }
}
