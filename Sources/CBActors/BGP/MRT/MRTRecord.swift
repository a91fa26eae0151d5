public import Wire

/// A record of an MRT file (RFC 6396), of the kinds that routers and collectors write today.
public struct MRTRecord: Hashable, Sendable {
  /// Seconds since 1970.
  public var timestamp: UInt32
  /// Behind the second; nil in records without (RFC 6396 §3).
  public var microseconds: UInt32?
  public var content: Content

  public enum Content: Hashable, Sendable {
    /// Whom the entries of a dump come from (RFC 6396 §4.3.1).
    case peerIndexTable(collector: IPv4Address, view: String, [Peer])
    /// What all of them had of a prefix (RFC 6396 §4.3.2, RFC 8050 §4).
    case rib(sequence: UInt32, IPPrefix, [Entry])
    /// A BGP message, header and all (RFC 6396 §4.4.2, §4.4.3, RFC 8050 §3).
    case message(Session, hasPathIdentifiers: Bool = false, [UInt8])
    /// RFC 6396 §4.4.1: by the numbers of RFC 4271's states, Idle being 1.
    case stateChange(Session, from: UInt16, to: UInt16)
    /// Of a type that is not known.
    case other(type: UInt16, subtype: UInt16)
  }

  public struct Peer: Hashable, Sendable {
    public var identifier: IPv4Address
    public var address: IPAddress
    public var autonomousSystem: UInt32
    public init(identifier: IPv4Address, address: IPAddress, autonomousSystem: UInt32) {
      self.identifier = identifier
      self.address = address
      self.autonomousSystem = autonomousSystem
    }
  }

  public struct Entry: Hashable, Sendable {
    /// In the table of peers.
    public var peer: UInt16
    /// Seconds since 1970 when the route came.
    public var originated: UInt32
    /// RFC 8050; 0 where there are none.
    public var pathIdentifier: UInt32
    public var attributes: PathAttributes
    public init(peer: UInt16, originated: UInt32, pathIdentifier: UInt32 = 0, attributes: PathAttributes) {
      self.peer = peer
      self.originated = originated
      self.pathIdentifier = pathIdentifier
      self.attributes = attributes
    }
  }

  public struct Session: Hashable, Sendable {
    public var peerAS: UInt32
    public var localAS: UInt32
    public var interface: UInt16
    public var peer: IPAddress
    public var local: IPAddress
    /// Of the messages' own AS numbers, too.
    public var hasFourOctetAS = true
    public init(peerAS: UInt32, localAS: UInt32, interface: UInt16 = 0, peer: IPAddress, local: IPAddress) {
      self.peerAS = peerAS
      self.localAS = localAS
      self.interface = interface
      self.peer = peer
      self.local = local
    }
  }

  public init(timestamp: UInt32, microseconds: UInt32? = nil, _ content: Content) {
    self.timestamp = timestamp
    self.microseconds = microseconds
    self.content = content
  }

  /// What is in the file is no record.
  public struct Malformed: Error, Hashable, Sendable {
    /// Octets of the file before the record.
    public var offset: Int
    public var reason: String
  }
}

/// The records of an MRT file, one after the other. Borrows its memory.
public struct MRTReader {
  private var reader: ByteReader

  public init(_ bytes: UnsafeRawBufferPointer) { reader = ByteReader(bytes) }

  /// The next record; nil at the end.
  public mutating func next() throws(MRTRecord.Malformed) -> MRTRecord? {
    guard !reader.isAtEnd else { return nil }
    let offset = reader.offset
    func malformed(_ reason: String) -> MRTRecord.Malformed { .init(offset: offset, reason: reason) }
    guard let timestamp = reader.readUInt32(), let type = reader.readUInt16(), let subtype = reader.readUInt16(),
      let length = reader.readUInt32(), let value = reader.readBytes(Int(length))
    else { throw malformed("it runs out") }
    var body = ByteReader(value)
    var microseconds: UInt32?
    // RFC 6396 §3: the types with an extended timestamp are one more than those without.
    if type == 17 {
      microseconds = body.readUInt32()
      guard microseconds != nil else { throw malformed("no microseconds") }
    }
    let content: MRTRecord.Content?
    switch (type, subtype) {
    case (13, 1): content = Self.peerIndexTable(&body)
    case (13, 2), (13, 4), (13, 8), (13, 10): content = Self.rib(&body, subtype)
    case (16, 0), (17, 0), (16, 5), (17, 5): content = Self.stateChange(&body, isWide: subtype == 5)
    case (16, 1), (17, 1), (16, 4), (17, 4):
      content = Self.message(&body, isWide: subtype == 4, hasPathIdentifiers: false)
    case (16, 8), (17, 8), (16, 9), (17, 9):
      content = Self.message(&body, isWide: subtype == 9, hasPathIdentifiers: true)
    default: content = .other(type: type, subtype: subtype)
    }
    guard let content else { throw malformed("type \(type), subtype \(subtype): what is in it runs out") }
    return MRTRecord(timestamp: timestamp, microseconds: microseconds, content)
  }

