public import HTTP3
import MASQUE
import QUIC
public import Ring
public import Wire

/// A client's end of one CONNECT-UDP tunnel (RFC 9298): payloads in, payloads out.
///
/// Datagrams may be sent from the moment the request is; a PoP keeps a few until it has opened its end.
public actor UDPFlow {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let session: HTTP3Session
  private var stream: StreamID?
  private var receive: (@Sendable (UnsafeRawBufferPointer) -> Void)?
  private var onEnd: (@Sendable (Result<Void, any Error>) -> Void)?
  private var capsules = CapsuleReader(maximumValue: UDPContext.maximumCapsuleValue)
  private var context = UDPContext()
  private var isAccepted = false
  private var isOver = false
  /// When a payload last crossed, either way.
  public private(set) var lastActivity: Instant

  /// - Parameters:
  ///   - receive: gets each payload from the target, on the ring, valid during the call.
  ///   - onEnd: called once on the ring: with `MASQUE.TunnelRefused` when the PoP said no, with
  ///     ``RequestStreamEnd`` when the stream broke.
  public init(
    session: HTTP3Session, receive: @escaping @Sendable (UnsafeRawBufferPointer) -> Void,
    onEnd: @escaping @Sendable (Result<Void, any Error>) -> Void
  ) {
    ring = session.ring
    self.session = session
    self.receive = receive
    self.onEnd = onEnd
    lastActivity = session.ring.now
  }

  /// Sends the request. Throws ``TunnelError/noStream`` or `HTTP3.SendError`.
  public func open(_ request: HeaderList) throws {
    let opened = try session.assumeIsolated { try $0.request(request, finish: false, handler: self) }
    guard let opened else { throw TunnelError.noStream }
    stream = opened
  }

  /// Sends one payload. False when it was dropped: too large for the path, or the tunnel is over.
  @discardableResult
  public func send(_ payload: UnsafeRawBufferPointer) -> Bool {
    guard !isOver, let stream else { return false }
    lastActivity = ring.now
    let payload = RingBound(payload)
    return session.assumeIsolated {
      $0.sendDatagram(payload.value, contextID: UDPContext.payloadContext, on: stream)
    }
  }

  /// Ends the tunnel.
  public func close() {
    guard !isOver, let stream else { return end(.success(())) }
    session.assumeIsolated { session in
      _ = session.send(UnsafeRawBufferPointer(start: nil, count: 0), finish: true, on: stream)
      session.release(stream)
    }
    end(.success(()))
  }

  private func receiveHTTPDatagram(_ datagram: UnsafeRawBufferPointer) {
    guard !isOver else { return }
    switch context.receive(datagram) {
    case .payload(let payload):
      lastActivity = ring.now
      receive?(payload)
    case .dropped: break
    case .tooLong:
      if let stream { session.assumeIsolated { $0.cancelSoon(stream, code: .datagramError) } }
      end(.failure(RequestStreamEnd.reset(code: HTTP3.ErrorCode.datagramError.rawValue)))
    }
  }

  private func receiveCapsules(_ bytes: UnsafeRawBufferPointer) {
    var reader = capsules
    reader.read(bytes) { _, value in receiveHTTPDatagram(value) }
    capsules = reader
  }

  private func answered(_ fields: HeaderList) {
    guard !isAccepted, !isOver, let status = fields.status, status >= 200 else { return }
    do throws(TunnelRefused) {
      try ConnectUDP.accept(fields)
      isAccepted = true
    } catch {
      if let stream { session.assumeIsolated { $0.cancelSoon(stream, code: .requestCancelled) } }
      end(.failure(error))
    }
  }

  private func end(_ result: Result<Void, any Error>) {
    guard !isOver else { return }
    isOver = true
    receive = nil
    onEnd?(result)
    onEnd = nil
  }
}

extension UDPFlow: RequestStreamHandler {
  public nonisolated func receive(fields: HeaderList, finished: Bool) { assumeIsolated { $0.answered(fields) } }
  public nonisolated func receive(data: UnsafeRawBufferPointer) -> Int {
    let bytes = RingBound(data)
    assumeIsolated { flow in flow.receiveCapsules(bytes.value) }
    return data.count
  }
  public nonisolated func receiveEnd() { assumeIsolated { $0.close() } }
  public nonisolated func receive(datagram: UnsafeRawBufferPointer) {
    let datagram = RingBound(datagram)
    assumeIsolated { $0.receiveHTTPDatagram(datagram.value) }
  }
  public nonisolated func writable() {}
  public nonisolated func ended(_ reason: RequestStreamEnd) { assumeIsolated { $0.end(.failure(reason)) } }
}
