/// base64url without padding (RFC 4648 §5, RFC 7515 §2), strict in what it accepts.
///
/// One text has one decoding and one value one text: padding, white space, foreign characters and
/// non-zero spare bits are all refused, so that a token cannot be changed without changing its bytes.
public enum Base64URL {
  public static func decode(_ text: some Sequence<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var held = 0
    for character in text {
      guard let digit = value(of: character) else { return nil }
      bits = bits << 6 | UInt32(digit)
      held += 6
      if held >= 8 {
        held -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
        bits &= (1 << UInt32(held)) - 1
      }
    }
    // A lone last character (six bits held) encodes nothing; spare bits must be zero.
    guard held < 6, bits == 0 else { return nil }
    return bytes
  }

  public static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var text: [UInt8] = []
    var bits: UInt32 = 0
    var held = 0
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      held += 8
      while held >= 6 {
        held -= 6
        text.append(alphabet[Int(bits >> UInt32(held) & 0x3f)])
        bits &= (1 << UInt32(held)) - 1
      }
    }
    if held > 0 { text.append(alphabet[Int(bits << UInt32(6 - held) & 0x3f)]) }
    return String(decoding: text, as: UTF8.self)
  }

  private static let alphabet = [UInt8]("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  private static func value(of character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
    case UInt8(ascii: "-"): 62
    case UInt8(ascii: "_"): 63
    default: nil
    }
  }
}
