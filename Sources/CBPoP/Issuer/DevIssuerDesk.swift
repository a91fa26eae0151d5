import Crypto
import FoundationEssentials
import Identity
import Wire

/// A request as the desk sees it, whatever carried it.
struct DeskRequest: Sendable {
  var query = ""
  /// Names in lower case.
  var headers: [String: String] = [:]
  /// The Host that was asked.
  var authority = ""
  var body: [UInt8] = []
}

struct DeskAnswer: Sendable {
  var status: Int
  var headers: [(String, String)]
  var body: [UInt8]

  static func json(_ value: JSONValue, status: Int = 200, cache: String = "no-store") -> DeskAnswer {
    DeskAnswer(
      status: status, headers: [("content-type", "application/json"), ("cache-control", cache)],
      body: value.serialized)
  }

  static func error(_ status: Int, _ code: String, _ detail: String? = nil) -> DeskAnswer {
    var members: [String: JSONValue] = ["error": .string(code)]
    if let detail { members["error_description"] = .string(detail) }
    return json(.object(members), status: status)
  }
}

/// The development issuer's state and its answers, apart from the server that carries them.
actor DevIssuerDesk {
  let configuration: DevIssuer.Configuration
  let mint: TokenMint
  let now: @Sendable () -> Date
  let entropy: any EntropySource & Sendable
  var codes: DeviceCodeLedger
  var sessions: SessionLedger
  /// Binds a form to the browser it was shown in.
  let formKey = SymmetricKey(size: .bits256)

  private var issuer: Result<String, DevIssuer.StartError>?
  private var waiters: [CheckedContinuation<String, any Error>] = []

  init(
    configuration: DevIssuer.Configuration, mint: TokenMint, now: @escaping @Sendable () -> Date,
    entropy: any EntropySource & Sendable
  ) {
    self.configuration = configuration
    self.mint = mint
    self.now = now
    self.entropy = entropy
    codes = DeviceCodeLedger(
      limits: .init(lifetime: configuration.codeLifetime, interval: configuration.pollInterval))
    sessions = SessionLedger(refreshLifetime: configuration.refreshLifetime)
  }

  // MARK: Where it listens

  func bind(issuer name: String) { settle(.success(name)) }

  func end(_ reason: String) { settle(.failure(.notRunning(reason))) }

  func boundIssuer() async throws -> String {
    if let issuer { return try issuer.get() }
    return try await withCheckedThrowingContinuation { waiters.append($0) }
  }

  private func settle(_ result: Result<String, DevIssuer.StartError>) {
    issuer = result
    for waiter in waiters { waiter.resume(with: result.mapError { $0 as any Error }) }
    waiters = []
  }

  /// The server answers only once it is bound.
  var issuerName: String { (try? issuer?.get()) ?? "" }

  // MARK: Metadata

  func discovery() -> DeskAnswer {
    func at(_ path: String) -> JSONValue { .string(issuerName + path) }
    return .json(
      .object([
        "issuer": .string(issuerName),
        "jwks_uri": at("/keys"),
        "token_endpoint": at("/token"),
        "device_authorization_endpoint": at("/device_authorization"),
        "userinfo_endpoint": at("/userinfo"),
        "revocation_endpoint": at("/revoke"),
        "response_types_supported": .array([]),
        "subject_types_supported": .array([.string("public")]),
        "id_token_signing_alg_values_supported": .array([.string(mint.algorithm)]),
        "token_endpoint_auth_methods_supported": .array([.string("none")]),
        "grant_types_supported": .array([
          .string("urn:ietf:params:oauth:grant-type:device_code"), .string("refresh_token"),
        ]),
        "scopes_supported": .array(OAuthClient.defaultScopes.map { .string($0) }),
      ]), cache: "public, max-age=300")
  }

  func keys() -> DeskAnswer {
    guard let keys = try? mint.keySet() else { return .error(500, "server_error") }
    return .json(keys, cache: "public, max-age=300")
  }

  // MARK: Tokens

  func authorizeDevice(_ request: DeskRequest) -> DeskAnswer {
    guard let form = FormEncoding.decode(request.body) else { return .error(400, "invalid_request") }
    guard let client = form["client_id"], configuration.clientIDs.contains(client) else {
      return .error(401, "invalid_client")
    }
    let scopes = (form["scope"] ?? "openid").split(separator: " ").prefix(32).map(String.init)
    guard let issued = codes.issue(clientID: client, scopes: scopes, at: now(), entropy: entropy) else {
      return .error(503, "temporarily_unavailable", "too many sign-ins wait for approval")
    }
    return .json(
      .object([
        "device_code": .string(issued.deviceCode),
        "user_code": .string("\(issued.userCode)"),
        "verification_uri": .string(issuerName + "/device"),
        "verification_uri_complete": .string(issuerName + "/device?user_code=\(issued.userCode)"),
        "expires_in": .number(Double(configuration.codeLifetime)),
        "interval": .number(Double(configuration.pollInterval)),
      ]))
  }

  func token(_ request: DeskRequest) -> DeskAnswer {
    guard let form = FormEncoding.decode(request.body) else { return .error(400, "invalid_request") }
    guard let client = form["client_id"], configuration.clientIDs.contains(client) else {
      return .error(401, "invalid_client")
    }
    switch form["grant_type"] {
    case "urn:ietf:params:oauth:grant-type:device_code":
      guard let code = form["device_code"] else { return .error(400, "invalid_request", "no device_code") }
      switch codes.poll(code, clientID: client, at: now()) {
      case .pending: return .error(400, "authorization_pending")
      case .slowDown: return .error(400, "slow_down")
      case .denied: return .error(400, "access_denied")
      case .expired: return .error(400, "expired_token")
      case .unknown: return .error(400, "invalid_grant")
      case .approved(let user, let scopes):
        let (session, refresh) = sessions.open(
          user: user, clientID: client, scopes: scopes, at: now(), entropy: entropy)
        return tokens(session, refresh)
      }
    case "refresh_token":
      guard let token = form["refresh_token"] else { return .error(400, "invalid_request", "no refresh_token") }
      guard let (session, refresh) = sessions.rotate(token, clientID: client, at: now(), entropy: entropy) else {
        return .error(400, "invalid_grant", "the refresh token is unknown, lapsed or used")
      }
      return tokens(session, refresh)
    default:
      return .error(400, "unsupported_grant_type")
    }
  }

  func revoke(_ request: DeskRequest) async -> DeskAnswer {
    guard let form = FormEncoding.decode(request.body), let token = form["token"] else {
      return .error(400, "invalid_request")
    }
    guard let client = form["client_id"], configuration.clientIDs.contains(client) else {
      return .error(401, "invalid_client")
    }
    sessions.revoke(refreshToken: token, clientID: client)
    if let identity = await verified(token), identity.clientID == client, let id = identity.tokenID {
      sessions.revoke(tokenID: id)
    }
    // RFC 7009 §2.2: a token not known is as good as revoked.
    return DeskAnswer(status: 200, headers: [("cache-control", "no-store")], body: [])
  }

  func userinfo(_ request: DeskRequest) async -> DeskAnswer {
    let words = request.headers["authorization"]?.split(separator: " ", maxSplits: 1) ?? []
    guard words.count == 2, words[0].lowercased() == "bearer", let identity = await verified(String(words[1])),
      let id = identity.tokenID, let session = sessions.session(ofTokenID: id)
    else {
      var answer = DeskAnswer.error(401, "invalid_token")
      answer.headers.append(("www-authenticate", "Bearer error=\"invalid_token\""))
      return answer
    }
    return .json(.object(profile(session.user)))
  }

  /// Judges one of our own access tokens by the same rules as a PoP does.
  private func verified(_ token: String) async -> VerifiedIdentity? {
    guard let keys = try? mint.keySet().serialized,
      let url = try? EndpointURL(issuerName + "/keys"),
      let profile = try? TrustProfile(
        issuer: issuerName, audiences: [configuration.audience], keySource: .jwks(url), clockSkew: 0)
    else { return nil }
    return try? await TokenVerifier(profile: profile, fetch: OwnKeys(document: keys)).verify(token, at: now())
  }

  private func tokens(_ session: SessionLedger.Session, _ refresh: String?) -> DeskAnswer {
    let issuedAt = now().timeIntervalSince1970.rounded(.down)
    let expiresAt = issuedAt + Double(configuration.accessLifetime)
    let organisation = configuration.organisation
    let owner = "urn:zitadel:iam:user:resourceowner:"
    var claims: [String: JSONValue] = [
      "iss": .string(issuerName), "sub": .string(session.user), "client_id": .string(session.clientID),
      "aud": .array([.string(session.clientID), .string(configuration.audience)]),
      "iat": .number(issuedAt), "nbf": .number(issuedAt), "exp": .number(expiresAt),
      "jti": .string(session.tokenID), "scope": .string(session.scopes.joined(separator: " ")),
      owner + "id": .string(organisation.id), owner + "name": .string(organisation.name),
      owner + "primary_domain": .string(organisation.primaryDomain),
    ]
    let grant = JSONValue.object([organisation.id: .string(organisation.primaryDomain)])
    claims["urn:zitadel:iam:org:project:roles"] = .object(
      Dictionary(configuration.roles.map { ($0, grant) }, uniquingKeysWith: { first, _ in first }))
    var answer: [String: JSONValue] = [
      "token_type": .string("Bearer"), "expires_in": .number(Double(configuration.accessLifetime)),
      "scope": .string(session.scopes.joined(separator: " ")),
    ]
    do {
      answer["access_token"] = .string(try mint.sign(claims, type: "at+jwt"))
      if session.scopes.contains("openid") {
        answer["id_token"] = .string(
          try mint.sign(
            [
              "iss": .string(issuerName), "sub": .string(session.user), "aud": .string(session.clientID),
              "azp": .string(session.clientID), "iat": .number(issuedAt), "exp": .number(expiresAt),
              "auth_time": .number(session.signedInAt.timeIntervalSince1970.rounded(.down)),
              "amr": .array([.string("user")]),
            ], type: "JWT"))
      }
    } catch {
      return .error(500, "server_error")
    }
    if let refresh { answer["refresh_token"] = .string(refresh) }
    return .json(.object(answer))
  }

  private func profile(_ user: String) -> [String: JSONValue] {
    let organisation = configuration.organisation
    let owner = "urn:zitadel:iam:user:resourceowner:"
    return [
      "sub": .string(user), "name": .string(user), "preferred_username": .string(user),
      "email": .string("\(user)@\(organisation.primaryDomain)"), "email_verified": .bool(false),
      owner + "id": .string(organisation.id), owner + "name": .string(organisation.name),
      owner + "primary_domain": .string(organisation.primaryDomain),
    ]
  }
}

/// The issuer's own key set, without a way over the network to itself.
private struct OwnKeys: HTTPFetch {
  let document: [UInt8]

  func fetch(_ request: FetchRequest) async throws(FetchFailure) -> FetchResponse {
    FetchResponse(status: 200, body: document)
  }
}
