import Wire

extension MRTRecord {
  /// The whole record, header first. Dumps and messages have AS numbers of four octets. Empty for ``Content/other(type:subtype:)``.
  public var serialized: [UInt8] {
    let (type, subtype, body): (UInt16, UInt16, [UInt8])
    switch content {
    case .peerIndexTable(let collector, let view, let peers):
      (type, subtype, body) = (13, 1, Self.peerIndexTable(collector, view, peers))
    case .rib(let sequence, let prefix, let entries):
      let hasIdentifiers = entries.contains { $0.pathIdentifier != 0 }
      subtype = (prefix.address.isIPv4 ? 2 : 4) + (hasIdentifiers ? 6 : 0)
      (type, body) = (13, Self.rib(sequence, prefix, entries, hasIdentifiers))
    case .message(let session, let octets):
      (type, subtype, body) = (microseconds == nil ? 16 : 17, 4, session.octets + octets)
    case .stateChange(let session, let from, let to):
      (type, subtype, body) = (microseconds == nil ? 16 : 17, 5, session.octets + from.octets + to.octets)
    case .other: return []
    }
    let micro = type == 17 ? (microseconds ?? 0).octets : []
    return timestamp.octets + type.octets + subtype.octets + UInt32(micro.count + body.count).octets + micro + body
  }

  private static func peerIndexTable(_ collector: IPv4Address, _ view: String, _ peers: [Peer]) -> [UInt8] {
    let name = Array(view.utf8.prefix(Int(UInt16.max)))
    let kept = peers.prefix(Int(UInt16.max))
    var body = collector.rawValue.octets + UInt16(name.count).octets + name + UInt16(kept.count).octets
    for peer in kept {
      body.append(peer.address.isIPv4 ? 2 : 3)
      body += peer.identifier.rawValue.octets + peer.address.networkBytes + peer.autonomousSystem.octets
    }
    return body
  }

  private static func rib(
    _ sequence: UInt32, _ prefix: IPPrefix, _ entries: [Entry], _ hasIdentifiers: Bool
  ) -> [UInt8] {
    var body = sequence.octets
    body.append(UInt8(prefix.length))
    body += prefix.address.networkBytes.prefix((prefix.length + 7) / 8)
    let kept = entries.prefix(Int(UInt16.max))
    body += UInt16(kept.count).octets
    var writer = AttributeWriter()
    for entry in kept {
      body += entry.peer.octets + entry.originated.octets
      if hasIdentifiers { body += entry.pathIdentifier.octets }
      let attributes = entry.attributes.tableDump(&writer, isIPv4: prefix.address.isIPv4)
      body += UInt16(clamping: attributes.count).octets + attributes.prefix(Int(UInt16.max))
    }
    return body
  }
}

extension MRTRecord.Session {
  fileprivate var octets: [UInt8] {
    var octets = peerAS.octets + localAS.octets + interface.octets
    octets += UInt16(peer.isIPv4 ? 1 : 2).octets + peer.networkBytes + local.networkBytes
    return octets
  }
}

extension PathAttributes {
  /// RFC 6396 §4.3.4: of MP_REACH_NLRI the next hop alone.
  fileprivate func tableDump(_ writer: inout AttributeWriter, isIPv4: Bool) -> [UInt8] {
    var own = self
    if !isIPv4 { own.nextHop = nil }
    own.write(to: &writer, for: isIPv4 ? .ipv4Unicast : .ipv6Unicast)
    guard !isIPv4, let nextHop else { return Array(writer.bytes) }
    let address = nextHop.networkBytes
    return [AttributeFlags.optional.rawValue, AttributeType.mpReachNLRI.rawValue, UInt8(address.count + 1)]
      + [UInt8(address.count)] + address + Array(writer.bytes)
  }
}

extension RIB {
  /// The whole of the tables as a dump (RFC 6396 §4.3): the peers first, ourselves among them, then each destination.
  ///
  /// - Parameter timestamp: seconds since 1970, of every record and route: when a route came is not kept.
  public func writeTableDump(timestamp: UInt32, view: String = "", _ write: ([UInt8]) -> Void) {
    let all = peers.map {
      MRTRecord.Peer(
        identifier: IPv4Address(rawValue: $0.identifier), address: $0.address, autonomousSystem: $0.autonomousSystem)
    }
    let collector = IPv4Address(rawValue: peers[0].identifier)
    write(MRTRecord(timestamp: timestamp, .peerIndexTable(collector: collector, view: view, all)).serialized)
    var sequence: UInt32 = 0
    dump(ipv4, timestamp, &sequence, write)
    dump(ipv6, timestamp, &sequence, write)
  }

  private func dump<Bits>(
    _ table: borrowing RouteTable<Bits>, _ timestamp: UInt32, _ sequence: inout UInt32, _ write: ([UInt8]) -> Void
  ) {
    var numbers: [Int] = []
    table.trie.forEach(within: 0, 0) { number in
      numbers.append(number)
      return true
    }
    for number in numbers {
      let entries = table.chain(number).map { path in
        MRTRecord.Entry(
          peer: path.peer.raw, originated: timestamp, pathIdentifier: path.identifier,
          attributes: attributes.attributes(path.attributes))
      }
      guard !entries.isEmpty else { continue }
      let (bits, length) = table.trie.prefix(number)
      write(MRTRecord(timestamp: timestamp, .rib(sequence: sequence, IPPrefix(bits, length), entries)).serialized)
      sequence &+= 1
    }
  }
}
