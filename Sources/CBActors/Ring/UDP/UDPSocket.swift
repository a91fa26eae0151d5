import CLinux
import Glibc
public import Wire

/// A UDP socket on a ring: receives by one armed operation for all datagrams, sends trains in one call.
///
/// Of the ring's thread only. The ring keeps it alive, and it keeps its delegate, until ``close()``.
///
/// Sending is a direct, non-blocking sendmsg(2), not a submission: the kernel sends inside the call
/// either way, and the bytes may be reused when it returns, so that one warm 64 KiB buffer serves every
/// socket of the ring. Trains of 50 × 1,200 bytes over loopback cost 0.07 to 0.10 CPU-seconds a gigabyte
/// so, and 0.13 in batches of 16 submissions; single datagrams of 100 bytes cost no more than batched.
/// Only when the socket's buffer is full is the rest kept, and sent through the ring.
public final class UDPSocket {
  /// The longest train that one send can carry: the largest payload of an IPv4 datagram.
  public static let maximumTrainSize = 65_507
  /// The kernel's UDP_MAX_SEGMENTS before Linux 6.9, which made it 128.
  static let maximumSegments = 64

  public let ring: RingExecutor
  /// With the port that the kernel chose, if 0 was asked for.
  public let localAddress: SocketAddress
  /// The peer of a connected socket.
  public let remoteAddress: SocketAddress?
  public private(set) var isOpen = true
  public internal(set) var statistics = Statistics()
  /// False from when the kernel or device refused segmentation offload; datagrams are then sent one by one.
  public internal(set) var sendsTrains = true
  /// Of the datagram that is being delivered: its TTL or hop limit as it arrived; nil where it was not asked for.
  public private(set) var receivedHopLimit: UInt8?
  var delegate: (any UDPSocketDelegate)?

  let descriptor: Int32
  let isIPv6: Bool
  private let buffers: BufferGroup
  private let receive = ReceiveOperation()
  let parked = ParkedTrain()
  var refusedSize = 0
  private var batchEndAsked = false
  private var mustArm = false
  private var writableOwed = false

  public struct Statistics: Sendable {
    /// Trains and single datagrams received.
    public var receives: UInt64 = 0
    public var receivedBytes: UInt64 = 0
    /// Times that every receive buffer of the ring was in use.
    public var bufferExhaustions: UInt64 = 0
    /// Datagrams longer than a receive buffer, or without an address; dropped.
    public var malformed: UInt64 = 0
    /// System calls that sent a train or a datagram.
    public var sends: UInt64 = 0
    public var sentBytes: UInt64 = 0
    /// Times that the kernel's send buffer was full.
    public var sendStalls: UInt64 = 0
    /// Failed sends and receives, each told to the delegate.
    public var errors: UInt64 = 0
  }

  /// Opens, binds and starts receiving. An IPv6 `local` address makes an IPv6 socket.
  public init(
    on ring: RingExecutor, bind local: SocketAddress, options: UDPSocketOptions = .endpoint,
    delegate: any UDPSocketDelegate
  ) throws(RingError) {
    ring.preconditionIsCurrent()
    guard ring.acceptsOperations else { throw .closed("socket") }
    buffers = try ring.buffers(options.receivesTrains ? .trains : .datagrams)
    var open = cb_udp_options()
    open.reuse_port = options.reusePort
    open.dual_stack = options.dualStack
    open.receive_offload = options.receivesTrains
    open.receive_hop_limit = options.receivesHopLimit
    open.hop_limit = options.hopLimit ?? 0
    open.buffer_bytes = Int32(clamping: options.socketBufferBytes)
    var from = cb_endpoint(local)
    var to = options.remote.map { cb_endpoint($0) } ?? cb_endpoint()
    let result = cb_udp_open(&from, &to, &open)
    guard result >= 0 else { throw .system("bind", result) }
    if options.reusePort, options.steeredSockets > 1 {
      let steered = cb_udp_steer(result, UInt32(options.steeredSockets), options.steeringKey)
      guard steered == 0 else {
        Glibc.close(result)
        throw .system("setsockopt SO_ATTACH_REUSEPORT_CBPF", steered)
      }
    }
    var bound = cb_endpoint()
    _ = cb_local_endpoint(result, &bound)
    self.ring = ring
    self.delegate = delegate
    descriptor = result
    isIPv6 = !local.ip.isIPv4
    localAddress = bound.socketAddress ?? local
    remoteAddress = options.remote
    receive.socket = self
    parked.socket = self
    try ring.open(self, for: "socket")
    arm()
  }

