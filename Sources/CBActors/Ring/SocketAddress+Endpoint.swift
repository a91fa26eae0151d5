import CLinux
import Glibc
public import Wire

extension SocketAddress {
  /// The same address on an interface of that name (RFC 4007 §11), in the network namespace of the calling thread; nil
  /// where there is none.
  public func on(interface name: String) -> SocketAddress? {
    let index = if_nametoindex(name)
    return index == 0 ? nil : SocketAddress(ip, port: port, scopeID: index)
  }
}

extension cb_endpoint {
  init(_ address: SocketAddress) {
    self.init(address.ip, port: address.port, scope: address.scopeID)
  }

  init(_ ip: IPAddress, port: UInt16 = 0, scope: UInt32 = 0) {
    switch ip {
    case .v4(let four):
      self.init(high: 0, low: UInt64(four.rawValue), scope: scope, port: port, family: 4)
    case .v6(let six):
      self.init(high: six.high, low: six.low, scope: scope, port: port, family: 6)
    }
  }

  /// Nil for family 0.
  @inline(__always)
  var ip: IPAddress? {
    switch family {
    case 4: .v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: low)))
    case 6: .v6(IPv6Address(high: high, low: low))
    default: nil
    }
  }

  @inline(__always)
  var socketAddress: SocketAddress? {
    ip.map { SocketAddress($0, port: port, scopeID: scope) }
  }
}
