import Wire

/// SOCKS version 5 (RFC 1928), the server's side.
enum SOCKS5 {
  static let version: UInt8 = 5

  /// CMD (RFC 1928 §4).
  enum Command: UInt8, Hashable, Sendable {
    case connect = 1
    case bind = 2
    case udpAssociate = 3
  }

  struct Request: Hashable, Sendable {
    /// Never ``Command/bind``, which is refused.
    var command: Command
    /// For UDP ASSOCIATE the address the client will send from; often zero, for not known yet.
    var destination: ProxyDestination
  }

  /// REP (RFC 1928 §6).
  enum Reply: UInt8, Hashable, Sendable, CaseIterable {
    case succeeded = 0
    case generalFailure = 1
    case notAllowed = 2
    case networkUnreachable = 3
    case hostUnreachable = 4
    case connectionRefused = 5
    case ttlExpired = 6
    case commandNotSupported = 7
    case addressTypeNotSupported = 8

    /// The reply's bytes. `bound` is what the client is to know of the proxy's end: for UDP ASSOCIATE where
    /// to send datagrams; zero where there is nothing to tell.
    func bytes(bound: SocketAddress = SocketAddress(.v4(.any), port: 0)) -> [UInt8] {
      [SOCKS5.version, rawValue, 0] + SOCKS5.encode(ProxyDestination(bound))
    }
  }

  /// The name and password that a client must give (RFC 1929), each 1 to 255 octets.
  struct Credentials: Sendable {
    private let username: [UInt8]
    private let password: [UInt8]

    /// Nil when either is empty or longer than RFC 1929 can carry.
    init?(username: String, password: String) {
      let (username, password) = (Array(username.utf8), Array(password.utf8))
      guard (1...255).contains(username.count), (1...255).contains(password.count) else { return nil }
      self.username = username
      self.password = password
    }

    /// In time that depends on what was given, and not on where it first differs.
    func matches(username: ArraySlice<UInt8>, password: ArraySlice<UInt8>) -> Bool {
      let isUsername = Self.isEqual(username, self.username)
      let isPassword = Self.isEqual(password, self.password)
      return isUsername && isPassword
    }

    private static func isEqual(_ given: ArraySlice<UInt8>, _ expected: [UInt8]) -> Bool {
      var difference: UInt8 = given.count == expected.count ? 0 : 1
      for (offset, octet) in given.enumerated() { difference |= octet ^ expected[offset % expected.count] }
      return difference == 0
    }
  }

  /// ATYP, the address and the port (RFC 1928 §5).
  static func encode(_ destination: ProxyDestination) -> [UInt8] {
    let port = [UInt8(destination.port >> 8), UInt8(destination.port & 0xff)]
    return switch destination.host {
    case .address(let ip): [ip.isIPv4 ? 1 : 4] + ip.networkBytes + port
    case .name(let name): [3, UInt8(clamping: name.utf8.count)] + name.utf8.prefix(255) + port
    }
  }

  enum AddressParse: Hashable {
    /// With how many octets it took.
    case address(ProxyDestination, length: Int)
    case needsMore
    case unsupportedType
    case invalidName
  }

  /// Reads ATYP, the address and the port from the beginning of `bytes` (RFC 1928 §5).
  static func parseAddress(_ bytes: UnsafeRawBufferPointer) -> AddressParse {
    var reader = ByteReader(bytes)
    guard let type = reader.readUInt8() else { return .needsMore }
    let host: ProxyDestination.Host
    switch type {
    case 1, 4:
      guard let address = reader.readBytes(type == 1 ? 4 : 16).flatMap(IPAddress.init(networkBytes:)) else {
        return .needsMore
      }
      host = .address(address)
    case 3:
      guard let length = reader.readUInt8() else { return .needsMore }
      guard length > 0 else { return .invalidName }
      guard let octets = reader.readBytes(Int(length)) else { return .needsMore }
      guard let name = ProxyDestination.Host(octets) else { return .invalidName }
      host = name
    default: return .unsupportedType
    }
    guard let port = reader.readUInt16() else { return .needsMore }
    return .address(ProxyDestination(host, port: port), length: reader.offset)
  }
}
