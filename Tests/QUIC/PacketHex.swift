import Wire

/// Bytes from hexadecimal text; white space is skipped.
func hex(_ text: String) -> [UInt8] {
  let digits = text.unicodeScalars.filter { !$0.properties.isWhitespace }.map { UInt8(String($0), radix: 16)! }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// An entropy source that gives one byte for ever.
final class ConstantEntropy: EntropySource {
  let byte: UInt8
  init(_ byte: UInt8) { self.byte = byte }
  func fill(_ buffer: UnsafeMutableRawBufferPointer) {
    for index in buffer.indices { buffer[index] = byte }
  }
}

/// What `body` writes into a buffer of `capacity` bytes; empty when it overflowed.
func written(_ capacity: Int = 2048, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
  withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 8) { memory in
    var writer = ByteWriter(memory)
    body(&writer)
    return writer.overflowed ? [] : [UInt8](writer.written)
  }
}
