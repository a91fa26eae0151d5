import Testing

@testable import HTTP3

@Suite struct MessageRulesTests {
  static func without(_ list: HeaderList, _ name: String) -> HeaderList {
    HeaderList(list.fields.filter { $0.name != name })
  }
  static func with(_ list: HeaderList, _ name: String, _ value: String) -> HeaderList {
    HeaderList(list.fields + [Field(name, value)])
  }
  static func first(_ list: HeaderList, _ name: String, _ value: String) -> HeaderList {
    HeaderList([Field(name, value)] + list.fields)
  }
  static func replacing(_ list: HeaderList, _ name: String, _ value: String) -> HeaderList {
    HeaderList(list.fields.map { $0.name == name ? Field(name, value) : $0 })
  }

  static let wellFormed: [HeaderList] = [
    getRequest, connectUDP, connectTCP,
    with(without(getRequest, ":authority"), "host", "pop.example"),
    with(getRequest, "host", "pop.example"),
    with(getRequest, "te", "trailers"),
    with(getRequest, "x", "tab\there"),
    with(getRequest, "x", "ünï"),
    with(with(getRequest, "content-length", "3"), "content-length", "3"),
    [":method": "OPTIONS", ":scheme": "https", ":authority": "a", ":path": "*"],
    [":method": "GET", ":scheme": "urn", ":path": "x"],
    first(without(getRequest, ":path"), ":path", "/a?b=c%20d"),
  ]

  @Test(arguments: wellFormed)
  func goodRequests(list: HeaderList) throws { _ = try MessageRules.checkRequest(list, connectProtocol: true) }

  static let malformed: [HeaderList] = [
    [:],
    without(getRequest, ":method"), without(getRequest, ":scheme"), without(getRequest, ":path"),
    without(getRequest, ":authority"),
    replacing(getRequest, ":method", ""), replacing(getRequest, ":method", "GE T"),
    replacing(getRequest, ":scheme", ""), replacing(getRequest, ":path", ""), replacing(getRequest, ":path", "status"),
    replacing(getRequest, ":path", "*"), replacing(getRequest, ":path", "/a b"), replacing(getRequest, ":path", "/#x"),
    replacing(getRequest, ":authority", ""), replacing(getRequest, ":authority", "user@pop.example"),
    first(getRequest, ":method", "GET"), first(getRequest, ":path", "/"), first(getRequest, ":status", "200"),
    first(getRequest, ":unknown", "x"), first(getRequest, ":protocol", "connect-udp"),
    with(getRequest, ":authority", "x"), with(with(getRequest, "x", "y"), ":late", "z"), first(getRequest, "x", "y"),
    with(getRequest, "host", "other.example"), with(getRequest, "host", ""),
    with(with(getRequest, "host", "pop.example"), "host", "pop.example"),
    with(getRequest, "X-Upper", "y"), with(getRequest, "", "y"), with(getRequest, "a b", "y"),
    with(getRequest, "a:b", "y"), with(getRequest, "é", "y"),
    with(getRequest, "x", "a\u{0}b"), with(getRequest, "x", "a\rb"), with(getRequest, "x", "a\nb"),
    with(getRequest, "x", "a\u{7f}b"),
    with(getRequest, "connection", "close"), with(getRequest, "keep-alive", "1"), with(getRequest, "upgrade", "h2c"),
    with(getRequest, "proxy-connection", "x"), with(getRequest, "transfer-encoding", "chunked"),
    with(getRequest, "te", "gzip"), with(getRequest, "te", "trailers, gzip"),
    with(getRequest, "content-length", ""), with(getRequest, "content-length", "-1"),
    with(getRequest, "content-length", "1 "), with(getRequest, "content-length", "99999999999999999999999"),
    with(with(getRequest, "content-length", "3"), "content-length", "4"),
    with(getRequest, "content-length", "3, 3"),
    [":method": "CONNECT"], [":method": "CONNECT", ":authority": ""],
    first(connectTCP, ":path", "/"), first(connectTCP, ":scheme", "https"),
    without(connectUDP, ":path"), without(connectUDP, ":scheme"), without(connectUDP, ":authority"),
    replacing(connectUDP, ":path", ""), replacing(connectUDP, ":protocol", ""),
  ]

  @Test(arguments: malformed)
  func badRequests(list: HeaderList) {
    #expect(throws: MessageRules.Malformed.self) { try MessageRules.checkRequest(list, connectProtocol: true) }
  }

  @Test func protocolNeedsToBeEnabled() {
    #expect(throws: MessageRules.Malformed.self) { try MessageRules.checkRequest(connectUDP, connectProtocol: false) }
  }

  @Test func teIsForRequests() {
    #expect(throws: MessageRules.Malformed.self) {
      try MessageRules.checkResponse([":status": "200", "te": "trailers"])
    }
  }

  @Test func kindsAndLengths() throws {
    #expect(try MessageRules.checkRequest(connectUDP, connectProtocol: true).kind == .extendedConnect)
    #expect(try MessageRules.checkRequest(connectTCP, connectProtocol: false).kind == .connect)
    #expect(
      try MessageRules.checkRequest(Self.replacing(getRequest, ":method", "HEAD"), connectProtocol: false).kind == .head
    )
    #expect(try MessageRules.checkResponse([":status": "200", "content-length": "07"]).contentLength == 7)
  }
}
