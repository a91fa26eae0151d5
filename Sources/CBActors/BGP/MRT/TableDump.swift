import Wire

/// A dump of the tables that is under way: a TABLE_DUMP_V2 of RFC 6396 §4.3, and of RFC 8050 §4 where a destination has
/// routes with path identifiers.
///
/// It is written in pieces, so that the tables can be used in between: each destination is as it was when its turn came.
public struct TableDump: Sendable {
  /// Seconds since 1970, of every record and route: when a route came is not kept.
  public let timestamp: UInt32
  private let view: String
  private var walk = TableWalk()
  private var sequence: UInt32 = 0
  /// In the table of peers; nil before it is written.
  private var peerCount: Int?
  /// Routes so far.
  public private(set) var routes = 0

  public init(timestamp: UInt32, view: String = "") {
    self.timestamp = timestamp
    self.view = view
  }

  public var isComplete: Bool { walk.isAtEnd }

  /// Appends the records of the next destinations, at most so many; before the first of them those of the peers.
  public mutating func write(_ rib: borrowing RIB, destinations limit: Int, to octets: inout [UInt8]) {
    if peerCount == nil {
      peerCount = rib.peers.count
      octets += rib.peerIndexTable(timestamp, view)
    }
    var (number, routes) = (sequence, routes)
    let (timestamp, peerCount) = (timestamp, peerCount ?? 0)
    rib.advance(&walk, atMost: limit) { table, destination, attributes in
      let count = table.appendRecord(
        of: destination, attributes, timestamp: timestamp, sequence: number, peers: peerCount, to: &octets)
      routes += count
      number &+= count > 0 ? 1 : 0
    } ipv6: { table, destination, attributes in
      let count = table.appendRecord(
        of: destination, attributes, timestamp: timestamp, sequence: number, peers: peerCount, to: &octets)
      routes += count
      number &+= count > 0 ? 1 : 0
    }
    (sequence, self.routes) = (number, routes)
  }
}

extension RIB {
  /// Ourselves come first, with the address 0.0.0.0.
  fileprivate func peerIndexTable(_ timestamp: UInt32, _ view: String) -> [UInt8] {
    let all = peers.map {
      MRTRecord.Peer(
        identifier: IPv4Address(rawValue: $0.identifier), address: $0.address, autonomousSystem: $0.autonomousSystem)
    }
    let collector = IPv4Address(rawValue: peers[0].identifier)
    return MRTRecord(timestamp: timestamp, .peerIndexTable(collector: collector, view: view, all)).serialized
  }
}

extension RouteTable {
  /// Appends what all peers have of a destination (RFC 6396 §4.3.2, RFC 8050 §4.1); how many routes.
  ///
  /// - Parameter peers: of so many the reader knows.
  fileprivate func appendRecord(
    of number: Int, _ attributes: borrowing AttributeTable, timestamp: UInt32, sequence: UInt32, peers: Int,
    to octets: inout [UInt8]
  ) -> Int {
    // One that only a withdrawal or a denied route still holds has no record.
    guard destinations[number].first != noPath else { return 0 }
    var hasIdentifiers = false
    var at = destinations[number].first
    while at != noPath {
      hasIdentifiers = hasIdentifiers || paths[Int(at)].identifier != 0
      at = paths[Int(at)].next
    }
    let isIPv4 = Bits.bitWidth == 32
    octets.append(bigEndian: timestamp)
    octets.append(bigEndian: UInt16(13))
    octets.append(bigEndian: UInt16((isIPv4 ? 2 : 4) + (hasIdentifiers ? 6 : 0)))
    let start = octets.count
    octets.append(bigEndian: UInt32(0))
    octets.append(bigEndian: sequence)
    let (bits, length) = trie.prefix(number)
    octets.append(length)
    withUnsafeBytes(of: bits.bigEndian) { octets.append(contentsOf: $0.prefix((Int(length) + 7) / 8)) }
    let counted = octets.count
    octets.append(bigEndian: UInt16(0))
    var count: UInt16 = 0
    at = destinations[number].first
    while at != noPath, count < .max {
      let path = paths[Int(at)]
      at = path.next
      // Longer are only AS numbers of two octets that were made four in the longest message that there is.
      let canonical = attributes.bytes(path.attributes)
      guard path.peer.index < peers, canonical.count <= UInt16.max else { continue }
      octets.append(bigEndian: path.peer.raw)
      octets.append(bigEndian: timestamp)
      if hasIdentifiers { octets.append(bigEndian: path.identifier) }
      if attributes.withSummary(path.attributes, { $0.nextHop == nil }) {
        octets.append(tableDumpOf: attributes.attributes(path.attributes), family)
      } else {
        octets.append(tableDumpOf: canonical)
      }
      count += 1
    }
    octets.set(bigEndian: count, at: counted)
    octets.set(bigEndian: UInt32(octets.count - start - 4), at: start)
    return Int(count)
  }
}

extension [UInt8] {
  /// An entry's attributes behind their length: the canonical form, of whose MP_REACH_NLRI the next hop alone is left
  /// (RFC 6396 §4.3.4).
  fileprivate mutating func append(tableDumpOf canonical: UnsafeRawBufferPointer) {
    let start = count
    append(bigEndian: UInt16(0))
    var rest = canonical
    if canonical.count > 7, canonical[1] == AttributeType.mpReachNLRI.rawValue {
      let end = Int(canonical[2]) + 3
      let hop = UnsafeRawBufferPointer(rebasing: canonical[6..<end - 1])
      append(contentsOf: [AttributeFlags.optional.rawValue, AttributeType.mpReachNLRI.rawValue, UInt8(hop.count)])
      append(contentsOf: hop)
      rest = UnsafeRawBufferPointer(rebasing: canonical[end...])
    }
    append(contentsOf: rest)
    set(bigEndian: UInt16(truncatingIfNeeded: count - start - 2), at: start)
  }

  /// The same of a route of our own, whose next hop is each session's: readers expect one, and are given 0.0.0.0 or ::.
  fileprivate mutating func append(tableDumpOf own: PathAttributes, _ family: AddressFamily) {
    var own = own
    own.nextHop = family == .ipv4Unicast ? .v4(.any) : .v6(.any)
    var writer = AttributeWriter()
    own.write(to: &writer, for: family)
    writer.bytes.withUnsafeBytes { append(tableDumpOf: $0) }
  }

  mutating func append(bigEndian value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }

  /// Overwrites what was left open for a value.
  mutating func set(bigEndian value: some FixedWidthInteger, at offset: Int) {
    Swift.withUnsafeBytes(of: value.bigEndian) { replaceSubrange(offset..<offset + $0.count, with: $0) }
  }
}
