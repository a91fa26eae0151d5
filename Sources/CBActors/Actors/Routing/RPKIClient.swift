public import BGP
public import Logging
public import Ring
public import Wire

/// Keeps the payloads to validate origins by: asks validating caches over TCP (RFC 8210), and goes by the most preferred of
/// them that answers.
///
/// A less preferred cache is asked only while those before it do not answer. What the last one said counts until another
/// one has said all that it has, or until it expires.
public actor RPKIClient {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  /// What a looking glass shows of a cache.
  public struct Status: Sendable {
    public var address: SocketAddress
    public var phase: RTRSession.Phase
    /// Its payloads are those that count.
    public var isUsed: Bool
    public var payloads: Int
    /// The cache's session and serial number; nil without data.
    public var state: (session: UInt16, serial: UInt32)?
    public var version: UInt8
    public var updated: Instant?
    public var expiry: Instant
    public var lastFailure: String?
  }

  /// Called with all payloads, and the prefixes of those that have come or gone; nil for any.
  public typealias Observer = @Sendable (OriginTable, [IPPrefix]?) async -> Void

  private struct Cache {
    var address: SocketAddress
    var session = RTRSession()
    var connection: RTRConnection?
    var lastFailure: String?
    /// The same failure again is not worth another line.
    var isFailureLogged = false
  }

  private let logger: Logger
  private let onChange: Observer
  private var caches: [Cache]
  /// Whose payloads count; its session may be lost.
  private var source: Int?
  private var timer: RingTimer?
  /// What the observer has not been told. It is told one thing after the other, and of several at once.
  private var untold: (origins: OriginTable, changed: [IPPrefix]?)?
  private var isTelling = false

  /// How long a cache may keep silent, and is left alone when it cannot be reached.
  private static let patience = Interval.seconds(10)

  /// - Parameter addresses: of the caches, the most preferred first.
  public init(
    ring: RingExecutor, caches addresses: [SocketAddress], logger: Logger, onChange: @escaping Observer
  ) {
    self.ring = ring
    self.logger = logger
    self.onChange = onChange
    caches = addresses.map { address in
      var cache = Cache(address: address)
      cache.session.patience = Self.patience
      return cache
    }
  }

  public func start() {
    timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.timerFired() } }
    if !caches.isEmpty { start(0, ring.refreshNow()) }
    schedule()
  }

  public func stop() {
    timer?.cancel()
    timer = nil
    for index in caches.indices { stop(index) }
  }

  public func status() -> [Status] {
    caches.enumerated().map { index, cache in
      let session = cache.session
      return Status(
        address: cache.address, phase: session.phase, isUsed: source == index, payloads: session.origins.count,
        state: session.state, version: session.version, updated: session.updated, expiry: session.expiry,
        lastFailure: cache.lastFailure)
    }
  }

  // MARK: Sessions

  private func start(_ index: Int, _ now: Instant) {
    caches[index].session.start(now: now)
    drain(index, now)
  }

  private func stop(_ index: Int) {
    caches[index].session.stop()
    drain(index, ring.now)
  }

  /// Does what a session says.
  private func drain(_ index: Int, _ now: Instant) {
    var hasFailed = false
    while let event = caches[index].session.nextEvent() {
      switch event {
      case .connect:
        if let reason = connect(index) {
          note(index, reason)
          caches[index].session.disconnected(now: now)
          hasFailed = true
        }
      case .send(let bytes): caches[index].connection?.write(bytes)
      case .close:
        caches[index].connection?.close()
        caches[index].connection = nil
      case .changed(let announced, let withdrawn):
        log(index, "RPKI data", ["announced": "\(announced)", "withdrawn": "\(withdrawn)"])
        if source == index { tell(caches[index].session.changedPrefixes) }
      case .expired:
        log(index, "RPKI data expired", [:])
        if source == index {
          source = nil
          tell(nil)
        }
        hasFailed = true
      case .failed(let reason):
        note(index, reason)
        hasFailed = true
      }
    }
    if caches[index].session.isCurrent { caches[index].isFailureLogged = false }
    choose(now)
    if hasFailed { startNext(behind: index, now) }
  }

  /// Goes by the most preferred cache that is current, and asks none behind it.
  private func choose(_ now: Instant) {
    guard let best = caches.firstIndex(where: { $0.session.isCurrent }) else { return }
    if source != best {
      source = best
      log(best, "RPKI cache chosen", ["payloads": "\(caches[best].session.origins.count)"])
      tell(nil)
    }
    for index in caches.indices where index > best && caches[index].session.phase != .stopped { stop(index) }
  }

  private func startNext(behind index: Int, _ now: Instant) {
    guard index + 1 < caches.count, timer != nil, !caches[...index].contains(where: { $0.session.isCurrent }) else {
      return
    }
    if caches[index + 1].session.phase == .stopped { start(index + 1, now) }
  }

  private func note(_ index: Int, _ reason: String) {
    if caches[index].lastFailure != reason || !caches[index].isFailureLogged {
      logger.warning("RPKI cache", metadata: ["cache": "\(caches[index].address)", "failed": "\(reason)"])
    }
    caches[index].lastFailure = reason
    caches[index].isFailureLogged = true
  }

  private func log(_ index: Int, _ message: Logger.Message, _ metadata: Logger.Metadata) {
    logger.notice(message, metadata: metadata.merging(["cache": "\(caches[index].address)"]) { $1 })
  }

  // MARK: Telling

  private func tell(_ changed: [IPPrefix]?) {
    let origins = source.map { caches[$0].session.origins } ?? OriginTable()
    if let before = untold {
      untold = (origins, before.changed.flatMap { before in changed.map { before + $0 } })
    } else {
      untold = (origins, changed)
    }
    guard !isTelling else { return }
    isTelling = true
    Task { await tellAll() }
  }

  private func tellAll() async {
    while let next = untold {
      untold = nil
      await onChange(next.origins, next.changed)
    }
    isTelling = false
  }

  // MARK: Connections

  /// Nil, or why there cannot be one.
  private func connect(_ index: Int) -> String? {
    let connection = RTRConnection(index, client: self)
    do {
      try connection.connect(to: caches[index].address, on: ring, timeout: Self.patience)
      caches[index].connection = connection
      return nil
    } catch {
      return "\(error)"
    }
  }

  fileprivate func opened(_ connection: RTRConnection) {
    guard caches[connection.index].connection === connection else { return }
    caches[connection.index].session.connected(now: ring.now)
    drain(connection.index, ring.now)
    schedule()
  }

  fileprivate func received(_ bytes: UnsafeRawBufferPointer, on connection: RTRConnection) {
    guard caches[connection.index].connection === connection else { return }
    caches[connection.index].session.receive(bytes, now: ring.now)
    drain(connection.index, ring.now)
    schedule()
  }

  fileprivate func ended(_ connection: RTRConnection, _ reason: String) {
    let index = connection.index
    guard caches[index].connection === connection else { return }
    caches[index].connection = nil
    note(index, reason)
    caches[index].session.disconnected(now: ring.now)
    drain(index, ring.now)
    startNext(behind: index, ring.now)
    schedule()
  }

  // MARK: Time

  private func schedule() {
    timer?.schedule(at: caches.map(\.session.deadline).min() ?? .distantFuture)
  }

  private func timerFired() {
    for index in caches.indices where caches[index].session.deadline <= ring.now {
      caches[index].session.handleTimeout(now: ring.now)
      drain(index, ring.now)
    }
    schedule()
  }
}

