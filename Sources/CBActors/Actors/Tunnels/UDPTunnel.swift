public import HTTP3
import MASQUE
public import QUIC
public import Ring
public import Wire

/// The PoP's end of one CONNECT-UDP tunnel (RFC 9298): a request stream on one side, a connected UDP
/// socket to the target on the other.
///
/// It is bound to its stream at once and opened later, when the request has been judged and the
/// target resolved. Datagrams that come earlier are kept, up to ``pendingLimit``.
public actor UDPTunnel {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  /// Datagrams kept until the tunnel opens; later ones are dropped, as a network would.
  public static let pendingLimit = 16

  private let session: HTTP3Session
  private let stream: StreamID
  private let idleTimeout: Interval
  private var onEnd: (@Sendable (Traffic) -> Void)?
  private var socket: UDPSocket?
  private var pending: [[UInt8]] = []
  private var capsules = CapsuleReader(maximumValue: UDPContext.maximumCapsuleValue)
  private var context = UDPContext()
  private var idleTimer: RingTimer?
  private var lastActivity: Instant
  private var isOver = false
  public private(set) var traffic = Traffic()

  /// What crossed a tunnel. Payload bytes, without any header.
  public struct Traffic: Hashable, Sendable {
    public var datagramsToTarget: UInt64 = 0
    public var datagramsToClient: UInt64 = 0
    public var bytesToTarget: UInt64 = 0
    public var bytesToClient: UInt64 = 0
    /// Too large for the path, unknown context, or no room.
    public var dropped: UInt64 = 0
    public init() {}
  }

  /// - Parameter onEnd: called once on the ring, however the tunnel ends.
  public init(
    session: HTTP3Session, stream: StreamID, idleTimeout: Interval, onEnd: @escaping @Sendable (Traffic) -> Void
  ) {
    ring = session.ring
    self.session = session
    self.stream = stream
    self.idleTimeout = idleTimeout
    self.onEnd = onEnd
    lastActivity = .zero
  }

  /// Opens the socket, answers the request and passes on what had come before. Does nothing when the
  /// stream has ended meanwhile.
  public func open(to target: SocketAddress, response: HeaderList) throws(RingError) {
    guard !isOver else { return }
    let any: IPAddress = target.ip.isIPv4 ? .v4(.any) : .v6(.any)
    let socket = try UDPSocket(
      on: ring, bind: SocketAddress(any, port: 0), options: .flow(to: target), delegate: self)
    self.socket = socket
    lastActivity = ring.now
    session.assumeIsolated { [stream] in $0.respond(response, on: stream, finish: false) }
    for datagram in pending { datagram.withUnsafeBytes { sendToTarget($0) } }
    pending = []
    let timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.checkIdle() } }
    timer.schedule(at: ring.now + idleTimeout)
    idleTimer = timer
  }

  /// Refuses the request, or ends the tunnel with a response that says why.
  public func refuse(_ response: HeaderList) {
    guard !isOver else { return }
    session.assumeIsolated { [stream] in
      $0.respond(response, on: stream, finish: true)
      $0.release(stream)
    }
    end()
  }

  private func checkIdle() {
    guard !isOver else { return }
    let due = lastActivity + idleTimeout
    if due <= ring.now {
      session.assumeIsolated { [stream] in $0.cancel(stream, code: .noError) }
      end()
    } else {
      idleTimer?.schedule(at: due)
    }
  }

  private func end() {
    guard !isOver else { return }
    isOver = true
    socket?.close()
    socket = nil
    idleTimer?.cancel()
    idleTimer = nil
    pending = []
    onEnd?(traffic)
    onEnd = nil
  }

  /// The client has closed its side: so do we (RFC 9298 §3.1).
  private func clientFinished() {
    guard !isOver else { return }
    do throws(StreamError) {
      try capsules.finish()
    } catch {
      // RFC 9297 §3.3: a data stream that ends inside a capsule is a malformed message.
      session.assumeIsolated { [stream] in $0.cancel(stream, code: error.code) }
      return end()
    }
    session.assumeIsolated { [stream] in
      _ = $0.send(UnsafeRawBufferPointer(start: nil, count: 0), finish: true, on: stream)
    }
    end()
  }

  // MARK: Client to target

  private func sendToTarget(_ payload: UnsafeRawBufferPointer) {
    guard let socket else {
      if pending.count < Self.pendingLimit { pending.append(Array(payload)) } else { traffic.dropped += 1 }
      return
    }
    lastActivity = ring.now
    // RFC 9298 §5: a UDP payload may be empty, and is then sent as an empty datagram.
    guard socket.send(payload, UDPSend(byteCount: payload.count, segmentSize: max(1, payload.count))) else {
      traffic.dropped += 1
      return
    }
    traffic.datagramsToTarget += 1
    traffic.bytesToTarget += UInt64(payload.count)
  }

  /// A context ID and a payload, from a QUIC datagram or a DATAGRAM capsule.
  private func receiveHTTPDatagram(_ datagram: UnsafeRawBufferPointer) {
    guard !isOver else { return }
    switch context.receive(datagram) {
    case .payload(let payload): sendToTarget(payload)
    case .dropped: traffic.dropped += 1
    case .tooLong:
      session.assumeIsolated { [stream] in $0.cancelSoon(stream, code: .datagramError) }
      end()
    }
  }

  private func receiveCapsules(_ bytes: UnsafeRawBufferPointer) {
    var reader = capsules
    reader.read(bytes) { _, value in receiveHTTPDatagram(value) }
    capsules = reader
  }

  // MARK: Target to client

  private func receiveFromTarget(_ payload: UnsafeRawBufferPointer) {
    lastActivity = ring.now
    let bytes = RingBound(payload)
    let sent = session.assumeIsolated { [stream] in
      $0.sendDatagram(bytes.value, contextID: UDPContext.payloadContext, on: stream)
    }
    if sent {
      traffic.datagramsToClient += 1
      traffic.bytesToClient += UInt64(payload.count)
    } else {
      // Too large for the path: dropped as a router would; the tunnel lives on.
      traffic.dropped += 1
    }
  }
}

extension UDPTunnel: RequestStreamHandler {
  public nonisolated func receive(fields: HeaderList, finished: Bool) {}

  public nonisolated func receive(data: UnsafeRawBufferPointer) -> Int {
    let bytes = RingBound(data)
    assumeIsolated { $0.receiveCapsules(bytes.value) }
    return data.count
  }

  public nonisolated func receiveEnd() { assumeIsolated { $0.clientFinished() } }

  public nonisolated func receive(datagram: UnsafeRawBufferPointer) {
    let datagram = RingBound(datagram)
    assumeIsolated { $0.receiveHTTPDatagram(datagram.value) }
  }

  public nonisolated func writable() {}

  public nonisolated func ended(_ reason: RequestStreamEnd) { assumeIsolated { $0.end() } }
}

extension UDPTunnel: UDPSocketDelegate {
  public nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    let bytes = RingBound(UnsafeRawBufferPointer(bytes))
    assumeIsolated { $0.receiveFromTarget(bytes.value) }
  }

  /// An ICMP error is one datagram's fate; a connected UDP flow goes on.
  public nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {}
}
