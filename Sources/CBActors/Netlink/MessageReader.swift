import Wire

/// The messages of one datagram from the kernel, in place (`struct nlmsghdr`, linux/netlink.h).
///
/// Integers of netlink are in the machine's byte order, addresses in the network's.
struct MessageReader {
  struct Message {
    let type: MessageType
    let flags: MessageFlags
    let sequence: UInt32
    let body: UnsafeRawBufferPointer
  }

  static let headerLength = 16

  private var reader: ByteReader
  /// A length did not fit; nothing is read beyond.
  private(set) var isMalformed = false

  init(_ bytes: UnsafeRawBufferPointer) { reader = ByteReader(bytes) }

  mutating func next() -> Message? {
    guard !reader.isAtEnd, !isMalformed else { return nil }
    guard let length = reader.readHost(UInt32.self), length >= Self.headerLength,
      let type = reader.readHost(UInt16.self), let flags = reader.readHost(UInt16.self),
      let sequence = reader.readHost(UInt32.self), reader.readUInt32() != nil,
      let body = reader.readBytes(Int(length) - Self.headerLength)
    else {
      isMalformed = true
      return nil
    }
    reader.skipPadding(of: body.count)
    return Message(
      type: MessageType(type), flags: MessageFlags(rawValue: flags), sequence: sequence, body: body)
  }
}

/// The attributes of a message or of another attribute (`struct nlattr`), in place. What follows one whose length does
/// not fit is not read.
struct AttributeReader {
  private var reader: ByteReader

  init(_ bytes: UnsafeRawBufferPointer) { reader = ByteReader(bytes) }
  init(_ rest: ByteReader) { reader = ByteReader(rest.rest) }

  mutating func next() -> (type: UInt16, payload: UnsafeRawBufferPointer)? {
    guard let length = reader.readHost(UInt16.self), length >= 4, let type = reader.readHost(UInt16.self),
      let payload = reader.readBytes(Int(length) - 4)
    else { return nil }
    reader.skipPadding(of: payload.count)
    // The upper two bits are NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    return (type & 0x3fff, payload)
  }
}

extension ByteReader {
  /// An integer in the machine's byte order.
  mutating func readHost<T: FixedWidthInteger>(_ type: T.Type) -> T? { readInteger(type)?.bigEndian }

  /// To the next multiple of four octets, or the end.
  fileprivate mutating func skipPadding(of length: Int) { _ = skip(min(-length & 3, remaining)) }
}

extension UnsafeRawBufferPointer {
  /// The whole of it as one integer in the machine's byte order; nil when it has another size.
  func host<T: FixedWidthInteger>(_ type: T.Type) -> T? {
    count == MemoryLayout<T>.size ? loadUnaligned(as: type) : nil
  }

  /// Text that ends at the first zero octet, or with the attribute.
  var text: String { String(decoding: prefix { $0 != 0 }, as: UTF8.self) }
}
