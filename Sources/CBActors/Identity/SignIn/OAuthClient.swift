/// A public OAuth client (RFC 6749 §2.1): it has an identifier and no secret.
public struct OAuthClient: Sendable {
  public static let defaultScopes = ["openid", "profile", "email", "offline_access"]

  public let metadata: IssuerMetadata
  public let clientID: String
  public let scopes: [String]
  private let fetch: any HTTPFetch

  public init(
    metadata: IssuerMetadata, clientID: String, scopes: [String] = OAuthClient.defaultScopes,
    fetch: any HTTPFetch = HTTPClientFetch.shared
  ) {
    self.metadata = metadata
    self.clientID = clientID
    self.scopes = scopes
    self.fetch = fetch
  }

  /// Begins a device flow (RFC 8628 §3.1).
  public func authorizeDevice() async throws(OAuthFailure) -> DeviceAuthorization {
    guard let endpoint = metadata.deviceAuthorizationEndpoint else {
      throw .unsupported("device authorization endpoint")
    }
    let answer = try await post(
      endpoint, [("client_id", clientID), ("scope", scopes.joined(separator: " "))], limit: 16 * 1024)
    guard answer.status == 200 else { throw OAuthClient.failure(of: answer) }
    return try DeviceAuthorization(answer: answer.body)
  }

  /// Asks once whether the user has approved (RFC 8628 §3.4).
  public func poll(_ deviceCode: Secret) async -> TokenOutcome {
    await requestTokens([
      ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
      ("device_code", deviceCode.exposed),
      ("client_id", clientID),
    ])
  }

  /// Exchanges a refresh token (RFC 6749 §6). Where the server rotates, the old one is dead from here
  /// on, and with some so is the access token: keep the answer before anything else.
  ///
  /// An answer without a refresh token leaves the old one valid.
  public func refresh(_ refreshToken: Secret) async throws(OAuthFailure) -> TokenResponse {
    let outcome = await requestTokens([
      ("grant_type", "refresh_token"), ("refresh_token", refreshToken.exposed), ("client_id", clientID),
    ])
    switch outcome {
    case .tokens(let tokens):
      return TokenResponse(
        accessToken: tokens.accessToken, refreshToken: tokens.refreshToken ?? refreshToken, idToken: tokens.idToken,
        expiresIn: tokens.expiresIn, scope: tokens.scope)
    case .refused(let error): throw .refused(error)
    case .unreachable(let failure): throw .unreachable(failure)
    case .busy(let status, _): throw .unexpectedStatus(status)
    case .malformed(let what): throw .malformedAnswer(what)
    }
  }

  public enum TokenKind: String, Sendable { case access = "access_token", refresh = "refresh_token" }

  /// Revokes a token (RFC 7009 §2.1). An unknown token is no error there, nor here.
  public func revoke(_ token: Secret, kind: TokenKind) async throws(OAuthFailure) {
    guard let endpoint = metadata.revocationEndpoint else { throw .unsupported("revocation endpoint") }
    let answer = try await post(
      endpoint, [("token", token.exposed), ("token_type_hint", kind.rawValue), ("client_id", clientID)],
      limit: 16 * 1024)
    guard answer.status == 200 else { throw OAuthClient.failure(of: answer) }
  }

  /// Asks who the access token speaks for (OpenID Connect Core §5.3).
  public func userinfo(_ accessToken: Secret) async throws(OAuthFailure) -> UserInfo {
    guard let endpoint = metadata.userinfoEndpoint else { throw .unsupported("userinfo endpoint") }
    let answer: FetchResponse
    do {
      answer = try await fetch.fetch(
        FetchRequest(
          url: endpoint,
          headers: [("accept", "application/json"), ("authorization", "Bearer \(accessToken.exposed)")],
          responseLimit: 64 * 1024))
    } catch {
      throw .unreachable(error)
    }
    if answer.status == 401 { throw .refused(OAuthError(code: "invalid_token")) }
    guard answer.status == 200 else { throw OAuthClient.failure(of: answer) }
    return try UserInfo(answer: answer.body)
  }

  private func requestTokens(_ form: [(name: String, value: String)]) async -> TokenOutcome {
    do throws(FetchFailure) {
      return TokenOutcome(
        try await fetch.fetch(OAuthClient.request(metadata.tokenEndpoint, form, limit: TokenResponse.sizeLimit)))
    } catch {
      return .unreachable(error)
    }
  }

  private func post(
    _ url: EndpointURL, _ form: [(name: String, value: String)], limit: Int
  ) async throws(OAuthFailure) -> FetchResponse {
    do throws(FetchFailure) {
      return try await fetch.fetch(OAuthClient.request(url, form, limit: limit))
    } catch {
      throw .unreachable(error)
    }
  }

  private static func request(
    _ url: EndpointURL, _ form: [(name: String, value: String)], limit: Int
  ) -> FetchRequest {
    FetchRequest(
      .post, url: url, headers: [("content-type", FormEncoding.contentType), ("accept", "application/json")],
      body: FormEncoding.encode(form), responseLimit: limit)
  }

  private static func failure(of answer: FetchResponse) -> OAuthFailure {
    switch TokenOutcome(answer) {
    case .refused(let error): .refused(error)
    default: .unexpectedStatus(answer.status)
    }
  }
}

/// Who the user is, as the userinfo endpoint tells it; safe to print.
public struct UserInfo: Sendable, Equatable {
  public let subject: String
  public let name: String?
  public let email: String?
  public let organisation: String?

  init(answer: [UInt8]) throws(OAuthFailure) {
    guard let json = JSONValue(parsing: answer), let subject = json["sub"]?.string, !subject.isEmpty else {
      throw .malformedAnswer("userinfo has no sub")
    }
    func shown(_ name: String) -> String? { json[name]?.string?.displayable(limit: 200) }
    self.subject = subject.printable(limit: 200)
    name = shown("name") ?? shown("preferred_username")
    email = shown("email")
    organisation = shown("urn:zitadel:iam:user:resourceowner:name")
  }
}
