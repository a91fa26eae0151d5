import CLinux
import Glibc
import Wire

/// A master key tuple of the TCP Authentication Option (RFC 5925 §3.1), by which both ends know each other's segments.
public struct TCPAuthentication: Hashable, Sendable {
  /// RFC 5926 §3.
  public enum Algorithm: String, Hashable, Sendable, CaseIterable {
    case hmacSHA1 = "hmac-sha-1-96"
    case aes128CMAC = "aes-128-cmac-96"

    /// Its name in the kernel's cryptography.
    fileprivate var kernelName: String {
      switch self {
      case .hmacSHA1: "hmac(sha1)"
      case .aes128CMAC: "cmac(aes128)"
      }
    }
  }

  /// 1 to 80 bytes.
  public var key: [UInt8]
  public var algorithm: Algorithm
  /// The KeyID of segments sent, which the other end has as the one to receive.
  public var sendID: UInt8
  public var receiveID: UInt8

  public init(key: [UInt8], algorithm: Algorithm = .hmacSHA1, sendID: UInt8, receiveID: UInt8) {
    self.key = key
    self.algorithm = algorithm
    self.sendID = sendID
    self.receiveID = receiveID
  }

  /// Before the socket connects or listens.
  func apply(to descriptor: Int32, with peer: IPAddress, isIPv6: Bool) throws(RingError) {
    var address = cb_endpoint(peer)
    let result = key.withUnsafeBytes {
      cb_tcp_authentication(
        descriptor, &address, isIPv6, algorithm.kernelName, sendID, receiveID, $0.baseAddress, $0.count)
    }
    if result == -ENOPROTOOPT { throw RingError(.unsupportedByKernel, "TCP_AO_ADD_KEY", errno: ENOPROTOOPT) }
    guard result == 0 else { throw .system("TCP_AO_ADD_KEY", result) }
  }

  /// Throws why this kernel cannot do it.
  public static func requireKernelSupport() throws(RingError) {
    let descriptor = cb_tcp_open(false)
    guard descriptor >= 0 else { throw .system("socket", descriptor) }
    defer { close(descriptor) }
    let trial = TCPAuthentication(key: [1], sendID: 1, receiveID: 1)
    try trial.apply(to: descriptor, with: .v4(.loopback), isIPv6: false)
  }
}

extension TCPAuthentication: CustomStringConvertible, CustomDebugStringConvertible {
  /// Without the key.
  public var description: String { "\(algorithm.rawValue), send \(sendID), receive \(receiveID)" }
  public var debugDescription: String { description }
}
