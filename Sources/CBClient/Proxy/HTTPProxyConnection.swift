import CBActors
import Ring
import Wire

/// One client of the local HTTP proxy: reads its CONNECT (RFC 9110 §9.3.6), then becomes a tunnel.
actor HTTPProxyConnection: ProxyConnection {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let flows: Flows
  private var done: (@Sendable () -> Void)?
  private var connection: TCPConnection?
  private var request = HTTPConnectRequest()
  private var opening: Task<Void, Never>?

  init(ring: RingExecutor, flows: Flows, done: @escaping @Sendable () -> Void) {
    self.ring = ring
    self.flows = flows
    self.done = done
  }

  nonisolated func begin(_ connection: RingBound<TCPConnection>) {
    assumeIsolated {
      $0.connection = connection.value
      connection.value.start(delegate: $0)
    }
  }

  private func received(_ bytes: UnsafeRawBufferPointer) -> Int {
    // Handed over to a tunnel already, which is given these bytes again.
    guard let connection else { return 0 }
    if opening != nil { return 0 }
    switch request.receive(bytes) {
    case .needsMore: break
    case .refused(_, let response): end(response)
    case .connect(let destination, let remainder):
      connection.pauseReading()
      opening = Task { await self.open(destination, remainder) }
    }
    return bytes.count
  }

  private func open(_ destination: ProxyDestination, _ remainder: [UInt8]) async {
    do throws(ClientError) {
      let done = self.done ?? {}
      let tunnel = try await flows.openTCP(to: destination) { _ in done() }
      guard let connection else { return await tunnel.abandon() }
      _ = HTTPConnectRequest.established.withUnsafeBytes { connection.write($0) }
      self.connection = nil
      self.done = nil
      await tunnel.attach(RingBound(connection), first: remainder)
    } catch {
      let status: HTTPConnectRequest.Status =
        switch error.kind {
        case .refused: .forbidden
        case .connectionLost: .gatewayTimeout
        case .notSignedIn, .noPoPReachable: .serviceUnavailable
        default: .badGateway
        }
      end(HTTPConnectRequest.response(status, error.description))
    }
    opening = nil
  }

  private func end(_ response: [UInt8]) {
    _ = response.withUnsafeBytes { connection?.write($0) }
    connection?.closeWhenSent()
    finish()
  }

  private func finish() {
    connection = nil
    opening?.cancel()
    opening = nil
    done?()
    done = nil
  }
}

extension HTTPProxyConnection: TCPConnectionDelegate {
  nonisolated func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    let bytes = RingBound(bytes)
    return assumeIsolated { $0.received(bytes.value) }
  }
  nonisolated func tcpConnectionReceivedEnd(_ connection: TCPConnection) { assumeIsolated { $0.end([]) } }
  nonisolated func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    assumeIsolated { $0.finish() }
  }
}
