import CLinux
import Glibc
public import Wire

/// One TCP connection on a ring, made by connecting or by a ``TCPListener``.
///
/// Of the ring's thread only. The ring keeps it alive, and it keeps its delegate, until it is closed.
/// A write goes out at once if the kernel has room; what is left waits in a bounded queue.
public final class TCPConnection {
  public struct Options: Sendable {
    /// Bytes of the receive buffer, allocated when reading begins.
    public var receiveBufferSize = 32 << 10
    /// Bytes that may wait to be sent besides the kernel's own buffer; allocated when the kernel's is full.
    public var sendQueueSize = 256 << 10
    /// Of a connection that is opened; one that is accepted has its listener's.
    public var protection = TCPProtection()
    /// The peer sees the end at once when this process is killed. A receive in flight holds its socket open until the
    /// kernel has taken the ring apart, which it does later and elsewhere (seen: 7 ms); so what is waited on is an epoll
    /// instance that does not hold the socket. Costs a call more for each receive.
    public var isClosedAtKill = false
    public init() {}
  }

  enum State {
    case connecting
    case open
    /// Nothing is told to the delegate any more; operations are being given up.
    case closed
  }

  public let ring: RingExecutor
  public let remoteAddress: SocketAddress
  /// Known once established.
  public private(set) var localAddress: SocketAddress?
  private(set) var state: State
  let descriptor: Int32
  private let options: Options
  private var delegate: (any TCPConnectionDelegate)?
  private let connecting: ConnectOperation?
  private let receive: StreamReceive
  private let sending: StreamSend
  private var timer: RingTimer?
  private var isPaused = false
  private var reachedEnd = false
  private var endTold = false
  private var delivering = false
  private var writableOwed = false
  private var finishAsked = false
  private var finished = false
  private var closesWhenSent = false

  private init(
    _ descriptor: Int32, on ring: RingExecutor, remote: SocketAddress, state: State, connect: ConnectOperation?,
    options: Options, delegate: (any TCPConnectionDelegate)?
  ) throws(RingError) {
    let epoll = options.isClosedAtKill ? cb_epoll_of(descriptor) : nil
    if let epoll, epoll < 0 {
      Glibc.close(descriptor)
      throw .system("epoll", epoll)
    }
    self.ring = ring
    self.descriptor = descriptor
    self.state = state
    self.options = options
    self.delegate = delegate
    remoteAddress = remote
    connecting = connect
    receive = StreamReceive(capacity: options.receiveBufferSize, epoll: epoll)
    sending = StreamSend(capacity: options.sendQueueSize)
    connect?.connection = self
    receive.connection = self
    sending.connection = self
    try ring.open(self, for: "connect")
  }

  // MARK: Opening

  /// Begins to connect; `tcpConnectionEstablished` or `failed` follows, the latter with code `timedOut`
  /// after `timeout`.
  public static func connect(
    on ring: RingExecutor, to remote: SocketAddress, from local: IPAddress? = nil, timeout: Interval = .seconds(30),
    options: Options = Options(), delegate: any TCPConnectionDelegate
  ) throws(RingError) -> TCPConnection {
    ring.preconditionIsCurrent()
    guard ring.acceptsOperations else { throw .closed("connect") }
    let isIPv6 = !remote.ip.isIPv4
    let descriptor = cb_tcp_open(isIPv6)
    guard descriptor >= 0 else { throw .system("socket", descriptor) }
    do throws(RingError) {
      try TCPProtection.apply([remote.ip: options.protection], to: descriptor, isIPv6: isIPv6)
    } catch {
      Glibc.close(descriptor)
      throw error
    }
    if let local {
      var from = cb_endpoint(local, scope: local.isLinkLocal ? remote.scopeID : 0)
      let result = cb_bind(descriptor, &from, isIPv6)
      guard result == 0 else {
        Glibc.close(descriptor)
        throw .system("bind", result)
      }
    }
    cb_no_delay(descriptor)
    let operation = ConnectOperation(to: remote)
    let connection = try TCPConnection(
      descriptor, on: ring, remote: remote, state: .connecting, connect: operation, options: options,
      delegate: delegate)
    let timer = RingTimer(on: ring) { [unowned connection] in
      connection.fail(RingError(.timedOut, "connect", errno: ETIMEDOUT))
    }
    connection.timer = timer
    if timeout != .infinite { timer.schedule(at: ring.refreshNow() + timeout) }
    operation.submit(on: ring, descriptor)
    return connection
  }

