import Identity
import Testing

private func document(_ changes: [String: JSONValue?] = [:]) -> [UInt8] {
  var members: [String: JSONValue] = [
    "issuer": .string("https://i.example"), "token_endpoint": .string("https://i.example/t"),
    "jwks_uri": .string("https://i.example/k"),
  ]
  for (name, value) in changes { members[name] = value }
  return JSONValue.object(members).serialized
}

private struct OneAnswer: HTTPFetch {
  let status: Int
  let body: [UInt8]
  let expected: String

  func fetch(_ request: FetchRequest) async throws(FetchFailure) -> FetchResponse {
    guard request.url.text == expected else { throw .unreachable("asked \(request.url)") }
    return FetchResponse(status: status, body: body)
  }
}

@Suite struct IssuerMetadataTests {
  @Test func theIssuerMustBeTheOneAsked() async throws {
    let fetch = OneAnswer(
      status: 200, body: document(), expected: "https://i.example/.well-known/openid-configuration")
    #expect(try await IssuerMetadata.discover(issuer: "https://i.example", fetch: fetch).issuer == "https://i.example")
    // The slash is not doubled in the request, and counts in the comparison.
    await #expect(throws: OAuthFailure.issuerMismatch(asked: "https://i.example/", answered: "https://i.example")) {
      try await IssuerMetadata.discover(issuer: "https://i.example/", fetch: fetch)
    }
    await #expect(throws: OAuthFailure.unusableURL("http://i.example")) {
      try await IssuerMetadata.discover(issuer: "http://i.example", fetch: fetch)
    }
  }

  @Test func endpointsMustBeThereAndSecure() {
    let asked = "https://i.example"
    for changes: [String: JSONValue?] in [
      ["token_endpoint": nil], ["jwks_uri": nil], ["issuer": nil],
      ["token_endpoint": .string("http://i.example/t")], ["jwks_uri": .string("http://127.0.0.1/k")],
      ["device_authorization_endpoint": .string("gopher://x")],
    ] {
      #expect(throws: OAuthFailure.self, "\(changes)") {
        try IssuerMetadata(document: document(changes), asked: asked)
      }
    }
    #expect(throws: OAuthFailure.self) { try IssuerMetadata(document: [UInt8]("[]".utf8), asked: asked) }
  }

  @Test func otherStatusesAreFailures() async {
    let fetch = OneAnswer(status: 404, body: [], expected: "https://i.example/.well-known/openid-configuration")
    await #expect(throws: OAuthFailure.unexpectedStatus(404)) {
      try await IssuerMetadata.discover(issuer: "https://i.example", fetch: fetch)
    }
  }
}
