public import Wire

/// Where a tunnel leads: a name or an address, and a port (RFC 9298 §3, RFC 9114 §4.4).
public struct Target: Hashable, Sendable {
  public enum Host: Hashable, Sendable {
    case address(IPAddress)
    /// A DNS name in lower case, without a final dot.
    case name(String)
  }

  public var host: Host
  /// 1 to 65535.
  public var port: UInt16

  public init(host: Host, port: UInt16) {
    self.host = host
    self.port = port
  }

  public enum Invalid: Error, Hashable, Sendable {
    /// Neither an IP address nor a DNS name.
    case host
    /// Not an integer between 1 and 65535.
    case port
  }

  /// From text as users and URIs give it; an IPv6 address without brackets.
  public init(host: String, port: String) throws(Invalid) {
    guard let parsed = Host(host) else { throw .host }
    // RFC 9298 §3: ""target_port" MUST represent an integer between 1 and 65535 inclusive."
    guard !port.isEmpty, port.utf8.count <= 5, port.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
      let number = UInt16(port), number > 0
    else { throw .port }
    self.init(host: parsed, port: number)
  }

  /// From an authority of host and port, both of which must be there: `example.com:443`, `[2001:db8::1]:443`.
  public init(authority: String) throws(Invalid) {
    guard let colon = authority.lastIndex(of: ":") else { throw .port }
    var host = authority[..<colon]
    let isBracketed = host.hasPrefix("[") && host.hasSuffix("]") && host.utf8.count > 2
    if isBracketed { host = host.dropFirst().dropLast() }
    try self.init(host: String(host), port: String(authority[authority.index(after: colon)...]))
    // RFC 3986 §3.2.2: brackets hold IPv6 addresses, and only brackets do.
    guard case .address(.v6) = self.host else {
      if isBracketed { throw .host }
      return
    }
    if !isBracketed { throw .host }
  }

  /// `host:port`, an IPv6 address in brackets.
  public var authority: String {
    if case .address(.v6) = host { "[\(host)]:\(port)" } else { "\(host):\(port)" }
  }
}

extension Target: CustomStringConvertible {
  public var description: String { authority }
}

extension Target.Host: CustomStringConvertible {
  public var description: String {
    switch self {
    case .address(let address): address.description
    case .name(let name): name
    }
  }

  /// Nil for what is neither an IP address nor a DNS name.
  ///
  /// A name whose last label is a number is refused: resolvers read `127.1`, `0x7f000001` and their like as
  /// addresses (RFC 3986 §7.4), and a policy must see the same address that is connected to.
  public init?(_ text: String) {
    if let address = IPAddress(text) {
      self = .address(address)
      return
    }
    let name = (text.hasSuffix(".") ? String(text.dropLast()) : text).lowercased()
    guard !name.isEmpty, name.utf8.count <= 253 else { return nil }
    let labels = name.split(separator: ".", omittingEmptySubsequences: false)
    guard labels.allSatisfy(Self.isLabel), let last = labels.last, !Self.isNumber(last) else { return nil }
    self = .name(name)
  }

  /// Letters, digits, hyphens and underscores, 1 to 63 of them.
  private static func isLabel(_ label: Substring) -> Bool {
    (1...63).contains(label.utf8.count) && label.utf8.first != UInt8(ascii: "-")
      && label.utf8.last != UInt8(ascii: "-")
      && label.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
          UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }

  /// Decimal digits, or 0x and hexadecimal ones.
  private static func isNumber(_ label: Substring) -> Bool {
    label.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
      || label.hasPrefix("0x") && label.dropFirst(2).allSatisfy(\.isHexDigit)
  }
}
