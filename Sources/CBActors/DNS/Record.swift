public import Wire

/// A resource record (RFC 1035 §3.2.1).
public struct Record: Hashable, Sendable {
  public var name: DNSName
  public var recordClass: RecordClass
  /// Seconds.
  public var ttl: UInt32
  public var data: RecordData

  public init(_ name: DNSName, class recordClass: RecordClass = .internet, ttl: UInt32, _ data: RecordData) {
    self.name = name
    self.recordClass = recordClass
    self.ttl = ttl
    self.data = data
  }

  public var type: RecordType { data.type }
}

/// RDATA.
public enum RecordData: Hashable, Sendable {
  case a(IPv4Address)
  case aaaa(IPv6Address)
  case ns(DNSName)
  case cname(DNSName)
  case soa(StartOfAuthority)
  case srv(ServiceLocation)
  /// Character strings (RFC 1035 §3.3.14), each of at most 255 octets.
  case txt([[UInt8]])
  case svcb(ServiceBinding)
  case https(ServiceBinding)
  /// A type that is not known here, kept as it came (RFC 3597 §3).
  case opaque(RecordType, [UInt8])
  /// SVCB or HTTPS data that breaks its format. It stays visible because one such record spoils the whole
  /// set (RFC 9460 §2.2), while the rest of the message stands.
  case malformed(RecordType, [UInt8])

  public var type: RecordType {
    switch self {
    case .a: .a
    case .aaaa: .aaaa
    case .ns: .ns
    case .cname: .cname
    case .soa: .soa
    case .srv: .srv
    case .txt: .txt
    case .svcb: .svcb
    case .https: .https
    case .opaque(let type, _), .malformed(let type, _): type
    }
  }
}

/// SOA RDATA (RFC 1035 §3.3.13). Times are in seconds.
public struct StartOfAuthority: Hashable, Sendable {
  public var primary: DNSName
  public var mailbox: DNSName
  public var serial: UInt32
  public var refresh: UInt32
  public var retry: UInt32
  public var expire: UInt32
  /// How long a negative answer may be kept (RFC 2308 §4).
  public var minimum: UInt32

  public init(
    primary: DNSName, mailbox: DNSName, serial: UInt32, refresh: UInt32, retry: UInt32, expire: UInt32,
    minimum: UInt32
  ) {
    self.primary = primary
    self.mailbox = mailbox
    self.serial = serial
    self.refresh = refresh
    self.retry = retry
    self.expire = expire
    self.minimum = minimum
  }
}

/// SRV RDATA (RFC 2782).
public struct ServiceLocation: Hashable, Sendable {
  /// Lower is tried first.
  public var priority: UInt16
  /// The share among equal priorities.
  public var weight: UInt16
  public var port: UInt16
  /// The root when the service is not offered.
  public var target: DNSName

  public init(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName) {
    self.priority = priority
    self.weight = weight
    self.port = port
    self.target = target
  }
}
