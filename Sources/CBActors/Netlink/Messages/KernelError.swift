import Wire

/// The kernel's refusal (`struct nlmsgerr`, linux/netlink.h), with what its extended ACK says.
public struct KernelError: Error, Hashable, Sendable {
  /// A positive error number.
  public var number: Int32
  /// The kernel's own words, where it has any.
  public var text: String?

  public init(number: Int32, text: String? = nil) {
    self.number = number
    self.text = text
  }

  /// The error numbers of Linux (asm-generic/errno-base.h, errno.h) that mean something here.
  public static let noSuchEntry: Int32 = 2
  public static let noSuchProcess: Int32 = 3
  public static let busy: Int32 = 16
  public static let exists: Int32 = 17
  public static let invalid: Int32 = 22
  public static let notSupported: Int32 = 95
  public static let noBuffers: Int32 = 105

  /// Of a message of type error; `number` is 0 for an acknowledgment. Nil where it is malformed.
  init?(_ body: UnsafeRawBufferPointer, _ flags: MessageFlags) {
    var reader = ByteReader(body)
    guard let negated = reader.readHost(Int32.self), negated <= 0, negated > .min,
      let length = reader.readHost(UInt32.self), reader.skip(MessageReader.headerLength - 4)
    else { return nil }
    self.init(number: -negated)
    guard flags.contains(.ackAttributes) else { return }
    if negated != 0, !flags.contains(.capped) {
      // The whole request comes back before the attributes.
      let body = Int(length) - MessageReader.headerLength
      guard body >= 0, reader.skip((body + 3) & ~3) else { return }
    }
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      if type == 1 { text = payload.text }  // NLMSGERR_ATTR_MSG
    }
  }
}

extension KernelError: CustomStringConvertible {
  public var description: String { "the kernel refused (errno \(number))" + (text.map { ": \($0)" } ?? "") }
}
