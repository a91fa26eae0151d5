public import Wire

/// SVCB and HTTPS RDATA (RFC 9460 §2).
public struct ServiceBinding: Hashable, Sendable {
  /// SvcPriority: 0 is AliasMode, any other ServiceMode with the lower tried first.
  public var priority: UInt16
  /// TargetName; in ServiceMode the root stands for the record's own name (RFC 9460 §2.5.2).
  public var target: DNSName
  public var parameters: ServiceParameters

  public init(priority: UInt16, target: DNSName, parameters: ServiceParameters = ServiceParameters()) {
    self.priority = priority
    self.target = target
    self.parameters = parameters
  }

  public var isAlias: Bool { priority == 0 }
}

/// SvcParams (RFC 9460 §7, §8).
public struct ServiceParameters: Hashable, Sendable {
  /// SvcParamKeys that a client must understand to use the record; empty when there is no `mandatory`.
  public var mandatory: [UInt16] = []
  /// ALPN protocol identifiers, without the default set; empty when there is no `alpn`.
  public var alpn: [[UInt8]] = []
  public var noDefaultALPN = false
  public var port: UInt16?
  public var ipv4Hints: [IPv4Address] = []
  public var ipv6Hints: [IPv6Address] = []
  /// An ECHConfigList, kept as it came; empty when there is none.
  public var ech: [UInt8] = []
  /// Parameters that are not known here, by ascending key.
  public var other: [Parameter] = []

  public struct Parameter: Hashable, Sendable {
    public var key: UInt16
    public var value: [UInt8]

    public init(key: UInt16, value: [UInt8]) {
      self.key = key
      self.value = value
    }
  }

  public init() {}

  /// False when the record demands a parameter that is not understood here: it must then not be used.
  public var isCompatible: Bool {
    // RFC 9460 §7.1.1 asks that no-default-alpn never stands without alpn.
    mandatory.allSatisfy { Key(rawValue: $0) != nil } && (!noDefaultALPN || !alpn.isEmpty)
  }

  /// Whether `alpn` lists `protocolID`, such as `h3`.
  public func offers(alpn protocolID: String) -> Bool { alpn.contains { $0.elementsEqual(protocolID.utf8) } }

  /// SvcParamKeys (RFC 9460 §14.3.2).
  enum Key: UInt16 {
    case mandatory = 0
    case alpn = 1
    case noDefaultALPN = 2
    case port = 3
    case ipv4Hint = 4
    case ech = 5
    case ipv6Hint = 6
  }
}

extension ServiceBinding {
  /// Parses RDATA; nil when it is malformed in the sense of RFC 9460 §2.2.
  init?(_ rdata: UnsafeRawBufferPointer) {
    var offset = 2
    guard rdata.count > 2,
      // RFC 9460 §2.2 has the TargetName uncompressed.
      let target = DNSName(in: rdata, at: &offset, end: rdata.count, compressed: false)
    else { return nil }
    priority = UInt16(rdata[0]) << 8 | UInt16(rdata[1])
    self.target = target
    parameters = ServiceParameters()
    // RFC 9460 §2.4.2 has recipients ignore the SvcParams of AliasMode; their form is checked all the same.
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: rdata[offset...]))
    var keys: [UInt16] = []
    while !reader.isAtEnd {
      guard let key = reader.readUInt16(), let length = reader.readUInt16(), let value = reader.readBytes(Int(length)),
        keys.last.map({ $0 < key }) ?? true, parameters.take(key: key, value: value)
      else { return nil }
      keys.append(key)
    }
    // RFC 9460 §8: a key listed as mandatory is itself present, and never `mandatory`.
    guard parameters.mandatory.allSatisfy({ $0 != 0 && keys.contains($0) }) else { return nil }
  }

  var rdata: [UInt8] {
    var rdata = bigEndian(priority) + target.wire
    for parameter in parameters.encoded {
      rdata += bigEndian(parameter.key) + bigEndian(UInt16(clamping: parameter.value.count)) + parameter.value
    }
    return rdata
  }
}

extension ServiceParameters {
  /// Takes one parameter in; false when its value breaks its format.
  fileprivate mutating func take(key: UInt16, value: UnsafeRawBufferPointer) -> Bool {
    var reader = ByteReader(value)
    switch Key(rawValue: key) {
    case .mandatory:
      while let key = reader.readUInt16() {
        guard mandatory.last.map({ $0 < key }) ?? true else { return false }
        mandatory.append(key)
      }
      return reader.isAtEnd && !mandatory.isEmpty
    case .alpn:
      while !reader.isAtEnd {
        guard let length = reader.readUInt8(), length > 0, let id = reader.readBytes(Int(length)) else { return false }
        alpn.append(Array(id))
      }
      return !alpn.isEmpty
    case .noDefaultALPN:
      noDefaultALPN = true
      return value.isEmpty
    case .port:
      port = reader.readUInt16()
      return port != nil && reader.isAtEnd
    case .ipv4Hint:
      while let address = reader.readUInt32() { ipv4Hints.append(IPv4Address(rawValue: address)) }
      return reader.isAtEnd && !ipv4Hints.isEmpty
    case .ech:
      ech = Array(value)
      return !ech.isEmpty
    case .ipv6Hint:
      while reader.remaining >= 16, let high = reader.readUInt64(), let low = reader.readUInt64() {
        ipv6Hints.append(IPv6Address(high: high, low: low))
      }
      return reader.isAtEnd && !ipv6Hints.isEmpty
    case nil:
      other.append(Parameter(key: key, value: Array(value)))
      return true
    }
  }

  /// Each parameter that is present, by ascending key.
  fileprivate var encoded: [Parameter] {
    var encoded: [Parameter] = []
    func add(_ key: Key, _ value: [UInt8]) { encoded.append(Parameter(key: key.rawValue, value: value)) }
    if !mandatory.isEmpty { add(.mandatory, mandatory.sorted().flatMap(bigEndian)) }
    if !alpn.isEmpty { add(.alpn, alpn.flatMap { [UInt8(clamping: $0.count)] + $0.prefix(255) }) }
    if noDefaultALPN { add(.noDefaultALPN, []) }
    if let port { add(.port, bigEndian(port)) }
    if !ipv4Hints.isEmpty { add(.ipv4Hint, ipv4Hints.flatMap { IPAddress.v4($0).networkBytes }) }
    if !ech.isEmpty { add(.ech, ech) }
    if !ipv6Hints.isEmpty { add(.ipv6Hint, ipv6Hints.flatMap { IPAddress.v6($0).networkBytes }) }
    // A stranger's key that collides with a known one would break the order; it is left out.
    encoded += other.filter { Key(rawValue: $0.key) == nil }
    return encoded.sorted { $0.key < $1.key }
  }
}
