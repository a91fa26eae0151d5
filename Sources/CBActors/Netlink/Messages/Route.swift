public import Wire

/// One way on: a gateway, an interface, or both.
public struct NextHop: Hashable, Sendable {
  /// Nil: the destination is on the link itself. May be IPv6 for a route of IPv4 (RFC 8950).
  public var gateway: IPAddress?
  /// The interface's index; 0 lets the kernel find the one that the gateway is on.
  public var interface: UInt32
  /// 1 to 256, against those of the route's other next hops.
  public var weight: Int
  /// The gateway is taken to be on the link whatever the addresses say (`RTNH_F_ONLINK`).
  public var isOnLink: Bool

  public init(gateway: IPAddress?, interface: UInt32 = 0, weight: Int = 1, isOnLink: Bool = false) {
    self.gateway = gateway
    self.interface = interface
    self.weight = min(max(weight, 1), 256)
    self.isOnLink = isOnLink
  }

  /// The kernel's next hop is this one; it names the interface also where we left that to it.
  func matches(_ kernel: NextHop) -> Bool {
    gateway == kernel.gateway && (interface == 0 || interface == kernel.interface) && weight == kernel.weight
      && isOnLink == kernel.isOnLink
  }

  static let onLinkFlag: UInt8 = 4
}

/// A route of the kernel (`struct rtmsg`, linux/rtnetlink.h).
public struct Route: Hashable, Sendable {
  /// What tells a route from another: the kernel keeps one of each, unless someone appends.
  public struct Key: Hashable, Sendable {
    public let destination: IPPrefix
    public let table: UInt32
    /// The smaller wins. IPv6 has no metric 0: the kernel makes it 1024, and so does this.
    public let metric: UInt32

    public init(_ destination: IPPrefix, table: UInt32 = RoutingTable.main, metric: UInt32 = 0) {
      self.destination = destination
      self.table = table
      self.metric = metric == 0 && !destination.address.isIPv4 ? 1_024 : metric
    }
  }

  /// `rtm_type`.
  public enum Kind: UInt8, Hashable, Sendable {
    case unicast = 1
    case local = 2
    case broadcast = 3
    case anycast = 4
    case multicast = 5
    case blackhole = 6
    case unreachable = 7
    case prohibit = 8
    case `throw` = 9
  }

  public enum Path: Hashable, Sendable {
    /// Of a kind that leads nowhere.
    case none
    /// Several are equal in cost (ECMP).
    case hops([NextHop])
    /// A next hop or group of them that is an object of its own, by its identifier.
    case object(UInt32)
  }

  public var key: Key
  public var kind: Kind
  public var path: Path
  public var origin: RouteOrigin
  /// The source address of what the machine itself sends this way.
  public var preferredSource: IPAddress?

  public init(
    _ key: Key, kind: Kind = .unicast, path: Path, origin: RouteOrigin = .cloudBridge,
    preferredSource: IPAddress? = nil
  ) {
    self.key = key
    self.kind = kind
    self.path = path
    self.origin = origin
    self.preferredSource = preferredSource
  }

  /// What the kernel has does what this route wants.
  public func isFulfilled(by kernel: Route) -> Bool {
    guard key == kernel.key, kind == kernel.kind, origin == kernel.origin,
      preferredSource == nil || preferredSource == kernel.preferredSource
    else { return false }
    switch (path, kernel.path) {
    case (.none, .none): return true
    case (.object(let ours), .object(let theirs)): return ours == theirs
    case (.hops(let ours), .hops(var theirs)):
      guard ours.count == theirs.count else { return false }
      // IPv6 lists them in an order of its own.
      for hop in ours {
        guard let place = theirs.firstIndex(where: hop.matches) else { return false }
        theirs.remove(at: place)
      }
      return true
    default: return false
    }
  }
}

// MARK: Reading

extension Route {
  /// Nil where the message is malformed, is of another family, or tells of a cached route.
  init?(_ body: UnsafeRawBufferPointer) {
    var reader = ByteReader(body)
    guard let family = reader.readUInt8(), let length = reader.readUInt8(), reader.skip(2),
      let shortTable = reader.readUInt8(), let origin = reader.readUInt8(), reader.skip(1),
      let kind = reader.readUInt8().flatMap(Kind.init), let flags = reader.readHost(UInt32.self),
      family == Family.ipv4 || family == Family.ipv6, flags & Self.clonedFlag == 0
    else { return nil }
    var destination: IPAddress = family == Family.ipv4 ? .v4(.any) : .v6(.any)
    var table = UInt32(shortTable)
    var metric: UInt32 = 0
    var source: IPAddress?
    var single = NextHop(gateway: nil, isOnLink: UInt8(truncatingIfNeeded: flags) & NextHop.onLinkFlag != 0)
    var several: [NextHop]?
    var object: UInt32?
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      switch type {
      case RouteAttribute.destination:
        guard let address = IPAddress(networkBytes: payload), address.family == family else { return nil }
        destination = address
      case RouteAttribute.table: table = payload.host(UInt32.self) ?? table
      case RouteAttribute.priority: metric = payload.host(UInt32.self) ?? metric
      case RouteAttribute.preferredSource: source = IPAddress(networkBytes: payload)
      case RouteAttribute.outputInterface: single.interface = payload.host(UInt32.self) ?? 0
      case RouteAttribute.gateway: single.gateway = IPAddress(networkBytes: payload)
      case RouteAttribute.via: single.gateway = IPAddress(via: payload)
      case RouteAttribute.multipath:
        guard let hops = NextHop.list(payload) else { return nil }
        several = hops
      case RouteAttribute.nextHopID: object = payload.host(UInt32.self)
      default: break
      }
    }
    guard let prefix = IPPrefix(destination, length: Int(length)) else { return nil }
    let path: Path
    switch kind {
    case .blackhole, .unreachable, .prohibit, .throw: path = .none
    default: path = object.map { .object($0) } ?? .hops(several ?? [single])
    }
    self.init(
      Key(prefix, table: table, metric: metric), kind: kind, path: path, origin: RouteOrigin(rawValue: origin),
      preferredSource: source)
  }

  /// `RTM_F_CLONED`: an entry of the cache, such as a path MTU.
  private static let clonedFlag: UInt32 = 0x200
}

