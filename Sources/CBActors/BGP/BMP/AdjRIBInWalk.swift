import Wire

/// How a station reads messages of a peer's: by what its OPEN messages came to.
public struct MonitoredForm: Sendable {
  /// Whose prefixes have path identifiers (RFC 7911).
  public var addPathFamilies: AddressFamilies
  /// AS numbers have four octets (RFC 6793).
  public var usesFourOctetAS: Bool
  public init(addPathFamilies: AddressFamilies = [], usesFourOctetAS: Bool = true) {
    self.addPathFamilies = addPathFamilies
    self.usesFourOctetAS = usesFourOctetAS
  }
}

/// The Adj-RIBs-In of some peers before any policy, on their way to a monitoring station as UPDATE messages (RFC 7854
/// §5). In pieces, between which the tables may change: a route is told as it is when its turn comes.
public struct AdjRIBInWalk: Sendable {
  private var walk = TableWalk()

  public init() {}

  public var isComplete: Bool { walk.isAtEnd }

  /// Calls `emit` with the messages of the next destinations, at most so many; each is valid during the call.
  ///
  /// - Parameter peers: whose routes are told.
  public mutating func next(
    _ rib: borrowing RIB, destinations limit: Int, of peers: [PeerID: MonitoredForm],
    _ emit: (PeerID, UnsafeRawBufferPointer) -> Void
  ) {
    var routes4: [MonitoredRoute] = []
    var routes6: [MonitoredRoute] = []
    rib.advance(&walk, atMost: limit) { table, number, _ in
      table.gather(number, of: peers, &routes4)
    } ipv6: { table, number, _ in
      table.gather(number, of: peers, &routes6)
    }
    rib.ipv4.write(routes4, rib.attributes, peers, emit)
    rib.ipv6.write(routes6, rib.attributes, peers, emit)
  }
}

extension UpdateMessage {
  /// The whole message that says that all routes of a family have been told (RFC 4724 §2).
  public static func endOfRIB(_ family: AddressFamily) -> [UInt8] { UpdateWriter.endOfRIB(family) }
}

/// A route of a peer on its way to a station.
private struct MonitoredRoute: Comparable {
  var peer: UInt16
  var attributes: UInt32
  var number: UInt32
  var identifier: UInt32

  static func < (a: Self, b: Self) -> Bool {
    (a.peer, a.attributes, a.number, a.identifier) < (b.peer, b.attributes, b.number, b.identifier)
  }
}

extension RouteTable {
  /// The routes of a destination as they came. Those that are stale the peer has not named in this session, or not again.
  fileprivate func gather(_ number: Int, of peers: [PeerID: MonitoredForm], _ routes: inout [MonitoredRoute]) {
    for head in [destinations[number].first, number < denied.count ? denied[number] : noPath] {
      var at = head
      while at != noPath {
        let path = paths[Int(at)]
        if peers[path.peer] != nil, !path.isStale {
          routes.append(
            MonitoredRoute(
              peer: path.peer.raw, attributes: (original(Int(at)) ?? path.attributes).raw, number: UInt32(number),
              identifier: path.identifier))
        }
        at = path.next
      }
    }
  }

  /// Writes routes, those with the same attributes together.
  fileprivate func write(
    _ routes: [MonitoredRoute], _ table: borrowing AttributeTable, _ peers: [PeerID: MonitoredForm],
    _ emit: (PeerID, UnsafeRawBufferPointer) -> Void
  ) {
    guard !routes.isEmpty else { return }
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: MessageHeader.extendedMaximumLength, alignment: 8)
    defer { buffer.deallocate() }
    var narrowed = AttributeWriter()
    var rest = routes.sorted()[...]
    while let first = rest.first {
      let peer = PeerID(raw: first.peer)
      let form = peers[peer] ?? MonitoredForm()
      let hasIdentifiers = form.addPathFamilies.contains(family)
      let canonical = table.bytes(.init(raw: first.attributes))
      let count: Int?
      if form.usesFourOctetAS {
        count = write(&rest, canonical, hasIdentifiers: hasIdentifiers, buffer)
      } else {
        narrowed.narrow(canonical)
        count = narrowed.bytes.withUnsafeBytes { write(&rest, $0, hasIdentifiers: hasIdentifiers, buffer) }
      }
      if let count { emit(peer, UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
    }
  }

  /// Writes one message with the first routes of those that are left, as many as fit; its length. Nil for a route that
  /// fits into none, in this form longer than it came.
  private func write(
    _ rest: inout ArraySlice<MonitoredRoute>, _ canonical: UnsafeRawBufferPointer, hasIdentifiers: Bool,
    _ buffer: UnsafeMutableRawBufferPointer
  ) -> Int? {
    guard canonical.count <= MessageHeader.extendedMaximumLength - 64 else {
      rest.removeFirst()
      return nil
    }
    // Only what came in an extended message (RFC 8654) needs another.
    let isLong = canonical.count > MessageHeader.maximumLength - 128
    var writer = UpdateWriter(
      buffer, limit: isLong ? MessageHeader.extendedMaximumLength : MessageHeader.maximumLength)
    writer.append(word: 0)
    writer.beginField()
    if family == .ipv4Unicast {
      writer.append(canonical)
      writer.endField()
      append(&rest, to: &writer, hasIdentifiers: hasIdentifiers, reserving: 0)
    } else {
      // The form of a family other than IPv4 begins with the next hop in an MP_REACH_NLRI of its own.
      let end = 3 + Int(canonical[2])
      writer.append([0x90, AttributeType.mpReachNLRI.rawValue])
      writer.beginField()
      writer.append(UnsafeRawBufferPointer(rebasing: canonical[3..<end]))
      append(&rest, to: &writer, hasIdentifiers: hasIdentifiers, reserving: canonical.count - end)
      writer.endField()
      writer.append(UnsafeRawBufferPointer(rebasing: canonical[end...]))
      writer.endField()
    }
    return writer.finish()
  }

  private func append(
    _ rest: inout ArraySlice<MonitoredRoute>, to writer: inout UpdateWriter, hasIdentifiers: Bool, reserving: Int
  ) {
    guard let first = rest.first else { return }
    while let route = rest.first, route.peer == first.peer, route.attributes == first.attributes {
      let (bits, length) = trie.prefix(Int(route.number))
      guard
        writer.append(bits, length, identifier: hasIdentifiers ? route.identifier : nil, reserving: reserving)
      else { return }
      rest.removeFirst()
    }
  }
}
