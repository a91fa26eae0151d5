public import Foundation
public import Identity

/// The trust profiles of a PoP. A token is judged by the one whose issuer it names, and by no other.
public struct TrustedIssuers: Sendable {
  private let verifiers: [String: TokenVerifier]

  public init(_ profiles: [Identity.TrustProfile]) {
    verifiers = Dictionary(profiles.map { ($0.issuer, TokenVerifier(profile: $0)) }) { first, _ in first }
  }

  /// Fetches every issuer's keys, so that the first user does not wait for them.
  public func warm(at now: Date) async {
    await withTaskGroup(of: Void.self) { group in
      for verifier in verifiers.values { group.addTask { await verifier.warm(at: now) } }
    }
  }

  /// Judges the credentials of `Bearer`. The claimed issuer only chooses the judge; nothing is believed
  /// before that one has checked the signature.
  public func verify(_ token: String, at now: Date) async throws(TokenRefusal) -> VerifiedIdentity {
    if verifiers.count == 1, let only = verifiers.values.first { return try await only.verify(token, at: now) }
    guard let issuer = TokenVerifier.claimedIssuer(token), let verifier = verifiers[issuer] else {
      throw .wrongIssuer(TokenVerifier.claimedIssuer(token) ?? "")
    }
    return try await verifier.verify(token, at: now)
  }
}