  /// Takes over an accepted descriptor. Reading begins when the delegate is set.
  static func accepted(
    _ descriptor: Int32, on ring: RingExecutor, protection: [IPAddress: TCPProtection] = [:], options: Options
  ) throws(RingError) -> TCPConnection {
    var remote = cb_endpoint()
    let result = cb_remote_endpoint(descriptor, &remote)
    guard result == 0, let address = remote.socketAddress else {
      Glibc.close(descriptor)
      throw .system("getpeername", result)
    }
    if protection[address.ip]?.isFromNextHopOnly == true {
      do throws(RingError) {
        try TCPProtection.require(on: descriptor, isIPv6: !address.ip.isIPv4)
      } catch {
        Glibc.close(descriptor)
        throw error
      }
    }
    cb_no_delay(descriptor)
    let connection = try TCPConnection(
      descriptor, on: ring, remote: address, state: .open, connect: nil, options: options, delegate: nil)
    connection.learnLocalAddress()
    return connection
  }

  /// Gives an accepted connection its owner, or an open one a new owner, and reads on: bytes that the
  /// last owner did not take are handed over first.
  public func start(delegate: any TCPConnectionDelegate) {
    ring.preconditionIsCurrent()
    guard state == .open else { return }
    self.delegate = delegate
    isPaused = true
    resumeReading()
  }

  func connected(_ result: Int32) {
    timer?.cancel()
    timer = nil
    guard state == .connecting else { return finishIfIdle() }
    guard result == 0 else { return fail(.system("connect", result)) }
    state = .open
    learnLocalAddress()
    delegate?.tcpConnectionEstablished(self)
    flush()
    arm()
  }

  private func learnLocalAddress() {
    var local = cb_endpoint()
    if cb_local_endpoint(descriptor, &local) == 0 { localAddress = local.socketAddress }
  }

  public var isOpen: Bool { state == .open }

  // MARK: Reading

  private func arm() {
    guard state == .open, !receive.isInFlight, !reachedEnd, !isPaused, receive.isEmpty, delegate != nil else { return }
    receive.submit(on: ring, descriptor)
  }

  func received(_ result: Int32) {
    guard state == .open else { return finishIfIdle() }
    if result > 0 {
      receive.fill(Int(result))
      deliver()
    } else if result == 0 {
      reachedEnd = true
      deliver()
    } else if result == -EAGAIN || result == -EINTR {
      arm()
    } else {
      fail(.system("recv", result))
    }
  }

  private func deliver() {
    guard !delivering else { return }
    delivering = true
    if !receive.isEmpty, !isPaused, let delegate {
      let taken = delegate.tcpConnection(self, received: receive.bytes)
      precondition(taken >= 0 && taken <= receive.bytes.count, "takes at most what there is")
      receive.drop(taken)
      if !receive.isEmpty { isPaused = true }
    }
    delivering = false
    guard state == .open, receive.isEmpty else { return }
    if reachedEnd {
      guard !endTold, !isPaused else { return }
      endTold = true
      delegate?.tcpConnectionReceivedEnd(self)
    } else {
      arm()
    }
  }

  /// Reads nothing more until ``resumeReading()``; the peer is held back by TCP's own window.
  public func pauseReading() {
    ring.preconditionIsCurrent()
    isPaused = true
  }

  /// Hands over what the delegate did not take, and reads on. Inside `received` it has no effect on the
  /// bytes of that call.
  public func resumeReading() {
    ring.preconditionIsCurrent()
    guard isPaused else { return }
    isPaused = false
    guard state == .open, !receive.isInFlight else { return }
    deliver()
  }

  // MARK: Writing

