/// Cuts a TCP stream into messages by their two-octet lengths (RFC 1035 §4.2.2, RFC 7766 §8).
///
/// Holds at most one message of 65,535 octets and what came with it in one chunk.
public struct TCPMessageReader: Sendable {
  private var buffer: [UInt8] = []

  public init() {}

  /// Takes in a chunk of any size. Call ``next()`` until it is nil before the following chunk.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) { buffer.append(contentsOf: bytes) }

  /// The next whole message without its length, or nil when more must come first.
  public mutating func next() -> [UInt8]? {
    guard buffer.count >= 2 else { return nil }
    let end = 2 + (Int(buffer[0]) << 8 | Int(buffer[1]))
    guard buffer.count >= end else { return nil }
    defer { buffer.removeFirst(end) }
    return Array(buffer[2..<end])
  }

  /// A message with its length before it; nil when it is too long for one.
  public static func frame(_ message: [UInt8]) -> [UInt8]? {
    UInt16(exactly: message.count).map { bigEndian($0) + message }
  }
}
