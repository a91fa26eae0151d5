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

  private var session: HTTP3Session?
  private var stream: StreamID?
  private var receive: (@Sendable (UnsafeRawBufferPointer) -> Void)?
  private let onRejected: @Sendable (UDPFlow) -> Void
  private var onEnd: (@Sendable (Result<Void, any Error>) -> Void)?
  private var capsules = CapsuleReader(maximumValue: UDPContext.maximumCapsuleValue)
  private var context = UDPContext()
  private var isAccepted = false
  private var isOver = false
  private var rejections = 0
  /// Payloads that were sent before the PoP agreed: should it not process the request, they go out with the next one.
  private var early: [[UInt8]] = []
  private static let mostEarly = 16
  private static let mostRejections = 3
  /// When a payload last crossed, either way.
  public private(set) var lastActivity: Instant

  /// - Parameters:
  ///   - receive: gets each payload from the target, on the ring, valid during the call.
  ///   - onRejected: called on the ring when the PoP did not process the request, which is to be opened on another
  ///     connection.
  ///   - onEnd: called once on the ring: with `MASQUE.TunnelRefused` when the PoP said no, with
  ///     ``RequestStreamEnd`` when the stream broke.
  public init(
    ring: RingExecutor, receive: @escaping @Sendable (UnsafeRawBufferPointer) -> Void,
    onRejected: @escaping @Sendable (UDPFlow) -> Void, onEnd: @escaping @Sendable (Result<Void, any Error>) -> Void
  ) {
    self.ring = ring
    self.receive = receive
    self.onRejected = onRejected
    self.onEnd = onEnd
    lastActivity = ring.now
  }

  /// Sends the request on a session of the flow's ring, and what was sent by one that was rejected. Throws
  /// ``TunnelError/noStream`` or `HTTP3.SendError`.
  public func open(_ request: HeaderList, on session: HTTP3Session) throws {
    guard !isOver else { return }
    let opened = try session.assumeIsolated { try $0.request(request, finish: false, handler: self) }
    guard let opened else { throw TunnelError.noStream }
    self.session = session
    stream = opened
    for payload in early { payload.withUnsafeBytes { _ = transmit($0) } }
  }

  /// Gives the flow up: it could not be opened again.
  public func fail(_ error: any Error) { end(.failure(error)) }

  /// Sends one payload. False when it was dropped: too large for the path, or the tunnel is over.
  @discardableResult
  public func send(_ payload: UnsafeRawBufferPointer) -> Bool {
    guard !isOver else { return false }
    lastActivity = ring.now
    let isKept = !isAccepted && early.count < Self.mostEarly
    if isKept { early.append([UInt8](payload)) }
    return stream == nil ? isKept : transmit(payload)
  }

  private func transmit(_ payload: UnsafeRawBufferPointer) -> Bool {
    guard let session, let stream else { return false }
    let payload = RingBound(payload)
    return session.assumeIsolated {
      $0.sendDatagram(payload.value, contextID: UDPContext.payloadContext, on: stream)
    }
  }

  /// Ends the tunnel.
  public func close() {
    guard !isOver, let session, let stream else { return end(.success(())) }
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
      cancelSoon(.datagramError)
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
      early = []
    } catch {
      cancelSoon(.requestCancelled)
      end(.failure(error))
    }
  }

  private func cancelSoon(_ code: HTTP3.ErrorCode) {
    guard let session, let stream else { return }
    session.assumeIsolated { $0.cancelSoon(stream, code: code) }
  }

  private func streamEnded(_ reason: RequestStreamEnd) {
    guard !isOver, !isAccepted, reason.leavesRequestUnprocessed, rejections < Self.mostRejections else {
      return end(.failure(reason))
    }
    rejections += 1
    stream = nil
    onRejected(self)
  }

  private func end(_ result: Result<Void, any Error>) {
    guard !isOver else { return }
    isOver = true
    early = []
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
  public nonisolated func ended(_ reason: RequestStreamEnd) { assumeIsolated { $0.streamEnded(reason) } }
}
