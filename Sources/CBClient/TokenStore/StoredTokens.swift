public import FoundationEssentials
public import Identity

/// What a sign-in left behind: the tokens, and whose they are.
public struct StoredTokens: Sendable, Equatable {
  public var access: Secret
  public var refresh: Secret?
  public var idToken: Secret?
  /// When the access token ends, by this machine's clock.
  public var expiresAt: Date
  public var issuer: String
  public var subject: String
  public var name: String?
  public var email: String?
  public var organisation: String?

  public init(
    access: Secret, refresh: Secret? = nil, idToken: Secret? = nil, expiresAt: Date, issuer: String, subject: String,
    name: String? = nil, email: String? = nil, organisation: String? = nil
  ) {
    self.access = access
    self.refresh = refresh
    self.idToken = idToken
    self.expiresAt = expiresAt
    self.issuer = issuer
    self.subject = subject
    self.name = name
    self.email = email
    self.organisation = organisation
  }

  /// A fresh sign-in. Where the server does not say how long its token lives, five minutes are assumed.
  public init(_ tokens: TokenResponse, user: UserInfo, issuer: String, receivedAt now: Date) {
    self.init(
      access: tokens.accessToken, refresh: tokens.refreshToken, idToken: tokens.idToken,
      expiresAt: now.addingTimeInterval(TimeInterval(tokens.expiresIn ?? 300)), issuer: issuer, subject: user.subject,
      name: user.name, email: user.email, organisation: user.organisation)
  }

  /// The same sign-in after a refresh.
  public func renewed(with tokens: TokenResponse, receivedAt now: Date) -> StoredTokens {
    var renewed = self
    renewed.access = tokens.accessToken
    renewed.refresh = tokens.refreshToken ?? refresh
    renewed.idToken = tokens.idToken ?? idToken
    renewed.expiresAt = now.addingTimeInterval(TimeInterval(tokens.expiresIn ?? 300))
    return renewed
  }
}

extension StoredTokens {
  /// As JSON, for sealing. The caller zeroes it.
  var serialized: [UInt8] {
    var members: [String: JSONValue] = [
      "access": .string(access.exposed), "expiresAt": .number(expiresAt.timeIntervalSince1970),
      "issuer": .string(issuer), "subject": .string(subject),
    ]
    members["refresh"] = refresh.map { .string($0.exposed) }
    members["idToken"] = idToken.map { .string($0.exposed) }
    members["name"] = name.map { .string($0) }
    members["email"] = email.map { .string($0) }
    members["organisation"] = organisation.map { .string($0) }
    return JSONValue.object(members).serialized
  }

  init?(serialized: [UInt8]) {
    guard let json = JSONValue(parsing: serialized), let access = json["access"]?.string,
      let expiresAt = json["expiresAt"]?.number, let issuer = json["issuer"]?.string,
      let subject = json["subject"]?.string
    else { return nil }
    self.init(
      access: Secret(access), refresh: json["refresh"]?.string.map { Secret($0) },
      idToken: json["idToken"]?.string.map { Secret($0) }, expiresAt: Date(timeIntervalSince1970: expiresAt),
      issuer: issuer, subject: subject, name: json["name"]?.string, email: json["email"]?.string,
      organisation: json["organisation"]?.string)
  }
}
