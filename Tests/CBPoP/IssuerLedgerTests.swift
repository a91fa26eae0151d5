import FoundationEssentials
import Testing
import Wire

@testable import CBPoP

private let start = Date(timeIntervalSince1970: 1_800_000_000)
private func at(_ seconds: Double) -> Date { start.addingTimeInterval(seconds) }

@Suite struct DeviceCodeLedgerTests {
  private let entropy = SeededEntropy(seed: 8628)

  private func ledger(pending: Int = 256) -> DeviceCodeLedger {
    DeviceCodeLedger(limits: .init(lifetime: 300, interval: 5, pending: pending))
  }

  private func issue(_ ledger: inout DeviceCodeLedger, scopes: [String]) throws -> DeviceCodeLedger.Issued {
    let issued = ledger.issue(clientID: "c", scopes: scopes, at: at(0), entropy: entropy)
    return try #require(issued)
  }

  @Test func codesAreOfTheAlphabetAndReadBack() {
    for _ in 0..<500 {
      let code = UserCode(entropy: entropy)
      #expect(code.letters.utf8.count == 8)
      #expect(code.letters.utf8.allSatisfy { UserCode.alphabet.contains($0) })
      #expect(UserCode(typed: "\(code)".lowercased()) == code)
    }
    #expect(UserCode(typed: " bcdf ghjk ")?.description == "BCDF-GHJK")
    for bad in ["", "BCDF", "BCDF-GHJA", "BCDF-GHJKL", "ВCDF-GHJK", String(repeating: "B", count: 65)] {
      #expect(UserCode(typed: bad) == nil, "\(bad)")
    }
  }

  @Test func pollingTooFastIsSlowedForGood() throws {
    var ledger = ledger()
    let issued = try issue(&ledger, scopes: [])
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(5)) == .pending)
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(9)) == .slowDown)
    // Ten seconds now, from the last request.
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(15)) == .slowDown)
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(30)) == .pending)
  }

  @Test func aWordCountsOnce() throws {
    var ledger = ledger()
    let issued = try issue(&ledger, scopes: ["openid"])
    let code = "\(issued.userCode)"
    #expect(ledger.decide(code, approvedBy: "alice", at: at(1)) == .done)
    #expect(ledger.decide(code, approvedBy: nil, at: at(2)) == .unknown)
    #expect(ledger.poll(issued.deviceCode, clientID: "other", at: at(5)) == .unknown)
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(5)) == .approved(user: "alice", scopes: ["openid"]))
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(10)) == .unknown)
    #expect(ledger.count == 0)
  }

  @Test func codesLapseAndAreForgotten() throws {
    var ledger = ledger()
    let issued = try issue(&ledger, scopes: [])
    #expect(ledger.decide("\(issued.userCode)", approvedBy: "a", at: at(300)) == .unknown)
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(300)) == .expired)
    _ = ledger.issue(clientID: "c", scopes: [], at: at(600), entropy: entropy)
    #expect(ledger.poll(issued.deviceCode, clientID: "c", at: at(601)) == .unknown)
    #expect(ledger.count == 1)
  }

  @Test func waitingCodesAreBounded() {
    var ledger = ledger(pending: 3)
    for _ in 0..<3 { #expect(ledger.issue(clientID: "c", scopes: [], at: at(0), entropy: entropy) != nil) }
    #expect(ledger.issue(clientID: "c", scopes: [], at: at(299), entropy: entropy) == nil)
    // Lapsed codes make way.
    #expect(ledger.issue(clientID: "c", scopes: [], at: at(300), entropy: entropy) != nil)
  }

  @Test func guessesAreBounded() throws {
    var ledger = ledger()
    let issued = try issue(&ledger, scopes: [])
    for guess in 0..<10 {
      #expect(ledger.decide("BBBB-BBBB", approvedBy: "mallory", at: at(Double(guess))) == .unknown)
    }
    #expect(ledger.decide("\(issued.userCode)", approvedBy: "a", at: at(10)) == .tooManyGuesses)
    #expect(ledger.decide("\(issued.userCode)", approvedBy: "a", at: at(60)) == .done)
  }
}