  private static func peerIndexTable(_ body: inout ByteReader) -> MRTRecord.Content? {
    guard let collector = body.readUInt32(), let length = body.readUInt16(), let view = body.readBytes(Int(length)),
      let count = body.readUInt16()
    else { return nil }
    var peers: [MRTRecord.Peer] = []
    for _ in 0..<count {
      // RFC 6396 §4.3.1: bit 7 of the type is set for IPv6, bit 6 for an AS number of four octets.
      guard let type = body.readUInt8(), let identifier = body.readUInt32(),
        let octets = body.readBytes(type & 1 == 1 ? 16 : 4), let address = IPAddress(networkBytes: octets),
        let number = type & 2 == 2 ? body.readUInt32() : body.readUInt16().map(UInt32.init)
      else { return nil }
      peers.append(.init(identifier: IPv4Address(rawValue: identifier), address: address, autonomousSystem: number))
    }
    return .peerIndexTable(
      collector: IPv4Address(rawValue: collector), view: String(decoding: view, as: UTF8.self), peers)
  }

  private static func rib(_ body: inout ByteReader, _ subtype: UInt16) -> MRTRecord.Content? {
    let isIPv4 = subtype == 2 || subtype == 8
    guard let sequence = body.readUInt32(), let length = body.readUInt8(), length <= (isIPv4 ? 32 : 128),
      let octets = body.readBytes((Int(length) + 7) / 8), let count = body.readUInt16()
    else { return nil }
    var whole = Array(octets)
    whole += Array(repeating: 0, count: (isIPv4 ? 4 : 16) - whole.count)
    guard let address = whole.withUnsafeBytes({ IPAddress(networkBytes: $0) }),
      let prefix = IPPrefix(address, length: Int(length))
    else { return nil }
    var entries: [MRTRecord.Entry] = []
    for _ in 0..<count {
      var identifier: UInt32 = 0
      guard let peer = body.readUInt16(), let originated = body.readUInt32() else { return nil }
      if subtype >= 8 {
        guard let given = body.readUInt32() else { return nil }
        identifier = given
      }
      guard let length = body.readUInt16(), let attributes = body.readBytes(Int(length)) else { return nil }
      entries.append(
        .init(
          peer: peer, originated: originated, pathIdentifier: identifier,
          attributes: PathAttributes(tableDump: attributes)))
    }
    return .rib(sequence: sequence, prefix, entries)
  }

  private static func session(_ body: inout ByteReader, isWide: Bool) -> MRTRecord.Session? {
    guard let peerAS = isWide ? body.readUInt32() : body.readUInt16().map(UInt32.init),
      let localAS = isWide ? body.readUInt32() : body.readUInt16().map(UInt32.init),
      let interface = body.readUInt16(), let family = body.readUInt16(), family == 1 || family == 2,
      let one = body.readBytes(family == 1 ? 4 : 16), let peer = IPAddress(networkBytes: one),
      let two = body.readBytes(family == 1 ? 4 : 16), let local = IPAddress(networkBytes: two)
    else { return nil }
    var session = MRTRecord.Session(
      peerAS: peerAS, localAS: localAS, interface: interface, peer: peer, local: local)
    session.hasFourOctetAS = isWide
    return session
  }

  private static func message(
    _ body: inout ByteReader, isWide: Bool, hasPathIdentifiers: Bool
  ) -> MRTRecord.Content? {
    guard let session = session(&body, isWide: isWide) else { return nil }
    return .message(session, hasPathIdentifiers: hasPathIdentifiers, Array(body.rest))
  }

  private static func stateChange(_ body: inout ByteReader, isWide: Bool) -> MRTRecord.Content? {
    guard let session = session(&body, isWide: isWide), let from = body.readUInt16(), let to = body.readUInt16() else {
      return nil
    }
    return .stateChange(session, from: from, to: to)
  }
}

extension PathAttributes {
  /// As a dump holds them: AS numbers of four octets, and of an MP_REACH_NLRI the next hop alone (RFC 6396 §4.3.4). Some
  /// write the whole of it, as in a message; both are understood.
  init(tableDump bytes: UnsafeRawBufferPointer) {
    self.init(canonical: bytes)
    var iterator = AttributeIterator(bytes)
    while let attribute = iterator.next() {
      guard attribute.type == .mpReachNLRI, let length = attribute.value.first, Int(length) + 1 == attribute.value.count
      else { continue }
      // Of a global and a link-local address the first counts.
      nextHop = IPAddress(networkBytes: UnsafeRawBufferPointer(rebasing: attribute.value[1...].prefix(16)))
    }
  }
}
