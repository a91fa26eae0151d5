import Foundation
import Identity
import Wire

/// The signed-in user of a profile: signs in and out, and keeps an access token that is good.
actor SignIn {
  private let profile: Profile
  private let store: TokenStore
  private var metadata: IssuerMetadata?
  /// The last token that was handed out: what a PoP's refusal is about.
  private var lastToken: Secret?

  init(profile: Profile, stateDirectory: String?) throws(ClientError) {
    self.profile = profile
    do throws(TokenStoreError) {
      store = try TokenStore(profile: profile.name, issuer: profile.identity.issuer, directory: stateDirectory)
    } catch {
      throw ClientError(error)
    }
  }

  // MARK: In and out

  func login(progress: @escaping @Sendable (LoginProgress) -> Void) async throws(ClientError) -> Account {
    progress(.contactingIssuer(profile.identity.issuer))
    let client = try await client()
    do throws(SignInFailure) {
      let tokens = try await DeviceSignIn(client: client).run(
        show: { authorization in
          progress(
            .userCode(
              DeviceCode(
                userCode: authorization.userCode, verificationURI: authorization.verificationURI.text,
                verificationURIComplete: authorization.verificationURIComplete?.text,
                expiresAt: Date().addingTimeInterval(authorization.lifetime.seconds))))
        },
        delayed: { reason in progress(.waiting(reason: reason)) })
      return try await keep(tokens, client)
    } catch {
      switch error {
      case .cancelled: throw ClientError(.cancelled, "sign-in cancelled")
      case .oauth(let failure): throw ClientError(failure)
      case .flow: throw ClientError(.refused, "sign-in failed: \(error)", hint: "run 'login' for a new code")
      }
    }
  }

  private func keep(_ tokens: TokenResponse, _ client: OAuthClient) async throws(SignInFailure) -> Account {
    let user: UserInfo
    do {
      user = try await client.userinfo(tokens.accessToken)
    } catch {
      throw .oauth(error)
    }
    let stored = StoredTokens(tokens, user: user, issuer: profile.identity.issuer, receivedAt: Date())
    do {
      try store.save(stored)
    } catch {
      throw .oauth(.malformedAnswer("tokens that could not be stored: \(error)"))
    }
    return Account(stored)
  }

  func logout() async throws(ClientError) -> LogoutResult {
    let stored: StoredTokens?
    do throws(TokenStoreError) {
      stored = try store.load()
    } catch {
      // What cannot be read is removed all the same: the user wants it gone.
      stored = nil
    }
    var revoked = false
    if let stored, let client = try? await client() {
      revoked = true
      if let refresh = stored.refresh { revoked = (try? await client.revoke(refresh, kind: .refresh)) != nil }
      revoked = (try? await client.revoke(stored.access, kind: .access)) != nil && revoked
    }
    do throws(TokenStoreError) {
      let removed = try store.remove()
      lastToken = nil
      return LogoutResult(wasSignedIn: removed, revoked: revoked)
    } catch {
      throw ClientError(error)
    }
  }

  func account() throws(ClientError) -> Account {
    do throws(TokenStoreError) {
      guard let stored = try store.load() else { throw .notSignedIn }
      return Account(stored)
    } catch {
      throw ClientError(error)
    }
  }

  // MARK: Tokens

  /// A token that should be good for a minute at least, renewed where needed.
  ///
  /// - Parameter renew: the PoP has refused the last one.
  func token(renew: Bool) async throws(ClientError) -> Secret {
    do throws(TokenStoreError) {
      let renewal: @Sendable (Secret) async throws(OAuthFailure) -> TokenResponse = {
        [self] refresh async throws(OAuthFailure) in
        try await oauthClient().refresh(refresh)
      }
      let tokens = try await store.current(
        rejected: renew ? lastToken : nil, now: { Date() }, exchange: renewal)
      lastToken = tokens.access
      return tokens.access
    } catch {
      throw ClientError(error)
    }
  }

  private func client() async throws(ClientError) -> OAuthClient {
    do throws(OAuthFailure) { return try await oauthClient() } catch { throw ClientError(error) }
  }

  private func oauthClient() async throws(OAuthFailure) -> OAuthClient {
    let fetch = HTTPClientFetch.shared
    let known: IssuerMetadata
    if let metadata {
      known = metadata
    } else {
      known = try await IssuerMetadata.discover(issuer: profile.identity.issuer, fetch: fetch)
      metadata = known
    }
    return OAuthClient(
      metadata: known, clientID: profile.identity.clientID, scopes: profile.identity.scopes, fetch: fetch)
  }
}

extension Account {
  init(_ stored: StoredTokens) {
    self.init(
      subject: stored.subject, name: stored.name, email: stored.email, organisation: stored.organisation,
      issuer: stored.issuer, expiresAt: stored.expiresAt, renewable: stored.refresh != nil)
  }
}

extension ClientError {
  init(_ error: TokenStoreError) {
    switch error {
    case .notSignedIn: self.init(.notSignedIn, "not signed in", hint: "run 'login'")
    case .notRenewable: self.init(.notSignedIn, "the sign-in has expired", hint: "run 'login'")
    case .renewalFailed(let failure) where failure.endsGrant:
      self.init(.notSignedIn, "the sign-in has ended: \(failure)", hint: "run 'login'")
    case .renewalFailed(let failure): self.init(failure)
    default: self.init(.failure, "\(error)")
    }
  }

  init(_ failure: OAuthFailure) {
    switch failure {
    case .cancelled: self.init(.cancelled, "cancelled")
    case .unreachable: self.init(.connectionLost, "\(failure)", hint: "identity.issuer of the profile says where it is")
    case .refused: self.init(.refused, "\(failure)")
    case .unusableURL, .issuerMismatch: self.init(.configuration, "\(failure)")
    default: self.init(.failure, "\(failure)")
    }
  }
}