@Suite struct SessionLedgerTests {
  private let entropy = SeededEntropy(seed: 6749)

  @Test func aRefreshTokenServesOnceAndItsSecondUseEndsTheSession() throws {
    var ledger = SessionLedger(refreshLifetime: 100)
    let (session, first) = ledger.open(
      user: "a", clientID: "c", scopes: ["offline_access"], at: at(0), entropy: entropy)
    let rotated = ledger.rotate(try #require(first), clientID: "c", at: at(1), entropy: entropy)
    let (renewed, second) = try #require(rotated)
    #expect(renewed.id == session.id && second != first)
    #expect(ledger.session(ofTokenID: session.tokenID) == nil)
    #expect(ledger.session(ofTokenID: renewed.tokenID)?.user == "a")
    #expect(ledger.rotate(second, clientID: "other", at: at(2), entropy: entropy) == nil)
    #expect(ledger.rotate(first!, clientID: "c", at: at(2), entropy: entropy) == nil)
    #expect(ledger.rotate(second, clientID: "c", at: at(2), entropy: entropy) == nil)
    #expect(ledger.count == 0)
  }

  @Test func noOfflineAccessNoRefreshToken() {
    var ledger = SessionLedger(refreshLifetime: 100)
    #expect(ledger.open(user: "a", clientID: "c", scopes: ["openid"], at: at(0), entropy: entropy).refreshToken == nil)
  }

  @Test func refreshTokensLapseUnused() throws {
    var ledger = SessionLedger(refreshLifetime: 100)
    let (_, token) = ledger.open(user: "a", clientID: "c", scopes: ["offline_access"], at: at(0), entropy: entropy)
    let rotated = ledger.rotate(token!, clientID: "c", at: at(99), entropy: entropy)
    let (_, next) = try #require(rotated)
    #expect(ledger.rotate(next, clientID: "c", at: at(199), entropy: entropy) == nil)
  }

  @Test func sessionsAreBounded() {
    var ledger = SessionLedger(refreshLifetime: 100)
    for index in 0..<(SessionLedger.capacity + 10) {
      _ = ledger.open(user: "a", clientID: "c", scopes: [], at: at(Double(index) / 1e6), entropy: entropy)
    }
    #expect(ledger.count == SessionLedger.capacity)
  }
}

@Suite struct DevIssuerDeskTests {
  @Test func onlyLoopbackIsServed() throws {
    for good in ["127.0.0.1:8081", "localhost", "localhost:80", "[::1]:8081", "127.0.0.1"] {
      #expect(DevIssuer.namesThisMachine(good), "\(good)")
    }
    for bad in ["evil.example", "127.0.0.1.evil.example:8081", "[::2]:1", "", ":80", "[::1", "localhost.evil:1"] {
      #expect(!DevIssuer.namesThisMachine(bad), "\(bad)")
    }
    #expect(!DevIssuer.namesThisMachine(nil))
  }

  @Test func pagesEscapeWhatTheyShow() {
    let page = DevicePage.form(userCode: "\"><script>", csrf: "'", nonce: "n", notice: "<b>&")
    #expect(!page.contains("<script>"))
    #expect(page.contains("&quot;&gt;&lt;script&gt;"))
    #expect(page.contains("&lt;b&gt;&amp;"))
    #expect(page.contains("lang=\"en\"") && page.contains("<label for=\"user_code\">"))
    #expect(!page.contains("http://") && !page.contains("https://"))
  }

  @Test func userNamesArePlain() {
    #expect(DevIssuerDesk.userName("alice") == "alice")
    #expect(DevIssuerDesk.userName(" bob@acme.example ") == "bob@acme.example")
    for bad in ["", " ", "a<b", "é", String(repeating: "a", count: 65), "a\u{0}"] {
      #expect(DevIssuerDesk.userName(bad) == nil)
    }
  }
}
