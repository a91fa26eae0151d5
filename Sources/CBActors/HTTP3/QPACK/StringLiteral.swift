internal import Wire

/// String literals of field sections and encoder instructions (RFC 9204 §4.1.2).
enum StringLiteral {
  /// Reads one of an N-bit prefix, N being 2 to 8: the Huffman flag, then N-1 bits of the length.
  /// Nil for one that is cut short, badly coded, or longer than `limit` bytes once decoded.
  static func decode(_ reader: inout ByteReader, prefix bits: Int, limit: Int) -> String? {
    guard let first = reader.peekUInt8(), let length = PrefixedInteger.decode(&reader, prefix: bits - 1),
      length <= UInt64(reader.remaining), let bytes = reader.readBytes(Int(length))
    else { return nil }
    guard first >> UInt8(bits - 1) & 1 == 1 else {
      return bytes.count <= limit ? String(decoding: bytes, as: UTF8.self) : nil
    }
    return Huffman.decode(bytes, limit: limit).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Appends `text` behind `flags`, Huffman-coded where that is the shorter.
  static func encode(_ text: String, prefix bits: Int, flags: UInt8, to output: inout [UInt8]) {
    let plain = text.utf8.count
    let coded = Huffman.encodedLength(text.utf8)
    if coded < plain {
      PrefixedInteger.encode(UInt64(coded), prefix: bits - 1, flags: flags | 1 << UInt8(bits - 1), to: &output)
      Huffman.encode(text.utf8, to: &output)
    } else {
      PrefixedInteger.encode(UInt64(plain), prefix: bits - 1, flags: flags, to: &output)
      output.append(contentsOf: text.utf8)
    }
  }
}
