/// What an authorization server answered with an error (RFC 6749 §5.2, RFC 8628 §3.5).
public struct OAuthError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The registered code, such as `authorization_pending`.
  public let code: String
  /// The server's own words, if any, made safe to print.
  public let detail: String?

  public init(code: String, detail: String? = nil) {
    self.code = code.printable(limit: 64)
    self.detail = detail?.printable(limit: 200)
  }

  public var description: String { detail.map { "\(code): \($0)" } ?? code }
}

/// Why an exchange with the authorization server came to nothing. Carries no token.
public enum OAuthFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// Not an absolute https URL (or http to loopback).
  case unusableURL(String)
  case unreachable(FetchFailure)
  /// A status that the protocol gives no meaning here, such as 502.
  case unexpectedStatus(Int)
  /// An answer without what the named specification requires of it.
  case malformedAnswer(String)
  /// The discovery document speaks for another issuer than the one asked.
  case issuerMismatch(asked: String, answered: String)
  /// The issuer does not offer what was asked of it, such as a device authorization endpoint.
  case unsupported(String)
  case refused(OAuthError)
  case cancelled

  public var description: String {
    switch self {
    case .unusableURL(let url): "not a usable URL (https, or http to this machine): \(url)"
    case .unreachable(let failure): "the issuer could not be asked: \(failure)"
    case .unexpectedStatus(let status): "the issuer answered with HTTP status \(status)"
    case .malformedAnswer(let what): "the issuer's answer is malformed: \(what)"
    case .issuerMismatch(let asked, let answered): "asked \(asked), but the answer is for issuer \(answered)"
    case .unsupported(let what): "the issuer offers no \(what)"
    case .refused(let error): "the issuer refused: \(error)"
    case .cancelled: "cancelled"
    }
  }

  /// Whether signing in again is the only way forward: the grant itself is gone.
  public var endsGrant: Bool {
    if case .refused(let error) = self { error.code == "invalid_grant" } else { false }
  }
}
