import Wire

/// Path attributes in the form in which they are compared and kept: ascending types, lengths as short as can be, AS
/// numbers of four octets. The next hop of a family other than IPv4 stands in front, as an MP_REACH_NLRI without
/// prefixes, which is also where RFC 7606 §5.1 wants that attribute.
struct AttributeWriter {
  private(set) var bytes: ContiguousArray<UInt8> = []

  init() { bytes.reserveCapacity(4_096) }

  mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

  mutating func append(_ type: AttributeType, _ flags: AttributeFlags, _ value: UnsafeRawBufferPointer) {
    appendHeader(type, flags, value.count)
    bytes.append(contentsOf: value)
  }

  mutating func append(_ type: AttributeType, _ flags: AttributeFlags, _ value: [UInt8]) {
    value.withUnsafeBytes { append(type, flags, $0) }
  }

  mutating func append(_ type: AttributeType, _ flags: AttributeFlags, _ word: UInt32) {
    appendHeader(type, flags, 4)
    append(word)
  }

  /// Of a value of at most 65,535 octets, which follows.
  private mutating func appendHeader(_ type: AttributeType, _ flags: AttributeFlags, _ count: Int) {
    if count > 255 {
      bytes.append(flags.union(.extendedLength).rawValue)
      bytes.append(type.rawValue)
      bytes.append(UInt8(truncatingIfNeeded: count >> 8))
    } else {
      bytes.append(flags.rawValue)
      bytes.append(type.rawValue)
    }
    bytes.append(UInt8(truncatingIfNeeded: count))
  }

  private mutating func append(_ word: UInt32) {
    withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) }
  }

  /// NEXT_HOP for IPv4 unicast, else an MP_REACH_NLRI without prefixes, which must come first.
  mutating func append(nextHop: IPAddress, linkLocal: IPv6Address? = nil, of family: AddressFamily) {
    switch (family, nextHop) {
    case (.ipv4Unicast, .v4(let four)): append(.nextHop, .transitive, four.rawValue)
    default:
      let address = nextHop.networkBytes + (linkLocal.map { IPAddress.v6($0).networkBytes } ?? [])
      append(
        .mpReachNLRI, .optional,
        [UInt8(family.afi >> 8), UInt8(family.afi & 0xff), family.safi, UInt8(address.count)] + address + [0])
    }
  }

  /// An AS_PATH with a number put in front (RFC 4271 §5.1.2 b).
  mutating func append(path: UnsafeRawBufferPointer, prepending number: UInt32) {
    if path.count >= 2, path[0] == 2, path[1] < 255 {
      appendHeader(.asPath, .transitive, path.count + 4)
      bytes.append(2)
      bytes.append(path[1] + 1)
      append(number)
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: path[2...]))
    } else {
      appendHeader(.asPath, .transitive, path.count + 6)
      bytes.append(2)
      bytes.append(1)
      append(number)
      bytes.append(contentsOf: path)
    }
  }
}

extension AttributeWriter {
  /// Writes a canonical form for a speaker whose AS numbers have two octets (RFC 6793 §4.2.2), in place of what was
  /// there.
  mutating func narrow(_ canonical: UnsafeRawBufferPointer) {
    removeAll()
    var four: [(AttributeType, [UInt8])] = []
    var iterator = AttributeIterator(canonical)
    while let attribute = iterator.next() {
      if attribute.type.rawValue > AttributeType.as4Aggregator.rawValue {
        for (type, value) in four { append(type, .defined, value) }
        four = []
      }
      switch attribute.type {
      case .asPath:
        let path = ASPath(attribute.value, fourOctet: true) ?? ASPath()
        append(.asPath, attribute.flags, path.value(fourOctet: false))
        if path.needsFourOctets { four.append((.as4Path, path.value(fourOctet: true))) }
      case .aggregator where attribute.value.count == 8:
        let number = attribute.value.bigEndianWord(at: 0)
        let short = UInt16(exactly: number) ?? OpenMessage.asTrans
        append(.aggregator, attribute.flags, [UInt8(short >> 8), UInt8(short & 0xff)] + Array(attribute.value[4...]))
        if number > UInt32(UInt16.max) { four.append((.as4Aggregator, Array(attribute.value))) }
      default: append(attribute.type, attribute.flags, attribute.value)
      }
    }
    for (type, value) in four { append(type, .defined, value) }
  }
}

