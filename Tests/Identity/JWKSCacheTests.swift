import FoundationEssentials
import Identity
import Testing

private let now = SigningIssuer.now

private func after(_ seconds: Double) -> Date { now.addingTimeInterval(seconds) }

private func verdict(_ verifier: TokenVerifier, _ token: String, at time: Date) async -> String {
  do throws(TokenRefusal) {
    _ = try await verifier.verify(token, at: time)
    return "accepted"
  } catch {
    return error.label
  }
}

/// A token that outlives the hours these tests let pass.
private func longLived(_ issuer: SigningIssuer, kid: String) throws -> String {
  try issuer.token(
    "ES256", kid: kid, claims: SigningIssuer.claims(["exp": .number(now.timeIntervalSince1970 + 1e6)]))
}

private func verifier(_ issuer: SigningIssuer) throws -> TokenVerifier {
  TokenVerifier(
    profile: try TrustProfile(issuer: SigningIssuer.name, audiences: [SigningIssuer.audience]), fetch: issuer)
}

@Suite struct JWKSCacheTests {
  @Test func anUnknownKeyAsksAgainButNotTooOften() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "old")])
    let verifier = try verifier(issuer)
    #expect(await verdict(verifier, try longLived(issuer, kid: "old"), at: now) == "accepted")
    await issuer.publish([issuer.publicKey("ES256", kid: "new")])
    let token = try longLived(issuer, kid: "new")
    #expect(await verdict(verifier, token, at: after(5)) == "unknown_key")
    #expect(await issuer.keyFetches == 1)
    #expect(await verdict(verifier, token, at: after(10)) == "accepted")
    #expect(await issuer.keyFetches == 2)
    for second in 11..<20 {
      #expect(await verdict(verifier, try longLived(issuer, kid: "forged"), at: after(Double(second))) == "unknown_key")
    }
    #expect(await issuer.keyFetches == 2)
  }

  @Test func oneStrangeKeyDoesNotSinkTheSet() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([
      .object(["kty": .string("AKP"), "alg": .string("ML-DSA-65"), "kid": .string("pq"), "pub": .string("AA")]),
      .string("no key at all"),
      .object(["kty": .string("EC"), "crv": .string("secp256k1"), "x": .string("AA"), "y": .string("AA")]),
      .object(["kty": .string("RSA"), "n": .string("AQAB"), "e": .string("AQAB"), "kid": .string("weak")]),
      .object(["kty": .string("oct"), "k": .string("c2VjcmV0"), "kid": .string("shared")]),
      issuer.publicKey("ES256", kid: "good"),
    ])
    let verifier = try verifier(issuer)
    #expect(await verdict(verifier, try longLived(issuer, kid: "good"), at: now) == "accepted")
    #expect(await verdict(verifier, try issuer.token("RS256", kid: "weak"), at: now) == "unknown_key")
  }

  @Test func aKeyForEncryptionSignsNothing() async throws {
    let issuer = try SigningIssuer()
    guard case .object(var key) = issuer.publicKey("ES256", kid: "enc") else { return }
    key["use"] = .string("enc")
    await issuer.publish([.object(key), issuer.publicKey("RS256", kid: "r")])
    #expect(await verdict(try verifier(issuer), try longLived(issuer, kid: "enc"), at: now) == "unknown_key")
  }

  @Test func maxAgeIsKeptWithinBounds() async throws {
    for (header, fresh, stale) in [
      ("public, max-age=300", 299.0, 300.0), ("max-age=1", 59, 60), ("max-age=999999", 3599, 3600),
      ("no-store", 59, 60), ("max-age=nonsense", 299, 300),
    ] {
      let issuer = try SigningIssuer()
      await issuer.publish([issuer.publicKey("ES256", kid: "k")], headers: ["cache-control": header])
      let verifier = try verifier(issuer)
      await verifier.warm(at: now)
      await verifier.warm(at: after(fresh))
      #expect(await issuer.keyFetches == 1, "\(header)")
      await verifier.warm(at: after(stale))
      #expect(await issuer.keyFetches == 2, "\(header)")
    }
  }

  @Test func oldKeysServeForABoundedTimeWhileTheIssuerIsAway() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k")])
    let verifier = try verifier(issuer)
    let token = try longLived(issuer, kid: "k")
    #expect(await verdict(verifier, token, at: now) == "accepted")
    await issuer.fail(.timedOut)
    #expect(await verdict(verifier, token, at: after(301)) == "accepted")
    #expect(await verdict(verifier, token, at: after(300 + 4 * 3600 - 1)) == "accepted")
    #expect(await verdict(verifier, token, at: after(300 + 4 * 3600)) == "keys_unavailable")
    await issuer.fail(nil)
    #expect(await verdict(verifier, token, at: after(300 + 4 * 3600 + 20)) == "accepted")
  }

  @Test func anEmptyKeySetDoesNotReplaceAWorkingOne() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k")])
    let verifier = try verifier(issuer)
    await verifier.warm(at: now)
    await issuer.publish([])
    #expect(await verdict(verifier, try longLived(issuer, kid: "k"), at: after(400)) == "accepted")
  }

  @Test func noKeysAtAllIsSaidSo() async throws {
    let issuer = try SigningIssuer()
    await issuer.fail(.unreachable("refused"))
    let verifier = try verifier(issuer)
    let token = try longLived(issuer, kid: "k")
    #expect(await verdict(verifier, token, at: now) == "keys_unavailable")
    await issuer.fail(nil)
    await issuer.publish([issuer.publicKey("ES256", kid: "k")])
    // The pause after a first failure is two seconds.
    #expect(await verdict(verifier, token, at: after(1)) == "keys_unavailable")
    #expect(await verdict(verifier, token, at: after(2)) == "accepted")
  }

  @Test func manyWaitersShareOneFetch() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([issuer.publicKey("ES256", kid: "k")])
    await issuer.holdAnswers()
    let verifier = try verifier(issuer)
    let token = try longLived(issuer, kid: "k")
    await withTaskGroup(of: String.self) { group in
      for _ in 0..<20 { group.addTask { await verdict(verifier, token, at: now) } }
      group.addTask {
        while await issuer.waiting == 0 { await Task.yield() }
        await issuer.releaseAnswers()
        return "accepted"
      }
      for await result in group { #expect(result == "accepted") }
    }
    #expect(await issuer.keyFetches == 1)
  }

  @Test func anOversizedKeySetIsRefused() async throws {
    let issuer = try SigningIssuer()
    await issuer.publish([
      issuer.publicKey("ES256", kid: "k"), .object(["pad": .string(String(repeating: "x", count: 256 * 1024))]),
    ])
    #expect(await verdict(try verifier(issuer), try longLived(issuer, kid: "k"), at: now) == "keys_unavailable")
  }
}
