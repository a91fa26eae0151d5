internal import Wire

/// Decodes field sections (RFC 9204 §4.5). Our table capacity is zero, so every reference to the
/// dynamic table is one to an entry that is not there.
struct FieldSectionDecoder {
  enum Failure: Error, Hashable {
    /// QPACK_DECOMPRESSION_FAILED, a connection error.
    case decompressionFailed(String)
    /// The section is larger than ``maximumSize``; the connection can go on without it.
    case tooLarge
  }

  /// Bytes as RFC 9114 §4.2.2 counts them.
  let maximumSize: Int

  func decode(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> HeaderList {
    var reader = ByteReader(bytes)
    try readPrefix(&reader)
    var list = HeaderList()
    var size = 0
    while let first = reader.peekUInt8() {
      let field = try readLine(first, &reader)
      size += field.size
      guard size <= maximumSize else { throw .tooLarge }
      list.fields.append(field)
    }
    return list
  }

  /// RFC 9204 §4.5.1.
  private func readPrefix(_ reader: inout ByteReader) throws(Failure) {
    guard let requiredInsertCount = PrefixedInteger.decode(&reader, prefix: 8), let second = reader.peekUInt8(),
      PrefixedInteger.decode(&reader, prefix: 7) != nil
    else { throw .decompressionFailed("field section prefix") }
    // RFC 9204 §4.5.1.1: "it MUST treat this as a connection error of type QPACK_DECOMPRESSION_FAILED": with
    // a table that holds no entries a conformant encoder can only produce zero.
    guard requiredInsertCount == 0 else { throw .decompressionFailed("Required Insert Count without a table") }
    // RFC 9204 §4.5.1.2: "An endpoint MUST treat a field block with a Sign bit of 1 as invalid if the value of
    // Required Insert Count is less than or equal to the value of Delta Base." Zero always is.
    guard second & 0x80 == 0 else { throw .decompressionFailed("negative Base") }
  }

  private func readLine(_ first: UInt8, _ reader: inout ByteReader) throws(Failure) -> Field {
    if first & 0x80 != 0 {
      // RFC 9204 §4.5.2: 1 T Index(6+)
      guard first & 0x40 != 0 else { throw dynamicReference }
      let entry = try staticEntry(&reader, prefix: 6)
      return Field(entry.name, entry.value, neverIndexed: false)
    }
    if first & 0x40 != 0 {
      // RFC 9204 §4.5.4: 0 1 N T NameIndex(4+)
      guard first & 0x10 != 0 else { throw dynamicReference }
      let entry = try staticEntry(&reader, prefix: 4)
      let value = try literal(&reader, prefix: 8)
      return Field(entry.name, value, neverIndexed: first & 0x20 != 0)
    }
    if first & 0x20 != 0 {
      // RFC 9204 §4.5.6: 0 0 1 N H NameLength(3+)
      let name = try literal(&reader, prefix: 4)
      let value = try literal(&reader, prefix: 8)
      return Field(name, value, neverIndexed: first & 0x10 != 0)
    }
    // RFC 9204 §4.5.3 and §4.5.5: post-Base references, which only the dynamic table has.
    throw dynamicReference
  }

  // RFC 9204 §2.2.3: "it MUST treat this as a connection error of type QPACK_DECOMPRESSION_FAILED"
  private var dynamicReference: Failure { .decompressionFailed("reference to the dynamic table") }

  private func staticEntry(_ reader: inout ByteReader, prefix: Int) throws(Failure) -> StaticTable.Entry {
    // RFC 9204 §3.1: "it MUST treat this as a connection error of type QPACK_DECOMPRESSION_FAILED"
    guard let index = PrefixedInteger.decode(&reader, prefix: prefix), let entry = StaticTable.entry(index) else {
      throw .decompressionFailed("static table index")
    }
    return entry
  }

  private func literal(_ reader: inout ByteReader, prefix: Int) throws(Failure) -> String {
    // A string can be no longer than its coding, but for Huffman's eight to five; the section's size is
    // checked after each line, and the encoded section was bounded before, so no tighter limit is needed.
    guard let text = StringLiteral.decode(&reader, prefix: prefix, limit: reader.bytes.count * 2) else {
      throw .decompressionFailed("string literal")
    }
    return text
  }
}
