import CBPoP
import FoundationEssentials
import Identity
import Logging
import Synchronization
import Testing
import Wire

/// Wall and monotonic time that only the test moves, so that waiting costs none.
private final class MovableTime: SignInClock {
  private let milliseconds = Mutex<Int64>(0)
  private static let start = Date(timeIntervalSince1970: 1_800_000_000)

  func now() -> Instant { .zero + .milliseconds(milliseconds.withLock { $0 }) }
  var wall: Date { MovableTime.start.addingTimeInterval(Double(milliseconds.withLock { $0 }) / 1000) }
  func advance(seconds: Int64) { milliseconds.withLock { $0 += seconds * 1000 } }

  func sleep(until deadline: Instant) async throws(CancellationError) {
    if Task.isCancelled { throw CancellationError() }
    milliseconds.withLock { $0 = max($0, (deadline - .zero).milliseconds) }
  }
}

/// A development issuer on a free port, with the real client against it.
private struct Stage: Sendable {
  let time: MovableTime
  let issuer: String
  let client: OAuthClient

  static func run(
    _ configure: (inout DevIssuer.Configuration) -> Void = { _ in }, _ body: (Stage) async throws -> Void
  ) async throws {
    var configuration = DevIssuer.Configuration()
    configuration.address = SocketAddress(.v4(IPv4Address(127, 0, 0, 1)), port: 0)
    configure(&configuration)
    let time = MovableTime()
    var logger = Logger(label: "issuer-test")
    logger.logLevel = .critical
    let server = try DevIssuer(configuration: configuration, logger: logger, now: { time.wall })
    let running = Task { try await server.run() }
    defer { running.cancel() }
    let issuer = try await server.issuer()
    let metadata = try await IssuerMetadata.discover(issuer: issuer, fetch: HTTPClientFetch.shared)
    try await body(
      Stage(time: time, issuer: issuer, client: OAuthClient(metadata: metadata, clientID: "cbterm")))
    running.cancel()
    _ = await running.result
  }

  func post(
    _ path: String, _ form: [(String, String)], headers: [(name: String, value: String)] = []
  ) async throws -> FetchResponse {
    try await HTTPClientFetch.shared.fetch(
      FetchRequest(
        .post, url: try EndpointURL(issuer + path),
        headers: headers + [("content-type", FormEncoding.contentType)],
        body: FormEncoding.encode(form.map { (name: $0.0, value: $0.1) }), responseLimit: 64 * 1024))
  }

  func get(_ path: String) async throws -> FetchResponse {
    try await HTTPClientFetch.shared.fetch(
      FetchRequest(url: try EndpointURL(issuer + path), responseLimit: 64 * 1024))
  }

  /// Signs in as curl would approve it.
  func signIn(as user: String = "alice") async throws -> TokenResponse {
    try await DeviceSignIn(client: client, clock: time).run { shown in
      let answer = try? await post(
        "/device", [("user_code", shown.userCode), ("user", user), ("action", "approve")])
      #expect(answer?.status == 200)
    }
  }

  func verifier() throws -> TokenVerifier {
    TokenVerifier(profile: try TrustProfile(issuer: issuer, audiences: ["cloudbridge"], requiredRoles: ["tunnel"]))
  }
}

