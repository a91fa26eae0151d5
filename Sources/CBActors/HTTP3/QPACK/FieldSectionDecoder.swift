internal import Wire

/// Decodes field sections (RFC 9204 §4.5) with the dynamic table as it stands.
struct FieldSectionDecoder {
  enum Failure: Error, Hashable {
    /// QPACK_DECOMPRESSION_FAILED, a connection error.
    case decompressionFailed(String)
    /// The section is larger than ``maximumSize``; the connection can go on without it.
    case tooLarge
    /// RFC 9204 §2.1.2: the section needs insertions that have not come.
    case blocked(requiredInsertCount: UInt64)
  }

  struct Section {
    var list = HeaderList()
    /// Zero when nothing refers to the dynamic table.
    var requiredInsertCount: UInt64 = 0
  }

  /// Bytes as RFC 9114 §4.2.2 counts them.
  let maximumSize: Int
  /// SETTINGS_QPACK_MAX_TABLE_CAPACITY as we announced it.
  var maximumCapacity = 0
  var table = DynamicTable()

  func decode(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Section {
    var reader = ByteReader(bytes)
    let prefix = try readPrefix(&reader)
    guard prefix.requiredInsertCount <= table.insertCount else {
      throw .blocked(requiredInsertCount: prefix.requiredInsertCount)
    }
    var section = Section(requiredInsertCount: prefix.requiredInsertCount)
    var size = 0
    var needed: UInt64 = 0
    while let first = reader.peekUInt8() {
      let field = try readLine(first, &reader, prefix, &needed)
      size += field.size
      guard size <= maximumSize else { throw .tooLarge }
      section.list.fields.append(field)
    }
    // RFC 9204 §2.2.1: "If it encounters a Required Insert Count larger than expected, it MAY treat this as a connection error
    // of type QPACK_DECOMPRESSION_FAILED". One smaller than expected has met with invalidReference.
    guard needed == prefix.requiredInsertCount else {
      throw .decompressionFailed("a Required Insert Count larger than needed")
    }
    return section
  }

  private struct Prefix {
    var requiredInsertCount: UInt64
    var base: UInt64
  }

  /// RFC 9204 §4.5.1.
  private func readPrefix(_ reader: inout ByteReader) throws(Failure) -> Prefix {
    guard let encoded = PrefixedInteger.decode(&reader, prefix: 8), let second = reader.peekUInt8(),
      let delta = PrefixedInteger.decode(&reader, prefix: 7)
    else { throw .decompressionFailed("field section prefix") }
    let requiredInsertCount = try insertCount(encoded)
    guard second & 0x80 != 0 else {
      return Prefix(requiredInsertCount: requiredInsertCount, base: requiredInsertCount + delta)
    }
    // RFC 9204 §4.5.1.2: "An endpoint MUST treat a field block with a Sign bit of 1 as invalid if the value of
    // Required Insert Count is less than or equal to the value of Delta Base."
    guard requiredInsertCount > delta else { throw .decompressionFailed("negative Base") }
    return Prefix(requiredInsertCount: requiredInsertCount, base: requiredInsertCount - delta - 1)
  }

  /// Undoes the wrapping of the Required Insert Count (RFC 9204 §4.5.1.1).
  private func insertCount(_ encoded: UInt64) throws(Failure) -> UInt64 {
    guard encoded > 0 else { return 0 }
    // RFC 9204 §4.5.1.1: "If the decoder encounters a value of EncodedInsertCount that could not have been produced by
    // a conformant encoder, it MUST treat this as a connection error of type QPACK_DECOMPRESSION_FAILED."
    let impossible = Failure.decompressionFailed("impossible Required Insert Count")
    let maximumEntries = UInt64(maximumCapacity / 32)
    let fullRange = 2 * maximumEntries
    guard encoded <= fullRange else { throw impossible }
    let largest = table.insertCount + maximumEntries
    var count = largest / fullRange * fullRange + encoded - 1
    if count > largest {
      guard count > fullRange else { throw impossible }
      count -= fullRange
    }
    guard count > 0 else { throw impossible }
    return count
  }

  /// - Parameter needed: raised to the insertions that this line needs.
  private func readLine(
    _ first: UInt8, _ reader: inout ByteReader, _ prefix: Prefix, _ needed: inout UInt64
  ) throws(Failure) -> Field {
    if first & 0x80 != 0 {
      // RFC 9204 §4.5.2: 1 T Index(6+)
      if first & 0x40 == 0 {
        let entry = try dynamicEntry(&reader, prefix: 6, prefix, &needed)
        return Field(entry.name, entry.value, neverIndexed: false)
      }
      let entry = try staticEntry(&reader, prefix: 6)
      return Field(entry.name, entry.value, neverIndexed: false)
    }
    if first & 0x40 != 0 {
      // RFC 9204 §4.5.4: 0 1 N T NameIndex(4+)
      let name =
        first & 0x10 == 0
        ? try dynamicEntry(&reader, prefix: 4, prefix, &needed).name : try staticEntry(&reader, prefix: 4).name
      let value = try literal(&reader, prefix: 8)
      return Field(name, value, neverIndexed: first & 0x20 != 0)
    }
    if first & 0x20 != 0 {
      // RFC 9204 §4.5.6: 0 0 1 N H NameLength(3+)
      let name = try literal(&reader, prefix: 4)
      let value = try literal(&reader, prefix: 8)
      return Field(name, value, neverIndexed: first & 0x10 != 0)
    }
    if first & 0x10 != 0 {
      // RFC 9204 §4.5.3: 0 0 0 1 Index(4+)
      let entry = try postBaseEntry(&reader, prefix: 4, prefix, &needed)
      return Field(entry.name, entry.value, neverIndexed: false)
    }
    // RFC 9204 §4.5.5: 0 0 0 0 N NameIndex(3+)
    let name = try postBaseEntry(&reader, prefix: 3, prefix, &needed).name
    let value = try literal(&reader, prefix: 8)
    return Field(name, value, neverIndexed: first & 0x08 != 0)
  }

  /// RFC 9204 §3.2.5: counted downwards from the Base.
  private func dynamicEntry(
    _ reader: inout ByteReader, prefix bits: Int, _ prefix: Prefix, _ needed: inout UInt64
  ) throws(Failure) -> DynamicTable.Entry {
    guard let index = PrefixedInteger.decode(&reader, prefix: bits), index < prefix.base else { throw invalidReference }
    return try entry(prefix.base - 1 - index, prefix, &needed)
  }

  /// RFC 9204 §3.2.6: counted upwards from the Base.
  private func postBaseEntry(
    _ reader: inout ByteReader, prefix bits: Int, _ prefix: Prefix, _ needed: inout UInt64
  ) throws(Failure) -> DynamicTable.Entry {
    guard let index = PrefixedInteger.decode(&reader, prefix: bits) else { throw invalidReference }
    return try entry(prefix.base + index, prefix, &needed)
  }

  // RFC 9204 §2.2.3: "a dynamic table entry that has already been evicted or that has an absolute index greater than or
  // equal to the declared Required Insert Count (Section 4.5.1), it MUST treat this as a connection error of type
  // QPACK_DECOMPRESSION_FAILED."
  private func entry(
    _ index: UInt64, _ prefix: Prefix, _ needed: inout UInt64
  ) throws(Failure) -> DynamicTable.Entry {
    // RFC 9204 §2.2.1: "If it encounters a Required Insert Count smaller than expected, it MUST treat this as a connection
    // error of type QPACK_DECOMPRESSION_FAILED".
    guard index < prefix.requiredInsertCount, let entry = table.entry(at: index) else { throw invalidReference }
    needed = max(needed, index + 1)
    return entry
  }

  private var invalidReference: Failure { .decompressionFailed("reference to the dynamic table") }

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
