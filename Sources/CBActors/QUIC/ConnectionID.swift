/// A connection ID of 0 to 20 bytes, inline (RFC 9000 §5.1, §17.2).
public struct ConnectionID: Hashable, Sendable {
  /// RFC 9000 §17.2: the length of a connection ID in version 1 is at most 20 bytes.
  public static let maximumLength = 20

  private var words: (UInt64, UInt64, UInt32)
  public let length: Int

  public static let empty = ConnectionID(UnsafeRawBufferPointer(start: nil, count: 0))!

  /// Nil for more than 20 bytes.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count <= Self.maximumLength else { return nil }
    words = (0, 0, 0)
    length = bytes.count
    withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
  }

  public init?(_ bytes: [UInt8]) {
    guard let id = bytes.withUnsafeBytes({ ConnectionID($0) }) else { return nil }
    self = id
  }

  public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try Swift.withUnsafeBytes(of: words) { try body(UnsafeRawBufferPointer(rebasing: $0[..<length])) }
  }

  public static func == (a: Self, b: Self) -> Bool {
    a.length == b.length && a.words.0 == b.words.0 && a.words.1 == b.words.1 && a.words.2 == b.words.2
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(length)
    hasher.combine(words.0)
    hasher.combine(words.1)
    hasher.combine(words.2)
  }
}

extension ConnectionID: CustomStringConvertible {
  /// Lower-case hexadecimal.
  public var description: String {
    withUnsafeBytes { bytes in
      bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
  }
}
