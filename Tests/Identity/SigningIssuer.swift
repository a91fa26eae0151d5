import Crypto
import CryptoExtras
import FoundationEssentials
import Identity

/// An issuer that lives in the test: keys made at start, tokens signed on demand, its discovery
/// document and key set served through ``HTTPFetch``.
actor SigningIssuer: HTTPFetch {
  static let name = "https://issuer.example"
  static let audience = "cloudbridge"
  static let now = Date(timeIntervalSince1970: 1_800_000_000)

  nonisolated let p256 = P256.Signing.PrivateKey()
  nonisolated let p384 = P384.Signing.PrivateKey()
  nonisolated let p521 = P521.Signing.PrivateKey()
  nonisolated let ed25519 = Curve25519.Signing.PrivateKey()
  nonisolated let rsa: _RSA.Signing.PrivateKey

  var keySet: JSONValue?
  var headers: [String: String] = [:]
  var failure: FetchFailure?
  private(set) var keyFetches = 0
  private var gate: [CheckedContinuation<Void, Never>] = []
  private var gated = false

  // One RSA key for all tests: making one takes a second.
  private static let rsaKey = Result { try _RSA.Signing.PrivateKey(keySize: .bits2048) }

  init() throws { rsa = try SigningIssuer.rsaKey.get() }

  func publish(_ keys: [JSONValue], headers: [String: String] = [:]) {
    keySet = .object(["keys": .array(keys)])
    self.headers = headers
  }

  func fail(_ failure: FetchFailure?) { self.failure = failure }
  func holdAnswers() { gated = true }
  func releaseAnswers() {
    gated = false
    for waiter in gate { waiter.resume() }
    gate = []
  }
  var waiting: Int { gate.count }

  func fetch(_ request: FetchRequest) async throws(FetchFailure) -> FetchResponse {
    if gated { await withCheckedContinuation { gate.append($0) } }
    if let failure { throw failure }
    if request.url.text.hasSuffix("/.well-known/openid-configuration") {
      let document = JSONValue.object([
        "issuer": .string(SigningIssuer.name),
        "token_endpoint": .string(SigningIssuer.name + "/token"),
        "jwks_uri": .string(SigningIssuer.name + "/keys"),
      ])
      return FetchResponse(status: 200, body: document.serialized)
    }
    keyFetches += 1
    guard let keySet else { return FetchResponse(status: 404) }
    return FetchResponse(status: 200, headers: headers, body: keySet.serialized)
  }

  // MARK: Keys

  nonisolated func publicKey(_ algorithm: String, kid: String?) -> JSONValue {
    var key: [String: JSONValue] = [:]
    func curve(_ name: String, _ point: Data) {
      key["kty"] = .string("EC")
      key["crv"] = .string(name)
      key["x"] = .string(Base64URL.encode(point.prefix(point.count / 2)))
      key["y"] = .string(Base64URL.encode(point.suffix(point.count / 2)))
    }
    switch algorithm {
    case "ES256": curve("P-256", p256.publicKey.rawRepresentation)
    case "ES384": curve("P-384", p384.publicKey.rawRepresentation)
    case "ES512": curve("P-521", p521.publicKey.rawRepresentation)
    case "EdDSA":
      key["kty"] = .string("OKP")
      key["crv"] = .string("Ed25519")
      key["x"] = .string(Base64URL.encode(ed25519.publicKey.rawRepresentation))
    default:
      key["kty"] = .string("RSA")
      if let primitives = try? rsa.publicKey.getKeyPrimitives() {
        key["n"] = .string(Base64URL.encode(primitives.modulus))
        key["e"] = .string(Base64URL.encode(primitives.publicExponent))
      }
    }
    key["use"] = .string("sig")
    if let kid { key["kid"] = .string(kid) }
    return .object(key)
  }

  // MARK: Tokens

  static func claims(_ changes: [String: JSONValue?] = [:]) -> [String: JSONValue] {
    var claims: [String: JSONValue] = [
      "iss": .string(name), "aud": .array([.string(audience), .string("other")]), "sub": .string("user-1"),
      "exp": .number(now.timeIntervalSince1970 + 600), "iat": .number(now.timeIntervalSince1970 - 5),
    ]
    for (name, value) in changes { claims[name] = value }
    return claims
  }

  nonisolated func token(
    _ algorithm: String, kid: String?, claims: [String: JSONValue] = SigningIssuer.claims(),
    header: [String: JSONValue] = [:], hmacKey: [UInt8] = [], declared: String? = nil
  ) throws -> String {
    var fields = header
    fields["alg"] = .string(declared ?? algorithm)
    if let kid { fields["kid"] = .string(kid) }
    let signed =
      Base64URL.encode(JSONValue.object(fields).serialized) + "."
      + Base64URL.encode(JSONValue.object(claims).serialized)
    let data = Data(signed.utf8)
    let signature: Data
    switch algorithm {
    case "ES256": signature = try p256.signature(for: data).rawRepresentation
    case "ES384": signature = try p384.signature(for: data).rawRepresentation
    case "ES512": signature = try p521.signature(for: data).rawRepresentation
    case "EdDSA": signature = try ed25519.signature(for: data)
    case "RS256":
      signature = try rsa.signature(for: SHA256.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation
    case "RS384":
      signature = try rsa.signature(for: SHA384.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation
    case "RS512":
      signature = try rsa.signature(for: SHA512.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation
    case "HS256":
      signature = Data(HMAC<SHA256>.authenticationCode(for: data, using: SymmetricKey(data: hmacKey)))
    default: signature = Data()
    }
    return signed + "." + Base64URL.encode(signature)
  }
}
