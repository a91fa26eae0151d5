/// Whom a Point of Presence believes, and what a token must say to be believed.
///
/// A profile fixes its algorithms; the token never chooses between kinds of key. A deployment with an
/// identity provider and one with a shared secret are two profiles, not two branches of one.
public struct TrustProfile: Sendable {
  /// Where the keys come from.
  public enum KeySource: Sendable, Equatable {
    /// The `jwks_uri` of the issuer's discovery document.
    case discovery
    /// A key set at a fixed address.
    case jwks(EndpointURL)
    /// One secret shared with whoever signs. Never together with published keys.
    case sharedSecret(Secret)
  }

  /// Compared with `iss`, byte by byte.
  public let issuer: String
  /// A token is for us when its `aud` holds at least one of these.
  public let audiences: Set<String>
  public let algorithms: Set<SignatureAlgorithm>
  public let keySource: KeySource
  /// Seconds by which the issuer's clock may differ from ours.
  public let clockSkew: Int
  /// Scopes that must all be granted.
  public let requiredScopes: Set<String>
  /// Roles of which all must be held.
  public let requiredRoles: Set<String>
  /// The Zitadel project whose roles count besides those of the requesting project
  /// (`urn:zitadel:iam:org:project:{id}:roles`). Roles of other projects never count.
  public let projectID: String?

  public enum Mistake: Error, Sendable, Equatable, CustomStringConvertible {
    case noAudience
    case noAlgorithm
    case algorithmNeedsPublishedKey(SignatureAlgorithm)
    case algorithmNeedsSharedSecret(SignatureAlgorithm)
    case secretTooShort(bytes: Int)
    case unusableIssuer(String)

    public var description: String {
      switch self {
      case .noAudience: "a trust profile must name an audience"
      case .noAlgorithm: "a trust profile must allow an algorithm"
      case .algorithmNeedsPublishedKey(let name):
        "\(name.rawValue) needs a published key, but the profile has a shared secret"
      case .algorithmNeedsSharedSecret(let name):
        "\(name.rawValue) needs a shared secret, but the profile's keys are published"
      case .secretTooShort(let bytes): "the shared secret has \(bytes) bytes; HS256 needs at least 32"
      case .unusableIssuer(let issuer): "not a usable issuer (https, or http to this machine): \(issuer)"
      }
    }
  }

  /// - Parameter algorithms: nil allows every algorithm that fits the key source.
  /// - Throws: ``Mistake`` for a profile that could not be kept or would be unsafe.
  public init(
    issuer: String, audiences: Set<String>, algorithms: Set<SignatureAlgorithm>? = nil,
    keySource: KeySource = .discovery, clockSkew: Int = 30, requiredScopes: Set<String> = [],
    requiredRoles: Set<String> = [], projectID: String? = nil
  ) throws(Mistake) {
    guard !audiences.isEmpty else { throw .noAudience }
    let allowed: Set<SignatureAlgorithm>
    switch keySource {
    case .sharedSecret(let secret):
      allowed = algorithms ?? [.hs256]
      for algorithm in allowed where !algorithm.isSymmetric { throw .algorithmNeedsPublishedKey(algorithm) }
      // RFC 7518 §3.2: a key at least as long as the hash.
      guard secret.count >= 32 else { throw .secretTooShort(bytes: secret.count) }
    case .discovery, .jwks:
      allowed = algorithms ?? SignatureAlgorithm.published
      for algorithm in allowed where algorithm.isSymmetric { throw .algorithmNeedsSharedSecret(algorithm) }
    }
    guard !allowed.isEmpty else { throw .noAlgorithm }
    if keySource == .discovery, (try? EndpointURL(issuer)) == nil {
      throw .unusableIssuer(issuer.printable(limit: 200))
    }
    self.issuer = issuer
    self.audiences = audiences
    self.algorithms = allowed
    self.keySource = keySource
    self.clockSkew = min(max(clockSkew, 0), 600)
    self.requiredScopes = requiredScopes
    self.requiredRoles = requiredRoles
    self.projectID = projectID
  }
}
