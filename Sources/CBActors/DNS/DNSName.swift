import Wire

/// A domain name (RFC 1035 §3.1): at most 255 octets, in labels of at most 63.
///
/// Compares without regard to the case of ASCII letters (RFC 4343), and keeps the case it was made with,
/// because an answer's case is evidence against forgery.
public struct DNSName: Sendable {
  /// Labels, each after its length, and the root's zero octet at the end. Never compressed.
  public let wire: [UInt8]

  /// The longest name, counting the length octets and the root (RFC 1035 §2.3.4).
  public static let maximumLength = 255
  /// The longest label (RFC 1035 §2.3.4).
  public static let maximumLabelLength = 63

  public static let root = DNSName(validatedWire: [0])

  /// Why text is no domain name.
  public enum TextError: Error, Hashable, Sendable {
    case empty
    case emptyLabel
    case labelTooLong
    case nameTooLong
    /// A backslash that is followed by neither three digits up to 255 nor one character.
    case badEscape
    /// A character beyond ASCII; internationalized names come in as A-labels (RFC 5890).
    case notASCII
  }

  init(validatedWire wire: [UInt8]) { self.wire = wire }

  /// Parses text as master files write it (RFC 1035 §5.1): dots between labels, `\.` and `\046` as
  /// escapes, a dot at the end allowed. The name is taken as absolute either way.
  public init(_ text: String) throws(TextError) {
    if text == "." {
      self = .root
      return
    }
    guard !text.isEmpty else { throw .empty }
    var wire: [UInt8] = [0]
    var lengthAt = 0
    var octets = text.utf8.makeIterator()

    func append(_ octet: UInt8) throws(TextError) {
      guard wire[lengthAt] < Self.maximumLabelLength else { throw .labelTooLong }
      wire[lengthAt] += 1
      wire.append(octet)
    }

    while let octet = octets.next() {
      switch octet {
      case UInt8(ascii: "."):
        guard wire[lengthAt] > 0 else { throw .emptyLabel }
        lengthAt = wire.count
        wire.append(0)
      case UInt8(ascii: "\\"):
        guard let first = octets.next(), first < 0x80 else { throw .badEscape }
        guard let hundreds = decimalDigit(first) else {
          try append(first)
          continue
        }
        guard let tens = octets.next().flatMap(decimalDigit), let ones = octets.next().flatMap(decimalDigit),
          let value = UInt8(exactly: hundreds * 100 + tens * 10 + ones)
        else { throw .badEscape }
        try append(value)
      default:
        guard octet < 0x80 else { throw .notASCII }
        try append(octet)
      }
    }
    // A dot at the end has already put the root in place.
    if wire[lengthAt] > 0 { wire.append(0) }
    guard wire.count <= Self.maximumLength else { throw .nameTooLong }
    self.wire = wire
  }

  /// The labels' octets, the most specific first, without the root.
  public var labels: [[UInt8]] {
    var labels: [[UInt8]] = []
    var offset = 0
    while wire[offset] > 0 {
      let end = offset + 1 + Int(wire[offset])
      labels.append(Array(wire[offset + 1..<end]))
      offset = end
    }
    return labels
  }

  public var isRoot: Bool { wire.count == 1 }

  /// The name without its first label; nil for the root.
  public var parent: DNSName? {
    isRoot ? nil : DNSName(validatedWire: Array(wire[(1 + Int(wire[0]))...]))
  }

  /// This name's labels before those of `suffix`; nil when that is longer than 255 octets.
  public func appending(_ suffix: DNSName) -> DNSName? {
    let joined = wire.dropLast() + suffix.wire
    return joined.count <= Self.maximumLength ? DNSName(validatedWire: Array(joined)) : nil
  }

  /// True for `ancestor` itself and for every name under it.
  public func isEqualOrUnder(_ ancestor: DNSName) -> Bool {
    var offset = 0
    while wire.count - offset > ancestor.wire.count { offset += 1 + Int(wire[offset]) }
    guard wire.count - offset == ancestor.wire.count else { return false }
    return zip(wire[offset...], ancestor.wire).allSatisfy { lowercased($0) == lowercased($1) }
  }

