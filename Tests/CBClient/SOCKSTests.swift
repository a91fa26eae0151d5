import Testing
import Wire

@testable import CBClient

@Suite struct SOCKSTests {
  typealias Negotiation = SOCKS5.Negotiation

  let greeting: [UInt8] = [5, 1, 0]
  let connectFour: [UInt8] = [5, 1, 0, 1, 192, 0, 2, 1, 0x01, 0xbb]

  /// The steps that a stream leads to when it comes in chunks of `size`.
  func run(_ stream: [UInt8], size: Int, credentials: SOCKS5.Credentials? = nil) -> (
    last: Negotiation.Step?, sent: [UInt8]
  ) {
    var negotiation = Negotiation(credentials: credentials)
    var sent: [UInt8] = []
    for start in stride(from: 0, to: stream.count, by: size) {
      let step = negotiation.receive(Array(stream[start..<min(stream.count, start + size)]))
      switch step {
      case .needsMore(let reply): sent += reply
      case .request(_, let reply, _), .refused(_, let reply): return (step, sent + reply)
      }
    }
    return (nil, sent)
  }

  @Test(arguments: [1, 2, 3, 5, 100])
  func connectsInAnyChunking(_ size: Int) {
    let (last, sent) = run(greeting + connectFour, size: size)
    guard case .request(let request, _, let remainder) = last else {
      Issue.record("no request")
      return
    }
    #expect(request == .init(command: .connect, destination: .init(SocketAddress("192.0.2.1:443")!)))
    #expect(remainder.isEmpty)
    #expect(sent == [5, 0])
  }

  @Test func readsEachAddressType() throws {
    let name = Array("pop.example".utf8)
    for (address, expected) in [
      ([1, 10, 0, 0, 1, 0, 80], "10.0.0.1:80"),
      ([4] + IPAddress("2001:db8::1")!.networkBytes + [0, 80], "[2001:db8::1]:80"),
      ([3, UInt8(name.count)] + name + [0, 80], "pop.example:80"),
      // An address as a name is the address: a policy must judge what is meant.
      ([3, 9] + Array("127.0.0.1".utf8) + [0, 80], "127.0.0.1:80"),
      ([3, 3] + Array("::1".utf8) + [0, 80], "[::1]:80"),
    ] as [([UInt8], String)] {
      guard case .request(let request, _, _) = run(greeting + [5, 1, 0] + address, size: 4).last else {
        Issue.record("\(expected) was not read")
        continue
      }
      #expect(request.destination.description == expected)
    }
  }

  @Test func earlyDataStays() {
    guard case .request(_, _, let remainder) = run(greeting + connectFour + [1, 2, 3], size: 1_000).last else {
      Issue.record("no request")
      return
    }
    #expect(remainder == [1, 2, 3])
  }

