import Crypto
import FoundationEssentials
import Identity
import Wire

/// The sign-ins that are alive: which refresh token renews each, and which access token is its latest.
///
/// A refresh token serves once. Shown again, it is taken for stolen, and the whole session ends
/// (RFC 6749 §10.4, RFC 9700 §4.14).
struct SessionLedger {
  struct Session: Equatable {
    let id: String
    let user: String
    let clientID: String
    let scopes: [String]
    let signedInAt: Date
    /// Counts the access tokens given; the latest is the only one that userinfo takes.
    var serial = 0
    var refreshExpiresAt: Date

    var tokenID: String { "\(id).\(serial)" }
  }

  /// Sessions beyond this push out the one that would lapse first.
  static let capacity = 4096

  /// Seconds a refresh token lives unused.
  let refreshLifetime: Int
  private var sessions: [String: Session] = [:]
  private var refreshTokens: [SHA256.Digest: (session: String, current: Bool)] = [:]
  private var tokensOf: [String: [SHA256.Digest]] = [:]

  /// Used refresh tokens remembered for one session, to recognise a second use.
  private static let usedRemembered = 8

  init(refreshLifetime: Int) { self.refreshLifetime = refreshLifetime }

  var count: Int { sessions.count }

  mutating func open(
    user: String, clientID: String, scopes: [String], at now: Date, entropy: any EntropySource
  ) -> (session: Session, refreshToken: String?) {
    if sessions.count >= SessionLedger.capacity { makeRoom(at: now) }
    let session = Session(
      id: Base64URL.encode(entropy.bytes(12)), user: user, clientID: clientID, scopes: scopes, signedInAt: now,
      refreshExpiresAt: now.addingTimeInterval(TimeInterval(refreshLifetime)))
    sessions[session.id] = session
    let refresh = scopes.contains("offline_access") ? newRefreshToken(session.id, entropy) : nil
    return (session, refresh)
  }

  /// Exchanges a refresh token; nil when it is unknown, lapsed, another client's, or used before.
  mutating func rotate(
    _ refreshToken: String, clientID: String, at now: Date, entropy: any EntropySource
  ) -> (session: Session, refreshToken: String)? {
    let key = SessionLedger.key(refreshToken)
    guard let (id, current) = refreshTokens[key], var session = sessions[id], session.clientID == clientID else {
      return nil
    }
    guard current, now < session.refreshExpiresAt else {
      close(id)
      return nil
    }
    session.serial += 1
    session.refreshExpiresAt = now.addingTimeInterval(TimeInterval(refreshLifetime))
    sessions[id] = session
    refreshTokens[key] = (id, false)
    return (session, newRefreshToken(id, entropy))
  }

  /// The session whose latest access token bears this name.
  func session(ofTokenID tokenID: String) -> Session? {
    guard let id = tokenID.split(separator: ".").first, let session = sessions[String(id)],
      session.tokenID == tokenID
    else { return nil }
    return session
  }

  /// Ends the session that a refresh token belongs to, used or not.
  mutating func revoke(refreshToken: String, clientID: String) {
    guard let (id, _) = refreshTokens[SessionLedger.key(refreshToken)], sessions[id]?.clientID == clientID else {
      return
    }
    close(id)
  }

  /// Ends an access token; its session can still be refreshed.
  mutating func revoke(tokenID: String) {
    if let session = session(ofTokenID: tokenID) { sessions[session.id]?.serial += 1 }
  }

  private mutating func close(_ id: String) {
    sessions[id] = nil
    for key in tokensOf.removeValue(forKey: id) ?? [] { refreshTokens[key] = nil }
  }

  private mutating func newRefreshToken(_ id: String, _ entropy: any EntropySource) -> String {
    let token = Base64URL.encode(entropy.bytes(32))
    let key = SessionLedger.key(token)
    refreshTokens[key] = (id, true)
    tokensOf[id, default: []].append(key)
    while let kept = tokensOf[id], kept.count > SessionLedger.usedRemembered {
      refreshTokens[kept[0]] = nil
      tokensOf[id]?.removeFirst()
    }
    return token
  }

  private mutating func makeRoom(at now: Date) {
    for (id, session) in sessions where now >= session.refreshExpiresAt { close(id) }
    if sessions.count >= SessionLedger.capacity,
      let first = sessions.values.min(by: { $0.refreshExpiresAt < $1.refreshExpiresAt })
    {
      close(first.id)
    }
  }

  private static func key(_ token: String) -> SHA256.Digest { SHA256.hash(data: Data(token.utf8)) }
}
