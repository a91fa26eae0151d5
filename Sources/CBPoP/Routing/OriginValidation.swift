import BGP
import CBActors
import Logging
import Ring
import Wire

/// The PoP's validating caches, on a ring of their own: reading all that there is takes longer than BFD waits.
struct OriginValidation {
  private let ring: RingExecutor
  private let client: RPKIClient

  /// Nil without caches.
  static func start(
    _ caches: [SocketAddress], for speaker: BGPSpeaker, logger: Logger
  ) async throws -> OriginValidation? {
    guard !caches.isEmpty else { return nil }
    let ring = RingExecutor()
    try ring.start(name: "rpki")
    let client = RPKIClient(ring: ring, caches: caches, logger: logger) { origins, changed in
      await speaker.setOrigins(origins, changed: changed)
    }
    await client.start()
    return OriginValidation(ring: ring, client: client)
  }

  func stop() async {
    await client.stop()
    await ring.shutdown()
  }

  func views() async -> [RPKICacheView] {
    let now = RingExecutor.monotonicNow()
    return await client.status().map { RPKICacheView($0, now: now) }
  }
}

/// What the looking glass tells of a validating cache: one line of JSON.
public struct RPKICacheView: Codable, Hashable, Sendable {
  public var address: String
  /// `stopped` while one before it is asked, `idle` until the next attempt, `connecting`, `waiting`, `receiving` or
  /// `synchronized`.
  public var state: String
  /// Its payloads are those that origins are validated by.
  public var isUsed: Bool
  /// Validated ROA payloads.
  public var payloads: Int
  /// Of the cache; nil without data.
  public var session: UInt16?
  public var serial: UInt32?
  /// Of the protocol.
  public var version: UInt8
  /// Seconds since it has said last what it has; nil without data.
  public var age: Int?
  /// Seconds until its data count no more, if it is not heard of.
  public var expiresIn: Int?
  public var lastFailure: String?

  init(_ status: RPKIClient.Status, now: Instant) {
    address = "\(status.address)"
    state = status.phase.rawValue
    isUsed = status.isUsed
    payloads = status.payloads
    session = status.state?.session
    serial = status.state?.serial
    version = status.version
    age = status.state == nil ? nil : status.updated.map { Int((now - $0).seconds) }
    expiresIn = status.state == nil ? nil : Int((status.expiry - now).seconds)
    lastFailure = status.lastFailure
  }
}
