import CSodium
public import FoundationEssentials
import JWTKit

/// Decides whether a bearer token is to be believed, under one ``TrustProfile``.
///
/// The order is the point: size, shape, then the header's algorithm against the profile, then the key
/// that the header names and whether that key is of the algorithm's kind, then the signature, and
/// only then anything that the payload says. Keys or addresses offered in the header itself (`jwk`,
/// `jku`, `x5c`) are never looked at.
public struct TokenVerifier: Sendable {
  /// Bytes of a token beyond which it is refused unread.
  public static let sizeLimit = 16 * 1024

  public let profile: TrustProfile
  private let keys: Keys

  private enum Keys: Sendable {
    case published(JWKSCache)
    case shared(Secret)
  }

  public init(
    profile: TrustProfile, fetch: any HTTPFetch = HTTPClientFetch.shared,
    cachePolicy: JWKSCache.Policy = JWKSCache.Policy()
  ) {
    self.profile = profile
    switch profile.keySource {
    case .sharedSecret(let secret): keys = .shared(secret)
    case .discovery: keys = .published(JWKSCache(issuer: profile.issuer, fetch: fetch, policy: cachePolicy))
    case .jwks(let url):
      keys = .published(JWKSCache(issuer: profile.issuer, url: url, fetch: fetch, policy: cachePolicy))
    }
  }

  /// Fetches the issuer's keys ahead of the first token.
  public func warm(at now: Date) async {
    if case .published(let cache) = keys { await cache.warm(at: now) }
  }

  /// - Parameters:
  ///   - token: the credentials of `Bearer`, without that word.
  ///   - now: the present, by the wall clock.
  public func verify(_ token: String, at now: Date) async throws(TokenRefusal) -> VerifiedIdentity {
    let token = CompactToken(try TokenVerifier.bounded(token))
    let parts = try token.parts()
    let header = try parts.header()

    let algorithm = try allowedAlgorithm(header)
    try checkHeader(header)
    try await checkSignature(parts, algorithm, header["kid"]?.string, at: now)

    guard let claims = parts.payload() else { throw .malformed("the payload is not a JSON object") }
    return try judge(claims, fingerprint: token.fingerprint, at: now)
  }

  /// The issuer that a token says it is from. Nothing is verified: good for choosing who is to judge it.
  public static func claimedIssuer(_ token: String) -> String? {
    guard let bytes = try? bounded(token), let parts = try? CompactToken(bytes).parts() else { return nil }
    return parts.payload()?["iss"]?.string
  }

  private static func bounded(_ token: String) throws(TokenRefusal) -> [UInt8] {
    let count = token.utf8.count
    guard count <= sizeLimit else { throw .tooLarge(count) }
    return [UInt8](token.utf8)
  }

  private func allowedAlgorithm(_ header: JSONValue) throws(TokenRefusal) -> SignatureAlgorithm {
    guard let name = header["alg"]?.string else { throw .malformed("the header names no algorithm") }
    guard name.lowercased() != "none" else { throw .algorithmNone }
    guard let algorithm = SignatureAlgorithm(rawValue: name), profile.algorithms.contains(algorithm) else {
      throw .algorithmNotAllowed(name.printable(limit: 32))
    }
    return algorithm
  }

  private func checkHeader(_ header: JSONValue) throws(TokenRefusal) {
    // RFC 7515 §4.1.11: an extension marked critical and not understood makes the token invalid; we
    // understand none.
    guard header["crit"] == nil else { throw .malformed("the header has a critical extension") }
    if let kid = header["kid"], kid.string == nil { throw .malformed("the key identifier is not a string") }
    // RFC 8725 §3.11: a token of another kind under the same key must not pass for an access token.
    if let type = header["typ"] {
      guard let name = type.string?.lowercased() else { throw .malformed("the type is not a string") }
      let accepted = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"]
      guard accepted.contains(name) else { throw .malformed("the type is not that of an access token") }
    }
  }

  private func checkSignature(
    _ parts: CompactToken.Parts, _ algorithm: SignatureAlgorithm, _ identifier: String?, at now: Date
  ) async throws(TokenRefusal) {
    switch keys {
    case .shared(let secret):
      guard TokenVerifier.hmacMatches(parts, secret) else { throw .badSignature }
    case .published(let cache):
      let verifier = try await cache.key(identifier, algorithm, at: now)
      guard (try? verifier.verify(parts.signature, signs: parts.signed)) == true else { throw .badSignature }
    }
  }

  /// HMAC-SHA-256 (RFC 7518 §3.2), compared in constant time, the key in guarded memory throughout.
  private static func hmacMatches(_ parts: CompactToken.Parts, _ secret: Secret) -> Bool {
    guard parts.signature.count == Int(crypto_auth_hmacsha256_BYTES) else { return false }
    var state = crypto_auth_hmacsha256_state()
    var expected = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
    secret.withBytes { key in
      // Never empty: the profile refuses a secret of less than 32 bytes.
      _ = crypto_auth_hmacsha256_init(&state, key.bindMemory(to: UInt8.self).baseAddress!, key.count)
    }
    parts.signed.withUnsafeBufferPointer {
      // Never empty: there is a dot in it.
      _ = crypto_auth_hmacsha256_update(&state, $0.baseAddress!, UInt64($0.count))
    }
    crypto_auth_hmacsha256_final(&state, &expected)
    withUnsafeMutableBytes(of: &state) { sodium_memzero($0.baseAddress!, $0.count) }
    return crypto_verify_32(expected, parts.signature) == 0
  }

  private func judge(_ claims: JSONValue, fingerprint: String, at now: Date) throws(TokenRefusal) -> VerifiedIdentity {
    guard let issuer = claims["iss"]?.string else { throw .missingClaim("iss") }
    guard issuer == profile.issuer else { throw .wrongIssuer(issuer.printable(limit: 200)) }

    guard let audience = claims["aud"]?.strings, !audience.isEmpty else { throw .missingClaim("aud") }
    guard audience.contains(where: profile.audiences.contains) else { throw .wrongAudience }

    let skew = TimeInterval(profile.clockSkew)
    guard let expiresAt = try TokenVerifier.date(claims, "exp") else { throw .missingClaim("exp") }
    guard now < expiresAt.addingTimeInterval(skew) else { throw .expired(at: expiresAt) }
    let issuedAt = try TokenVerifier.date(claims, "iat")
    for start in [try TokenVerifier.date(claims, "nbf"), issuedAt].compactMap({ $0 }) {
      guard start <= now.addingTimeInterval(skew) else { throw .notYetValid(before: start) }
    }

    guard let subject = claims["sub"]?.string, !subject.isEmpty, subject.utf8.count <= 255 else {
      throw .missingClaim("sub")
    }
    let identity = VerifiedIdentity(
      claims: claims, subject: subject, issuer: issuer, audience: audience, issuedAt: issuedAt, expiresAt: expiresAt,
      projectID: profile.projectID, fingerprint: fingerprint)
    for scope in profile.requiredScopes.sorted() where !identity.scopes.contains(scope) { throw .missingScope(scope) }
    for role in profile.requiredRoles.sorted() where !identity.roles.contains(role) { throw .missingRole(role) }
    return identity
  }

  /// A NumericDate (RFC 7519 §2). Present but no number, or beyond the year 9999, is malformed.
  private static func date(_ claims: JSONValue, _ name: String) throws(TokenRefusal) -> Date? {
    guard let claim = claims[name] else { return nil }
    guard let seconds = claim.number, (0...253_402_300_799).contains(seconds) else {
      throw .malformed("\(name) is not a date")
    }
    return Date(timeIntervalSince1970: seconds)
  }
}
