/// A cursor over bytes that someone else sent.
///
/// Every read checks what is left and returns nil when it is too little; nothing here traps,
/// whatever the input. The cursor borrows: the memory must outlive it.
public struct ByteReader {
  public let bytes: UnsafeRawBufferPointer
  /// How many bytes have been read.
  public private(set) var offset: Int

  @inlinable public init(_ bytes: UnsafeRawBufferPointer) {
    self.init(bytes: bytes, offset: 0)
  }
  @usableFromInline init(bytes: UnsafeRawBufferPointer, offset: Int) {
    self.bytes = bytes
    self.offset = offset
  }

  public var remaining: Int { bytes.count - offset }
  public var isAtEnd: Bool { offset >= bytes.count }

  /// What has not been read, without reading it.
  public var rest: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[offset...]) }

  public func peekUInt8() -> UInt8? { remaining >= 1 ? bytes[offset] : nil }

  public mutating func readUInt8() -> UInt8? {
    guard remaining >= 1 else { return nil }
    defer { offset += 1 }
    return bytes[offset]
  }

  public mutating func readUInt16() -> UInt16? { readInteger(UInt16.self) }
  public mutating func readUInt32() -> UInt32? { readInteger(UInt32.self) }
  public mutating func readUInt64() -> UInt64? { readInteger(UInt64.self) }

  /// An integer in network byte order.
  public mutating func readInteger<T: FixedWidthInteger>(_ type: T.Type) -> T? {
    let size = MemoryLayout<T>.size
    guard remaining >= size else { return nil }
    defer { offset += size }
    return load(type)
  }

  private func load<T: FixedWidthInteger>(_ type: T.Type) -> T {
    T(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// A QUIC variable-length integer (RFC 9000 §16).
  public mutating func readVarint() -> UInt64? {
    guard let first = peekUInt8() else { return nil }
    let length = 1 << Int(first >> 6)
    guard remaining >= length else { return nil }
    defer { offset += length }
    switch length {
    case 1: return UInt64(first)
    case 2: return UInt64(load(UInt16.self) & 0x3fff)
    case 4: return UInt64(load(UInt32.self) & 0x3fff_ffff)
    default: return load(UInt64.self) & Varint.max
    }
  }

  /// The next `count` bytes, in place.
  public mutating func readBytes(_ count: Int) -> UnsafeRawBufferPointer? {
    guard count >= 0, remaining >= count else { return nil }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
  }

  /// As many bytes as a varint before them says (RFC 9000 §16).
  public mutating func readVarintPrefixedBytes() -> UnsafeRawBufferPointer? {
    let start = offset
    guard let length = readVarint(), length <= UInt64(remaining), let bytes = readBytes(Int(length)) else {
      offset = start
      return nil
    }
    return bytes
  }

  public mutating func skip(_ count: Int) -> Bool { readBytes(count) != nil }
}