  /// Sends or queues as many of `bytes` as there is room for, and returns how many; after a short count
  /// `tcpConnectionWritable` follows. While connecting, bytes are queued. After a failure or
  /// ``shutdownWrite()``, 0.
  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    ring.preconditionIsCurrent()
    guard state != .closed, !finishAsked else { return 0 }
    var rest = bytes
    if state == .open, sending.isEmpty, !rest.isEmpty {
      let sent = cb_send(descriptor, rest.baseAddress, rest.count)
      if sent >= 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[sent...])
      } else if sent != -Int(EAGAIN) {
        // Told from the ring, not from inside the caller's own call.
        failLater(.system("send", Int32(truncatingIfNeeded: sent)))
        return 0
      }
    }
    let queued = sending.append(rest)
    if queued < rest.count { writableOwed = true }
    flush()
    return bytes.count - rest.count + queued
  }

  /// Bytes that wait in the queue, besides those in the kernel.
  public var queuedBytes: Int { sending.count }

  /// Sends FIN when everything written has been sent. Reading goes on.
  public func shutdownWrite() {
    ring.preconditionIsCurrent()
    guard !finishAsked else { return }
    finishAsked = true
    flush()
  }

  private func flush() {
    guard state == .open, !sending.isInFlight else { return }
    if !sending.isEmpty {
      sending.submit(on: ring, descriptor)
    } else if finishAsked, !finished {
      finished = true
      _ = cb_shutdown_write(descriptor)
    }
  }

  func sent(_ result: Int32) {
    guard state == .open else { return finishIfIdle() }
    if result < 0, result != -EAGAIN, result != -EINTR { return fail(.system("send", result)) }
    if result > 0 { sending.drop(Int(result)) }
    if closesWhenSent, sending.isEmpty { return close() }
    flush()
    if writableOwed, sending.count <= options.sendQueueSize / 2 {
      writableOwed = false
      delegate?.tcpConnectionWritable(self)
    }
  }

  // MARK: Closing

  /// How long a peer may take to read the rest after ``closeWhenSent()``.
  private static let farewell = Interval.seconds(30)

  /// Closes when everything written has been sent; with RST if the peer does not take it in 30 seconds.
  /// The delegate hears nothing more.
  public func closeWhenSent() {
    ring.preconditionIsCurrent()
    guard state == .open, !sending.isEmpty else { return close() }
    delegate = nil
    closesWhenSent = true
    finishAsked = true
    let timer = RingTimer(on: ring) { [unowned self] in abort() }
    timer.schedule(at: ring.now + Self.farewell)
    self.timer = timer
  }

  /// Stops at once: what is queued here is lost, what the kernel has is still sent, then FIN. Use
  /// ``shutdownWrite()`` first to have everything arrive.
  public func close() {
    ring.preconditionIsCurrent()
    guard state != .closed else { return }
    state = .closed
    delegate = nil
    timer?.cancel()
    timer = nil
    if let connecting { ring.cancel(connecting) }
    ring.cancel(receive)
    ring.cancel(sending)
    finishIfIdle()
  }

  /// Stops at once with RST (RFC 9293 §3.10.5): the peer learns that bytes may be missing.
  public func abort() {
    ring.preconditionIsCurrent()
    guard state != .closed else { return }
    cb_linger_none(descriptor)
    close()
  }

  private func fail(_ error: RingError) {
    guard state != .closed else { return }
    let delegate = delegate
    close()
    delegate?.tcpConnection(self, failed: error)
  }

  private func failLater(_ error: RingError) {
    guard timer == nil else { return }
    let timer = RingTimer(on: ring) { [unowned self] in fail(error) }
    self.timer = timer
    timer.schedule(at: ring.now)
  }

  private func finishIfIdle() {
    guard connecting?.isInFlight != true, !receive.isInFlight, !sending.isInFlight else { return }
    Glibc.close(descriptor)
    ring.remove(self)
  }
}

extension TCPConnection: RingResource {
  func ringStops() {
    // An owner that waits must hear that nothing comes.
    fail(.closed("stop"))
  }
}
