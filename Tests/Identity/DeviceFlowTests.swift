import FoundationEssentials
import Identity
import Testing
import Wire

private func at(_ seconds: Int64) -> Instant { .zero + .seconds(seconds) }

private func authorization(interval: Int64 = 5, lifetime: Int64 = 300) throws -> DeviceAuthorization {
  DeviceAuthorization(
    deviceCode: Secret("dc"), userCode: "BCDF-GHJK", verificationURI: try EndpointURL("https://issuer.example/device"),
    lifetime: .seconds(lifetime), interval: .seconds(interval))
}

private let tokens = TokenResponse(accessToken: Secret("at"), refreshToken: Secret("rt"), expiresIn: 60)
private let pending = TokenOutcome.refused(OAuthError(code: "authorization_pending"))
private let slowDown = TokenOutcome.refused(OAuthError(code: "slow_down"))

@Suite struct DeviceFlowTests {
  @Test func pollsAtTheIntervalAndFinishes() throws {
    var flow = DeviceFlow(try authorization(), receivedAt: at(0))
    #expect(flow.next(at: at(0)) == .wait(until: at(5)))
    #expect(flow.next(at: at(5)) == .poll)
    flow.receive(pending, at: at(6))
    #expect(flow.next(at: at(6)) == .wait(until: at(11)))
    #expect(flow.next(at: at(11)) == .poll)
    flow.receive(.tokens(tokens), at: at(11))
    #expect(flow.next(at: at(11)) == .finished(tokens))
    // Nothing that comes later changes the end.
    flow.receive(slowDown, at: at(12))
    #expect(flow.next(at: at(1000)) == .finished(tokens))
  }

  @Test func slowDownAddsFiveSecondsForGood() throws {
    var flow = DeviceFlow(try authorization(), receivedAt: at(0))
    #expect(flow.next(at: at(5)) == .poll)
    flow.receive(slowDown, at: at(5))
    #expect(flow.next(at: at(5)) == .wait(until: at(15)))
    #expect(flow.next(at: at(15)) == .poll)
    flow.receive(pending, at: at(15))
    #expect(flow.next(at: at(15)) == .wait(until: at(25)))
    #expect(flow.next(at: at(25)) == .poll)
    flow.receive(slowDown, at: at(25))
    #expect(flow.next(at: at(25)) == .wait(until: at(40)))
    #expect(flow.interval == .seconds(15))
  }

  @Test func timeOutsBackOffAndAnAnswerEndsTheBackOff() throws {
    var flow = DeviceFlow(try authorization(lifetime: 1000), receivedAt: at(0))
    #expect(flow.next(at: at(5)) == .poll)
    var now: Int64 = 5
    for pause in [10, 15, 25, 45, 65, 65] as [Int64] {
      flow.receive(.unreachable(.timedOut), at: at(now))
      #expect(flow.next(at: at(now)) == .wait(until: at(now + pause)))
      now += pause
      #expect(flow.next(at: at(now)) == .poll)
    }
    flow.receive(pending, at: at(now))
    #expect(flow.next(at: at(now)) == .wait(until: at(now + 5)))
  }

  @Test func aBusyServerNamesThePause() throws {
    var flow = DeviceFlow(try authorization(), receivedAt: at(0))
    #expect(flow.next(at: at(5)) == .poll)
    flow.receive(.busy(status: 503, retryAfter: 120), at: at(5))
    #expect(flow.next(at: at(5)) == .wait(until: at(125)))
  }

  @Test func theCodeLapses() throws {
    var flow = DeviceFlow(try authorization(lifetime: 12), receivedAt: at(0))
    #expect(flow.next(at: at(10)) == .poll)
    flow.receive(pending, at: at(10))
    #expect(flow.next(at: at(11)) == .wait(until: at(12)))
    #expect(flow.next(at: at(12)) == .failed(.expired))
  }

  @Test(arguments: [
    ("access_denied", DeviceFlowFailure.denied), ("expired_token", .expired),
    ("invalid_grant", .grantGone(OAuthError(code: "invalid_grant"))),
    ("invalid_client", .refused(OAuthError(code: "invalid_client"))),
    ("unheard_of", .refused(OAuthError(code: "unheard_of"))),
  ])
  func refusalsEndTheFlow(_ code: String, _ failure: DeviceFlowFailure) throws {
    var flow = DeviceFlow(try authorization(), receivedAt: at(0))
    #expect(flow.next(at: at(5)) == .poll)
    flow.receive(.refused(OAuthError(code: code)), at: at(5))
    #expect(flow.next(at: at(5)) == .failed(failure))
  }
}

/// Answers from a script, in order; time passes only when someone sleeps.
private actor ScriptedServer: HTTPFetch, SignInClock {
  private var answers: [Result<FetchResponse, FetchFailure>]
  private(set) var forms: [[String: String]] = []
  private(set) var sleeps: [Instant] = []
  nonisolated let time = TestTime()

  init(_ answers: [Result<FetchResponse, FetchFailure>]) { self.answers = answers }

  func fetch(_ request: FetchRequest) async throws(FetchFailure) -> FetchResponse {
    forms.append(FormEncoding.decode(request.body) ?? [:])
    if answers.isEmpty { throw .unreachable("the script has ended") }
    return try answers.removeFirst().get()
  }

  nonisolated func now() -> Instant { time.now }

  func sleep(until deadline: Instant) async throws(CancellationError) {
    if Task.isCancelled { throw CancellationError() }
    sleeps.append(deadline)
    time.advance(to: deadline)
  }
}

private func answer(_ status: Int, _ json: String) -> Result<FetchResponse, FetchFailure> {
  .success(FetchResponse(status: status, body: [UInt8](json.utf8)))
}

