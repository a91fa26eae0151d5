/// A cursor that writes into memory of a fixed size.
///
/// A write that does not fit writes nothing and sets ``overflowed``; so does every write after it.
/// A caller sizes its buffer, writes, and checks once.
public struct ByteWriter {
  public let buffer: UnsafeMutableRawBufferPointer
  /// How many bytes have been written.
  public private(set) var count: Int
  public private(set) var overflowed = false

  public init(_ buffer: UnsafeMutableRawBufferPointer) {
    self.buffer = buffer
    count = 0
  }

  public var remaining: Int { buffer.count - count }
  public var written: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<count]) }
  /// The memory not written yet.
  public var free: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: buffer[count...]) }

  private mutating func claim(_ size: Int) -> Int? {
    guard !overflowed, size >= 0, remaining >= size else {
      overflowed = true
      return nil
    }
    defer { count += size }
    return count
  }

  public mutating func write(_ value: UInt8) { writeInteger(value) }
  public mutating func write(_ value: UInt16) { writeInteger(value) }
  public mutating func write(_ value: UInt32) { writeInteger(value) }
  public mutating func write(_ value: UInt64) { writeInteger(value) }

  /// An integer in network byte order.
  public mutating func writeInteger<T: FixedWidthInteger>(_ value: T) {
    guard let at = claim(MemoryLayout<T>.size) else { return }
    buffer.storeBytes(of: value.bigEndian, toByteOffset: at, as: T.self)
  }

  public mutating func write(_ bytes: UnsafeRawBufferPointer) {
    guard let at = claim(bytes.count), let source = bytes.baseAddress else { return }
    (buffer.baseAddress! + at).copyMemory(from: source, byteCount: bytes.count)
  }

  public mutating func write(_ bytes: [UInt8]) { bytes.withUnsafeBytes { write($0) } }

  public mutating func write(zeros size: Int) {
    guard let at = claim(size), size > 0 else { return }
    UnsafeMutableRawBufferPointer(rebasing: buffer[at..<at + size]).initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// A QUIC variable-length integer in its shortest form (RFC 9000 §16). A value of 2^62 or more overflows.
  public mutating func writeVarint(_ value: UInt64) {
    switch Varint.length(of: value) {
    case 1: write(UInt8(truncatingIfNeeded: value))
    case 2: write(UInt16(truncatingIfNeeded: value) | 0x4000)
    case 4: write(UInt32(truncatingIfNeeded: value) | 0x8000_0000)
    default:
      guard value <= Varint.max else {
        overflowed = true
        return
      }
      write(value | 0xc000_0000_0000_0000)
    }
  }

  /// A varint of exactly two bytes, for a length written before what it measures.
  public mutating func writeTwoByteVarint(_ value: Int) {
    guard value >= 0, value < 0x4000 else {
      overflowed = true
      return
    }
    write(UInt16(value) | 0x4000)
  }

  /// Overwrites two bytes already written at `offset` with a two-byte varint.
  public mutating func patchTwoByteVarint(_ value: Int, at offset: Int) {
    guard value >= 0, value < 0x4000, offset >= 0, offset + 2 <= count else {
      overflowed = true
      return
    }
    buffer.storeBytes(of: (UInt16(value) | 0x4000).bigEndian, toByteOffset: offset, as: UInt16.self)
  }

  /// Moves on over bytes that the caller has put into ``free`` itself.
  public mutating func advance(_ size: Int) { _ = claim(size) }

  /// Takes back everything written after `count`.
  public mutating func rewind(to count: Int) {
    guard count >= 0, count <= self.count else { return }
    self.count = count
    overflowed = false
  }
}

/// Variable-length integers (RFC 9000 §16).
public enum Varint {
  /// The largest value that has an encoding: 2^62 − 1.
  public static let max: UInt64 = 0x3fff_ffff_ffff_ffff

  /// Bytes of the shortest encoding: 1, 2, 4 or 8.
  @inlinable public static func length(of value: UInt64) -> Int {
    value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x4000_0000 ? 4 : 8
  }
}
