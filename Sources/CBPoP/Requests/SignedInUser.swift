import Foundation
import HTTP3
import Identity
import MASQUE

/// Who a connection's client is: what its newest valid token says, for the requests that carry none.
///
/// A request without a token that comes while an earlier one's is being verified waits for the verdict: requests are
/// streams of their own, and the issuer's keys may have to be fetched first.
struct SignedInUser {
  private(set) var identity: VerifiedIdentity?
  private var verifying: Task<Result<VerifiedIdentity, TokenRefusal>, Never>?
  /// How many verifications have been begun: the newest one's end clears `verifying`.
  private var verifications = 0

  /// How a request is to be judged.
  enum Judgement {
    case known(Result<VerifiedIdentity, Rejection>)
    /// Await the task, and with a number, tell ``verified(_:number:)``.
    case verifying(Task<Result<VerifiedIdentity, TokenRefusal>, Never>, number: Int?)
  }

  mutating func judge(_ fields: HeaderList, by issuers: TrustedIssuers, at now: Date) -> Judgement {
    if let token = Self.bearerToken(fields) {
      let task = Task { () -> Result<VerifiedIdentity, TokenRefusal> in
        do throws(TokenRefusal) { return .success(try await issuers.verify(token, at: now)) } catch {
          return .failure(error)
        }
      }
      verifying = task
      verifications += 1
      return .verifying(task, number: verifications)
    }
    if let identity, identity.expiresAt > now { return .known(.success(identity)) }
    if let verifying { return .verifying(verifying, number: nil) }
    let reason = identity == nil ? "a bearer token is needed" : "the token has expired"
    return .known(.failure(Rejection(status: 401, reason)))
  }

  mutating func verified(_ result: Result<VerifiedIdentity, TokenRefusal>, number: Int) {
    if number == verifications { verifying = nil }
    if case .success(let identity) = result { self.identity = identity }
  }

  private static func bearerToken(_ fields: HeaderList) -> String? {
    for name in ["authorization", "proxy-authorization"] {
      guard let value = fields[name] else { continue }
      let parts = value.split(separator: " ", maxSplits: 1)
      // RFC 9110 §11.1: the scheme is compared without regard to case.
      if parts.count == 2, parts[0].lowercased() == "bearer" {
        return String(parts[1]).trimmingCharacters(in: .whitespaces)
      }
    }
    return nil
  }
}
