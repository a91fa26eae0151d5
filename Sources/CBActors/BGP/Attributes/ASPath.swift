import Wire

/// An AS_PATH (RFC 4271 §4.3), with numbers of four octets.
public struct ASPath: Hashable, Sendable {
  public struct Segment: Hashable, Sendable {
    /// Order does not count: the AS numbers of an aggregate.
    public var isSet: Bool
    /// At most 255.
    public var numbers: [UInt32]

    public init(isSet: Bool = false, _ numbers: [UInt32]) {
      self.isSet = isSet
      self.numbers = numbers
    }
  }

  public var segments: [Segment]

  public init(_ segments: [Segment] = []) { self.segments = segments }

  /// A single AS_SEQUENCE; none for no numbers.
  public init(_ numbers: [UInt32]) { segments = numbers.isEmpty ? [] : [Segment(numbers)] }

  /// What the decision process counts: a set is one (RFC 4271 §9.1.2.2 a).
  public var length: Int { segments.reduce(0) { $0 + ($1.isSet ? 1 : $1.numbers.count) } }
}

extension ASPath {
  /// What a reader learns of a path in passing, without keeping it.
  struct Scan {
    /// As ``ASPath/length``.
    var length = 0
    /// The first number of a path that begins with a sequence; 0 where there is none.
    var first: UInt32 = 0
    var containsLocalAS = false
    /// The last octets of the value are not the end of a segment, a segment is empty, its type unknown or out of place
    /// here, or a number is 0.
    var isMalformed = false
  }

  /// RFC 7606 §7.2 says what is malformed; RFC 5065 §5 that segments of a confederation are, outside of one; RFC 7607 §2
  /// that AS 0 is.
  @inline(__always)
  static func scan(_ value: UnsafeRawBufferPointer, fourOctet: Bool, localAS: UInt32) -> Scan {
    var scan = Scan()
    var offset = 0
    let width = fourOctet ? 4 : 2
    while offset < value.count {
      guard value.count - offset >= 2 else { return malformed() }
      let type = value[offset]
      let count = Int(value[offset + 1])
      guard type == 1 || type == 2, count > 0, value.count - offset - 2 >= count * width else { return malformed() }
      scan.length += type == 1 ? 1 : count
      var at = offset + 2
      for index in 0..<count {
        let number =
          fourOctet
          ? UInt32(bigEndian: value.loadUnaligned(fromByteOffset: at, as: UInt32.self))
          : UInt32(UInt16(bigEndian: value.loadUnaligned(fromByteOffset: at, as: UInt16.self)))
        if number == 0 { return malformed() }
        if number == localAS { scan.containsLocalAS = true }
        if index == 0, offset == 0, type == 2 { scan.first = number }
        at += width
      }
      offset = at
    }
    return scan

    func malformed() -> Scan {
      var scan = Scan()
      scan.isMalformed = true
      return scan
    }
  }

  /// Nil for what ``scan(_:fourOctet:localAS:)`` calls malformed.
  init?(_ value: UnsafeRawBufferPointer, fourOctet: Bool) {
    guard !Self.scan(value, fourOctet: fourOctet, localAS: 0).isMalformed else { return nil }
    var reader = ByteReader(value)
    segments = []
    while let type = reader.readUInt8(), let count = reader.readUInt8() {
      var numbers: [UInt32] = []
      for _ in 0..<count {
        guard let number = fourOctet ? reader.readUInt32() : reader.readUInt16().map(UInt32.init) else { return nil }
        numbers.append(number)
      }
      segments.append(Segment(isSet: type == 1, numbers))
    }
  }

  /// The attribute's value. With two octets, numbers that do not fit become AS_TRANS (RFC 6793 §4.2.2).
  func value(fourOctet: Bool) -> [UInt8] {
    var bytes: [UInt8] = []
    for segment in segments {
      var rest = segment.numbers[...]
      while !rest.isEmpty {
        let piece = rest.prefix(255)
        rest = rest.dropFirst(255)
        bytes += [segment.isSet ? 1 : 2, UInt8(piece.count)]
        for number in piece {
          if fourOctet {
            bytes += [UInt8(number >> 24), UInt8(number >> 16 & 0xff), UInt8(number >> 8 & 0xff), UInt8(number & 0xff)]
          } else {
            let short = UInt16(exactly: number) ?? OpenMessage.asTrans
            bytes += [UInt8(short >> 8), UInt8(short & 0xff)]
          }
        }
      }
    }
    return bytes
  }

  var needsFourOctets: Bool { segments.contains { $0.numbers.contains { $0 > UInt32(UInt16.max) } } }

  // RFC 4271 §5.1.2: "the local system prepends its own AS number as the last element of the sequence"
  mutating func prepend(_ number: UInt32) {
    if let first = segments.first, !first.isSet, first.numbers.count < 255 {
      segments[0].numbers.insert(number, at: 0)
    } else {
      segments.insert(Segment([number]), at: 0)
    }
  }

  /// The whole path of a peer with numbers of two octets, from AS_PATH (this) and AS4_PATH (RFC 6793 §4.2.3).
  func merged(with four: ASPath) -> ASPath {
    // "If the number of AS numbers in the AS_PATH attribute is less than the number of AS numbers in the AS4_PATH
    // attribute, then the AS4_PATH attribute SHALL be ignored"
    var leading = length - four.length
    guard leading >= 0 else { return self }
    var result: [Segment] = []
    for segment in segments where leading > 0 {
      if segment.isSet {
        result.append(segment)
        leading -= 1
      } else {
        result.append(Segment(Array(segment.numbers.prefix(leading))))
        leading -= min(leading, segment.numbers.count)
      }
    }
    var rest = four.segments
    if let last = result.last, let next = rest.first, !last.isSet, !next.isSet,
      last.numbers.count + next.numbers.count <= 255
    {
      result[result.count - 1].numbers += next.numbers
      rest.removeFirst()
    }
    return ASPath(result + rest)
  }
}

extension ASPath: CustomStringConvertible {
  /// Numbers from the neighbor to the origin; a set in braces.
  public var description: String {
    segments.map { segment in
      let numbers = segment.numbers.map(String.init)
      return segment.isSet ? "{\(numbers.joined(separator: ","))}" : numbers.joined(separator: " ")
    }.joined(separator: " ")
  }
}
