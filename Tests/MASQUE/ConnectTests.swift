import HTTP3
import QUIC
import Testing
import Wire

@testable import MASQUE

@Suite struct ConnectUDPTests {
  let template = try! URITemplate.default(authority: "example.org")  // the text is a constant, tested elsewhere

  /// RFC 9298 §3.4, the figure.
  @Test func theRequestOfTheFigure() throws {
    let request = ConnectUDP.request(template, four)
    #expect(
      request == [
        ":method": "CONNECT", ":protocol": "connect-udp", ":scheme": "https", ":authority": "example.org",
        ":path": "/.well-known/masque/udp/192.0.2.6/443/", "capsule-protocol": "?1",
      ])
    #expect(ConnectUDP.isRequest(request))
    #expect(try ConnectUDP.target(of: request, template) == four)
    let withToken = ConnectUDP.request(template, six, fields: [Field("authorization", "Bearer x")])
    #expect(withToken.fields.last?.neverIndexed == true)
    #expect(try ConnectUDP.target(of: withToken, template) == six)
  }

  @Test func whatToAnswerInstead() throws {
    func status(_ change: (inout HeaderList) -> Void) -> Int? {
      var request = ConnectUDP.request(template, four)
      change(&request)
      do throws(Rejection) {
        _ = try ConnectUDP.target(of: request, template)
        return nil
      } catch {
        return error.status
      }
    }
    func replacing(_ name: String, _ value: String) -> Int? {
      status { list in list.fields = list.fields.map { $0.name == name ? Field(name, value) : $0 } }
    }
    #expect(status { $0.fields.removeAll { $0.name == "capsule-protocol" } } == nil)
    #expect(status { $0.fields.removeAll { $0.name == ":path" } } == 400)
    #expect(status { $0.append("content-length", "0") } == 400)
    #expect(status { $0.append("content-type", "text/plain") } == 400)
    #expect(replacing(":protocol", "connect-ip") == 501)
    #expect(replacing(":scheme", "") == 400)
    #expect(replacing(":path", "/") == 404)
    #expect(replacing(":path", "/.well-known/masque/udp/192.0.2.6/0/") == 400)
    #expect(replacing(":path", "/.well-known/masque/udp//443/") == 400)
  }

  @Test func responses() throws {
    try ConnectUDP.accept(ConnectUDP.success)
    try ConnectUDP.accept([":status": "200"])
    for list: HeaderList in [
      [":status": "204"], [":status": "205"], [":status": "206"], [":status": "200", "content-length": "0"],
      [":status": "200", "content-type": "a/b"],
    ] {
      #expect {
        try ConnectUDP.accept(list)
      } throws: {
        if case .malformed = $0 as? TunnelRefused { true } else { false }
      }
    }
    let refusal = Rejection(.destinationIPProhibited, "loopback address").response(proxy: "pop-1")
    #expect(
      refusal == [
        ":status": "502", "proxy-status": "pop-1; error=destination_ip_prohibited; details=\"loopback address\"",
      ])
    #expect(
      throws: TunnelRefused.status(
        502, ProxyStatus(proxy: "pop-1", error: .destinationIPProhibited, details: "loopback address"))
    ) { try ConnectUDP.accept(refusal) }
    #expect(Rejection(status: 404, "no such resource").response(proxy: "pop-1") == [":status": "404"])
  }

  static let announcements: [([String], Bool)] = [
    (["?1"], true), (["?1;a=b"], true), (["?0"], false), (["1"], false), (["?1", "?1"], false), ([], false),
    ([""], false), (["?1, ?1"], false),
  ]

  @Test(arguments: announcements)
  func theCapsuleProtocolField(values: [String], isAnnounced: Bool) {
    #expect(CapsuleProtocol.isAnnounced(HeaderList(values.map { Field("capsule-protocol", $0) })) == isAnnounced)
  }

  @Test func contexts() {
    var context = UDPContext()
    func receive(_ bytes: [UInt8]) -> String {
      bytes.withUnsafeBytes {
        switch context.receive($0) {
        case .payload(let payload): "payload \(payload.count)"
        case .dropped: "dropped"
        case .tooLong: "too long"
        }
      }
    }
    #expect(receive([0]) == "payload 0")
    #expect(receive([0, 1, 2]) == "payload 2")
    #expect(receive([0x40, 0, 1]) == "payload 1")
    #expect(receive([2, 1]) == "dropped")
    #expect(receive([]) == "dropped")
    #expect(receive([0x40]) == "dropped")
    #expect(receive([0] + [UInt8](repeating: 0, count: 65527)) == "payload 65527")
    #expect(receive([0] + [UInt8](repeating: 0, count: 65528)) == "too long")
    #expect(context.unknownContexts == 1)
    #expect(context.malformed == 2)
  }
}

@Suite struct ConnectTCPTests {
  static let rejected: [(HeaderList, Int)] = [
    ([":method": "CONNECT", ":authority": "a"], 400), ([":method": "CONNECT"], 400),
    ([":method": "CONNECT", ":authority": "a:1", ":path": "/"], 400),
    ([":method": "CONNECT", ":authority": "a b:1"], 400), ([":method": "GET", ":authority": "a:1"], 501),
  ]

  @Test func requestsComeBack() throws {
    for target in [four, six, named] {
      let request = ConnectTCP.request(target)
      #expect(ConnectTCP.isRequest(request) && !ConnectUDP.isRequest(request))
      #expect(try ConnectTCP.target(of: request) == target)
    }
    try ConnectTCP.accept(ConnectTCP.success)
    #expect(throws: TunnelRefused.status(503, nil)) { try ConnectTCP.accept([":status": "503"]) }
  }

  @Test(arguments: rejected)
  func whatToAnswerInstead(list: HeaderList, status: Int) {
    #expect { try ConnectTCP.target(of: list) } throws: { ($0 as? Rejection)?.status == status }
  }
}

@Suite struct ProxyStatusTests {
  @Test func everyErrorComesBack() {
    for error in ProxyStatus.ErrorType.allCases {
      let status = ProxyStatus(proxy: "pop.example", error: error, details: "a \"b\" \\ c", rcode: "NXDOMAIN")
      #expect(ProxyStatus(fieldValue: status.fieldValue) == status)
      #expect((400..<600).contains(error.httpStatus))
    }
    let strange = ProxyStatus(proxy: "9 pops", error: .dnsError, details: "é\n")
    #expect(strange.fieldValue == "\"9 pops\"; error=dns_error; details=\"??\"")
  }

  static let values: [(String, ProxyStatus.ErrorType?)] = [
    ("a; error=dns_error, b; error=connection_refused", .connectionRefused),
    ("a;error=dns_timeout;received-status=200;x", .dnsTimeout),
    ("a; x=?1; error=proxy_internal_error", .proxyInternalError),
    ("a", nil), ("", nil), ("a; error=made_up", nil), ("a; error=", nil), ("a; error", nil),
    ("a; error=dns_error junk", nil),
    ("\"a", nil), ("\"a\\x\"; error=dns_error", nil), ("a; error=dns_error,", nil),
  ]

  @Test(arguments: values)
  func reading(value: String, error: ProxyStatus.ErrorType?) { #expect(ProxyStatus(fieldValue: value)?.error == error) }
}
