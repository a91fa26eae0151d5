internal import Wire

/// What an encoder says on its stream (RFC 9204 §4.3).
enum EncoderInstruction {
  case setCapacity(UInt64)
  case insertWithStaticName(UInt64, value: [UInt8])
  /// The index is relative to the newest entry, as is that of ``duplicate(_:)``.
  case insertWithDynamicName(UInt64, value: [UInt8])
  case insertWithLiteralName([UInt8], value: [UInt8])
  case duplicate(UInt64)

  /// An integer beyond 62 bits, a string badly coded, or one that no table of ours could hold.
  struct Malformed: Error {}

  /// Reads one instruction; nil when not all of it has come. `limit` bounds each string, in bytes once decoded.
  static func decode(_ reader: inout ByteReader, limit: Int) throws(Malformed) -> EncoderInstruction? {
    guard let first = reader.peekUInt8() else { return nil }
    if first & 0x80 != 0 {
      guard let index = try integer(&reader, prefix: 6), let value = try Literal(&reader, prefix: 8, limit) else {
        return nil
      }
      let bytes = try value.decoded(limit)
      return first & 0x40 != 0
        ? .insertWithStaticName(index, value: bytes) : .insertWithDynamicName(index, value: bytes)
    }
    if first & 0x40 != 0 {
      // Nothing is decoded before both strings are there, so that small pieces do not cost the same work again.
      guard let name = try Literal(&reader, prefix: 6, limit), let value = try Literal(&reader, prefix: 8, limit) else {
        return nil
      }
      return .insertWithLiteralName(try name.decoded(limit), value: try value.decoded(limit))
    }
    guard let value = try integer(&reader, prefix: 5) else { return nil }
    return first & 0x20 != 0 ? .setCapacity(value) : .duplicate(value)
  }

  private static func integer(_ reader: inout ByteReader, prefix bits: Int) throws(Malformed) -> UInt64? {
    guard let first = reader.readUInt8() else { return nil }
    var decoder = PrefixedInteger.Decoder(first: first, prefix: bits)
    while true {
      switch decoder.state {
      case .complete(let value): return value
      case .overflow: throw Malformed()
      case .incomplete:
        guard let byte = reader.readUInt8() else { return nil }
        decoder.feed(byte)
      }
    }
  }

  /// A string literal that is there whole, not decoded yet.
  private struct Literal {
    let isHuffman: Bool
    let bytes: UnsafeRawBufferPointer

    init?(_ reader: inout ByteReader, prefix bits: Int, _ limit: Int) throws(Malformed) {
      guard let first = reader.peekUInt8(), let length = try integer(&reader, prefix: bits - 1) else { return nil }
      isHuffman = first >> UInt8(bits - 1) & 1 == 1
      // No Huffman code is longer than thirty bits.
      guard length <= UInt64(isHuffman ? limit * 4 : limit) else { throw Malformed() }
      guard length <= UInt64(reader.remaining), let bytes = reader.readBytes(Int(length)) else { return nil }
      self.bytes = bytes
    }

    func decoded(_ limit: Int) throws(Malformed) -> [UInt8] {
      guard isHuffman else { return Array(bytes) }
      guard let decoded = Huffman.decode(bytes, limit: limit) else { throw Malformed() }
      return decoded
    }
  }

  // MARK: Encoding

  static func encodeCapacity(_ capacity: Int, to output: inout [UInt8]) {
    PrefixedInteger.encode(UInt64(capacity), prefix: 5, flags: 0b0010_0000, to: &output)
  }

  static func encodeInsertion(staticName index: UInt64, _ value: String, to output: inout [UInt8]) {
    PrefixedInteger.encode(index, prefix: 6, flags: 0b1100_0000, to: &output)
    StringLiteral.encode(value, prefix: 8, flags: 0, to: &output)
  }

  static func encodeInsertion(dynamicName index: UInt64, _ value: String, to output: inout [UInt8]) {
    PrefixedInteger.encode(index, prefix: 6, flags: 0b1000_0000, to: &output)
    StringLiteral.encode(value, prefix: 8, flags: 0, to: &output)
  }

  static func encodeInsertion(_ name: String, _ value: String, to output: inout [UInt8]) {
    StringLiteral.encode(name, prefix: 6, flags: 0b0100_0000, to: &output)
    StringLiteral.encode(value, prefix: 8, flags: 0, to: &output)
  }
}
