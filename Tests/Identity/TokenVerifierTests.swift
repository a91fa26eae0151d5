import Crypto
import CryptoExtras
import FoundationEssentials
import Identity
import Testing

private let now = SigningIssuer.now

private func verifier(
  _ issuer: SigningIssuer, algorithms: Set<SignatureAlgorithm>? = nil, scopes: Set<String> = [],
  roles: Set<String> = [], projectID: String? = nil
) throws -> TokenVerifier {
  TokenVerifier(
    profile: try TrustProfile(
      issuer: SigningIssuer.name, audiences: [SigningIssuer.audience], algorithms: algorithms, requiredScopes: scopes,
      requiredRoles: roles, projectID: projectID),
    fetch: issuer)
}

private func refusal(_ verifier: TokenVerifier, _ token: String, at time: Date = now) async -> TokenRefusal? {
  do throws(TokenRefusal) {
    _ = try await verifier.verify(token, at: time)
    return nil
  } catch {
    return error
  }
}

@Suite struct TokenVerifierTests {
  @Test(arguments: ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"])
  func acceptsEveryPublishedAlgorithm(_ algorithm: String) async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey(algorithm, kid: "k1")])
    let identity = try await verifier(issuer).verify(try issuer.token(algorithm, kid: "k1"), at: now)
    #expect(identity.subject == "user-1")
    #expect(identity.issuer == SigningIssuer.name)
    #expect(identity.audience.contains(SigningIssuer.audience))
    #expect(identity.expiresAt == now.addingTimeInterval(600))
    #expect(identity.tokenFingerprint.count == 16)
  }

  @Test func refusesByClaim() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    let verifier = try verifier(issuer)
    let start = now.timeIntervalSince1970
    let table: [(changes: [String: JSONValue?], expected: TokenRefusal?)] = [
      (["exp": .number(start - 31)], .expired(at: Date(timeIntervalSince1970: start - 31))),
      (["exp": .number(start - 29)], nil),
      (["nbf": .number(start + 31)], .notYetValid(before: Date(timeIntervalSince1970: start + 31))),
      (["nbf": .number(start + 29)], nil),
      (["iat": .number(start + 60)], .notYetValid(before: Date(timeIntervalSince1970: start + 60))),
      (["iss": .string("https://issuer.example/")], .wrongIssuer("https://issuer.example/")),
      (["iss": .string("a\u{1b}[2J")], .wrongIssuer("a?[2J")),
      (["aud": .string("another")], .wrongAudience),
      (["aud": .string(SigningIssuer.audience)], nil),
      (["aud": .array([])], .missingClaim("aud")),
      (["aud": .array([.string(SigningIssuer.audience), .number(1)])], .missingClaim("aud")),
      (["sub": nil], .missingClaim("sub")),
      (["exp": nil], .missingClaim("exp")),
      (["iss": nil], .missingClaim("iss")),
      (["exp": .string("tomorrow")], .malformed("exp is not a date")),
      (["exp": .number(1e300)], .malformed("exp is not a date")),
      (["iat": .number(-1)], .malformed("iat is not a date")),
    ]
    for (changes, expected) in table {
      let token = try issuer.token("ES256", kid: "k1", claims: SigningIssuer.claims(changes))
      #expect(await refusal(verifier, token) == expected, "\(changes)")
    }
  }

  @Test func refusesAlgNoneInEverySpelling() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    for spelling in ["none", "None", "NONE", "nOnE"] {
      let token = try issuer.token("none", kid: "k1", declared: spelling)
      #expect(await refusal(try verifier(issuer), token) == .algorithmNone)
    }
    // Refused on the header alone: no key was asked for.
    #expect(await issuer.keyFetches == 0)
  }

  @Test func refusesHMACMadeWithThePublicKey() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("RS256", kid: "k1")])
    let pem = [UInt8](issuer.rsa.publicKey.pemRepresentation.utf8)
    let token = try issuer.token("HS256", kid: "k1", hmacKey: pem)
    #expect(await refusal(try verifier(issuer), token) == .algorithmNotAllowed("HS256"))
  }

  @Test func refusesAnAlgorithmOutsideTheProfile() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("RS256", kid: "k1")])
    let verifier = try verifier(issuer, algorithms: [.es256])
    #expect(await refusal(verifier, try issuer.token("RS256", kid: "k1")) == .algorithmNotAllowed("RS256"))
    #expect(
      await refusal(verifier, try issuer.token("ES256", kid: "k1", declared: "PS256"))
        == .algorithmNotAllowed("PS256"))
  }

  @Test func refusesAKeyOfAnotherKind() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("RS256", kid: "r"), issuer.publicKey("ES256", kid: "e")])
    let verifier = try verifier(issuer)
    #expect(
      await refusal(verifier, try issuer.token("ES256", kid: "r"))
        == .keyMismatch(key: "r", algorithm: "ES256"))
    #expect(
      await refusal(verifier, try issuer.token("RS256", kid: "e"))
        == .keyMismatch(key: "e", algorithm: "RS256"))
    // The right key's name over another key's signature.
    #expect(await refusal(verifier, try issuer.token("RS384", kid: "r", declared: "RS256")) == .badSignature)
  }

  @Test func refusesAForgedSignatureAndAChangedPayload() async throws {
    let issuer = try SigningIssuer()
    let other = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    let verifier = try verifier(issuer)
    #expect(await refusal(verifier, try other.token("ES256", kid: "k1")) == .badSignature)

    let honest = try issuer.token("ES256", kid: "k1").split(separator: ".")
    let forged = Base64URL.encode(
      JSONValue.object(SigningIssuer.claims(["sub": .string("root")])).serialized)
    #expect(await refusal(verifier, "\(honest[0]).\(forged).\(honest[2])") == .badSignature)
    #expect(await refusal(verifier, "\(honest[0]).\(honest[1]).") == .badSignature)
  }

  @Test func refusesWhatIsNoToken() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    let verifier = try verifier(issuer)
    #expect(await refusal(verifier, "") == .malformed("the token is empty"))
    #expect(await refusal(verifier, "V1_aGVsbG8td29ybGQ") == .opaque)
    let jwe = Base64URL.encode("{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}".utf8)
    #expect(await refusal(verifier, "\(jwe).a.b.c.d") == .opaque)
    #expect(await refusal(verifier, "e30.e30.e30.e30") == .malformed("4 segments instead of three"))
    #expect(await refusal(verifier, "e30.e30.AA") == .malformed("the header names no algorithm"))
    #expect(await refusal(verifier, "e30=.e30.AA") == .malformed("the header is not a JSON object"))
    #expect(await refusal(verifier, String(repeating: "a", count: 16 * 1024 + 1)) == .tooLarge(16 * 1024 + 1))
    let deep = Base64URL.encode(String(repeating: "[", count: 5000).utf8)
    #expect(await refusal(verifier, "\(deep).e30.AA") == .malformed("the header is not a JSON object"))
  }

  @Test func refusesHeadersThatAskForMore() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    let verifier = try verifier(issuer)
    let critical = try issuer.token("ES256", kid: "k1", header: ["crit": .array([.string("b64")])])
    #expect(await refusal(verifier, critical) == .malformed("the header has a critical extension"))
    let logout = try issuer.token("ES256", kid: "k1", header: ["typ": .string("logout+jwt")])
    #expect(await refusal(verifier, logout) == .malformed("the type is not that of an access token"))
    let access = try issuer.token("ES256", kid: "k1", header: ["typ": .string("at+JWT")])
    #expect(await refusal(verifier, access) == nil)
    // A key offered by the token itself is not looked at.
    let other = try SigningIssuer()
    let selfMade = try other.token("ES256", kid: "k1", header: ["jwk": other.publicKey("ES256", kid: "k1")])
    #expect(await refusal(verifier, selfMade) == .badSignature)
  }

  @Test func namelessTokenNeedsExactlyOneFittingKey() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: nil), issuer.publicKey("RS256", kid: "r")])
    let token = try issuer.token("ES256", kid: nil)
    #expect(await refusal(try verifier(issuer), token) == nil)
    await issuer.publish([issuer.publicKey("ES256", kid: "a"), issuer.publicKey("ES256", kid: "b")])
    #expect(await refusal(try verifier(issuer), token) == .unknownKey(nil))
  }

  @Test func sharedSecretProfileTakesHS256Alone() async throws {
    let issuer = try SigningIssuer()
    let key = [UInt8](repeating: 7, count: 32)
    let profile = try TrustProfile(
      issuer: SigningIssuer.name, audiences: [SigningIssuer.audience], keySource: .sharedSecret(Secret(key)))
    let verifier = TokenVerifier(profile: profile, fetch: issuer)
    #expect(await refusal(verifier, try issuer.token("HS256", kid: nil, hmacKey: key)) == nil)
    #expect(await refusal(verifier, try issuer.token("HS256", kid: nil, hmacKey: key + [1])) == .badSignature)
    #expect(await refusal(verifier, try issuer.token("ES256", kid: "k1")) == .algorithmNotAllowed("ES256"))
    #expect(await refusal(verifier, try issuer.token("none", kid: nil)) == .algorithmNone)
    #expect(await issuer.keyFetches == 0)
  }

  @Test func profilesThatMixKeysAreRefused() throws {
    let secret = TrustProfile.KeySource.sharedSecret(Secret([UInt8](repeating: 1, count: 32)))
    #expect(throws: TrustProfile.Mistake.algorithmNeedsSharedSecret(.hs256)) {
      try TrustProfile(issuer: SigningIssuer.name, audiences: ["a"], algorithms: [.hs256, .rs256])
    }
    #expect(throws: TrustProfile.Mistake.algorithmNeedsPublishedKey(.rs256)) {
      try TrustProfile(issuer: "x", audiences: ["a"], algorithms: [.hs256, .rs256], keySource: secret)
    }
    #expect(throws: TrustProfile.Mistake.secretTooShort(bytes: 31)) {
      try TrustProfile(
        issuer: "x", audiences: ["a"], keySource: .sharedSecret(Secret([UInt8](repeating: 1, count: 31))))
    }
    #expect(throws: TrustProfile.Mistake.noAudience) { try TrustProfile(issuer: "x", audiences: []) }
    #expect(throws: TrustProfile.Mistake.unusableIssuer("http://issuer.example")) {
      try TrustProfile(issuer: "http://issuer.example", audiences: ["a"])
    }
  }

  @Test func readsZitadelClaims() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("RS256", kid: "k1")])
    let claims = SigningIssuer.claims([
      "urn:zitadel:iam:org:project:roles": .object(["tunnel": .object(["o1": .string("acme.example")])]),
      "urn:zitadel:iam:org:project:42:roles": .array([.object(["admin": .object(["o2": .string("b.example")])])]),
      "urn:zitadel:iam:org:project:43:roles": .object(["foreign": .object([:])]),
      "urn:zitadel:iam:user:resourceowner:id": .string("o1"),
      "urn:zitadel:iam:user:resourceowner:name": .string("Acme\u{202e}\u{7}"),
      "urn:zitadel:iam:user:resourceowner:primary_domain": .string("acme.example"),
      "client_id": .string("cbterm"), "name": .string("Zoë"), "scope": .string("openid tunnel"),
    ])
    let token = try issuer.token("RS256", kid: "k1", claims: claims)
    let identity = try await verifier(issuer, scopes: ["tunnel"], roles: ["tunnel", "admin"], projectID: "42")
      .verify(token, at: now)
    #expect(identity.roles == ["tunnel", "admin"])
    #expect(identity.roleOrganisations == ["tunnel": ["o1"], "admin": ["o2"]])
    #expect(identity.organisation?.id == "o1")
    #expect(identity.organisation?.name == "Acme")
    #expect(identity.clientID == "cbterm")
    #expect(identity.name == "Zoë")
    #expect(await refusal(try verifier(issuer, roles: ["admin"]), token) == .missingRole("admin"))
    #expect(await refusal(try verifier(issuer, scopes: ["tunnel", "x"]), token) == .missingScope("x"))
  }

  @Test func refusalsNeverHoldTheToken() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    let verifier = try verifier(issuer)
    let token = try issuer.token("ES256", kid: "k1", claims: SigningIssuer.claims(["aud": .string("another")]))
    let shown = try #require(await refusal(verifier, token)).description
    for part in token.split(separator: ".") { #expect(!shown.contains(part)) }
  }

  @Test func mutationsNeverPassNorCrash() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k1")])
    let verifier = try verifier(issuer)
    let honest = [UInt8](try issuer.token("ES256", kid: "k1").utf8)
    var seed: UInt64 = 0x5eed
    func draw(_ bound: Int) -> Int {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(truncatingIfNeeded: seed >> 33) % bound
    }
    for _ in 0..<3000 {
      var bytes = honest
      switch draw(4) {
      case 0: bytes[draw(bytes.count)] = UInt8(truncatingIfNeeded: draw(256))
      case 1: bytes.remove(at: draw(bytes.count))
      case 2: bytes.insert(UInt8(truncatingIfNeeded: draw(128)), at: draw(bytes.count))
      default: bytes.removeLast(1 + draw(bytes.count))
      }
      if bytes == honest { continue }
      #expect(await refusal(verifier, String(decoding: bytes, as: UTF8.self)) != nil)
    }
  }
}
