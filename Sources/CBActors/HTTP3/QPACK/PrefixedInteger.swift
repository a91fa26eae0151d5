internal import Wire

/// Integers that begin inside a byte (RFC 7541 §5.1, RFC 9204 §4.1.1).
enum PrefixedInteger {
  /// Reads one whose prefix has `bits` bits, 1 to 8. Nil when it is cut short or exceeds 62 bits.
  static func decode(_ reader: inout ByteReader, prefix bits: Int) -> UInt64? {
    guard let first = reader.readUInt8() else { return nil }
    var decoder = Decoder(first: first, prefix: bits)
    while true {
      switch decoder.state {
      case .complete(let value): return value
      case .overflow: return nil
      case .incomplete:
        guard let byte = reader.readUInt8() else { return nil }
        decoder.feed(byte)
      }
    }
  }

  /// Appends `value` with `flags` in the bits above the prefix.
  static func encode(_ value: UInt64, prefix bits: Int, flags: UInt8, to output: inout [UInt8]) {
    let limit = UInt64(1) << UInt64(bits) - 1
    guard value >= limit else {
      output.append(flags | UInt8(truncatingIfNeeded: value))
      return
    }
    output.append(flags | UInt8(truncatingIfNeeded: limit))
    var rest = value - limit
    while rest >= 0x80 {
      output.append(UInt8(truncatingIfNeeded: rest & 0x7f | 0x80))
      rest >>= 7
    }
    output.append(UInt8(truncatingIfNeeded: rest))
  }

  /// Takes an integer byte by byte, for streams that may be cut anywhere.
  struct Decoder {
    enum State: Equatable {
      case incomplete
      case complete(UInt64)
      case overflow
    }
    private(set) var state: State
    private var value: UInt64
    private var shift: UInt64 = 0

    init(first: UInt8, prefix bits: Int) {
      let limit = UInt64(1) << UInt64(bits) - 1
      value = UInt64(first) & limit
      state = value < limit ? .complete(value) : .incomplete
    }

    mutating func feed(_ byte: UInt8) {
      guard state == .incomplete else { return }
      let digit = UInt64(byte & 0x7f)
      // RFC 9204 §4.1.1: "QPACK implementations MUST be able to decode integers up to and including 62 bits long."
      // Nine digits of seven bits reach 63; more, even of zeros, is refused, so that padding has an end.
      guard shift <= 56, digit <= Varint.max >> shift, value + digit << shift <= Varint.max else {
        state = .overflow
        return
      }
      value += digit << shift
      shift += 7
      if byte & 0x80 == 0 { state = .complete(value) }
    }
  }
}