  // MARK: Receiving

  private func arm() {
    let (descriptor, header, group) = (descriptor, buffers.header, buffers.kind.rawValue)
    ring.submit(receive) { cb_prep_recvmsg_multishot($0, descriptor, header, group) }
  }

  fileprivate func received(result: Int32, flags: UInt32) {
    if cb_cqe_has_buffer(flags) {
      let number = cb_cqe_buffer(flags)
      if isOpen, result >= 0 { deliver(number, length: result) }
      buffers.giveBack(number)
    }
    guard isOpen else { return finishIfIdle() }
    if result < 0, result != -ENOBUFS { receiveFailed(result) }
    guard isOpen, !cb_cqe_more(flags) else { return }
    if result == -ENOBUFS {
      // Others of this batch still hold buffers: arm when they have been given back.
      statistics.bufferExhaustions &+= 1
      mustArm = true
      askForBatchEnd()
    } else {
      arm()
    }
  }

  @inline(__always)
  private func deliver(_ number: UInt16, length: Int32) {
    var datagram = cb_received()
    guard buffers.parse(number, length: length, into: &datagram), !datagram.truncated,
      let remote = datagram.from.socketAddress
    else {
      statistics.malformed &+= 1
      return
    }
    statistics.receives &+= 1
    statistics.receivedBytes &+= UInt64(datagram.length)
    var local = localAddress
    if let ip = datagram.to.ip {
      local.ip = ip
      local.scopeID = datagram.to.scope
    }
    receivedHopLimit = UInt8(exactly: datagram.hop_limit)
    askForBatchEnd()
    delegate?.udpSocket(
      self, received: UnsafeMutableRawBufferPointer(start: datagram.payload, count: Int(datagram.length)),
      segmentSize: Int(datagram.segment), from: remote, to: local, ecn: datagram.ecn)
  }

  private func receiveFailed(_ result: Int32) {
    switch 0 &- result {
    case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, EPROTO, EMSGSIZE, ENOPROTOOPT, EACCES, EPERM:
      report(.system("recvmsg", result))
    case EAGAIN, EINTR: break
    default:
      let error =
        result == -EINVAL
        ? RingError(.unsupportedByKernel, "recvmsg (multishot)", errno: EINVAL) : .system("recvmsg", result)
      let delegate = delegate
      close()
      delegate?.udpSocket(self, failed: error)
    }
  }

  func report(_ error: RingError) {
    statistics.errors &+= 1
    delegate?.udpSocket(self, failed: error)
  }

  private func askForBatchEnd() {
    guard !batchEndAsked else { return }
    batchEndAsked = true
    ring.atBatchEnd(self)
  }

  // MARK: Sending

  /// Lets `body` fill a buffer of ``maximumTrainSize`` bytes, and sends what it says it put there; nil
  /// sends nothing. False, without calling `body`, while an earlier train waits for room in the socket's
  /// buffer: `udpSocketWritable` follows. `body` must not send on another socket of the ring.
  @inline(__always)
  public func withSendBuffer(_ body: (UnsafeMutableRawBufferPointer) -> UDPSend?) -> Bool {
    guard let buffer = borrowSendBuffer() else { return false }
    let send = body(buffer)
    returnSendBuffer()
    if let send {
      precondition(send.byteCount <= buffer.count, "past the end of the buffer")
      transmit(UnsafeRawBufferPointer(rebasing: buffer[..<send.byteCount]), send)
    }
    return true
  }

