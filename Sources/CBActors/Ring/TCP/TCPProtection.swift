import CLinux
import Wire

/// What keeps strangers out of a TCP connection between two routers.
public struct TCPProtection: Hashable, Sendable {
  /// The key of the TCP MD5 Signature Option (RFC 2385), 1 to 80 bytes; empty for none.
  public var signatureKey: [UInt8]
  /// The key of the TCP Authentication Option; nil for none. Not with a signature key.
  public var authentication: TCPAuthentication?
  /// Takes only what comes from the next hop: sent with a TTL of 255 and not forwarded since (RFC 5082).
  public var isFromNextHopOnly: Bool

  public init(signatureKey: [UInt8] = [], isFromNextHopOnly: Bool = false) {
    self.signatureKey = signatureKey
    self.isFromNextHopOnly = isFromNextHopOnly
  }

  /// Sets a socket up before it connects or listens.
  ///
  /// A listener has one least TTL for all of its peers: it asks for 255 only where every one of them is to be a next
  /// hop. Where some are, it answers all with 255, and the connection of one that is has its least TTL from its
  /// accepting on (``require(on:isIPv6:)``): what a stranger may do before is to open it.
  static func apply(_ protection: [IPAddress: Self], to descriptor: Int32, isIPv6: Bool) throws(RingError) {
    for (peer, one) in protection where !one.signatureKey.isEmpty {
      var address = cb_endpoint(peer)
      let result = one.signatureKey.withUnsafeBytes {
        cb_tcp_signature(descriptor, &address, isIPv6, $0.baseAddress, $0.count)
      }
      guard result == 0 else { throw .system("TCP_MD5SIG", result) }
    }
    for (peer, one) in protection {
      try one.authentication?.apply(to: descriptor, with: peer, isIPv6: isIPv6)
    }
    guard protection.values.contains(where: \.isFromNextHopOnly) else { return }
    let result = cb_ttl_greatest(descriptor, isIPv6)
    guard result == 0 else { throw .system(isIPv6 ? "IPV6_UNICAST_HOPS" : "IP_TTL", result) }
    guard protection.values.allSatisfy(\.isFromNextHopOnly) else { return }
    try require(on: descriptor, isIPv6: isIPv6)
  }

  /// Has a socket take nothing any more that was forwarded.
  static func require(on descriptor: Int32, isIPv6: Bool) throws(RingError) {
    let result = cb_ttl_required(descriptor, isIPv6)
    guard result == 0 else { throw .system(isIPv6 ? "IPV6_MINHOPCOUNT" : "IP_MINTTL", result) }
  }
}

extension TCPProtection: CustomStringConvertible, CustomDebugStringConvertible {
  /// Without the key.
  public var description: String {
    "\(signatureKey.isEmpty && authentication == nil ? "unsigned" : "signed"), \(isFromNextHopOnly ? "from the next hop only" : "from anywhere")"
  }
  public var debugDescription: String { description }
}
