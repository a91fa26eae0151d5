import CBActors
import Ring
import Wire

/// What a SOCKS5 UDP ASSOCIATE stands for (RFC 1928 §7): a local UDP socket, and a UDP tunnel for each
/// destination that the application sends to.
actor UDPAssociation {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let flows: Flows
  private var socket: UDPSocket?
  private var tunnels = UDPFlowTable<ProxyDestination>()
  /// Where the application sends from; its first datagram says, and no other is heard.
  private var application: SocketAddress?
  private var sweep: RingTimer?

  init(ring: RingExecutor, flows: Flows) {
    self.ring = ring
    self.flows = flows
  }

  /// Opens the socket on the address that the application reached the proxy at.
  func start(on ip: IPAddress) throws -> SocketAddress {
    var options = UDPSocketOptions()
    options.receivesTrains = false
    options.socketBufferBytes = 1 << 20
    let socket = try UDPSocket(on: ring, bind: SocketAddress(ip, port: 0), options: options, delegate: self)
    self.socket = socket
    let timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.closeIdle() } }
    timer.schedule(at: ring.now + UDPFlowTable<ProxyDestination>.sweepInterval)
    sweep = timer
    return socket.localAddress
  }

  func stop() {
    socket?.close()
    socket = nil
    sweep?.cancel()
    sweep = nil
    for flow in tunnels.takeAll() { flow.assumeIsolated { $0.close() } }
  }

  private func closeIdle() {
    for flow in tunnels.takeIdle(now: ring.now) { flow.assumeIsolated { $0.close() } }
    sweep?.schedule(at: ring.now + UDPFlowTable<ProxyDestination>.sweepInterval)
  }

  private func received(_ bytes: UnsafeRawBufferPointer, from remote: SocketAddress) {
    if let application { guard application == remote else { return } } else { application = remote }
    guard let datagram = SOCKS5.UDPDatagram(bytes) else { return }
    let destination = datagram.destination
    switch tunnels.send(datagram.payload, to: destination) {
    case .sent, .dropped: break
    case .opening:
      let header = SOCKS5.UDPDatagram.header(from: destination)
      Task { await self.open(destination, header) }
    }
  }

  private func open(_ destination: ProxyDestination, _ header: [UInt8]) async {
    do throws(ClientError) {
      let flow = try await flows.openUDP(
        to: destination,
        receive: { [weak self] payload in
          let payload = RingBound(payload)
          self?.assumeIsolated { $0.deliver(payload.value, header) }
        },
        onEnd: { [weak self] _ in self?.assumeIsolated { $0.tunnels.remove(destination) } })
      guard socket != nil, tunnels.opened(flow, for: destination) else { return await flow.close() }
    } catch {
      tunnels.remove(destination)
    }
  }

  private func deliver(_ payload: UnsafeRawBufferPointer, _ header: [UInt8]) {
    guard let socket, let application else { return }
    _ = socket.withSendBuffer { buffer in
      let size = header.count + payload.count
      guard size <= buffer.count else { return nil }
      header.withUnsafeBytes { buffer.copyMemory(from: $0) }
      UnsafeMutableRawBufferPointer(rebasing: buffer[header.count...]).copyMemory(from: payload)
      return UDPSend(byteCount: size, segmentSize: size, destination: application)
    }
  }
}

extension UDPAssociation: UDPSocketDelegate {
  nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    let bytes = RingBound(UnsafeRawBufferPointer(bytes))
    assumeIsolated { $0.received(bytes.value, from: remote) }
  }
  nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {}
}
