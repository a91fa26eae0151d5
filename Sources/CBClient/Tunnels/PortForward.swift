import CBActors
import Ring
import Wire

/// One forwarded port: a local listener whose every connection, or UDP peer, gets a tunnel to one target.
actor PortForward {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  nonisolated let name: String
  nonisolated let transport: TunnelTransport
  nonisolated let target: ProxyDestination
  private let flows: Flows
  private var listener: ProxyListener?
  private var socket: UDPSocket?
  private var peers = UDPFlowTable<SocketAddress>()
  private var sweep: RingTimer?
  private var bound: SocketAddress?
  private var tcpFlows = 0
  private var bytesSent: UInt64 = 0
  private var bytesReceived: UInt64 = 0
  private var isClosed = false

  init(ring: RingExecutor, name: String, transport: TunnelTransport, target: ProxyDestination, flows: Flows) {
    self.ring = ring
    self.name = name
    self.transport = transport
    self.target = target
    self.flows = flows
  }

  func start(on address: SocketAddress) async throws(ClientError) -> SocketAddress {
    guard address.ip.isLoopback else {
      throw ClientError(.usage, "tunnel \(name): \(address) is not a loopback address")
    }
    switch transport {
    case .tcp:
      let ended: @Sendable (TCPTunnel.Traffic) -> Void = { [weak self] traffic in
        self?.assumeIsolated { $0.ended(traffic) }
      }
      let listener = ProxyListener(ring: ring) { [flows, target] ring, done in
        ForwardedConnection(ring: ring, target: target, flows: flows) { traffic in
          ended(traffic)
          done()
        }
      }
      bound = try await listener.start(on: address, called: "tunnel \(name)")
      self.listener = listener
    case .udp:
      var options = UDPSocketOptions()
      options.receivesTrains = false
      options.socketBufferBytes = 1 << 20
      do {
        let socket = try UDPSocket(on: ring, bind: address, options: options, delegate: self)
        self.socket = socket
        bound = socket.localAddress
      } catch {
        throw ClientError(
          .usage, "tunnel \(name): cannot listen on \(address): \(error)", hint: "choose another port, or 0")
      }
      let timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.closeIdle() } }
      timer.schedule(at: ring.now + UDPFlowTable<SocketAddress>.sweepInterval)
      sweep = timer
    }
    return bound ?? address
  }

  func stop() {
    isClosed = true
    listener?.assumeIsolated { $0.stop() }
    listener = nil
    socket?.close()
    socket = nil
    sweep?.cancel()
    sweep = nil
    for flow in peers.takeAll() { flow.assumeIsolated { $0.close() } }
  }

  func status(connected: Bool) -> TunnelStatus {
    TunnelStatus(
      name: name, transport: transport, listen: bound.map { "\($0)" } ?? "", target: "\(target)",
      state: isClosed ? .closed : connected ? .open : .waiting,
      openFlows: listener.map { $0.assumeIsolated { $0.openConnections } } ?? peers.count,
      bytesSent: bytesSent + peers.bytesSent, bytesReceived: bytesReceived)
  }

  private func ended(_ traffic: TCPTunnel.Traffic) {
    bytesSent += traffic.bytesToStream
    bytesReceived += traffic.bytesToConnection
  }

  // MARK: UDP

  private func closeIdle() {
    for flow in peers.takeIdle(now: ring.now) { flow.assumeIsolated { $0.close() } }
    sweep?.schedule(at: ring.now + UDPFlowTable<SocketAddress>.sweepInterval)
  }

  private func received(_ payload: UnsafeRawBufferPointer, from peer: SocketAddress) {
    if case .opening = peers.send(payload, to: peer) { Task { await self.open(peer) } }
  }

  private func open(_ peer: SocketAddress) async {
    do throws(ClientError) {
      let flow = try await flows.openUDP(
        to: target,
        receive: { [weak self] payload in
          let payload = RingBound(payload)
          self?.assumeIsolated { $0.deliver(payload.value, to: peer) }
        },
        onEnd: { [weak self] _ in self?.assumeIsolated { $0.peers.remove(peer) } })
      guard socket != nil, peers.opened(flow, for: peer) else { return await flow.close() }
    } catch {
      peers.remove(peer)
    }
  }

  private func deliver(_ payload: UnsafeRawBufferPointer, to peer: SocketAddress) {
    bytesReceived += UInt64(payload.count)
    _ = socket?.send(payload, UDPSend(byteCount: payload.count, segmentSize: max(1, payload.count), destination: peer))
  }
}

extension PortForward: UDPSocketDelegate {
  nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    let bytes = RingBound(UnsafeRawBufferPointer(bytes))
    assumeIsolated { $0.received(bytes.value, from: remote) }
  }
  nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {}
}

/// One connection to a forwarded TCP port.
actor ForwardedConnection: ProxyConnection {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let target: ProxyDestination
  private let flows: Flows
  private let done: @Sendable (TCPTunnel.Traffic) -> Void

  init(
    ring: RingExecutor, target: ProxyDestination, flows: Flows,
    done: @escaping @Sendable (TCPTunnel.Traffic) -> Void
  ) {
    self.ring = ring
    self.target = target
    self.flows = flows
    self.done = done
  }

  /// Nothing is read before the tunnel stands; an application that goes away meanwhile is noticed then.
  nonisolated func begin(_ connection: RingBound<TCPConnection>) { Task { await self.open(connection) } }

  private func open(_ connection: RingBound<TCPConnection>) async {
    do throws(ClientError) {
      let tunnel = try await flows.openTCP(to: target)
      await tunnel.attach(connection, first: [], onEnd: done)
    } catch {
      connection.value.abort()
      done(TCPTunnel.Traffic())
    }
  }
}
