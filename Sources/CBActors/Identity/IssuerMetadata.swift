/// What an issuer says of itself (OpenID Connect Discovery 1.0 §3, RFC 8414 §2): where its endpoints are.
public struct IssuerMetadata: Sendable, Equatable {
  /// Exactly as asked, and as tokens carry it in `iss`.
  public let issuer: String
  public let tokenEndpoint: EndpointURL
  public let jwksURI: EndpointURL
  public let deviceAuthorizationEndpoint: EndpointURL?
  public let userinfoEndpoint: EndpointURL?
  public let revocationEndpoint: EndpointURL?

  /// Bytes of a discovery document beyond which it is refused.
  public static let sizeLimit = 64 * 1024

  /// Asks `issuer` for its discovery document and checks that it speaks for that issuer.
  ///
  /// - Parameter issuer: an https URL, or http to loopback; a trailing slash belongs to its name.
  /// - Throws: ``OAuthFailure``: `unusableURL`, `unreachable`, `unexpectedStatus`, `malformedAnswer`,
  ///   `issuerMismatch`.
  public static func discover(
    issuer: String, fetch: any HTTPFetch
  ) async throws(OAuthFailure) -> IssuerMetadata {
    _ = try EndpointURL(issuer)
    // OpenID Connect Discovery §4.1: the well-known path follows the issuer, less a final slash.
    let base = issuer.hasSuffix("/") ? String(issuer.dropLast()) : issuer
    let url = try EndpointURL(base + "/.well-known/openid-configuration")
    let answer: FetchResponse
    do {
      answer = try await fetch.fetch(
        FetchRequest(url: url, headers: [("accept", "application/json")], responseLimit: sizeLimit))
    } catch {
      throw .unreachable(error)
    }
    guard answer.status == 200 else { throw .unexpectedStatus(answer.status) }
    return try IssuerMetadata(document: answer.body, asked: issuer)
  }

  /// Reads a discovery document fetched from `asked`.
  public init(document: [UInt8], asked: String) throws(OAuthFailure) {
    guard document.count <= IssuerMetadata.sizeLimit, let json = JSONValue(parsing: document), json.object != nil else {
      throw .malformedAnswer("the discovery document is not a JSON object")
    }
    guard let issuer = json["issuer"]?.string else { throw .malformedAnswer("the discovery document has no issuer") }
    // OpenID Connect Discovery §4.3: the issuer in the answer is identical to the one asked, or
    // any host could hand out keys in another's name.
    guard issuer == asked else {
      throw .issuerMismatch(asked: asked.printable(limit: 200), answered: issuer.printable(limit: 200))
    }
    let secure = try EndpointURL(asked).isHTTPS

    func endpoint(_ name: String) throws(OAuthFailure) -> EndpointURL? {
      guard let text = json[name]?.string else { return nil }
      let url = try EndpointURL(text)
      // An issuer reached over https has no business sending tokens over plain http.
      guard url.isHTTPS || !secure else { throw .unusableURL(text.printable(limit: 200)) }
      return url
    }

    guard let token = try endpoint("token_endpoint") else {
      throw .malformedAnswer("the discovery document has no token_endpoint")
    }
    guard let jwks = try endpoint("jwks_uri") else {
      throw .malformedAnswer("the discovery document has no jwks_uri")
    }
    self.issuer = issuer
    tokenEndpoint = token
    jwksURI = jwks
    deviceAuthorizationEndpoint = try endpoint("device_authorization_endpoint")
    userinfoEndpoint = try endpoint("userinfo_endpoint")
    revocationEndpoint = try endpoint("revocation_endpoint")
  }
}
