import CLinux
import Glibc

/// What a ``NetlinkSocket`` tells its owner, on the ring's thread.
public protocol NetlinkSocketDelegate: AnyObject {
  /// One datagram of the kernel's, valid during the call.
  func netlinkSocket(_ socket: NetlinkSocket, received bytes: UnsafeRawBufferPointer)

  /// What was given to ``NetlinkSocket/send(_:)`` has been worked off.
  func netlinkSocketSent(_ socket: NetlinkSocket)

  /// The socket's buffer was full and something was lost (ENOBUFS). It goes on.
  func netlinkSocketOverran(_ socket: NetlinkSocket)

  /// A send was refused, or, when ``NetlinkSocket/isOpen`` has become false, the socket is at its end.
  func netlinkSocket(_ socket: NetlinkSocket, failed error: RingError)
}

/// A socket to the kernel's rtnetlink, on a ring.
///
/// Of the ring's thread only. The ring keeps it alive, and it keeps its delegate, until ``close()``. The kernel works a
/// request off inside the send: that is done by a thread of the kernel's, so that a thousand routes hold up no packet
/// of the ring.
public final class NetlinkSocket {
  /// Octets of a datagram to the kernel, and of one from it: a dump comes in pieces of 32 KiB at most.
  public static let sendCapacity = 16 << 10
  static let receiveCapacity = 64 << 10

  public let ring: RingExecutor
  public private(set) var isOpen = true
  private var dumpRaces = 0
  private var delegate: (any NetlinkSocketDelegate)?
  private let descriptor: Int32
  private let receive = NetlinkReceive()
  private let sending = NetlinkSend()

  /// Opens it in the network namespace of the ring's thread and begins to receive.
  ///
  /// - Parameters:
  ///   - groups: of notifications to join, `RTNLGRP_*`.
  ///   - bufferBytes: of the kernel's, for what waits to be received.
  public init(
    on ring: RingExecutor, groups: [UInt32] = [], bufferBytes: Int = 4 << 20, delegate: any NetlinkSocketDelegate
  ) throws(RingError) {
    ring.preconditionIsCurrent()
    guard ring.acceptsOperations else { throw .closed("netlink socket") }
    let result = cb_netlink_open(groups, UInt32(groups.count), Int32(clamping: bufferBytes))
    guard result >= 0 else { throw .system("netlink socket", result) }
    self.ring = ring
    self.delegate = delegate
    descriptor = result
    receive.socket = self
    sending.socket = self
    try ring.open(self, for: "netlink socket")
    arm()
  }

  /// What the kernel knows it by: requests of its, and the notifications of what they changed, bear it.
  public var port: UInt32 { cb_netlink_port(descriptor) }

  /// Of notifications of routes, receives from now on those alone that another socket than that of `port` has caused: of
  /// routes of one protocol, and of those of any that stand in the place of another.
  public func keepRoutes(ofProtocol number: UInt8, notCausedBy port: UInt32) throws(RingError) {
    let result = cb_netlink_keep_routes(descriptor, number, port)
    guard result == 0 else { throw .system("SO_ATTACH_FILTER (netlink)", result) }
  }

  /// In a row.
  private static let maximumDumpRaces = 16

  private func arm() {
    let (descriptor, memory) = (descriptor, receive.memory)
    ring.submit(receive) { cb_prep_recv($0, descriptor, memory.baseAddress, memory.count) }
  }

  fileprivate func received(_ result: Int32) {
    guard isOpen else { return finishIfIdle() }
    switch result {
    case 1...:
      dumpRaces = 0
      delegate?.netlinkSocket(self, received: UnsafeRawBufferPointer(rebasing: receive.memory[..<Int(result)]))
    case -ENOBUFS: delegate?.netlinkSocketOverran(self)
    case 0, -EINTR, -EAGAIN: break
    // A receive that meets the beginning of a dump, which a worker of the kernel's is at for our request, may want to go
    // on with it when that one has just come to its end: the kernel says EINVAL once (Linux 6.18, netlink_dump), and
    // nothing is lost.
    case -EINVAL where dumpRaces < Self.maximumDumpRaces: dumpRaces += 1
    default:
      let delegate = delegate
      close()
      delegate?.netlinkSocket(self, failed: .system("recv (netlink)", result))
    }
    guard isOpen else { return finishIfIdle() }
    arm()
  }

  /// True when nothing is being sent.
  public var isWritable: Bool { isOpen && !sending.isInFlight }

  /// Lets `fill` write a datagram of at most ``sendCapacity`` octets, and sends as many as it says; 0 sends nothing. Not
  /// before the one before has been sent.
  public func send(_ fill: (UnsafeMutableRawBufferPointer) -> Int) {
    ring.preconditionIsCurrent()
    guard isWritable else { return }
    let count = fill(sending.memory)
    guard count > 0 else { return }
    precondition(count <= sending.memory.count, "past the end of the buffer")
    let (descriptor, memory) = (descriptor, sending.memory)
    ring.submit(sending) { cb_prep_send_aside($0, descriptor, memory.baseAddress, count) }
  }

  fileprivate func sent(_ result: Int32) {
    guard isOpen else { return finishIfIdle() }
    if result < 0 {
      delegate?.netlinkSocket(self, failed: .system("send (netlink)", result))
    } else {
      delegate?.netlinkSocketSent(self)
    }
  }

  public func close() {
    ring.preconditionIsCurrent()
    guard isOpen else { return }
    isOpen = false
    delegate = nil
    ring.cancel(receive)
    ring.cancel(sending)
    finishIfIdle()
  }

  private func finishIfIdle() {
    guard !receive.isInFlight, !sending.isInFlight else { return }
    Glibc.close(descriptor)
    ring.remove(self)
  }
}

extension NetlinkSocket: RingResource {
  func ringStops() { close() }
}

private final class NetlinkReceive: RingOperation {
  // The ring holds the socket until none of its operations is in flight.
  unowned(unsafe) var socket: NetlinkSocket!
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: NetlinkSocket.receiveCapacity, alignment: 16)
  deinit { memory.deallocate() }

  override func complete(result: Int32, flags: UInt32) { socket.received(result) }
}

private final class NetlinkSend: RingOperation {
  // As above.
  unowned(unsafe) var socket: NetlinkSocket!
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: NetlinkSocket.sendCapacity, alignment: 16)
  deinit { memory.deallocate() }

  override func complete(result: Int32, flags: UInt32) { socket.sent(result) }
}
