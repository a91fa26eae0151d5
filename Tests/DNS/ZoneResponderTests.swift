import Foundation
import Testing
import Wire

@testable import DNS

@Suite struct ZoneResponderTests {
  static func responder() throws -> ZoneResponder {
    let origin = try DNSName("pop.example")
    var zone = Zone(origin: origin)
    var parameters = ServiceParameters()
    parameters.alpn = [Array("h3".utf8)]
    parameters.port = 4433
    try zone.insert(Record(origin, ttl: 60, .https(ServiceBinding(priority: 1, target: .root, parameters: parameters))))
    try zone.insert(Record(origin, ttl: 60, .a(.loopback)))
    try zone.insert(Record(origin, ttl: 60, .aaaa(.loopback)))
    try zone.insert(
      Record(
        DNSName("_cloudbridge._udp.pop.example"), ttl: 60,
        .srv(ServiceLocation(priority: 0, weight: 1, port: 4433, target: origin))))
    try zone.insert(Record(DNSName("www.pop.example"), ttl: 60, .cname(origin)))
    try zone.insert(Record(DNSName("away.pop.example"), ttl: 60, .cname(DNSName("elsewhere.example"))))
    try zone.insert(Record(DNSName("loop.pop.example"), ttl: 60, .cname(DNSName("loop.pop.example"))))
    let big = try DNSName("big.pop.example")
    for index in 0..<10 {
      try zone.insert(Record(big, ttl: 60, .txt([[UInt8](repeating: UInt8(0x61 + index), count: 200)])))
    }
    return ZoneResponder(zone)
  }

  func ask(
    _ text: String, _ type: RecordType, edns: UInt16? = nil, over transport: StubResolver.Transport = .udp
  ) throws -> Message {
    var query = Message(header: Header(id: 7))
    query.header.recursionDesired = true
    query.questions = [Question(try DNSName(text), type)]
    query.edns = edns.map { EDNS(udpPayloadSize: $0) }
    let sent = try #require(query.serialized())
    let bytes = try #require(Self.responder().respond(to: sent, over: transport))
    let response = try Message(bytes)
    #expect(response.header.id == 7)
    #expect(response.header.isResponse)
    #expect((response.edns != nil) == (edns != nil))
    return response
  }

  @Test func answers() throws {
    let https = try ask("pop.example", .https)
    #expect(https.header.isAuthoritative)
    #expect(!https.header.recursionAvailable)
    #expect(https.answers.count == 1)
    #expect(https.additionals.map(\.type) == [.a, .aaaa])
    let srv = try ask("_CloudBridge._udp.pop.example", .srv, edns: 1232)
    #expect(srv.answers.count == 1)
    #expect(srv.additionals.count == 2)
    let alias = try ask("www.pop.example", .a)
    #expect(alias.answers.map(\.type) == [.cname, .a])
    #expect(try ask("pop.example", .any).answers.count == 1)
  }

  @Test func absences() throws {
    let missing = try ask("no.pop.example", .a)
    #expect(missing.header.responseCode == .nameError)
    #expect(missing.authorities.map(\.type) == [.soa])
    let noData = try ask("pop.example", .txt)
    #expect(noData.header.responseCode == .noError)
    #expect(noData.answers.isEmpty)
    #expect(noData.authorities.map(\.type) == [.soa])
    // RFC 8020: a name with only names under it exists.
    #expect(try ask("_udp.pop.example", .a).header.responseCode == .noError)
  }

  @Test func refusals() throws {
    #expect(try ask("other.example", .a).header.responseCode == .refused)
    #expect(try ask("loop.pop.example", .a).header.responseCode == .serverFailure)
    let away = try ask("away.pop.example", .a)
    #expect(away.answers.map(\.type) == [.cname])
    let responder = try Self.responder()
    var query = Message(header: Header(id: 1))
    query.header.opcode = Opcode(rawValue: 5)
    #expect(responder.response(to: query).header.responseCode == .notImplemented)
    query.header.opcode = .query
    #expect(responder.response(to: query).header.responseCode == .formatError)
    query.edns = EDNS()
    query.edns?.version = 1
    #expect(responder.response(to: query).header.responseCode == .badVersion)
    query.header.isResponse = true
    #expect(responder.respond(to: query.serialized()!, over: .udp) == nil)
    #expect(responder.respond(to: [1, 2, 3], over: .udp) == nil)
    let broken = responder.respond(to: hex("0009 0100 0001 0000 0000 0000 ff"), over: .udp)
    #expect(try Message(#require(broken)).header.responseCode == .formatError)
  }

  @Test func whatDoesNotFitIsTruncated() throws {
    let small = try ask("big.pop.example", .txt)
    #expect(small.header.isTruncated)
    #expect(small.answers.isEmpty)
    #expect(try ask("big.pop.example", .txt, edns: 65_535).header.isTruncated)
    #expect(try ask("big.pop.example", .txt, edns: 0).header.isTruncated)
    #expect(try ask("big.pop.example", .txt, over: .tcp).answers.count == 10)
  }

