import Wire

extension MRTRecord {
  /// The whole record, header first; a dump's AS numbers have four octets. Empty for ``Content/other(type:subtype:)``.
  public var serialized: [UInt8] {
    let (type, subtype, body): (UInt16, UInt16, [UInt8])
    switch content {
    case .peerIndexTable(let collector, let view, let peers):
      (type, subtype, body) = (13, 1, Self.peerIndexTable(collector, view, peers))
    case .rib(let sequence, let prefix, let entries):
      let hasIdentifiers = entries.contains { $0.pathIdentifier != 0 }
      subtype = (prefix.address.isIPv4 ? 2 : 4) + (hasIdentifiers ? 6 : 0)
      (type, body) = (13, Self.rib(sequence, prefix, entries, hasIdentifiers))
    case .message(let session, let hasIdentifiers, let octets):
      type = microseconds == nil ? 16 : 17
      subtype = session.messageSubtype(hasPathIdentifiers: hasIdentifiers)
      body = session.octets + octets
    case .stateChange(let session, let from, let to):
      type = microseconds == nil ? 16 : 17
      subtype = session.hasFourOctetAS ? 5 : 0
      body = session.octets + from.octets + to.octets
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
  /// RFC 6396 §4.4.2: AS numbers of two octets where the session's messages have such.
  fileprivate var octets: [UInt8] {
    var octets: [UInt8] = []
    for number in [peerAS, localAS] {
      octets += hasFourOctetAS ? number.octets : (UInt16(exactly: number) ?? OpenMessage.asTrans).octets
    }
    octets += interface.octets + UInt16(peer.isIPv4 ? 1 : 2).octets + peer.networkBytes + local.networkBytes
    return octets
  }

  /// RFC 6396 §4.4.2 and §4.4.3; RFC 8050 §3.
  fileprivate func messageSubtype(hasPathIdentifiers: Bool) -> UInt16 {
    (hasFourOctetAS ? 4 : 1) + (hasPathIdentifiers ? hasFourOctetAS ? 5 : 7 : 0)
  }
}

extension MRTRecord {
  /// Appends the record of a message that is at hand, header and all, without another copy of it.
  public static func append(
    _ message: UnsafeRawBufferPointer, of session: Session, hasPathIdentifiers: Bool = false, seconds: UInt32,
    microseconds: UInt32, to octets: inout [UInt8]
  ) {
    let head = session.octets
    octets.append(bigEndian: seconds)
    octets.append(bigEndian: UInt16(17))
    octets.append(bigEndian: session.messageSubtype(hasPathIdentifiers: hasPathIdentifiers))
    octets.append(bigEndian: UInt32(4 + head.count + message.count))
    octets.append(bigEndian: microseconds)
    octets += head
    octets.append(contentsOf: message)
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