  @Test func udpAssociateMayLeaveItsPortOpen() {
    guard case .request(let request, _, _) = run(greeting + [5, 3, 0, 1, 0, 0, 0, 0, 0, 0], size: 9).last else {
      Issue.record("no request")
      return
    }
    #expect(request.command == .udpAssociate)
    #expect(
      SOCKS5.Reply.succeeded.bytes(bound: SocketAddress("[::1]:4660")!)
        == [5, 0, 0, 4] + [UInt8](repeating: 0, count: 15) + [1, 0x12, 0x34])
  }

  @Test func refusals() {
    for (stream, refusal, reply) in [
      ([4, 1, 0, 80, 10, 0, 0, 1, 0], .socks4, [0, 91, 0, 0, 0, 0, 0, 0]),
      (Array("GET / HTTP/1.1".utf8), .notSOCKS(0x47), []),
      ([5, 0], .noAcceptableMethod, [5, 0xff]),
      ([5, 2, 1, 2], .noAcceptableMethod, [5, 0xff]),
      (greeting + [5, 2, 0, 1, 10, 0, 0, 1, 0, 80], .commandNotSupported(2), [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
      (greeting + [5, 9, 0, 1, 10, 0, 0, 1, 0, 80], .commandNotSupported(9), [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
      (greeting + [5, 1, 0, 2, 0], .addressTypeNotSupported, [5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
      (greeting + [5, 1, 0, 3, 0], .invalidName, [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
      (greeting + [5, 1, 0, 3, 2, 0x61, 0x0a, 0, 80], .invalidName, [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
      (greeting + [4, 1, 0, 1], .malformed, [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
      (greeting + [5, 1, 0, 1, 10, 0, 0, 1, 0, 0], .malformed, [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
    ] as [([UInt8], Negotiation.Refusal, [UInt8])] {
      for size in [1, 100] {
        let (last, sent) = run(stream, size: size)
        guard case .refused(let seen, _) = last else {
          Issue.record("\(refusal) was not refused")
          continue
        }
        #expect(seen == refusal)
        #expect(sent == reply)
      }
    }
  }

  @Test func credentials() throws {
    let credentials = try #require(SOCKS5.Credentials(username: "user", password: "secret"))
    func stream(_ username: String, _ password: String) -> [UInt8] {
      [5, 2, 0, 2, 1, UInt8(username.utf8.count)] + username.utf8 + [UInt8(password.utf8.count)] + password.utf8
        + connectFour
    }
    for size in [1, 7, 100] {
      let (last, sent) = run(stream("user", "secret"), size: size, credentials: credentials)
      guard case .request = last else {
        Issue.record("refused")
        return
      }
      #expect(sent == [5, 2, 1, 0])
    }
    for (username, password) in [
      ("user", "secreT"), ("user", ""), ("", ""), ("use", "secret"), ("user", "secretsecret"),
    ] {
      let (last, sent) = run(stream(username, password), size: 100, credentials: credentials)
      guard case .refused(.wrongCredentials, _) = last else {
        Issue.record("accepted \(username) \(password)")
        continue
      }
      #expect(sent == [5, 2, 1, 1])
    }
    guard case .refused(.noAcceptableMethod, _) = run(greeting, size: 3, credentials: credentials).last else {
      Issue.record("let in without")
      return
    }
    #expect(SOCKS5.Credentials(username: "", password: "x") == nil)
    #expect(SOCKS5.Credentials(username: "x", password: String(repeating: "x", count: 256)) == nil)
  }

  @Test func nothingFollowsTheEnd() {
    var negotiation = Negotiation()
    _ = negotiation.receive([4])
    #expect(negotiation.receive(greeting) == .refused(.malformed, reply: []))
  }

  @Test func udpDatagrams() {
    func parse(_ bytes: [UInt8]) -> (ProxyDestination, [UInt8])? {
      bytes.withUnsafeBytes { bytes in SOCKS5.UDPDatagram(bytes).map { ($0.destination, Array($0.payload)) } }
    }
    let source = ProxyDestination(.name("pop.example"), port: 53)
    let parsed = parse(SOCKS5.UDPDatagram.header(from: source) + [1, 2, 3])
    #expect(parsed?.0 == source)
    #expect(parsed?.1 == [1, 2, 3])
    #expect(parse(SOCKS5.UDPDatagram.header(from: source))?.1 == [])
    let plain: [UInt8] = [0, 0, 0, 1, 10, 0, 0, 1, 0, 53, 9]
    #expect(parse(plain) != nil)
    for (index, octet) in [(2, 1), (2, 0x80), (0, 1), (3, 2), (9, 0)] as [(Int, UInt8)] {
      var bytes = plain
      bytes[index] = octet
      #expect(parse(bytes) == nil)
    }
    for length in 0..<10 { #expect(parse(Array(plain.prefix(length))) == nil) }
  }

  @Test func mutationsNeverCrash() {
    let random = SeededEntropy(seed: 1928)
    let credentials = SOCKS5.Credentials(username: "user", password: "secret")
    let streams: [[UInt8]] = [
      greeting + connectFour, greeting + [5, 1, 0, 3, 3, 0x61, 0x2e, 0x62, 0, 80],
      [5, 1, 2, 1, 4] + "user".utf8 + [6] + "secret".utf8 + connectFour,
    ]
    for round in 0..<6_000 {
      var stream = streams[round % streams.count]
      for _ in 0...(random.nextUInt64() % 3) {
        stream[Int(random.nextUInt64() % UInt64(stream.count))] = UInt8(random.nextUInt64() % 256)
      }
      let whole = run(stream, size: 1_000, credentials: round % 3 == 2 ? credentials : nil)
      let single = run(stream, size: 1, credentials: round % 3 == 2 ? credentials : nil)
      #expect(whole.sent == single.sent)
      stream.withUnsafeBytes { _ = SOCKS5.UDPDatagram($0) }
    }
  }
}
