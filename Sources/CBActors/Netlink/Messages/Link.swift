public import Wire

/// A network interface (`struct ifinfomsg`, linux/rtnetlink.h).
public struct Link: Hashable, Sendable {
  public var index: UInt32
  public var name: String
  /// Octets.
  public var mtu: UInt32
  /// The operator has set it up (`IFF_UP`).
  public var isUp: Bool
  /// The other end is there (`IFF_LOWER_UP`).
  public var hasCarrier: Bool
  /// The bridge or bond that it belongs to.
  public var master: UInt32?

  /// It carries packets.
  public var isUsable: Bool { isUp && hasCarrier }

  public init(
    index: UInt32, name: String, mtu: UInt32 = 1_500, isUp: Bool, hasCarrier: Bool, master: UInt32? = nil
  ) {
    self.index = index
    self.name = name
    self.mtu = mtu
    self.isUp = isUp
    self.hasCarrier = hasCarrier
    self.master = master
  }

  /// Nil where the message is malformed or tells of a bridge's port only.
  init?(_ body: UnsafeRawBufferPointer) {
    var reader = ByteReader(body)
    guard let family = reader.readUInt8(), family == Family.unspecified, reader.skip(3),
      let index = reader.readHost(UInt32.self), let flags = reader.readHost(UInt32.self), reader.skip(4)
    else { return nil }
    self.init(index: index, name: "", mtu: 0, isUp: flags & 0x1 != 0, hasCarrier: flags & 0x1_0000 != 0)
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      switch type {
      case LinkAttribute.name: name = payload.text
      case LinkAttribute.mtu: mtu = payload.host(UInt32.self) ?? 0
      case LinkAttribute.master: master = payload.host(UInt32.self)
      default: break
      }
    }
  }
}

/// An address of an interface (`struct ifaddrmsg`, linux/if_addr.h).
public struct InterfaceAddress: Hashable, Sendable {
  public var interface: UInt32
  public var address: IPAddress
  /// Of the subnet.
  public var prefixLength: Int
  /// Duplicate address detection has not ended (RFC 4862 §5.4), or has found another with it: of no use yet.
  public var isTentative: Bool

  public init(interface: UInt32, address: IPAddress, prefixLength: Int, isTentative: Bool = false) {
    self.interface = interface
    self.address = address
    self.prefixLength = prefixLength
    self.isTentative = isTentative
  }

  init?(_ body: UnsafeRawBufferPointer) {
    var reader = ByteReader(body)
    guard let family = reader.readUInt8(), let length = reader.readUInt8(), let shortFlags = reader.readUInt8(),
      reader.skip(1), let index = reader.readHost(UInt32.self)
    else { return nil }
    var flags = UInt32(shortFlags)
    var remote: IPAddress?
    var local: IPAddress?
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      switch type {
      case AddressAttribute.address: remote = IPAddress(networkBytes: payload)
      case AddressAttribute.local: local = IPAddress(networkBytes: payload)
      case AddressAttribute.flags: flags = payload.host(UInt32.self) ?? flags
      default: break
      }
    }
    // On a point-to-point link IFA_ADDRESS is the other end's.
    guard let address = local ?? remote, address.family == family, Int(length) <= address.bitWidth else { return nil }
    // IFA_F_DADFAILED, IFA_F_TENTATIVE
    self.init(
      interface: index, address: address, prefixLength: Int(length), isTentative: flags & (0x08 | 0x40) != 0)
  }
}
