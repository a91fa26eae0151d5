import Wire

extension SOCKS5 {
  /// What UDP ASSOCIATE carries: a header before each payload (RFC 1928 §7).
  struct UDPDatagram {
    var destination: ProxyDestination
    /// In the memory that was parsed; valid no longer than that.
    var payload: UnsafeRawBufferPointer

    /// Parses a datagram from the client; nil when it is to be dropped.
    init?(_ bytes: UnsafeRawBufferPointer) {
      guard bytes.count > 4,
        // RFC 1928 §7: an implementation without fragmentation drops every FRAG but 0.
        bytes[0] == 0, bytes[1] == 0, bytes[2] == 0,
        case .address(let destination, let length) = SOCKS5.parseAddress(UnsafeRawBufferPointer(rebasing: bytes[3...])),
        destination.port != 0
      else { return nil }
      self.destination = destination
      payload = UnsafeRawBufferPointer(rebasing: bytes[(3 + length)...])
    }

    /// The longest header: a name of 255 octets.
    static let maximumHeaderLength = 3 + 1 + 1 + 255 + 2

    /// The header to put before a payload that came from `source`.
    static func header(from source: ProxyDestination) -> [UInt8] { [0, 0, 0] + SOCKS5.encode(source) }
  }
}
