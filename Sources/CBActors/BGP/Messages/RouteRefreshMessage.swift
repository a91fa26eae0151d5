import Wire

/// A ROUTE-REFRESH message (RFC 2918 §3, RFC 7313 §3.2).
public struct RouteRefreshMessage: Hashable, Sendable {
  public enum Subtype: UInt8, Sendable {
    /// Send what you have advertised again.
    case request = 0
    /// BoRR: what follows is all of it.
    case beginning = 1
    /// EoRR: what has not been advertised since the beginning is gone.
    case end = 2
  }

  public var family: AddressFamily
  public var subtype: Subtype

  public init(_ family: AddressFamily, _ subtype: Subtype = .request) {
    self.family = family
    self.subtype = subtype
  }

  /// Reads the body, what follows the header; nil for a subtype that is not known, which is ignored (RFC 7313 §5).
  ///
  /// - Throws: a ROUTE-REFRESH Message Error.
  public init?(body: UnsafeRawBufferPointer) throws(NotificationMessage) {
    var reader = ByteReader(body)
    guard body.count == 4, let afi = reader.readUInt16(), let subtype = reader.readUInt8(),
      let safi = reader.readUInt8()
    else {
      let header = MessageHeader.bytes(.routeRefresh, bodyLength: body.count)
      throw .invalidRouteRefreshLength(header + Array(body))
    }
    guard let subtype = Subtype(rawValue: subtype) else { return nil }
    self.subtype = subtype
    family = AddressFamily(afi: afi, safi: safi)
  }

  /// The whole message.
  public var serialized: [UInt8] {
    MessageHeader.bytes(.routeRefresh, bodyLength: 4)
      + [UInt8(family.afi >> 8), UInt8(family.afi & 0xff), subtype.rawValue, family.safi]
  }
}
