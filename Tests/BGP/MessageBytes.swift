import Testing
import Wire

@testable import BGP

/// A message of any type and body, header first.
func message(_ type: UInt8, _ body: [UInt8], length: Int? = nil) -> [UInt8] {
  let length = length ?? 19 + body.count
  return [UInt8](repeating: 0xff, count: 16) + [UInt8(length >> 8), UInt8(length & 0xff), type] + body
}

/// A path attribute; its length takes two octets where it must.
func attribute(_ flags: UInt8, _ type: UInt8, _ value: [UInt8]) -> [UInt8] {
  value.count > 255
    ? [flags | 0x10, type, UInt8(value.count >> 8), UInt8(value.count & 0xff)] + value
    : [flags, type, UInt8(value.count)] + value
}

/// The body of an UPDATE message.
func updateBody(withdrawn: [UInt8] = [], _ attributes: [UInt8] = [], nlri: [UInt8] = []) -> [UInt8] {
  [UInt8(withdrawn.count >> 8), UInt8(withdrawn.count & 0xff)] + withdrawn
    + [UInt8(attributes.count >> 8), UInt8(attributes.count & 0xff)] + attributes + nlri
}

func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

/// What an attempt that must fail says.
func notification<T>(_ body: () throws(NotificationMessage) -> T) -> NotificationMessage? {
  do {
    _ = try body()
    return nil
  } catch {
    return error
  }
}

/// `withUnsafeBytes` with a typed error.
func reading<T>(
  _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(NotificationMessage) -> T
) throws(NotificationMessage) -> T {
  let result: Result<T, NotificationMessage> = bytes.withUnsafeBytes { bytes in
    do throws(NotificationMessage) { return .success(try body(bytes)) } catch { return .failure(error) }
  }
  return try result.get()
}

extension [UInt8] {
  /// The error of reading this as an OPEN message's body.
  var openError: NotificationMessage? {
    withUnsafeBytes { bytes in notification { () throws(NotificationMessage) in try OpenMessage(body: bytes) } }
  }
}
