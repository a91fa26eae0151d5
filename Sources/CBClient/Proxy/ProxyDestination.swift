import Wire

/// Where an application asks a local proxy to connect it.
struct ProxyDestination: Hashable, Sendable {
  enum Host: Hashable, Sendable {
    case address(IPAddress)
    /// ASCII without blanks or controls, of at most 255 octets. The PoP resolves it.
    case name(String)
  }

  var host: Host
  var port: UInt16

  init(_ host: Host, port: UInt16) {
    self.host = host
    self.port = port
  }

  init(_ address: SocketAddress) { self.init(.address(address.ip), port: address.port) }
}

extension ProxyDestination.Host {
  /// Octets that stand for a host: an address in text becomes the address. Nil for what can be no host.
  init?(_ octets: some Collection<UInt8>) {
    // Whatever could break out of a later request line, log line or URI template is refused here.
    guard (1...255).contains(octets.count), octets.allSatisfy(Self.isAllowed) else { return nil }
    let text = String(decoding: octets, as: UTF8.self)
    self = IPAddress(text).map { .address($0) } ?? .name(text)
  }

  /// Letters, digits, and what names and addresses in text use besides.
  private static func isAllowed(_ octet: UInt8) -> Bool {
    switch octet {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: ":"):
      true
    default: false
    }
  }
}

extension ProxyDestination: CustomStringConvertible {
  /// `host:port`, an IPv6 address in brackets.
  var description: String {
    switch host {
    case .address(let ip): SocketAddress(ip, port: port).description
    case .name(let name): "\(name):\(port)"
    }
  }
}
