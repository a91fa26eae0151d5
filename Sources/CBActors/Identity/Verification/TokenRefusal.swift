public import FoundationEssentials

/// Why a token was not accepted. Never holds the token; what it repeats of it is short and printable.
public enum TokenRefusal: Error, Sendable, Equatable {
  /// Longer than ``TokenVerifier/sizeLimit``; bytes.
  case tooLarge(Int)
  case malformed(String)
  /// No JWT at all, or an encrypted one: only introspection could tell what it means.
  case opaque
  case algorithmNone
  case algorithmNotAllowed(String)
  /// No key of this name, even after asking again as often as the rate limit lets us.
  case unknownKey(String?)
  /// The named key exists, but is not one that this algorithm uses.
  case keyMismatch(key: String?, algorithm: String)
  case badSignature
  case expired(at: Date)
  case notYetValid(before: Date)
  case wrongIssuer(String)
  case wrongAudience
  case missingClaim(String)
  case missingScope(String)
  case missingRole(String)
  /// The keys could not be fetched, and none remembered are young enough.
  case keysUnavailable(String)

  /// A name for a counter's label: one for each case, nothing from the token.
  public var label: String {
    switch self {
    case .tooLarge: "too_large"
    case .malformed: "malformed"
    case .opaque: "opaque"
    case .algorithmNone: "algorithm_none"
    case .algorithmNotAllowed: "algorithm_not_allowed"
    case .unknownKey: "unknown_key"
    case .keyMismatch: "key_mismatch"
    case .badSignature: "bad_signature"
    case .expired: "expired"
    case .notYetValid: "not_yet_valid"
    case .wrongIssuer: "wrong_issuer"
    case .wrongAudience: "wrong_audience"
    case .missingClaim: "missing_claim"
    case .missingScope: "missing_scope"
    case .missingRole: "missing_role"
    case .keysUnavailable: "keys_unavailable"
    }
  }

  /// Whether the fault lies with us or the issuer, so that the same token may pass later.
  public var isTransient: Bool {
    switch self {
    case .keysUnavailable, .notYetValid: true
    default: false
    }
  }
}

extension TokenRefusal: CustomStringConvertible {
  public var description: String {
    switch self {
    case .tooLarge(let bytes): "the token has \(bytes) bytes, more than \(TokenVerifier.sizeLimit)"
    case .malformed(let what): "the token is malformed: \(what)"
    case .opaque: "the token is opaque or encrypted; let the issuer's application give JWT access tokens"
    case .algorithmNone: "the token is unsigned (alg none)"
    case .algorithmNotAllowed(let name): "the token is signed with \(name), which this trust profile does not allow"
    case .unknownKey(let key): "the token is signed with a key the issuer does not publish: \(key ?? "(unnamed)")"
    case .keyMismatch(let key, let algorithm): "the key \(key ?? "(unnamed)") is not one that \(algorithm) uses"
    case .badSignature: "the token's signature does not verify"
    case .expired(let at): "the token expired at \(TokenRefusal.text(at))"
    case .notYetValid(let before): "the token is not valid before \(TokenRefusal.text(before))"
    case .wrongIssuer(let issuer): "the token is from another issuer: \(issuer)"
    case .wrongAudience: "the token is meant for another audience"
    case .missingClaim(let name): "the token lacks the claim \(name)"
    case .missingScope(let name): "the token lacks the scope \(name)"
    case .missingRole(let name): "the user lacks the role \(name)"
    case .keysUnavailable(let reason): "the issuer's keys are unavailable: \(reason)"
    }
  }

  private static func text(_ date: Date) -> String { date.formatted(.iso8601) }
}
