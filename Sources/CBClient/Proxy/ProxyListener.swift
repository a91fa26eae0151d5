import CBActors
import Ring
import Synchronization
import Wire

/// A local TCP listener that makes an actor of each application's connection.
actor ProxyListener {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  /// Applications' connections that may be open at once; more wait in the kernel's backlog.
  static let maximumConnections = 1_024

  private let serve: @Sendable (RingExecutor, _ done: @escaping @Sendable () -> Void) -> any ProxyConnection
  private var listener: TCPListener?
  private(set) var openConnections = 0

  init(
    ring: RingExecutor,
    serve: @escaping @Sendable (RingExecutor, _ done: @escaping @Sendable () -> Void) -> any ProxyConnection
  ) {
    self.ring = ring
    self.serve = serve
  }

  /// Listens. Throws ``ClientError`` naming the address: not loopback, or taken.
  func start(on address: SocketAddress, called name: String) throws(ClientError) -> SocketAddress {
    guard address.ip.isLoopback else {
      throw ClientError(.configuration, "\(name): \(address) is not a loopback address")
    }
    do {
      let listener = try TCPListener(on: ring, bind: address, delegate: self)
      self.listener = listener
      return listener.localAddress
    } catch {
      throw ClientError(
        .configuration, "\(name): cannot listen on \(address): \(error)",
        hint: "something else listens there; choose another port")
    }
  }

  func stop() {
    listener?.close()
    listener = nil
  }

  private func accepted(_ connection: RingBound<TCPConnection>) {
    guard openConnections < Self.maximumConnections else { return connection.value.abort() }
    openConnections += 1
    let served = serve(ring) { [weak self] in self?.assumeIsolated { $0.openConnections -= 1 } }
    served.begin(connection)
  }
}

extension ProxyListener: TCPListenerDelegate {
  nonisolated func tcpListener(_ listener: TCPListener, accepted connection: TCPConnection) {
    let bound = RingBound(connection)
    assumeIsolated { $0.accepted(bound) }
  }
  nonisolated func tcpListener(_ listener: TCPListener, failed error: RingError) {}
}

/// One application's connection, from its first byte.
protocol ProxyConnection: AnyObject, Sendable {
  nonisolated func begin(_ connection: RingBound<TCPConnection>)
}
