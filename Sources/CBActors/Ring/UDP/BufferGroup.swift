import CLinux
import Glibc

/// A group of receive buffers that all sockets of a ring share: the kernel takes one when data is
/// there, so a thousand idle sockets hold none.
final class BufferGroup {
  enum Kind: UInt16 {
    /// Buffers for a whole GRO train.
    case trains = 1
    /// Buffers for one datagram of up to ``Kind/payloadSize`` bytes.
    case datagrams = 2

    var payloadSize: Int { self == .trains ? 65_536 : 2_048 }
  }

  let kind: Kind
  private var buffers: cb_buffers
  /// What a multishot recvmsg is asked with; the same for every socket.
  let header: UnsafeMutablePointer<msghdr>

  init(_ kind: Kind, count: Int, ring: UnsafeMutablePointer<io_uring>) throws(RingError) {
    self.kind = kind
    buffers = cb_buffers()
    let size = kind.payloadSize + Int(CB_RECEIVE_HEADROOM)
    let result = cb_buffers_setup(ring, &buffers, UInt32(count), UInt32(size), kind.rawValue)
    guard result == 0 else {
      throw RingError(
        result == -EINVAL ? .unsupportedByKernel : .system, "IORING_REGISTER_PBUF_RING", errno: 0 &- result)
    }
    header = .allocate(capacity: 1)
    cb_receive_template(header)
  }

  /// After the ring is gone.
  deinit {
    header.deallocate()
    cb_buffers_free(&buffers)
  }

  @inline(__always)
  func parse(_ number: UInt16, length: Int32, into received: inout cb_received) -> Bool {
    cb_receive_parse(cb_buffers_at(&buffers, number), length, header, &received)
  }

  @inline(__always)
  func giveBack(_ number: UInt16) { cb_buffers_give_back(&buffers, number) }
}
