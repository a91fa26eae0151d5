import Wire

/// Writes requests one behind the other into memory of a fixed size.
struct MessageWriter {
  private(set) var bytes: ByteWriter
  /// Where the flags of the last message are.
  private var lastFlags: Int?

  init(_ buffer: UnsafeMutableRawBufferPointer) { bytes = ByteWriter(buffer) }

  var count: Int { bytes.count }

  /// False, with nothing written, when the message does not fit.
  mutating func message(
    _ type: MessageType, _ flags: MessageFlags, sequence: UInt32, _ body: (inout MessageWriter) -> Void
  ) -> Bool {
    let start = bytes.count
    host(UInt32(0))
    host(type.rawValue)
    host(flags.union(.request).rawValue)
    host(sequence)
    host(UInt32(0))
    body(&self)
    bytes.write(zeros: -bytes.count & 3)
    guard !bytes.overflowed else {
      bytes.rewind(to: start)
      return false
    }
    bytes.buffer.storeBytes(of: UInt32(bytes.count - start), toByteOffset: start, as: UInt32.self)
    lastFlags = start + 6
    return true
  }

  /// Asks the kernel to acknowledge the message written last.
  mutating func acknowledgeLast() {
    guard let lastFlags else { return }
    let flags = MessageFlags(rawValue: bytes.buffer.loadUnaligned(fromByteOffset: lastFlags, as: UInt16.self))
    bytes.buffer.storeBytes(of: flags.union(.ack).rawValue, toByteOffset: lastFlags, as: UInt16.self)
  }

  // MARK: Pieces of a body

  mutating func host<T: FixedWidthInteger>(_ value: T) { bytes.writeInteger(value.bigEndian) }

  mutating func attribute<T: FixedWidthInteger>(_ type: UInt16, _ value: T) { nested(type) { $0.host(value) } }

  mutating func attribute(_ type: UInt16, _ address: IPAddress) { nested(type) { $0.address(address) } }

  mutating func attribute(_ type: UInt16, _ text: String) {
    nested(type) {
      for byte in text.utf8 { $0.bytes.write(byte) }
      $0.bytes.write(UInt8(0))
    }
  }

  mutating func address(_ address: IPAddress) {
    switch address {
    case .v4(let four): bytes.write(four.rawValue)
    case .v6(let six):
      bytes.write(six.high)
      bytes.write(six.low)
    }
  }

  mutating func nested(_ type: UInt16, _ body: (inout MessageWriter) -> Void) {
    let start = bytes.count
    host(UInt16(0))
    host(type)
    body(&self)
    patchLength(at: start)
    bytes.write(zeros: -bytes.count & 3)
  }

  /// Sets the 16-bit length of what began at `start` and ends here.
  mutating func patchLength(at start: Int) {
    guard !bytes.overflowed else { return }
    guard let length = UInt16(exactly: bytes.count - start) else { return bytes.write(zeros: .max) }
    bytes.buffer.storeBytes(of: length, toByteOffset: start, as: UInt16.self)
  }
}

extension IPAddress {
  /// `AF_INET` or `AF_INET6`.
  var family: UInt8 { isIPv4 ? Family.ipv4 : Family.ipv6 }
}
