public import Wire

/// A router's session with a validating cache (RFC 8210 §8), or with one of version 0 (RFC 6810).
///
/// Octets, instants and what befalls the connection go in; ``nextEvent()`` says what to do. ``origins`` is what the cache
/// last said as a whole: a change counts when its End of Data is there.
public struct RTRSession {
  public enum Event: Hashable, Sendable {
    /// Open a connection to the cache, then say ``RTRSession/connected(now:)`` or ``RTRSession/disconnected(now:)``.
    case connect
    case send([UInt8])
    /// Close it. Nothing more is to be said of it.
    case close
    /// ``RTRSession/origins`` is another: so many payloads have come and gone.
    case changed(announced: Int, withdrawn: Int)
    /// The cache was silent too long, and nothing it has said counts any more (RFC 8210 §6).
    case expired
    /// For the log.
    case failed(String)
  }

  public enum Phase: String, Hashable, Sendable {
    /// The cache is not wanted.
    case stopped
    /// There is no connection, until it is tried again.
    case idle
    case connecting
    /// For the answer to a question.
    case waiting
    case receiving
    /// All that the cache has is here.
    case synchronized
  }

  public private(set) var origins = OriginTable()
  /// The prefixes of payloads that have come or gone with the last change; nil for any.
  public private(set) var changedPrefixes: [IPPrefix]?
  public private(set) var phase = Phase.stopped
  /// Ours falls to the cache's once, and is then fixed for the connection.
  public private(set) var version: UInt8 = 1
  private var isVersionFixed = false
  private var hasAnswered = false
  /// The cache's session and serial number that ``origins`` is of; nil while there is nothing.
  public private(set) var state: (session: UInt16, serial: UInt32)?
  /// When the last End of Data came.
  public private(set) var updated: Instant?
  /// How long a cache is left alone that cannot be reached or has no data, and how long it may keep silent when asked,
  /// where that is shorter than its own Retry Interval.
  public var patience: Interval?
  private var timing = RTRMessage.Timing.usual
  /// What has come since the Cache Response, in its order.
  private var changes: [(ROAPayload, isAnnounced: Bool)] = []
  /// The answer is to a Reset Query: what it does not name is gone.
  private var replacesAll = false
  private var events: [Event] = []
  private var gathered: [UInt8] = []
  private var nextAttempt = Instant.distantFuture
  /// When ``origins`` counts no more, unless the cache is heard of before (RFC 8210 §6).
  public private(set) var expiry = Instant.distantFuture

  public init() {}

  public var isSynchronized: Bool { phase == .synchronized }
  /// The cache has said all that it has since it was connected, and would tell of changes.
  public var isCurrent: Bool { hasAnswered && hasConnection }
  private var hasConnection: Bool { phase == .waiting || phase == .receiving || phase == .synchronized }
  /// When to call ``handleTimeout(now:)``.
  public var deadline: Instant { min(nextAttempt, expiry) }
  public mutating func nextEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  public mutating func start(now: Instant) {
    guard phase == .stopped else { return }
    connect()
  }

  /// Has nothing more to do with the cache, and forgets what it has said.
  public mutating func stop() {
    let patience = patience
    let isConnected = phase == .connecting || hasConnection
    self = RTRSession()
    self.patience = patience
    if isConnected { events.append(.close) }
  }

  private var retryTime: Interval { min(.seconds(Int64(timing.retry)), patience ?? .infinite) }

  private mutating func connect() {
    phase = .connecting
    nextAttempt = .distantFuture
    gathered = []
    isVersionFixed = false
    hasAnswered = false
    events.append(.connect)
  }

  public mutating func connected(now: Instant) {
    guard phase == .connecting else { return }
    query(now: now)
  }

  /// The connection could not be opened, failed, or was closed.
  public mutating func disconnected(now: Instant) {
    guard phase == .connecting || hasConnection else { return }
    phase = .idle
    nextAttempt = now + retryTime
  }

  public mutating func handleTimeout(now: Instant) {
    if expiry <= now {
      expiry = .distantFuture
      state = nil
      origins = OriginTable()
      changedPrefixes = nil
      events.append(.expired)
    }
    guard nextAttempt <= now else { return }
    nextAttempt = .distantFuture
    switch phase {
    case .idle: connect()
    case .synchronized: query(now: now)
    case .waiting, .receiving: fail("the cache does not answer", now: now)
    case .connecting, .stopped: break
    }
  }

  private mutating func query(now: Instant) {
    phase = .waiting
    changes = []
    replacesAll = state == nil
    nextAttempt = now + retryTime
    let query = state.map { RTRMessage.serialQuery(session: $0.session, serial: $0.serial) } ?? .resetQuery
    events.append(.send(query.serialized(version: version)))
  }

  // MARK: Receiving

  public mutating func receive(_ bytes: UnsafeRawBufferPointer, now: Instant) {
    guard hasConnection else { return }
    gathered += bytes
    let whole = gathered
    gathered = []
    let taken = whole.withUnsafeBytes { receiveAll($0, now: now) }
    // Behind an error nothing counts.
    if phase != .idle { gathered = Array(whole[taken...]) }
    if phase == .receiving { nextAttempt = now + retryTime }
  }

