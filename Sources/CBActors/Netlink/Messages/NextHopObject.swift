import Wire

/// A next hop, or a group of them, as an object that any number of routes point at (`struct nhmsg`, linux/nexthop.h;
/// Linux 5.3). To change the group changes them all at once.
public struct NextHopObject: Hashable, Sendable {
  public enum Content: Hashable, Sendable {
    /// Gateway and interface; the kernel wants both, or the interface alone.
    case hop(NextHop)
    /// Identifiers of hops, with a weight of 1 to 256 each.
    case group([Member])
    case blackhole(isIPv4: Bool)
  }

  public struct Member: Hashable, Sendable {
    public var id: UInt32
    public var weight: Int

    public init(id: UInt32, weight: Int = 1) {
      self.id = id
      self.weight = min(max(weight, 1), 256)
    }
  }

  public var id: UInt32
  public var content: Content
  public var origin: RouteOrigin

  public init(id: UInt32, _ content: Content, origin: RouteOrigin = .cloudBridge) {
    self.id = id
    self.content = content
    self.origin = origin
  }

  /// Nil where the message is malformed or tells of something else, such as an entry of a bridge.
  init?(_ body: UnsafeRawBufferPointer) {
    var reader = ByteReader(body)
    guard let family = reader.readUInt8(), reader.skip(1), let origin = reader.readUInt8(), reader.skip(1),
      let flags = reader.readHost(UInt32.self)
    else { return nil }
    var id: UInt32?
    var members: [Member]?
    var isBlackhole = false
    var hop = NextHop(gateway: nil, isOnLink: UInt8(truncatingIfNeeded: flags) & NextHop.onLinkFlag != 0)
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      switch type {
      case NextHopAttribute.id: id = payload.host(UInt32.self)
      case NextHopAttribute.group: members = Member.list(payload)
      case NextHopAttribute.blackhole: isBlackhole = true
      case NextHopAttribute.outputInterface: hop.interface = payload.host(UInt32.self) ?? 0
      case NextHopAttribute.gateway: hop.gateway = IPAddress(networkBytes: payload)
      default: break
      }
    }
    guard let id else { return nil }
    let content: Content
    if let members {
      content = .group(members)
    } else if isBlackhole {
      content = .blackhole(isIPv4: family == Family.ipv4)
    } else if hop.interface != 0 {
      content = .hop(hop)
    } else {
      return nil
    }
    self.init(id: id, content, origin: RouteOrigin(rawValue: origin))
  }

  func write(to writer: inout MessageWriter) {
    let family: UInt8
    var flags: UInt32 = 0
    switch content {
    case .group: family = Family.unspecified
    case .blackhole(let isIPv4): family = isIPv4 ? Family.ipv4 : Family.ipv6
    case .hop(let hop):
      family = hop.gateway?.family ?? Family.ipv4
      if hop.isOnLink { flags = UInt32(NextHop.onLinkFlag) }
    }
    header(family, flags: flags, &writer)
    writer.attribute(NextHopAttribute.id, id)
    switch content {
    case .group(let members):
      writer.nested(NextHopAttribute.group) {
        for member in members {
          $0.host(member.id)
          $0.host(UInt8(clamping: member.weight - 1))
          $0.host(UInt8(0))
          $0.host(UInt16(0))
        }
      }
    case .blackhole: writer.nested(NextHopAttribute.blackhole) { _ in }
    case .hop(let hop):
      writer.attribute(NextHopAttribute.outputInterface, hop.interface)
      if let gateway = hop.gateway { writer.attribute(NextHopAttribute.gateway, gateway) }
    }
  }

  func writeDeletion(to writer: inout MessageWriter) {
    // The kernel wants neither flags nor an origin here.
    header(Family.unspecified, flags: 0, origin: 0, &writer)
    writer.attribute(NextHopAttribute.id, id)
  }

  private func header(_ family: UInt8, flags: UInt32, origin: UInt8? = nil, _ writer: inout MessageWriter) {
    writer.host(family)
    writer.host(UInt8(0))
    writer.host(origin ?? self.origin.rawValue)
    writer.host(UInt8(0))
    writer.host(flags)
  }
}

extension NextHopObject.Member {
  /// An array of `struct nexthop_grp`; nil where it is not a whole number of them.
  fileprivate static func list(_ bytes: UnsafeRawBufferPointer) -> [Self]? {
    guard bytes.count % 8 == 0 else { return nil }
    var reader = ByteReader(bytes)
    var members: [Self] = []
    while let id = reader.readHost(UInt32.self), let weight = reader.readUInt8(), reader.skip(3) {
      members.append(Self(id: id, weight: Int(weight) + 1))
    }
    return members
  }
}