@Suite struct IssuerEndToEndTests {
  @Test(arguments: DevIssuer.SigningAlgorithm.allCases)
  func signsInAndIsBelieved(_ algorithm: DevIssuer.SigningAlgorithm) async throws {
    try await Stage.run({ $0.algorithm = algorithm }) { stage in
      let tokens = try await stage.signIn()
      #expect(tokens.refreshToken != nil && tokens.idToken != nil && tokens.expiresIn == 3600)
      let identity = try await stage.verifier().verify(tokens.accessToken.exposed, at: stage.time.wall)
      #expect(identity.subject == "alice" && identity.clientID == "cbterm" && identity.issuer == stage.issuer)
      #expect(identity.roles == ["tunnel"] && identity.organisation?.id == "1")
      let user = try await stage.client.userinfo(tokens.accessToken)
      #expect(user.subject == "alice" && user.email == "alice@dev.cloudbridge.test")
      // The ID token is for the client, not for a PoP.
      let idToken = try #require(tokens.idToken).exposed
      await #expect(throws: TokenRefusal.wrongAudience) {
        try await stage.verifier().verify(idToken, at: stage.time.wall)
      }
    }
  }

  @Test func denialEndsTheFlow() async throws {
    try await Stage.run { stage in
      await #expect(throws: SignInFailure.flow(.denied)) {
        try await DeviceSignIn(client: stage.client, clock: stage.time).run { shown in
          _ = try? await stage.post("/device", [("user_code", shown.userCode), ("action", "deny")])
        }
      }
    }
  }

  @Test func nobodyApprovesAndTheCodeLapses() async throws {
    try await Stage.run({ $0.codeLifetime = 10 }) { stage in
      await #expect(throws: SignInFailure.flow(.expired)) {
        try await DeviceSignIn(client: stage.client, clock: stage.time).run { _ in }
      }
    }
  }

  @Test func anImpatientClientIsSlowed() async throws {
    try await Stage.run { stage in
      let authorization = try await stage.client.authorizeDevice()
      #expect(
        await stage.client.poll(authorization.deviceCode) == .refused(OAuthError(code: "authorization_pending")))
      #expect(await stage.client.poll(authorization.deviceCode) == .refused(OAuthError(code: "slow_down")))
      stage.time.advance(seconds: 6)
      #expect(
        await stage.client.poll(authorization.deviceCode) == .refused(OAuthError(code: "authorization_pending")))
      #expect(await stage.client.poll(Secret("made up")) == .refused(OAuthError(code: "invalid_grant")))
    }
  }

  @Test func refreshRotatesAndReuseEndsTheSession() async throws {
    try await Stage.run { stage in
      let first = try await stage.signIn()
      let second = try await stage.client.refresh(try #require(first.refreshToken))
      #expect(second.refreshToken != first.refreshToken)
      #expect(try await stage.client.userinfo(second.accessToken).subject == "alice")
      // As with Zitadel, the refresh ended the old access token.
      await #expect(throws: OAuthFailure.refused(OAuthError(code: "invalid_token"))) {
        try await stage.client.userinfo(first.accessToken)
      }
      await #expect(throws: OAuthFailure.self) { try await stage.client.refresh(first.refreshToken!) }
      do throws(OAuthFailure) {
        _ = try await stage.client.refresh(second.refreshToken!)
        Issue.record("a stolen session went on")
      } catch {
        #expect(error.endsGrant)
      }
    }
  }

  @Test func revocationEndsTheSession() async throws {
    try await Stage.run { stage in
      let tokens = try await stage.signIn()
      try await stage.client.revoke(tokens.refreshToken!, kind: .refresh)
      await #expect(throws: OAuthFailure.self) { try await stage.client.refresh(tokens.refreshToken!) }
      await #expect(throws: OAuthFailure.self) { try await stage.client.userinfo(tokens.accessToken) }
      try await stage.client.revoke(Secret("unknown"), kind: .access)
    }
  }

  @Test func theFormIsBoundToItsBrowser() async throws {
    try await Stage.run { stage in
      let authorization = try await stage.client.authorizeDevice()
      let page = try await stage.get("/device?user_code=\(authorization.userCode)")
      let text = String(decoding: page.body, as: UTF8.self)
      #expect(page.status == 200 && text.contains("value=\"\(authorization.userCode)\""))
      #expect(page.headers["content-security-policy"]?.contains("default-src 'none'") == true)
      let cookie = try #require(page.headers["set-cookie"]?.split(separator: ";").first.map(String.init))
      let csrf = try #require(text.split(separator: "name=\"csrf\" value=\"").last?.split(separator: "\"").first)
      let form = [("user_code", authorization.userCode), ("user", "alice"), ("action", "approve")]

      let foreign = [(name: "origin", value: "https://evil.example")]
      #expect(try await stage.post("/device", form, headers: foreign).status == 403)
      let own = [(name: "origin", value: stage.issuer)]
      #expect(try await stage.post("/device", form, headers: own).status == 403)
      let whole = own + [(name: "cookie", value: cookie)]
      #expect(try await stage.post("/device", form + [("csrf", "AAAA")], headers: whole).status == 403)
      #expect(try await stage.post("/device", form + [("csrf", String(csrf))], headers: whole).status == 200)
    }
  }

  @Test func badRequestsAreRefused() async throws {
    try await Stage.run { stage in
      #expect(try await stage.post("/device_authorization", [("client_id", "stranger")]).status == 401)
      #expect(try await stage.post("/token", [("client_id", "cbterm"), ("grant_type", "password")]).status == 400)
      #expect(try await stage.post("/token", [("client_id", "cbterm"), ("client_id", "x")]).status == 400)
      let long = try await stage.post("/token", [("client_id", String(repeating: "x", count: 9000))])
      #expect(long.status == 413)
      #expect(try await stage.get("/nowhere").status == 404)
      let unknown = try await stage.post(
        "/device", [("user_code", "BBBB-BBBB"), ("user", "a"), ("action", "approve")])
      #expect(unknown.status == 404)
    }
  }

  @Test func otherAddressesAndSettingsAreRefused() {
    var configuration = DevIssuer.Configuration()
    configuration.address = SocketAddress(.v4(IPv4Address(0, 0, 0, 0)), port: 8081)
    #expect(throws: DevIssuer.StartError.notLoopback("0.0.0.0:8081")) {
      try DevIssuer(configuration: configuration, logger: Logger(label: "t"))
    }
    configuration = DevIssuer.Configuration()
    configuration.pollInterval = 0
    #expect(throws: DevIssuer.StartError.self) {
      try DevIssuer(configuration: configuration, logger: Logger(label: "t"))
    }
  }

  @Test func aPortInUseIsSaidSo() async throws {
    try await Stage.run { stage in
      var configuration = DevIssuer.Configuration()
      let port = try #require(stage.issuer.split(separator: ":").last.flatMap { UInt16($0) })
      configuration.address = SocketAddress(.v4(IPv4Address(127, 0, 0, 1)), port: port)
      let second = try DevIssuer(configuration: configuration, logger: Logger(label: "t"))
      let running = Task { try await second.run() }
      await #expect(throws: DevIssuer.StartError.self) { try await second.issuer() }
      await #expect(throws: (any Error).self) { try await running.value }
    }
  }
}
