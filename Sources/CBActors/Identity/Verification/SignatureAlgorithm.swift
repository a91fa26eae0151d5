/// The signatures a token may carry (RFC 7518 §3.1, RFC 8037 §3.1). What is not listed is refused.
public enum SignatureAlgorithm: String, Sendable, Hashable, CaseIterable {
  case hs256 = "HS256"
  case rs256 = "RS256"
  case rs384 = "RS384"
  case rs512 = "RS512"
  case es256 = "ES256"
  case es384 = "ES384"
  case es512 = "ES512"
  case edDSA = "EdDSA"

  /// Signed and checked with one shared secret; everyone who can check can also sign.
  public var isSymmetric: Bool { self == .hs256 }

  /// Every algorithm with a published key.
  public static let published = Set(allCases.filter { !$0.isSymmetric })
}