/// The attributes of a canonical form, one after the other.
struct AttributeIterator: IteratorProtocol {
  struct Attribute {
    var type: AttributeType
    var flags: AttributeFlags
    var value: UnsafeRawBufferPointer
  }

  private let bytes: UnsafeRawBufferPointer
  private var offset = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// Nil at the end, or where the form is broken.
  mutating func next() -> Attribute? {
    guard bytes.count - offset >= 3 else { return nil }
    let flags = AttributeFlags(rawValue: bytes[offset])
    let type = AttributeType(rawValue: bytes[offset + 1])
    var length = Int(bytes[offset + 2])
    var start = offset + 3
    if flags.contains(.extendedLength) {
      guard bytes.count - offset >= 4 else { return nil }
      length = length << 8 | Int(bytes[offset + 3])
      start += 1
    }
    guard bytes.count - start >= length else { return nil }
    offset = start + length
    return Attribute(
      type: type, flags: flags.subtracting(.extendedLength),
      value: UnsafeRawBufferPointer(rebasing: bytes[start..<start + length]))
  }
}

extension UpdateReader {
  /// Calls `body` with the canonical form of the attributes of the message read last: as they are for the prefixes in
  /// MP_REACH_NLRI, or for those in the NLRI field.
  mutating func withCanonicalAttributes<Result>(
    of update: UpdateMessage, isMultiprotocol: Bool, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result {
    if isCanonical, update.mpReachable == nil { return body(update.attributes) }
    writer.removeAll()
    let family = isMultiprotocol ? update.mpReachable?.family ?? .ipv4Unicast : .ipv4Unicast
    var nextHop = isMultiprotocol ? update.mpNextHop : update.nextHop
    if family != .ipv4Unicast, let first = nextHop {
      writer.append(nextHop: first, linkLocal: update.mpLinkLocalNextHop, of: family)
      nextHop = nil
    }
    // Few and nearly in order.
    for index in kept.indices.dropFirst() {
      var at = index
      while at > 0, kept[at].type.rawValue < kept[at - 1].type.rawValue {
        kept.swapAt(at, at - 1)
        at -= 1
      }
    }
    for attribute in kept where attribute.type != .mpReachNLRI && attribute.type != .nextHop {
      if let due = nextHop, attribute.type.rawValue > AttributeType.nextHop.rawValue {
        writer.append(nextHop: due, of: family)
        nextHop = nil
      }
      let value = UnsafeRawBufferPointer(rebasing: update.attributes[attribute.value])
      if context.usesFourOctetAS {
        writer.append(attribute.type, attribute.flags, value)
      } else {
        appendWidened(attribute, value, update.attributes)
      }
    }
    if let due = nextHop { writer.append(nextHop: due, of: family) }
    return writer.bytes.withUnsafeBytes(body)
  }

  /// From a peer with AS numbers of two octets (RFC 6793 §4.2.3).
  private mutating func appendWidened(
    _ attribute: Kept, _ value: UnsafeRawBufferPointer, _ attributes: UnsafeRawBufferPointer
  ) {
    func other(_ type: AttributeType) -> UnsafeRawBufferPointer? {
      kept.first { $0.type == type }.map { UnsafeRawBufferPointer(rebasing: attributes[$0.value]) }
    }
    // "If the AS number is not AS_TRANS", AS4_AGGREGATOR and AS4_PATH count for nothing.
    let aggregator = other(.aggregator)
    let isAggregatorOurs = aggregator.map { $0[0] == OpenMessage.asTrans >> 8 && $0[1] == OpenMessage.asTrans & 0xff }
    switch attribute.type {
    case .asPath:
      guard var path = ASPath(value, fourOctet: false) else { return }
      if isAggregatorOurs != false, let four = other(.as4Path).flatMap({ ASPath($0, fourOctet: true) }) {
        path = path.merged(with: four)
      }
      writer.append(.asPath, attribute.flags, path.value(fourOctet: true))
    case .aggregator:
      if isAggregatorOurs == true, let four = other(.as4Aggregator) {
        writer.append(.aggregator, attribute.flags, four)
      } else {
        writer.append(.aggregator, attribute.flags, [0, 0] + Array(value))
      }
    case .as4Path, .as4Aggregator: break
    default: writer.append(attribute.type, attribute.flags, value)
    }
  }
}
