public import DNS
public import Ring
public import Wire

/// A stub resolver on a ring: drives ``DNS/StubResolver`` over UDP, and over TCP where an answer was cut.
public actor Resolver {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private var core: StubResolver
  private var flows: [StubResolver.FlowID: any ResolverFlow] = [:]
  private var waiters: [StubResolver.QueryID: CheckedContinuation<StubResolver.Answer, any Error>] = [:]
  private var timer: RingTimer?

  public init(ring: RingExecutor, configuration: StubResolver.Configuration) {
    self.ring = ring
    core = StubResolver(configuration, entropy: SystemEntropy.shared)
  }

  /// The records of one type at a name. Throws ``DNS/StubResolver/Failure``, or `CancellationError`.
  public func query(_ name: DNSName, _ type: RecordType) async throws -> StubResolver.Answer {
    switch core.query(name, type, now: ring.refreshNow()) {
    case .answered(let answer): return answer
    case .failed(let failure): throw failure
    case .pending(let id):
      return try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { continuation in
          waiters[id] = continuation
          pump()
        }
      } onCancel: {
        Task { await self.cancel(id) }
      }
    }
  }

  /// The addresses of a host, both families asked at once, IPv6 first; a literal address is itself.
  /// Throws the failure of the family that had the most to say when neither has an address.
  public func addresses(of host: String) async throws -> [IPAddress] {
    if let literal = IPAddress(host) { return [literal] }
    let name = try DNSName(host)
    async let six = outcome(name, .aaaa)
    async let four = outcome(name, .a)
    let (sixes, fours) = await (six, four)
    let found = Self.addresses(in: sixes) + Self.addresses(in: fours)
    if !found.isEmpty { return found }
    // That a name has no record of one family says less than that a server failed.
    if case .failure(let error) = fours, error as? StubResolver.Failure != .noData { throw error }
    if case .failure(let error) = sixes { throw error }
    throw StubResolver.Failure.noData
  }

  /// Forgets what it knows and asks other servers from now on.
  public func setServers(_ servers: [SocketAddress]) {
    core.setServers(servers, now: ring.refreshNow())
    pump()
  }

  private func outcome(_ name: DNSName, _ type: RecordType) async -> Result<StubResolver.Answer, any Error> {
    do { return .success(try await query(name, type)) } catch { return .failure(error) }
  }

  private static func addresses(in outcome: Result<StubResolver.Answer, any Error>) -> [IPAddress] {
    guard case .success(let answer) = outcome else { return [] }
    return answer.records.compactMap { record in
      switch record.data {
      case .a(let four): .v4(four)
      case .aaaa(let six): .v6(six)
      default: nil
      }
    }
  }

  private func cancel(_ id: StubResolver.QueryID) {
    core.cancel(id)
    waiters.removeValue(forKey: id)?.resume(throwing: CancellationError())
    pump()
  }

  // MARK: Driving the core

  private func pump() {
    var failed: [StubResolver.FlowID] = []
    repeat {
      for flow in failed { core.flowFailed(flow, now: ring.now) }
      failed = []
      while let transmission = core.nextTransmission() {
        do {
          flows[transmission.flow] = try open(transmission)
        } catch {
          failed.append(transmission.flow)
        }
      }
    } while !failed.isEmpty
    while let flow = core.nextClosedFlow() { flows.removeValue(forKey: flow)?.close() }
    while let event = core.nextEvent() {
      switch event {
      case .answered(let id, let answer): waiters.removeValue(forKey: id)?.resume(returning: answer)
      case .failed(let id, let failure): waiters.removeValue(forKey: id)?.resume(throwing: failure)
      }
    }
    if timer == nil { timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } } }
    timer?.schedule(at: core.deadline)
  }

  private func open(_ transmission: StubResolver.Transmission) throws -> any ResolverFlow {
    switch transmission.transport {
    case .udp: try UDPResolverFlow(transmission, resolver: self)
    case .tcp: try TCPResolverFlow(transmission, resolver: self)
    }
  }

  private func timerFired() {
    core.handleTimeout(now: ring.now)
    pump()
  }

  fileprivate func received(
    _ message: UnsafeRawBufferPointer, on flow: StubResolver.FlowID, from server: SocketAddress,
    over transport: StubResolver.Transport
  ) {
    core.receive(message, from: server, over: transport, flow: flow, now: ring.now)
    pump()
  }

  fileprivate func failed(_ flow: StubResolver.FlowID) {
    core.flowFailed(flow, now: ring.now)
    pump()
  }
}

/// One transaction's own socket or connection. Of the ring's thread.
private protocol ResolverFlow: AnyObject {
  func close()
}

/// A connected UDP socket on a port that the kernel chose at random (RFC 5452 §9.2).
private final class UDPResolverFlow: ResolverFlow, UDPSocketDelegate {
  private let id: StubResolver.FlowID
  private let server: SocketAddress
  private unowned let resolver: Resolver
  private var socket: UDPSocket?

  init(_ transmission: StubResolver.Transmission, resolver: Resolver) throws {
    id = transmission.flow
    server = transmission.server
    self.resolver = resolver
    let any: IPAddress = server.ip.isIPv4 ? .v4(.any) : .v6(.any)
    let socket = try UDPSocket(
      on: resolver.ring, bind: SocketAddress(any, port: 0), options: .flow(to: server), delegate: self)
    self.socket = socket
    transmission.bytes.withUnsafeBytes {
      _ = socket.send($0, UDPSend(byteCount: $0.count, segmentSize: $0.count))
    }
  }

  func close() {
    socket?.close()
    socket = nil
  }

  func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    let bytes = RingBound(UnsafeRawBufferPointer(bytes))
    resolver.assumeIsolated { [id, server] in $0.received(bytes.value, on: id, from: server, over: .udp) }
  }

  func udpSocket(_ socket: UDPSocket, failed error: RingError) { resolver.assumeIsolated { [id] in $0.failed(id) } }
}

/// A TCP connection for an answer that did not fit a datagram (RFC 7766).
private final class TCPResolverFlow: ResolverFlow, TCPConnectionDelegate {
  private let id: StubResolver.FlowID
  private let server: SocketAddress
  private unowned let resolver: Resolver
  private var connection: TCPConnection?
  private var reader = TCPMessageReader()

  init(_ transmission: StubResolver.Transmission, resolver: Resolver) throws {
    id = transmission.flow
    server = transmission.server
    self.resolver = resolver
    let connection = try TCPConnection.connect(on: resolver.ring, to: server, timeout: .seconds(5), delegate: self)
    self.connection = connection
    _ = transmission.bytes.withUnsafeBytes { connection.write($0) }
  }

  func close() {
    connection?.close()
    connection = nil
  }

  func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    reader.append(bytes)
    while let message = reader.next() {
      resolver.assumeIsolated { [id, server] resolver in
        message.withUnsafeBytes { resolver.received($0, on: id, from: server, over: .tcp) }
      }
    }
    return bytes.count
  }

  func tcpConnectionReceivedEnd(_ connection: TCPConnection) { resolver.assumeIsolated { [id] in $0.failed(id) } }

  func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    self.connection = nil
    resolver.assumeIsolated { [id] in $0.failed(id) }
  }
}