private func client(_ server: ScriptedServer) throws -> OAuthClient {
  let document = """
    {"issuer":"https://i.example","token_endpoint":"https://i.example/t","jwks_uri":"https://i.example/k",
     "device_authorization_endpoint":"https://i.example/d","userinfo_endpoint":"https://i.example/u",
     "revocation_endpoint":"https://i.example/r"}
    """
  return OAuthClient(
    metadata: try IssuerMetadata(document: [UInt8](document.utf8), asked: "https://i.example"), clientID: "cbterm",
    fetch: server)
}

private let authorizationAnswer = answer(
  200,
  """
  {"device_code":"dc","user_code":"BCDF-GHJK","verification_uri":"https://i.example/device",
   "verification_uri_complete":"https://i.example/device?user_code=BCDF-GHJK","expires_in":300,"interval":2}
  """)

@Suite struct DeviceSignInTests {
  @Test func drivesAWholeFlow() async throws {
    let server = ScriptedServer([
      authorizationAnswer, answer(400, #"{"error":"authorization_pending"}"#), answer(400, #"{"error":"slow_down"}"#),
      .failure(.timedOut), answer(502, "<html>"),
      answer(200, #"{"access_token":"at","refresh_token":"rt","token_type":"bearer","expires_in":"43199"}"#),
    ])
    let tokens = try await DeviceSignIn(client: try client(server), clock: server).run { shown in
      #expect(shown.userCode == "BCDF-GHJK")
      #expect(shown.verificationURIComplete?.text == "https://i.example/device?user_code=BCDF-GHJK")
    }
    #expect(tokens.accessToken == Secret("at"))
    #expect(tokens.refreshToken == Secret("rt"))
    #expect(tokens.expiresIn == 43199)
    // 2; 2 more; slowed to 7; a time-out adds 7; a bad gateway adds 14.
    #expect(await server.sleeps == [at(2), at(4), at(11), at(25), at(46)])
    let forms = await server.forms
    #expect(forms[0] == ["client_id": "cbterm", "scope": "openid profile email offline_access"])
    #expect(forms[1]["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code")
    #expect(forms[1]["device_code"] == "dc")
  }

  @Test func denialIsSaidSo() async throws {
    let server = ScriptedServer([authorizationAnswer, answer(403, #"{"error":"access_denied"}"#)])
    await #expect(throws: SignInFailure.flow(.denied)) {
      try await DeviceSignIn(client: try client(server), clock: server).run { _ in }
    }
  }

  @Test func aServerThatStaysAwayEndsInExpiry() async throws {
    let server = ScriptedServer([authorizationAnswer])
    await #expect(throws: SignInFailure.flow(.expired)) {
      try await DeviceSignIn(client: try client(server), clock: server).run { _ in }
    }
    #expect(await server.forms.count < 15)
  }

  @Test func refreshKeepsTheOldTokenWhereNoneComesBack() async throws {
    let server = ScriptedServer([
      answer(200, #"{"access_token":"a2","token_type":"Bearer"}"#),
      answer(200, #"{"access_token":"a3","refresh_token":"r3","token_type":"Bearer"}"#),
      answer(400, #"{"error":"invalid_grant","error_description":"gone\u001b[2J"}"#),
      answer(200, #"{"access_token":"a b","token_type":"Bearer"}"#),
      answer(200, #"{"access_token":"a","token_type":"mac"}"#),
    ])
    let client = try client(server)
    #expect(try await client.refresh(Secret("r1")).refreshToken == Secret("r1"))
    #expect(try await client.refresh(Secret("r1")).refreshToken == Secret("r3"))
    do {
      _ = try await client.refresh(Secret("r1"))
      Issue.record("accepted")
    } catch {
      #expect(error.endsGrant)
      #expect(error == .refused(OAuthError(code: "invalid_grant", detail: "gone?[2J")))
    }
    await #expect(throws: OAuthFailure.self) { try await client.refresh(Secret("r1")) }
    await #expect(throws: OAuthFailure.malformedAnswer("token_type is not Bearer")) {
      try await client.refresh(Secret("r1"))
    }
  }

  @Test func userinfoAndRevocation() async throws {
    let server = ScriptedServer([
      answer(200, #"{"sub":"7","name":"Zoë","email":"z@a.example"}"#), answer(401, ""), answer(200, ""),
      answer(400, #"{"error":"unsupported_token_type"}"#),
    ])
    let client = try client(server)
    let user = try await client.userinfo(Secret("at"))
    #expect(user.subject == "7" && user.name == "Zoë" && user.email == "z@a.example")
    await #expect(throws: OAuthFailure.refused(OAuthError(code: "invalid_token"))) {
      try await client.userinfo(Secret("at"))
    }
    try await client.revoke(Secret("rt"), kind: .refresh)
    #expect(await server.forms[2] == ["token": "rt", "token_type_hint": "refresh_token", "client_id": "cbterm"])
    await #expect(throws: OAuthFailure.refused(OAuthError(code: "unsupported_token_type"))) {
      try await client.revoke(Secret("rt"), kind: .refresh)
    }
  }

  @Test func codesThatCouldMoveACursorAreRefused() {
    for code in ["", "A\u{1b}[2J", String(repeating: "B", count: 65)] {
      let json = JSONValue.object([
        "device_code": .string("dc"), "user_code": .string(code), "expires_in": .number(300),
        "verification_uri": .string("https://i.example/device"),
      ])
      #expect(throws: OAuthFailure.self) { try DeviceAuthorization(answer: json.serialized) }
    }
  }
}
