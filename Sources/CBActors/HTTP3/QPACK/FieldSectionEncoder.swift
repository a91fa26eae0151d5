/// Encodes field sections with the static table and literals alone (RFC 9204 §4.5).
///
/// A section so encoded needs nothing from the encoder stream, is never blocked and never acknowledged.
/// ``QPACKEncoder`` falls back to it.
enum FieldSectionEncoder {
  static func encode(_ list: HeaderList, to output: inout [UInt8]) {
    // RFC 9204 §4.5.1: no reference to the dynamic table, so Required Insert Count and Base are zero.
    output.append(0)
    output.append(0)
    for field in list.fields { encode(field, to: &output) }
  }

  static func encode(_ field: Field, to output: inout [UInt8]) {
    let neverIndexed: UInt8 = field.neverIndexed ? 1 : 0
    switch StaticTable.match(field.name, field.value) {
    // RFC 9204 §4.5.4: "it MUST use a literal representation to forward this field line"
    case .line(let index) where !field.neverIndexed:
      PrefixedInteger.encode(index, prefix: 6, flags: 0b1100_0000, to: &output)
    case .line(let index), .name(let index):
      PrefixedInteger.encode(index, prefix: 4, flags: 0b0101_0000 | neverIndexed << 5, to: &output)
      StringLiteral.encode(field.value, prefix: 8, flags: 0, to: &output)
    case .none:
      StringLiteral.encode(field.name, prefix: 4, flags: 0b0010_0000 | neverIndexed << 4, to: &output)
      StringLiteral.encode(field.value, prefix: 8, flags: 0, to: &output)
    }
  }
}