/// A connection to a cache. Of the ring's thread.
private final class RTRConnection: TCPConnectionDelegate {
  let index: Int
  private weak var client: RPKIClient?
  private var connection: TCPConnection?

  init(_ index: Int, client: RPKIClient) {
    self.index = index
    self.client = client
  }

  func connect(to address: SocketAddress, on ring: RingExecutor, timeout: Interval) throws(RingError) {
    connection = try TCPConnection.connect(on: ring, to: address, timeout: timeout, delegate: self)
  }

  /// Questions are short: what the connection does not take of one, a cache that reads nothing will not answer either.
  func write(_ bytes: [UInt8]) { _ = bytes.withUnsafeBytes { connection?.write($0) } }

  func close() {
    client = nil
    connection?.close()
    connection = nil
  }

  func tcpConnectionEstablished(_ connection: TCPConnection) {
    let bound = RingBound(self)
    client?.assumeIsolated { $0.opened(bound.value) }
  }

  func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    let bound = RingBound((self, bytes))
    client?.assumeIsolated { $0.received(bound.value.1, on: bound.value.0) }
    return bytes.count
  }

  func tcpConnectionReceivedEnd(_ connection: TCPConnection) { end("it has closed the connection") }

  func tcpConnection(_ connection: TCPConnection, failed error: RingError) { end("\(error)") }

  private func end(_ reason: String) {
    connection?.close()
    connection = nil
    let bound = RingBound(self)
    client?.assumeIsolated { $0.ended(bound.value, reason) }
  }
}