  /// The same name with every ASCII letter's case chosen by one bit from `entropy`: what a forger must
  /// guess beside the identifier and the port.
  func withRandomizedCase(_ entropy: any EntropySource) -> DNSName {
    let coins = entropy.bytes((wire.count + 7) / 8)
    var mixed = wire
    for index in mixed.indices where isLetter(mixed[index]) && coins[index >> 3] & (1 << (index & 7)) != 0 {
      mixed[index] ^= 0x20
    }
    return DNSName(validatedWire: mixed)
  }
}

extension DNSName: Hashable {
  public static func == (a: DNSName, b: DNSName) -> Bool {
    a.wire.count == b.wire.count && zip(a.wire, b.wire).allSatisfy { lowercased($0) == lowercased($1) }
  }

  public func hash(into hasher: inout Hasher) {
    // A label's length is at most 63, below every letter, so folding all octets alike is right.
    for octet in wire { hasher.combine(lowercased(octet)) }
  }
}

extension DNSName: CustomStringConvertible {
  /// The name without the dot at its end (`.` for the root), escaped so that ``init(_:)`` reads it back.
  public var description: String {
    guard !isRoot else { return "." }
    return labels.map { label in
      label.reduce(into: "") { text, octet in
        switch octet {
        case UInt8(ascii: "."), UInt8(ascii: "\\"): text += "\\\(Character(Unicode.Scalar(octet)))"
        case 0x21...0x7e: text.unicodeScalars.append(Unicode.Scalar(octet))
        default:
          let digits = String(octet)
          text += "\\" + String(repeating: "0", count: 3 - digits.count) + digits
        }
      }
    }.joined(separator: ".")
  }
}

extension DNSName {
  /// Reads a name at `offset` of `message`, following compression pointers (RFC 1035 §4.1.4), and moves
  /// `offset` behind it. Nil for anything malformed.
  ///
  /// What is read in place may not go past `end`. Each pointer must lead before every octet read so far,
  /// so a loop cannot be built, and the work is bounded by the message's length.
  init?(in message: UnsafeRawBufferPointer, at offset: inout Int, end: Int, compressed: Bool = true) {
    var wire: [UInt8] = []
    var cursor = offset
    var limit = min(end, message.count)
    var lowest = offset
    var isInPlace = true
    guard offset >= 0 else { return nil }
    while true {
      guard cursor < limit else { return nil }
      let length = Int(message[cursor])
      switch length >> 6 {
      case 0:
        guard cursor + 1 + length <= limit, wire.count + 1 + length <= Self.maximumLength else { return nil }
        wire.append(contentsOf: message[cursor..<cursor + 1 + length])
        cursor += 1 + length
        guard length == 0 else { continue }
        if isInPlace { offset = cursor }
        self.init(validatedWire: wire)
        return
      case 3:
        guard compressed, cursor + 2 <= limit else { return nil }
        let target = (length & 0x3f) << 8 | Int(message[cursor + 1])
        // RFC 1035 §4.1.4 speaks of a pointer to a prior occurrence of the name; the header is none.
        guard target < lowest, target >= Header.length else { return nil }
        if isInPlace { offset = cursor + 2 }
        isInPlace = false
        limit = lowest
        lowest = target
        cursor = target
      default:
        // 01 and 10 are reserved (RFC 1035 §4.1.4) or withdrawn (RFC 6891 §5).
        return nil
      }
    }
  }
}

private func decimalDigit(_ octet: UInt8) -> Int? {
  octet >= 0x30 && octet <= 0x39 ? Int(octet - 0x30) : nil
}

private func isLetter(_ octet: UInt8) -> Bool {
  (0x41...0x5a).contains(octet) || (0x61...0x7a).contains(octet)
}

private func lowercased(_ octet: UInt8) -> UInt8 {
  (0x41...0x5a).contains(octet) ? octet | 0x20 : octet
}
