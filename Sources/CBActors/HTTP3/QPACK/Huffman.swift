/// The Huffman code of string literals (RFC 7541 §5.2, Appendix B), which QPACK takes over unchanged.
///
/// The code is canonical: within one length, codes go up with their symbols. So the lengths say all,
/// and both directions are worked out from them once.
enum Huffman {
  private static let endOfString = 256

  /// Bits of each symbol's code: the 256 bytes, then EOS.
  private static let lengths: [UInt8] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
  ]

  /// The symbols whose codes have one length.
  private struct Rank {
    let length: UInt32
    /// The first code of this length.
    let first: UInt32
    /// One past the last code, shifted to the top of 32 bits; 2^32 for the longest.
    let end: UInt64
    /// Where the symbols stand in ``Tables/symbols``.
    let start: Int
  }

  private struct Tables {
    var codes = [UInt32](repeating: 0, count: 257)
    var ranks: [Rank] = []
    /// By length, then by value.
    var symbols: [UInt16] = []

    init() {
      var code: UInt32 = 0
      var previous: UInt32 = 0
      for length in UInt32(5)...30 {
        let members = (0...endOfString).filter { lengths[$0] == length }
        guard !members.isEmpty else { continue }
        code <<= length - previous
        previous = length
        let first = code
        for member in members {
          codes[member] = code
          code += 1
        }
        ranks.append(
          Rank(length: length, first: first, end: UInt64(code) << UInt64(32 - length), start: symbols.count))
        symbols.append(contentsOf: members.map(UInt16.init))
      }
    }
  }
  private static let tables = Tables()

  /// Bytes that ``encode(_:to:)`` appends.
  static func encodedLength(_ text: some Sequence<UInt8>) -> Int {
    (text.reduce(0) { $0 + Int(lengths[Int($1)]) } + 7) / 8
  }

  static func encode(_ text: some Sequence<UInt8>, to output: inout [UInt8]) {
    var bits: UInt64 = 0
    var count: UInt64 = 0
    for byte in text {
      let length = UInt64(lengths[Int(byte)])
      bits = bits << length | UInt64(tables.codes[Int(byte)])
      count += length
      while count >= 8 {
        count -= 8
        output.append(UInt8(truncatingIfNeeded: bits >> count))
      }
    }
    // RFC 7541 §5.2: the last byte is filled with the most significant bits of EOS, which are ones.
    if count > 0 { output.append(UInt8(truncatingIfNeeded: bits << (8 - count) | 0xff >> count)) }
  }

  /// Nil for a coding error, or for more than `limit` bytes.
  static func decode(_ bytes: UnsafeRawBufferPointer, limit: Int) -> [UInt8]? {
    var output: [UInt8] = []
    output.reserveCapacity(min(limit, bytes.count * 8 / 5))
    var bits: UInt64 = 0
    var count: UInt32 = 0
    var offset = 0
    while true {
      while count <= 56, offset < bytes.count {
        bits = bits << 8 | UInt64(bytes[offset])
        offset += 1
        count += 8
      }
      guard count > 0 else { return output }
      // The next 32 bits; beyond the end of the string, ones, as padding has them.
      let window =
        count >= 32
        ? UInt32(truncatingIfNeeded: bits >> UInt64(count - 32))
        : UInt32(truncatingIfNeeded: bits << UInt64(32 - count)) | UInt32.max >> count
      guard let rank = tables.ranks.first(where: { UInt64(window) < $0.end }) else { return nil }
      guard rank.length <= count else {
        // No symbol is whole any more: this must be padding.
        // RFC 7541 §5.2: longer than 7 bits, or other than the most significant bits of EOS, is an error.
        return count < 8 && window == .max ? output : nil
      }
      let symbol = tables.symbols[rank.start + Int(window >> (32 - rank.length) - rank.first)]
      // RFC 7541 §5.2: a string that contains EOS is an error.
      guard symbol < 256, output.count < limit else { return nil }
      output.append(UInt8(truncatingIfNeeded: symbol))
      count -= rank.length
    }
  }
}
