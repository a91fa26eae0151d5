import Testing
import Wire

@testable import CBClient

@Suite struct HTTPProxyTests {
  func run(_ text: String, size: Int = 100_000) -> HTTPConnectRequest.Step {
    var request = HTTPConnectRequest()
    let stream = Array(text.utf8)
    var step = HTTPConnectRequest.Step.needsMore
    for start in stride(from: 0, to: stream.count, by: size) {
      step = request.receive(Array(stream[start..<min(stream.count, start + size)]))
      guard step == .needsMore else { return step }
    }
    return step
  }

  func refusal(_ text: String) -> HTTPConnectRequest.Refusal? {
    if case .refused(let refusal, _) = run(text) { refusal } else { nil }
  }

  @Test(arguments: [1, 2, 3, 17, 1_000])
  func connectsInAnyChunking(_ size: Int) {
    let text = "CONNECT pop.example:443 HTTP/1.1\r\nHost: pop.example:443\r\nUser-Agent: x/1\r\n\r\n"
    #expect(run(text, size: size) == .connect(.init(.name("pop.example"), port: 443), remainder: []))
  }

  @Test func targets() {
    for (target, expected) in [
      ("192.0.2.1:80", "192.0.2.1:80"), ("[2001:db8::1]:80", "[2001:db8::1]:80"),
      ("a_b.example:65535", "a_b.example:65535"),
    ] {
      guard case .connect(let destination, _) = run("CONNECT \(target) HTTP/1.1\r\n\r\n") else {
        Issue.record("\(target) was refused")
        continue
      }
      #expect(destination.description == expected)
    }
    for target in [
      "pop.example", "pop.example:", "pop.example:0", "pop.example:65536", "pop.example:+1", ":443", "[::1]", "::1:80",
      "[192.0.2.1]:80", "[pop.example]:80", "a:b:80", "http://pop.example:80", "user@pop.example:80", "p%6fp:80",
    ] {
      #expect(refusal("CONNECT \(target) HTTP/1.1\r\n\r\n") == .invalidTarget, "\(target)")
    }
  }

  @Test func earlyDataStaysAndLoneLinefeedsEndLines() {
    #expect(
      run("\r\nCONNECT a.example:1 HTTP/1.0\nX:\n\nabc")
        == .connect(.init(.name("a.example"), port: 1), remainder: Array("abc".utf8)))
  }

  @Test func otherRequestsAreToldWhatThisIs() throws {
    #expect(refusal("GET http://example/ HTTP/1.1\r\n\r\n") == .absoluteForm(method: "GET"))
    #expect(refusal("GET / HTTP/1.1\r\n\r\n") == .methodNotAllowed(method: "GET"))
    #expect(refusal("OPTIONS * HTTP/1.1\r\n\r\n") == .methodNotAllowed(method: "OPTIONS"))
    #expect(refusal("CONNECT a:1 HTTP/2.0\r\n\r\n") == .unsupportedVersion)
    guard case .refused(_, let response) = run("GET http://example/ HTTP/1.1\r\n\r\n") else { return }
    let text = String(decoding: response, as: UTF8.self)
    #expect(text.hasPrefix("HTTP/1.1 501 Not Implemented\r\n"))
    #expect(text.contains("CONNECT"))
    #expect(text.contains("SOCKS5"))
    let parts = try #require(text.firstRange(of: "\r\n\r\n"))
    #expect(text.contains("Content-Length: \(text[parts.upperBound...].utf8.count)\r\n"))
    guard case .refused(_, let other) = run("PUT / HTTP/1.1\r\n\r\n") else { return }
    #expect(String(decoding: other, as: UTF8.self).contains("\r\nAllow: CONNECT\r\n"))
  }

  @Test func malformedHeads() {
    for head in [
      "CONNECT a:1", "CONNECT  a:1 HTTP/1.1", "CONNECT a:1 HTTP/1.1 x", " CONNECT a:1 HTTP/1.1", "C(NNECT a:1 HTTP/1.1",
      "CONNECT a:1 FTP/1.1", "CONNECT a:1 HTTP/1.1\r\nno colon", "CONNECT a:1 HTTP/1.1\r\n: x",
      "CONNECT a:1 HTTP/1.1\r\nHost : a", "CONNECT a:1 HTTP/1.1\r\nHost: a\u{0}b", "CONNECT a:1 HTTP/1.1\r\nX: a\rb",
      "CONNECT a:1 HTTP/1.1\r\n folded: x", "\u{16}\u{3}\u{1}",
    ] {
      #expect(refusal(head + "\r\n\r\n") == .malformed, "\(head.debugDescription)")
    }
  }

  @Test func theHeadIsBounded() {
    let field = "X: " + String(repeating: "a", count: HTTPConnectRequest.maximumHeadLength)
    #expect(refusal("CONNECT a:1 HTTP/1.1\r\n\(field)\r\n\r\n") == .headTooLong)
    #expect(refusal("CONNECT a:1 HTTP/1.1\r\n\(field)") == .headTooLong)
    #expect(refusal(String(repeating: "a", count: HTTPConnectRequest.maximumHeadLength)) == nil)
    // Data behind the head does not count.
    let data = String(repeating: "d", count: 2 * HTTPConnectRequest.maximumHeadLength)
    guard case .connect(_, let remainder) = run("CONNECT a:1 HTTP/1.1\r\n\r\n\(data)") else {
      Issue.record("refused")
      return
    }
    #expect(remainder.count == data.utf8.count)
  }

  @Test func nothingFollowsTheEnd() {
    var request = HTTPConnectRequest()
    _ = request.receive(Array("GET / HTTP/1.1\r\n\r\n".utf8))
    #expect(request.receive([0x61]) == .refused(.malformed, response: []))
  }

  @Test func mutationsNeverCrashAndChunkingDoesNotMatter() {
    let random = SeededEntropy(seed: 9112)
    let valid = Array("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive\r\n\r\n".utf8)
    for _ in 0..<5_000 {
      var stream = valid
      for _ in 0...(random.nextUInt64() % 3) {
        let at = Int(random.nextUInt64() % UInt64(stream.count))
        stream[at] = [0x0a, 0x0d, 0x20, 0x3a, UInt8(random.nextUInt64() % 256)][Int(random.nextUInt64() % 5)]
      }
      var whole = HTTPConnectRequest()
      let expected = whole.receive(stream)
      var single = HTTPConnectRequest()
      var fed = 0
      var step = HTTPConnectRequest.Step.needsMore
      while step == .needsMore, fed < stream.count {
        step = single.receive([stream[fed]])
        fed += 1
      }
      if case .connect(let destination, _) = expected, case .connect(let other, _) = step {
        #expect(destination == other)
      } else {
        #expect(step == expected)
      }
    }
  }
}
