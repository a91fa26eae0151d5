import Glibc
import QUIC
import Wire

/// One non-blocking IPv4 UDP socket that reads and writes the ECN bits.
final class UDPPort {
  struct Failure: Error, CustomStringConvertible {
    var description: String
    init(_ call: String) { description = "\(call): \(String(cString: strerror(errno)))" }
  }

  let descriptor: Int32
  let local: SocketAddress
  /// Datagrams that came with each of the four ECN codepoints.
  private(set) var received: [Int] = [0, 0, 0, 0]
  private var mark = ECN.notECT
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
  private let control = UnsafeMutableRawBufferPointer.allocate(byteCount: 128, alignment: 16)

  init(_ address: SocketAddress) throws {
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw Failure("socket") }
    var name = try sockaddr_in(address)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
    }
    guard bound == 0 else { throw Failure("bind \(address)") }
    let named = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
    }
    guard named == 0 else { throw Failure("getsockname") }
    self.descriptor = descriptor
    local = SocketAddress(name)
    set(IPPROTO_IP, IP_RECVTOS, 1)
    // A datagram larger than the path takes is dropped, not cut in pieces, so that MTU discovery sees the truth.
    set(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    set(SOL_SOCKET, SO_RCVBUF, 4 << 20)
  }

  deinit {
    close(descriptor)
    buffer.deallocate()
    control.deallocate()
  }

  private func set<Level: BinaryInteger>(_ level: Level, _ option: Int32, _ value: Int32) {
    var value = value
    _ = setsockopt(descriptor, Int32(level), option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  /// Sends each of a batch's datagrams. One that the socket has no room for is lost, as on any network.
  func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, to remote: SocketAddress, ecn: ECN) {
    if ecn != mark {
      set(IPPROTO_IP, IP_TOS, Int32(ecn.rawValue))
      mark = ecn
    }
    guard var name = try? sockaddr_in(remote) else { return }
    var offset = 0
    while offset < bytes.count {
      let end = min(offset + segmentSize, bytes.count)
      let datagram = UnsafeRawBufferPointer(rebasing: bytes[offset..<end])
      _ = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(
            descriptor, datagram.baseAddress, datagram.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      offset = end
    }
  }

  /// Hands the next datagram to `body`; false when none waits.
  func receive(_ body: (UnsafeMutableRawBufferPointer, SocketAddress, ECN) -> Void) -> Bool {
    var name = Glibc.sockaddr_in()
    var piece = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    var message = msghdr()
    message.msg_namelen = socklen_t(MemoryLayout<sockaddr_in>.size)
    message.msg_iovlen = 1
    message.msg_control = control.baseAddress
    message.msg_controllen = control.count
    let count = withUnsafeMutablePointer(to: &name) { name in
      withUnsafeMutablePointer(to: &piece) { piece in
        message.msg_name = UnsafeMutableRawPointer(name)
        message.msg_iov = piece
        return recvmsg(descriptor, &message, 0)
      }
    }
    guard count >= 0 else { return false }
    let ecn = codepoint(message.msg_controllen)
    received[Int(ecn.rawValue)] += 1
    body(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), SocketAddress(name), ecn)
    return true
  }

  /// The one control message asked for, IP_TOS, lies behind its header of 16 bytes.
  private func codepoint(_ length: Int) -> ECN {
    guard length > 16, control.load(fromByteOffset: 8, as: Int32.self) == Int32(IPPROTO_IP),
      control.load(fromByteOffset: 12, as: Int32.self) == IP_TOS
    else { return .notECT }
    // Proof for the unwrap: two bits have four values, and ECN has them all.
    return ECN(rawValue: control[16] & 3)!
  }
}

extension sockaddr_in {
  init(_ address: SocketAddress) throws {
    guard case .v4(let ip) = address.ip else { throw Usage("\(address): only IPv4") }
    self.init()
    sin_family = sa_family_t(AF_INET)
    sin_port = address.port.bigEndian
    sin_addr.s_addr = ip.rawValue.bigEndian
  }
}

extension SocketAddress {
  init(_ name: sockaddr_in) {
    self.init(
      .v4(IPv4Address(rawValue: UInt32(bigEndian: name.sin_addr.s_addr))), port: UInt16(bigEndian: name.sin_port))
  }
}