  /// The same, for datagrams of which some must leave from another socket of the ring, which `body` names. What that one
  /// has no room for is lost.
  @inline(__always)
  public func withSharedSendBuffer(
    _ body: (UnsafeMutableRawBufferPointer) -> (send: UDPSend, socket: UDPSocket)?
  ) -> Bool {
    guard let buffer = borrowSendBuffer() else { return false }
    let filled = body(buffer)
    returnSendBuffer()
    if let (send, socket) = filled, socket === self || socket.isWritable {
      precondition(send.byteCount <= buffer.count, "past the end of the buffer")
      socket.transmit(UnsafeRawBufferPointer(rebasing: buffer[..<send.byteCount]), send)
    }
    return true
  }

  /// Datagrams from and to this address are this socket's.
  public func isBound(to local: SocketAddress) -> Bool {
    localAddress.port == local.port && (localAddress.ip == local.ip || localAddress.ip.isUnspecified)
  }

  /// Sends from memory of the caller's own, which is free again on return; `byteCount` is not looked at.
  /// False, with nothing sent, as for ``withSendBuffer(_:)``.
  public func send(_ bytes: UnsafeRawBufferPointer, _ send: UDPSend) -> Bool {
    guard isWritable else { return false }
    transmit(bytes, send)
    return true
  }

  /// False while an earlier train waits for room, after which `udpSocketWritable` is called, and when closed.
  public var isWritable: Bool {
    ring.preconditionIsCurrent()
    if parked.isInFlight { writableOwed = true }
    return isOpen && !parked.isInFlight
  }

  @usableFromInline
  func borrowSendBuffer() -> UnsafeMutableRawBufferPointer? {
    guard isWritable else { return nil }
    precondition(!ring.sendScratchLent, "the send buffer is lent already")
    ring.sendScratchLent = true
    return ring.sendScratch
  }

  @usableFromInline
  func returnSendBuffer() { ring.sendScratchLent = false }

  /// Bytes of the shortest datagram of the last train that never left, because it is longer than the link allows (EMSGSIZE);
  /// 0 when none was, and until the next is. What had waited for room in the socket's buffer is lost like any other.
  @inline(__always)
  public func takeRefusedSize() -> Int {
    defer { refusedSize = 0 }
    return refusedSize
  }

  // MARK: Closing

  /// Stops at once and lets the delegate go. The descriptor is closed when the kernel has given up
  /// what is in flight; a train that waits for room is lost.
  public func close() {
    ring.preconditionIsCurrent()
    guard isOpen else { return }
    isOpen = false
    delegate = nil
    ring.cancel(receive)
    ring.cancel(parked)
    finishIfIdle()
  }

  func parkedTrainEnded() {
    guard isOpen else { return finishIfIdle() }
    guard writableOwed else { return }
    writableOwed = false
    delegate?.udpSocketWritable(self)
  }

  private func finishIfIdle() {
    guard !receive.isInFlight, !parked.isInFlight else { return }
    Glibc.close(descriptor)
    ring.remove(self)
  }
}

extension UDPSocket: BatchEndObserver {
  public func batchEnded() {
    batchEndAsked = false
    guard isOpen else { return }
    if mustArm {
      mustArm = false
      arm()
    }
    delegate?.udpSocketBatchEnded(self)
  }
}

extension UDPSocket: RingResource {
  func ringStops() { close() }
}

/// The armed receive of a socket.
private final class ReceiveOperation: RingOperation {
  // The ring holds the socket until none of its operations is in flight.
  unowned(unsafe) var socket: UDPSocket!

  override func complete(result: Int32, flags: UInt32) { socket.received(result: result, flags: flags) }
}
