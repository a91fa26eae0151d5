import Wire

extension RecordData {
  /// Parses RDATA of `type` at `range` of the message; names in it may point back into the message where
  /// the type allows. Nil when it breaks the type's format.
  init?(_ type: RecordType, in message: UnsafeRawBufferPointer, at range: Range<Int>) {
    let rdata = UnsafeRawBufferPointer(rebasing: message[range])
    var offset = range.lowerBound
    /// The name at `offset`; RFC 3597 §4 has receivers decompress SRV as well.
    func name() -> DNSName? { DNSName(in: message, at: &offset, end: range.upperBound) }

    switch type {
    case .a:
      guard case .v4(let address) = IPAddress(networkBytes: rdata) else { return nil }
      self = .a(address)
    case .aaaa:
      guard case .v6(let address) = IPAddress(networkBytes: rdata) else { return nil }
      self = .aaaa(address)
    case .ns, .cname:
      guard let target = name(), offset == range.upperBound else { return nil }
      self = type == .ns ? .ns(target) : .cname(target)
    case .soa:
      guard let primary = name(), let mailbox = name() else { return nil }
      var reader = ByteReader(UnsafeRawBufferPointer(rebasing: message[offset..<range.upperBound]))
      guard let serial = reader.readUInt32(), let refresh = reader.readUInt32(), let retry = reader.readUInt32(),
        let expire = reader.readUInt32(), let minimum = reader.readUInt32(), reader.isAtEnd
      else { return nil }
      self = .soa(
        StartOfAuthority(
          primary: primary, mailbox: mailbox, serial: serial, refresh: refresh, retry: retry, expire: expire,
          minimum: minimum))
    case .srv:
      var reader = ByteReader(rdata)
      guard let priority = reader.readUInt16(), let weight = reader.readUInt16(), let port = reader.readUInt16()
      else { return nil }
      offset += reader.offset
      guard let target = name(), offset == range.upperBound else { return nil }
      self = .srv(ServiceLocation(priority: priority, weight: weight, port: port, target: target))
    case .txt:
      var reader = ByteReader(rdata)
      var strings: [[UInt8]] = []
      while let length = reader.readUInt8() {
        guard let string = reader.readBytes(Int(length)) else { return nil }
        strings.append(Array(string))
      }
      guard !strings.isEmpty else { return nil }
      self = .txt(strings)
    case .svcb, .https:
      if let binding = ServiceBinding(rdata) {
        self = type == .svcb ? .svcb(binding) : .https(binding)
      } else {
        self = .malformed(type, Array(rdata))
      }
    default:
      self = .opaque(type, Array(rdata))
    }
  }

  /// The RDATA's bytes, names uncompressed. Character strings beyond 255 octets are cut there.
  var encoded: [UInt8] {
    switch self {
    case .a(let address): IPAddress.v4(address).networkBytes
    case .aaaa(let address): IPAddress.v6(address).networkBytes
    case .ns(let name), .cname(let name): name.wire
    case .soa(let soa):
      soa.primary.wire + soa.mailbox.wire
        + [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum].flatMap(bigEndian)
    case .srv(let srv): bigEndian(srv.priority) + bigEndian(srv.weight) + bigEndian(srv.port) + srv.target.wire
    case .txt(let strings): strings.flatMap { [UInt8(clamping: $0.count)] + $0.prefix(255) }
    case .svcb(let binding), .https(let binding): binding.rdata
    case .opaque(_, let bytes), .malformed(_, let bytes): bytes
    }
  }
}