  @Test func zoneRules() throws {
    var zone = Zone(origin: try DNSName("pop.example"))
    let other = Record(try DNSName("other.example"), ttl: 1, .a(.loopback))
    #expect(throws: Zone.ZoneError.outOfZone(other.name)) { try zone.insert(other) }
    let alias = Record(try DNSName("x.pop.example"), ttl: 1, .cname(other.name))
    try zone.insert(alias)
    #expect(throws: Zone.ZoneError.aliasWithOtherData(alias.name)) {
      try zone.insert(Record(alias.name, ttl: 1, .a(.loopback)))
    }
    #expect(throws: Zone.ZoneError.aliasWithOtherData(zone.origin)) {
      try zone.insert(Record(zone.origin, ttl: 1, .cname(other.name)))
    }
  }

  @Test func resolverAndResponderUnderstandEachOther() throws {
    let responder = try Self.responder()
    let server = SocketAddress("127.0.0.1:53")!
    var resolver = StubResolver(.init(servers: [server]), entropy: SeededEntropy(seed: 1))
    for (text, type, count) in [
      ("pop.example", RecordType.https, 1), ("www.pop.example", .aaaa, 1), ("big.pop.example", .txt, 10),
      ("_cloudbridge._udp.pop.example", .srv, 1),
    ] {
      _ = resolver.query(try DNSName(text), type, now: .zero)
      while let sent = resolver.nextTransmission() {
        let query = sent.transport == .tcp ? Array(sent.bytes.dropFirst(2)) : sent.bytes
        let response = try #require(responder.respond(to: query, over: sent.transport))
        resolver.receive(response, from: server, over: sent.transport, flow: sent.flow, now: .zero)
      }
      guard case .answered(_, let answer) = resolver.nextEvent() else {
        Issue.record("\(text) \(type) got no answer")
        continue
      }
      #expect(answer.records.count == count)
    }
  }
}

/// What a resolver that no one here wrote reads out of our bytes.
@Suite(.serialized) struct DigTests {
  static let dig = "/usr/bin/dig"

  /// Runs dig against a responder on a loopback port and returns what it prints.
  private func ask(_ arguments: [String]) throws -> String {
    let responder = try ZoneResponderTests.responder()
    let udp = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    let tcp = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer {
      close(udp)
      close(tcp)
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    // The same port for both; the kernel picks it for UDP, and TCP's is nearly always free.
    try withUnsafeMutablePointer(to: &address) { pointer in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        try #require(bind(udp, $0, length) == 0)
        try #require(getsockname(udp, $0, &length) == 0)
        try #require(bind(tcp, $0, length) == 0)
        try #require(listen(tcp, 4) == 0)
      }
    }

    let process = Process()
    process.executableURL = URL(fileURLWithPath: Self.dig)
    let port = UInt16(bigEndian: address.sin_port)
    process.arguments = ["@127.0.0.1", "-p", "\(port)", "+tries=1", "+time=5", "+norecurse"] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while process.isRunning {
      var descriptors = [
        pollfd(fd: udp, events: Int16(POLLIN), revents: 0), pollfd(fd: tcp, events: Int16(POLLIN), revents: 0),
      ]
      guard poll(&descriptors, 2, 20) > 0 else { continue }
      if descriptors[0].revents != 0 {
        var peer = sockaddr_storage()
        var peerLength = socklen_t(MemoryLayout<sockaddr_storage>.size)
        withUnsafeMutablePointer(to: &peer) { pointer in
          pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
            let count = recvfrom(udp, &buffer, buffer.count, 0, peer, &peerLength)
            guard count > 0, let response = responder.respond(to: Array(buffer[..<count]), over: .udp) else { return }
            _ = sendto(udp, response, response.count, 0, peer, peerLength)
          }
        }
      }
      if descriptors[1].revents != 0 {
        let connection = accept(tcp, nil, nil)
        defer { close(connection) }
        var reader = TCPMessageReader()
        while true {
          let count = read(connection, &buffer, buffer.count)
          guard count > 0 else { break }
          buffer[..<count].withUnsafeBytes { reader.append($0) }
          while let query = reader.next() {
            guard let response = responder.respond(to: query, over: .tcp), let frame = TCPMessageReader.frame(response)
            else { continue }
            _ = write(connection, frame, frame.count)
          }
        }
      }
    }
    return String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  }

  static let isThere = FileManager.default.isExecutableFile(atPath: DigTests.dig)

  @Test(.enabled(if: DigTests.isThere, "dig is not installed"))
  func readsEachAnswer() throws {
    #expect(try ask(["+short", "pop.example", "A"]) == "127.0.0.1\n")
    #expect(try ask(["+short", "pop.example", "AAAA"]) == "::1\n")
    #expect(try ask(["+short", "_cloudbridge._udp.pop.example", "SRV"]) == "0 1 4433 pop.example.\n")
    #expect(try ask(["+short", "www.pop.example", "A"]) == "pop.example.\n127.0.0.1\n")
    // Presentation of HTTPS differs between versions of dig; that of its bytes in RFC 3597's form does not.
    let https = try ask(["+short", "+unknownformat", "pop.example", "TYPE65"])
    #expect(https.filter { !$0.isWhitespace }.lowercased() == "\\#16000100000100030268330003000211" + "51")
  }

  @Test(.enabled(if: DigTests.isThere, "dig is not installed"))
  func readsAbsencesAndFlags() throws {
    let missing = try ask(["no.pop.example", "A"])
    #expect(missing.contains("status: NXDOMAIN"))
    #expect(missing.contains("flags: qr aa;"))
    #expect(missing.contains("SOA"))
    #expect(try ask(["other.example", "A"]).contains("status: REFUSED"))
    #expect(try ask(["+edns=1", "+noednsneg", "pop.example", "A"]).contains("status: BADVERS"))
    for output in [missing, try ask(["pop.example", "A"])] { #expect(!output.contains("malformed")) }
  }

  @Test(.enabled(if: DigTests.isThere, "dig is not installed"))
  func goesToTCPWhenTruncated() throws {
    let output = try ask(["big.pop.example", "TXT"])
    #expect(output.contains("Truncated, retrying in TCP mode"))
    #expect(output.contains("ANSWER: 10"))
  }
}