  /// Octets of the PDUs that were taken.
  private mutating func receiveAll(_ bytes: UnsafeRawBufferPointer, now: Instant) -> Int {
    var taken = 0
    while phase != .idle {
      let left = UnsafeRawBufferPointer(rebasing: bytes[taken...])
      do throws(RTRMessage.Malformed) {
        guard let (peerVersion, length) = try RTRMessage.header(left), left.count >= length else { return taken }
        let message = try RTRMessage(UnsafeRawBufferPointer(rebasing: left[..<length]))
        taken += length
        try settleVersion(peerVersion, message)
        try take(message, peerVersion, now: now)
      } catch {
        // RFC 8210 §5.11: an error report is not answered with another.
        if left.count < 2 || left[1] != 10 {
          let report = RTRMessage.errorReport(error.code, pdu: Array(left.prefix(64)), text: error.reason)
          events.append(.send(report.serialized(version: version)))
        }
        fail(error.reason, now: now)
      }
    }
    return taken
  }

  /// RFC 8210 §7: a cache of an older version answers in its own, and then both keep to that.
  private mutating func settleVersion(_ peerVersion: UInt8, _ message: RTRMessage) throws(RTRMessage.Malformed) {
    switch message {
    // A notification may come before the answer that settles it; an error report says itself what is wrong.
    case .errorReport, .serialNotify: return
    default: break
    }
    if !isVersionFixed { version = min(version, peerVersion) }
    guard peerVersion == version else { throw .init(code: .unexpectedVersion, reason: "version \(peerVersion)") }
  }

  private mutating func take(
    _ message: RTRMessage, _ peerVersion: UInt8, now: Instant
  ) throws(RTRMessage.Malformed) {
    switch message {
    case .serialNotify(let session, let serial):
      guard phase == .synchronized, let state, state.session != session || state.serial != serial else { return }
      query(now: now)
    case .cacheResponse(let session):
      guard phase == .waiting else { throw .init(code: .invalidRequest, reason: "a Cache Response not asked for") }
      isVersionFixed = true
      // RFC 8210 §5.5: another session has nothing to do with what is known.
      if let state, state.session != session, !replacesAll {
        self.state = nil
        throw .init(code: .corruptData, reason: "session \(session) and not \(state.session)")
      }
      phase = .receiving
    case .prefix(let payload, let isAnnounced):
      guard phase == .receiving else { throw .init(code: .invalidRequest, reason: "a prefix outside of a response") }
      changes.append((payload, isAnnounced))
    case .routerKey:
      guard phase == .receiving else { throw .init(code: .invalidRequest, reason: "a key outside of a response") }
    case .endOfData(let session, let serial, let times):
      guard phase == .receiving else { throw .init(code: .invalidRequest, reason: "an end without a beginning") }
      try commit()
      state = (session, serial)
      updated = now
      hasAnswered = true
      timing = Self.bounded(times ?? .usual)
      phase = .synchronized
      nextAttempt = now + .seconds(Int64(timing.refresh))
      expiry = now + .seconds(Int64(timing.expire))
    case .cacheReset:
      guard phase == .waiting else { throw .init(code: .invalidRequest, reason: "a Cache Reset not asked for") }
      isVersionFixed = true
      state = nil
      query(now: now)
    case .errorReport(let code, _, let text):
      // RFC 8210 §7: to a cache that speaks an older version alone, once more in that.
      if code == .unsupportedVersion, !isVersionFixed, peerVersion < version { version = peerVersion }
      // One that has restarted calls the session that it is asked about corrupt: all is asked for the next time. What is
      // known counts until then.
      if code == .corruptData, phase == .waiting { state = nil }
      let known = "the cache reports error \(code.rawValue)" + (text.isEmpty ? "" : ": \(text)")
      fail(known, now: now, isSoon: code == .unsupportedVersion && version == peerVersion)
    case .serialQuery, .resetQuery:
      throw .init(code: .invalidRequest, reason: "a router's question from a cache")
    }
  }

  /// All of a response at once, or nothing of it.
  private mutating func commit() throws(RTRMessage.Malformed) {
    var next = replacesAll ? OriginTable() : origins
    var counts = (announced: 0, withdrawn: 0)
    for (payload, isAnnounced) in changes {
      if isAnnounced {
        guard next.insert(payload) else {
          throw .init(code: .duplicateAnnouncement, reason: "\(payload.prefix) is announced twice")
        }
        counts.announced += 1
      } else {
        guard next.remove(payload) else {
          throw .init(code: .unknownWithdrawal, reason: "\(payload.prefix) is withdrawn, but not known")
        }
        counts.withdrawn += 1
      }
    }
    if replacesAll { counts.withdrawn = origins.count }
    changedPrefixes = replacesAll ? nil : changes.map(\.0.prefix)
    changes = []
    origins = next
    if counts != (0, 0) { events.append(.changed(announced: counts.announced, withdrawn: counts.withdrawn)) }
  }

  private mutating func fail(_ reason: String, now: Instant, isSoon: Bool = false) {
    events.append(.failed(reason))
    events.append(.close)
    phase = .idle
    gathered = []
    changes = []
    nextAttempt = isSoon ? now : now + retryTime
  }

  /// RFC 8210 §6 bounds each; the data must not expire before it would be asked for anew.
  private static func bounded(_ times: RTRMessage.Timing) -> RTRMessage.Timing {
    let refresh = min(max(times.refresh, 1), 86_400)
    let retry = min(max(times.retry, 1), 7_200)
    let expire = min(max(times.expire, 600), 172_800)
    return .init(refresh: refresh, retry: retry, expire: max(expire, refresh + 1, retry + 1))
  }
}
