import PacketCrypto
import Wire

/// JSON (RFC 8259) appended to one buffer that is used again for each text.
struct JSONText {
  private(set) var bytes: [UInt8] = []

  private static let digits = [UInt8]("0123456789abcdef".utf8)

  mutating func clear() { bytes.removeAll(keepingCapacity: true) }

  mutating func append(_ byte: UInt8) { bytes.append(byte) }

  /// A comma, unless this is the first of its object or array.
  private mutating func separate() {
    switch bytes.last {
    case UInt8(ascii: "{"), UInt8(ascii: "["), UInt8(ascii: ":"), 0x1e, nil: break
    default: bytes.append(UInt8(ascii: ","))
    }
  }

  mutating func key(_ key: StaticString) {
    separate()
    bytes.append(UInt8(ascii: "\""))
    key.withUTF8Buffer { bytes.append(contentsOf: $0) }
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
  }

  mutating func beginObject() {
    separate()
    bytes.append(UInt8(ascii: "{"))
  }
  mutating func endObject() { bytes.append(UInt8(ascii: "}")) }
  mutating func beginArray() {
    separate()
    bytes.append(UInt8(ascii: "["))
  }
  mutating func endArray() { bytes.append(UInt8(ascii: "]")) }

  mutating func value(_ number: UInt64) {
    separate()
    var rest = number
    let start = bytes.count
    repeat {
      bytes.append(Self.digits[Int(rest % 10)])
      rest /= 10
    } while rest > 0
    bytes[start...].reverse()
  }

  /// Milliseconds with three decimals.
  mutating func value(_ interval: Interval) {
    let microseconds = UInt64(max(interval.microseconds, 0))
    value(microseconds / 1_000)
    bytes.append(UInt8(ascii: "."))
    for divisor: UInt64 in [100, 10, 1] { bytes.append(Self.digits[Int(microseconds / divisor % 10)]) }
  }

  mutating func value(_ flag: Bool) {
    separate()
    bytes.append(contentsOf: (flag ? "true" : "false").utf8)
  }

  /// Text, with what RFC 8259 §7 demands escaped.
  mutating func value(_ text: String) {
    separate()
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0..<0x20:
        bytes.append(contentsOf: "\\u00".utf8)
        appendHex(byte)
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// A hexstring.
  mutating func value(hex: UnsafeRawBufferPointer) {
    separate()
    bytes.append(UInt8(ascii: "\""))
    for byte in hex { appendHex(byte) }
    bytes.append(UInt8(ascii: "\""))
  }

  private mutating func appendHex(_ byte: UInt8) {
    bytes.append(Self.digits[Int(byte >> 4)])
    bytes.append(Self.digits[Int(byte & 15)])
  }

  // MARK: Members

  mutating func member(_ name: StaticString, _ number: UInt64) {
    key(name)
    value(number)
  }
  mutating func member(_ name: StaticString, _ number: Int) { member(name, UInt64(max(number, 0))) }
  mutating func member(_ name: StaticString, _ interval: Interval) {
    key(name)
    value(interval)
  }
  mutating func member(_ name: StaticString, _ flag: Bool) {
    key(name)
    value(flag)
  }
  mutating func member(_ name: StaticString, _ text: String) {
    key(name)
    value(text)
  }
  mutating func member(_ name: StaticString, _ id: ConnectionID) {
    key(name)
    id.withUnsafeBytes { value(hex: $0) }
  }
  mutating func member(_ name: StaticString, hex number: UInt64) {
    key(name)
    Swift.withUnsafeBytes(of: number.bigEndian) { value(hex: $0) }
  }

  /// The draft's QuicVersion.
  mutating func value(_ version: Version) {
    Swift.withUnsafeBytes(of: version.rawValue.bigEndian) { value(hex: $0) }
  }
  mutating func member(_ name: StaticString, _ version: Version) {
    key(name)
    value(version)
  }
  mutating func member(_ name: StaticString, _ versions: [Version]) {
    key(name)
    beginArray()
    for version in versions { value(version) }
    endArray()
  }

  /// A RawInfo with the one length that is known.
  mutating func raw(payload count: Int) {
    key("raw")
    beginObject()
    member("payload_length", count)
    endObject()
  }

  mutating func raw(length: Int, payload: Int? = nil) {
    key("raw")
    beginObject()
    member("length", length)
    if let payload { member("payload_length", payload) }
    endObject()
  }
}
