/// A successful answer of the token endpoint (RFC 6749 §5.1).
public struct TokenResponse: Sendable, Equatable {
  public let accessToken: Secret
  /// Present with the scope `offline_access`, and renewed by each refresh where the server rotates.
  public let refreshToken: Secret?
  public let idToken: Secret?
  /// The access token's lifetime in seconds, as the server tells it.
  public let expiresIn: Int?
  public let scope: String?

  /// Bytes of a token endpoint's answer beyond which it is refused.
  public static let sizeLimit = 128 * 1024

  public init(
    accessToken: Secret, refreshToken: Secret? = nil, idToken: Secret? = nil, expiresIn: Int? = nil,
    scope: String? = nil
  ) {
    self.accessToken = accessToken
    self.refreshToken = refreshToken
    self.idToken = idToken
    self.expiresIn = expiresIn
    self.scope = scope
  }

  public init(answer: [UInt8]) throws(OAuthFailure) {
    guard let json = JSONValue(parsing: answer), json.object != nil else {
      throw .malformedAnswer("the token answer is not a JSON object")
    }
    guard let access = json["access_token"]?.string, !access.isEmpty else {
      throw .malformedAnswer("no access_token")
    }
    // RFC 6749 §5.1: the type's case does not matter, and a type not understood makes the token useless.
    guard let type = json["token_type"]?.string, type.lowercased() == "bearer" else {
      throw .malformedAnswer("token_type is not Bearer")
    }
    // A token goes into a header: what could end one header and begin another is no token.
    guard access.utf8.allSatisfy({ (0x21..<0x7f).contains($0) }) else {
      throw .malformedAnswer("access_token has characters that no header can carry")
    }
    accessToken = Secret(access)
    refreshToken = json["refresh_token"]?.string.flatMap { $0.isEmpty ? nil : Secret($0) }
    idToken = json["id_token"]?.string.flatMap { $0.isEmpty ? nil : Secret($0) }
    expiresIn = json["expires_in"]?.seconds(clampedTo: 0...31_536_000)
    scope = json["scope"]?.string
  }
}

/// What one request to the token endpoint came to, before anyone decides what follows from it.
public enum TokenOutcome: Sendable, Equatable {
  case tokens(TokenResponse)
  case refused(OAuthError)
  case unreachable(FetchFailure)
  /// 429, or a server's error; `retryAfter` in seconds where it named one.
  case busy(status: Int, retryAfter: Int?)
  case malformed(String)

  /// Judges a token endpoint's answer by status and body (RFC 6749 §5).
  public init(_ answer: FetchResponse) {
    if answer.status == 200 {
      do throws(OAuthFailure) {
        self = .tokens(try TokenResponse(answer: answer.body))
      } catch {
        self = if case .malformedAnswer(let what) = error { .malformed(what) } else { .malformed("\(error)") }
      }
      return
    }
    if let code = JSONValue(parsing: answer.body)?["error"]?.string {
      let detail = JSONValue(parsing: answer.body)?["error_description"]?.string
      // A 5xx that names an OAuth error is still an answer only when it speaks of the grant.
      if answer.status < 500 || code == "slow_down" || code == "authorization_pending" {
        self = .refused(OAuthError(code: code, detail: detail))
        return
      }
    }
    if answer.status == 429 || answer.status >= 500 {
      let after = answer.headers["retry-after"].flatMap(Int.init).map { min(max($0, 0), 3600) }
      self = .busy(status: answer.status, retryAfter: after)
    } else {
      self = .malformed("HTTP status \(answer.status) without an OAuth error")
    }
  }
}

extension TokenOutcome {
  /// Why the next poll comes later than usual; nil when it does not.
  var delay: String? {
    switch self {
    case .refused(let error) where error.code == "slow_down": "the issuer asks for slower polling"
    case .tokens, .refused: nil
    case .unreachable(let failure): failure.description
    case .busy(let status, _): "the issuer answered with HTTP status \(status)"
    case .malformed(let what): "the issuer's answer is malformed: \(what)"
    }
  }
}
