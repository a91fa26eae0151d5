import CBActors
import Ring
import Wire

/// One application at a local proxy: says in the proxy's dialect what it wants, then becomes a tunnel or, with SOCKS5,
/// a UDP association.
actor NegotiatingConnection: ProxyConnection {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let flows: Flows
  private let failed: @Sendable (ClientError) -> Void
  private var done: (@Sendable () -> Void)?
  private var connection: TCPConnection?
  private var dialect: any ProxyDialect
  private var association: UDPAssociation?
  private var opening: Task<Void, Never>?

  /// - Parameter failed: hears why a tunnel could not be opened.
  init(
    _ dialect: any ProxyDialect, ring: RingExecutor, flows: Flows,
    failed: @escaping @Sendable (ClientError) -> Void = { _ in },
    done: @escaping @Sendable () -> Void
  ) {
    self.dialect = dialect
    self.ring = ring
    self.flows = flows
    self.failed = failed
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
    // While a tunnel is being opened the application waits; what it sends ahead stays in the socket.
    if opening != nil { return 0 }
    if association != nil { return bytes.count }
    switch dialect.receive(bytes) {
    case .readOn(let reply): send(reply)
    case .close(let reply): end(reply)
    case .connect(let destination, let reply, let remainder):
      send(reply)
      connection.pauseReading()
      opening = Task { await self.open(destination, remainder) }
    case .associate(let reply):
      send(reply)
      associate()
    }
    return bytes.count
  }

  private func open(_ destination: ProxyDestination, _ remainder: [UInt8]) async {
    do throws(ClientError) {
      let tunnel = try await flows.openTCP(to: destination)
      guard let connection else { return await tunnel.abandon() }
      send(dialect.established())
      let done = self.done ?? {}
      self.connection = nil
      self.done = nil
      await tunnel.attach(RingBound(connection), first: remainder) { _ in done() }
    } catch {
      failed(error)
      end(dialect.failure(error))
    }
    opening = nil
  }

  private func associate() {
    guard let connection, let local = connection.localAddress else { return end([]) }
    do {
      let association = UDPAssociation(ring: ring, flows: flows)
      let bound = try association.assumeIsolated { try $0.start(on: local.ip) }
      self.association = association
      send(SOCKS5.Reply.succeeded.bytes(bound: bound))
    } catch {
      end(SOCKS5.Reply.generalFailure.bytes())
    }
  }

  private func send(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    _ = bytes.withUnsafeBytes { connection?.write($0) }
  }

  /// RFC 1928 §6: after a refusal the connection closes; its reply is sent first.
  private func end(_ reply: [UInt8]) {
    send(reply)
    connection?.closeWhenSent()
    finish()
  }

  private func finish() {
    connection = nil
    opening?.cancel()
    opening = nil
    // RFC 1928 §7: an association ends with the connection that asked for it.
    association?.assumeIsolated { $0.stop() }
    association = nil
    done?()
    done = nil
  }
}

extension NegotiatingConnection: TCPConnectionDelegate {
  nonisolated func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    let bytes = RingBound(bytes)
    return assumeIsolated { $0.received(bytes.value) }
  }
  nonisolated func tcpConnectionReceivedEnd(_ connection: TCPConnection) { assumeIsolated { $0.end([]) } }
  nonisolated func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    assumeIsolated { $0.finish() }
  }
}
