import CLinux
import Glibc
public import Wire

/// What a ``TCPListener`` tells its owner, on the ring's thread.
public protocol TCPListenerDelegate: AnyObject {
  /// A peer has connected. Call ``TCPConnection/start(delegate:)``, now or later, or close it.
  func tcpListener(_ listener: TCPListener, accepted connection: TCPConnection)

  /// Accepting failed; peers wait in the backlog. The listener tries again after a tenth of a second,
  /// unless ``TCPListener/isOpen`` has become false.
  func tcpListener(_ listener: TCPListener, failed error: RingError)
}

/// A listening TCP socket: one armed operation accepts every peer.
///
/// Of the ring's thread only. The ring keeps it alive, and it keeps its delegate, until ``close()``.
public final class TCPListener {
  public let ring: RingExecutor
  /// With the port that the kernel chose, if 0 was asked for.
  public let localAddress: SocketAddress
  public private(set) var isOpen = true
  private var delegate: (any TCPListenerDelegate)?
  private let descriptor: Int32
  private let connectionOptions: TCPConnection.Options
  private let protection: [IPAddress: TCPProtection]
  private let accept = AcceptOperation()
  private var retry: RingTimer?

  /// How long to wait when the process has no descriptor left.
  private static let retryInterval = Interval.milliseconds(100)

  /// - Parameter protection: of the connections from each of these peers.
  public init(
    on ring: RingExecutor, bind local: SocketAddress, reusePort: Bool = false, dualStack: Bool = true,
    backlog: Int = 1_024, protection: [IPAddress: TCPProtection] = [:],
    connectionOptions: TCPConnection.Options = .init(), delegate: any TCPListenerDelegate
  ) throws(RingError) {
    ring.preconditionIsCurrent()
    guard ring.acceptsOperations else { throw .closed("listen") }
    var from = cb_endpoint(local)
    let result = cb_tcp_bind(&from, reusePort, dualStack)
    guard result >= 0 else { throw .system("bind", result) }
    do throws(RingError) {
      try TCPProtection.apply(protection, to: result, isIPv6: !local.ip.isIPv4)
      let listening = cb_listen(result, Int32(clamping: backlog))
      guard listening == 0 else { throw .system("listen", listening) }
    } catch {
      Glibc.close(result)
      throw error
    }
    var bound = cb_endpoint()
    _ = cb_local_endpoint(result, &bound)
    self.ring = ring
    self.delegate = delegate
    self.connectionOptions = connectionOptions
    self.protection = protection
    descriptor = result
    localAddress = bound.socketAddress ?? local
    accept.listener = self
    try ring.open(self, for: "listen")
    arm()
  }

  private func arm() {
    guard isOpen, !accept.isInFlight else { return }
    let descriptor = descriptor
    ring.submit(accept) { cb_prep_accept_multishot($0, descriptor) }
  }

  fileprivate func accepted(_ result: Int32, more: Bool) {
    if result >= 0 {
      if isOpen, ring.acceptsOperations {
        // A peer that is gone already is no failure of the listener.
        if let connection = try? TCPConnection.accepted(
          result, on: ring, protection: protection, options: connectionOptions)
        {
          delegate?.tcpListener(self, accepted: connection)
        }
      } else {
        Glibc.close(result)
      }
    }
    guard isOpen else { return finishIfIdle() }
    guard !more else { return }
    switch 0 &- result {
    case ENFILE, EMFILE, ENOBUFS, ENOMEM:
      delegate?.tcpListener(self, failed: .system("accept", result))
      guard isOpen else { return }
      let timer = retry ?? RingTimer(on: ring) { [unowned self] in arm() }
      retry = timer
      timer.schedule(at: ring.now + Self.retryInterval)
    case EBADF, EINVAL, EOPNOTSUPP, ENOTSOCK:
      let delegate = delegate
      close()
      delegate?.tcpListener(
        self,
        failed: result == -EINVAL
          ? RingError(.unsupportedByKernel, "accept (multishot)", errno: EINVAL) : .system("accept", result))
    default:
      // ECONNABORTED and the network errors that accept(2) passes on belong to one peer.
      arm()
    }
  }

  public func close() {
    ring.preconditionIsCurrent()
    guard isOpen else { return }
    isOpen = false
    delegate = nil
    retry?.cancel()
    retry = nil
    ring.cancel(accept)
    finishIfIdle()
  }

  private func finishIfIdle() {
    guard !accept.isInFlight else { return }
    Glibc.close(descriptor)
    ring.remove(self)
  }
}

extension TCPListener: RingResource {
  func ringStops() { close() }
}

private final class AcceptOperation: RingOperation {
  // The ring holds the listener until this is no longer in flight.
  unowned(unsafe) var listener: TCPListener!

  override func complete(result: Int32, flags: UInt32) { listener.accepted(result, more: cb_cqe_more(flags)) }
}