extension NextHop {
  /// The `struct rtnexthop` list of RTA_MULTIPATH; nil where a length does not fit.
  fileprivate static func list(_ bytes: UnsafeRawBufferPointer) -> [NextHop]? {
    var hops: [NextHop] = []
    var reader = ByteReader(bytes)
    while !reader.isAtEnd {
      guard let length = reader.readHost(UInt16.self), length >= 8, let flags = reader.readUInt8(),
        let hopCount = reader.readUInt8(), let interface = reader.readHost(UInt32.self),
        let inner = reader.readBytes(Int(length) - 8)
      else { return nil }
      _ = reader.skip(min(-Int(length) & 3, reader.remaining))
      var hop = NextHop(
        gateway: nil, interface: interface, weight: Int(hopCount) + 1, isOnLink: flags & onLinkFlag != 0)
      var attributes = AttributeReader(inner)
      while let (type, payload) = attributes.next() {
        switch type {
        case RouteAttribute.gateway: hop.gateway = IPAddress(networkBytes: payload)
        case RouteAttribute.via: hop.gateway = IPAddress(via: payload)
        default: break
        }
      }
      hops.append(hop)
    }
    return hops
  }
}

extension IPAddress {
  /// `struct rtvia`: a gateway of the other family.
  init?(via bytes: UnsafeRawBufferPointer) {
    guard let family = bytes.prefix(2).withHost(UInt16.self), family == Family.ipv4 || family == Family.ipv6,
      let address = IPAddress(networkBytes: UnsafeRawBufferPointer(rebasing: bytes.dropFirst(2))),
      UInt16(address.family) == family
    else { return nil }
    self = address
  }
}

extension Slice where Base == UnsafeRawBufferPointer {
  fileprivate func withHost<T: FixedWidthInteger>(_ type: T.Type) -> T? {
    UnsafeRawBufferPointer(rebasing: self).host(type)
  }
}

// MARK: Writing

extension Route {
  func write(to writer: inout MessageWriter) {
    let hops = if case .hops(let hops) = path { hops } else { [NextHop]() }
    let scope: UInt8
    switch kind {
    case .local: scope = Scope.host
    case .unicast where !hops.isEmpty && hops.allSatisfy({ $0.gateway == nil }): scope = Scope.link
    default: scope = Scope.universe
    }
    let flags = hops.count == 1 && hops[0].isOnLink ? UInt32(NextHop.onLinkFlag) : 0
    header(scope: scope, kind: kind.rawValue, flags: flags, &writer)
    if let preferredSource { writer.attribute(RouteAttribute.preferredSource, preferredSource) }
    switch path {
    case .none: break
    case .object(let id): writer.attribute(RouteAttribute.nextHopID, id)
    case .hops(let hops) where hops.count == 1:
      if hops[0].interface != 0 { writer.attribute(RouteAttribute.outputInterface, hops[0].interface) }
      writeGateway(hops[0], &writer)
    case .hops(let hops):
      writer.nested(RouteAttribute.multipath) { writer in
        for hop in hops {
          let start = writer.count
          writer.host(UInt16(0))
          writer.host(hop.isOnLink ? NextHop.onLinkFlag : 0)
          writer.host(UInt8(clamping: hop.weight - 1))
          writer.host(hop.interface)
          writeGateway(hop, &writer)
          writer.patchLength(at: start)
        }
      }
    }
  }

  /// As a deletion wants it: destination, table, metric and origin say which, so that no other's route of the same
  /// destination is met.
  func writeDeletion(to writer: inout MessageWriter) { header(scope: Scope.nowhere, kind: 0, flags: 0, &writer) }

  private func header(scope: UInt8, kind: UInt8, flags: UInt32, _ writer: inout MessageWriter) {
    writer.host(key.destination.address.family)
    writer.host(UInt8(key.destination.length))
    writer.host(UInt16(0))
    writer.host(key.table < 256 ? UInt8(key.table) : 0)
    writer.host(origin.rawValue)
    writer.host(scope)
    writer.host(kind)
    writer.host(flags)
    if key.table >= 256 { writer.attribute(RouteAttribute.table, key.table) }
    writer.attribute(RouteAttribute.destination, key.destination.address)
    if key.metric != 0 { writer.attribute(RouteAttribute.priority, key.metric) }
  }

  private func writeGateway(_ hop: NextHop, _ writer: inout MessageWriter) {
    guard let gateway = hop.gateway else { return }
    if gateway.isIPv4 == key.destination.address.isIPv4 {
      writer.attribute(RouteAttribute.gateway, gateway)
    } else {
      writer.nested(RouteAttribute.via) {
        $0.host(UInt16(gateway.family))
        $0.address(gateway)
      }
    }
  }
}
