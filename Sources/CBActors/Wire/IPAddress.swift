#if canImport(Glibc)
  internal import Glibc
#endif

/// An IPv4 address, in host byte order.
public struct IPv4Address: Hashable, Comparable, Sendable {
  public var rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    rawValue = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }
  @inlinable public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  public static let any = IPv4Address(rawValue: 0)
  public static let loopback = IPv4Address(127, 0, 0, 1)
}

/// An IPv6 address (RFC 4291) as two halves in host byte order.
public struct IPv6Address: Hashable, Comparable, Sendable {
  public var high: UInt64
  public var low: UInt64
  @inlinable public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
  @inlinable public static func < (a: Self, b: Self) -> Bool { a.high == b.high ? a.low < b.low : a.high < b.high }
  public static let any = IPv6Address(high: 0, low: 0)
  public static let loopback = IPv6Address(high: 0, low: 1)

  /// fe80::/10 (RFC 4291 §2.5.6).
  public var isLinkLocal: Bool { high >> 54 == 0xfe80 >> 6 }

  /// The IPv4 address inside `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
  public var mappedIPv4: IPv4Address? {
    high == 0 && low >> 32 == 0xffff ? IPv4Address(rawValue: UInt32(truncatingIfNeeded: low)) : nil
  }
}

/// An IP address of either family. Zone identifiers belong to ``SocketAddress``.
public enum IPAddress: Hashable, Sendable {
  case v4(IPv4Address)
  case v6(IPv6Address)

  /// Parses dotted-quad IPv4 or RFC 4291 IPv6 text, without brackets, port or zone. Anything else is nil.
  public init?(_ text: String) {
    var four = in_addr()
    var six = in6_addr()
    if inet_pton(AF_INET, text, &four) == 1 {
      self = .v4(IPv4Address(rawValue: UInt32(bigEndian: four.s_addr)))
    } else if inet_pton(AF_INET6, text, &six) == 1 {
      self = withUnsafeBytes(of: &six) { IPAddress(networkBytes: $0)! }
    } else {
      return nil
    }
  }

  /// 4 or 16 bytes in network order; any other count is nil.
  public init?(networkBytes bytes: UnsafeRawBufferPointer) {
    switch bytes.count {
    case 4: self = .v4(IPv4Address(rawValue: UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))))
    case 16:
      self = .v6(
        IPv6Address(
          high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
          low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))))
    default: return nil
    }
  }

  public var isIPv4: Bool { if case .v4 = self { true } else { false } }

  /// 32 or 128.
  public var bitWidth: Int { isIPv4 ? 32 : 128 }

  /// The address as 4 or 16 bytes in network order.
  public var networkBytes: [UInt8] {
    switch self {
    case .v4(let four): withUnsafeBytes(of: four.rawValue.bigEndian) { Array($0) }
    case .v6(let six):
      withUnsafeBytes(of: six.high.bigEndian) { Array($0) } + withUnsafeBytes(of: six.low.bigEndian) { Array($0) }
    }
  }

  /// All zero: no address, or any of one's own.
  public var isUnspecified: Bool {
    switch self {
    case .v4(let four): four == .any
    case .v6(let six): six == .any
    }
  }

  /// 127.0.0.0/8 (RFC 1122 §3.2.1.3) or ::1 (RFC 4291 §2.5.3), mapped IPv4 included.
  public var isLoopback: Bool {
    switch unmapped {
    case .v4(let four): four.rawValue >> 24 == 127
    case .v6(let six): six == .loopback
    }
  }

  /// fe80::/10 (RFC 4291 §2.5.6): means something only with its interface.
  public var isLinkLocal: Bool { if case .v6(let six) = self { six.isLinkLocal } else { false } }

  /// An IPv4-mapped IPv6 address becomes the IPv4 address it carries: a policy must judge what is meant.
  public var unmapped: IPAddress {
    if case .v6(let six) = self, let four = six.mappedIPv4 { .v4(four) } else { self }
  }
}

extension IPAddress: CustomStringConvertible {
  /// Dotted quad, or RFC 5952 text.
  public var description: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
      networkBytes.withUnsafeBytes {
        _ = inet_ntop(isIPv4 ? AF_INET : AF_INET6, $0.baseAddress!, text.baseAddress!, socklen_t(text.count))
      }
      return String(cString: text.baseAddress!)
    }
  }
}

/// An IP address, a port, and for link-local IPv6 the interface index.
public struct SocketAddress: Hashable, Sendable {
  public var ip: IPAddress
  public var port: UInt16
  /// The interface index of an IPv6 link-local address (RFC 4007); otherwise 0.
  public var scopeID: UInt32

  public init(_ ip: IPAddress, port: UInt16, scopeID: UInt32 = 0) {
    self.ip = ip
    self.port = port
    self.scopeID = scopeID
  }

  /// Parses `192.0.2.1:443` or `[2001:db8::1]:443`. Names are not resolved.
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
      guard host.contains(":") else { return nil }
    } else if host.contains(":") {
      return nil
    }
    guard let ip = IPAddress(String(host)) else { return nil }
    self.init(ip, port: port)
  }
}

extension SocketAddress: CustomStringConvertible {
  public var description: String { ip.isIPv4 ? "\(ip):\(port)" : "[\(ip)]:\(port)" }
}
