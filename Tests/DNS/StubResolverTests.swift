import Testing
import Wire

@testable import DNS

@Suite struct StubResolverTests {
  typealias Resolver = StubResolver

  static let first = SocketAddress("192.0.2.1:53")!
  static let second = SocketAddress("192.0.2.2:53")!
  let name = try! DNSName("pop.example")  // A literal that parses.
  let start = Instant.zero + .seconds(1_000)

  func resolver(
    _ servers: [SocketAddress] = [first, second], _ adjust: (inout Resolver.Configuration) -> Void = { _ in }
  ) -> Resolver {
    var configuration = Resolver.Configuration(servers: servers)
    adjust(&configuration)
    return Resolver(configuration, entropy: SeededEntropy(seed: 53))
  }

  func pending(_ result: Resolver.QueryResult) throws -> Resolver.QueryID {
    guard case .pending(let id) = result else {
      Issue.record("not pending: \(result)")
      throw CancellationError()
    }
    return id
  }

  /// The query that a transmission carries.
  func query(in transmission: Resolver.Transmission) throws -> Message {
    try Message(transmission.transport == .tcp ? Array(transmission.bytes.dropFirst(2)) : transmission.bytes)
  }

  /// A response to what was sent, filled in by `fill`.
  func response(to transmission: Resolver.Transmission, _ fill: (inout Message) throws -> Void) throws -> [UInt8] {
    let query = try query(in: transmission)
    var response = Message(header: Header(id: query.header.id))
    response.header.isResponse = true
    response.header.recursionAvailable = true
    response.questions = query.questions
    try fill(&response)
    return try #require(response.serialized())
  }

  func answer(
    _ resolver: inout Resolver, _ transmission: Resolver.Transmission, now: Instant? = nil,
    _ fill: (inout Message) throws -> Void
  ) throws {
    resolver.receive(
      try response(to: transmission, fill), from: transmission.server, over: transmission.transport,
      flow: transmission.flow, now: now ?? start)
  }

  func next(_ resolver: inout Resolver) throws -> Resolver.Transmission {
    let transmission = resolver.nextTransmission()
    return try #require(transmission)
  }

  func answerNext(_ resolver: inout Resolver, _ fill: (inout Message) throws -> Void) throws {
    let transmission = try next(&resolver)
    try answer(&resolver, transmission, fill)
  }

  func address(_ name: DNSName, ttl: UInt32 = 60) -> Record { Record(name, ttl: ttl, .a(IPv4Address(203, 0, 113, 9))) }

  func soa(_ zone: DNSName, ttl: UInt32, minimum: UInt32) -> Record {
    Record(
      zone, ttl: ttl,
      .soa(
        StartOfAuthority(
          primary: zone, mailbox: zone, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: minimum)))
  }

  @Test func asksAnswersAndCaches() throws {
    var resolver = resolver()
    let id = try pending(resolver.query(name, .a, now: start))
    let sent = try next(&resolver)
    #expect(sent.server == Self.first)
    #expect(sent.transport == .udp)
    #expect(sent.suggestedLocalPort >= 1024)
    let query = try query(in: sent)
    #expect(query.header.recursionDesired)
    #expect(query.questions == [Question(name, .a)])
    #expect(query.edns?.udpPayloadSize == 1232)
    #expect(resolver.nextTransmission() == nil)
    #expect(resolver.deadline == start + .seconds(2))

    try answer(&resolver, sent) { $0.answers = [address(name)] }
    guard case .answered(let answered, let answer) = resolver.nextEvent() else {
      Issue.record("no answer")
      return
    }
    #expect(answered == id)
    #expect(answer.records == [address(name)])
    #expect(answer.expires == start + .seconds(60))
    #expect(resolver.nextClosedFlow() == sent.flow)
    #expect(resolver.deadline == .distantFuture)

    #expect(resolver.query(try DNSName("POP.example"), .a, now: start + .seconds(59)) == .answered(answer))
    _ = try pending(resolver.query(name, .a, now: start + .seconds(60)))
  }

  @Test func equalQueriesShareALookup() throws {
    var resolver = resolver { $0.maximumWaiters = 2 }
    let one = try pending(resolver.query(name, .a, now: start))
    let two = try pending(resolver.query(try DNSName("Pop.Example"), .a, now: start))
    #expect(resolver.query(name, .a, now: start) == .failed(.overloaded))
    let sent = try next(&resolver)
    #expect(resolver.nextTransmission() == nil)
    try answer(&resolver, sent) { $0.answers = [address(name)] }
    var answered: Set<Resolver.QueryID> = []
    while case .answered(let id, _) = resolver.nextEvent() { answered.insert(id) }
    #expect(answered == [one, two])
  }

  @Test func silenceGoesThroughTheServersAndBacksOff() throws {
    var resolver = resolver()
    let id = try pending(resolver.query(name, .a, now: start))
    var servers: [SocketAddress] = []
    var waits: [Interval] = []
    var ids: Set<UInt16> = []
    var now = start
    while let sent = resolver.nextTransmission() {
      servers.append(sent.server)
      ids.insert(try query(in: sent).header.id)
      waits.append(resolver.deadline - now)
      now = resolver.deadline
      resolver.handleTimeout(now: now - .milliseconds(1))
      #expect(resolver.nextTransmission() == nil)
      resolver.handleTimeout(now: now)
    }
    #expect(servers == [Self.first, Self.second, Self.first, Self.second])
    #expect(waits == [.seconds(2), .seconds(2), .seconds(4), .seconds(4)])
    #expect(ids.count == 4)
    #expect(resolver.nextEvent() == .failed(id, .timedOut))
    #expect(resolver.deadline == .distantFuture)
  }

  @Test func anErrorGoesToTheNextServerAtOnce() throws {
    var resolver = resolver { $0.attempts = 1 }
    let id = try pending(resolver.query(name, .a, now: start))
    try answerNext(&resolver) { $0.header.responseCode = .serverFailure }
    let sent = try next(&resolver)
    #expect(sent.server == Self.second)
    try answer(&resolver, sent) { $0.header.responseCode = .refused }
    #expect(resolver.nextEvent() == .failed(id, .serverFailed(.refused)))
  }

  @Test func aFlowThatFailsGoesToTheNextServerAtOnce() throws {
    var resolver = resolver { $0.attempts = 1 }
    let id = try pending(resolver.query(name, .a, now: start))
    resolver.flowFailed(try next(&resolver).flow, now: start)
    resolver.flowFailed(try next(&resolver).flow, now: start)
    #expect(resolver.nextEvent() == .failed(id, .unreachable))
  }

  @Test func laterLookupsBeginWithTheServerThatAnswers() throws {
    var resolver = resolver()
    _ = try pending(resolver.query(name, .a, now: start))
    _ = resolver.nextTransmission()
    resolver.handleTimeout(now: start + .seconds(2))
    try answerNext(&resolver) { $0.answers = [address(name)] }
    _ = try pending(resolver.query(name, .aaaa, now: start))
    #expect(resolver.nextTransmission()?.server == Self.second)
  }

  @Test func aServerWithoutEDNSIsAskedAgainWithout() throws {
    var resolver = resolver()
    _ = try pending(resolver.query(name, .a, now: start))
    try answerNext(&resolver) {
      $0.header.responseCode = .formatError
      $0.questions = []
    }
    let sent = try next(&resolver)
    #expect(sent.server == Self.first)
    #expect(try query(in: sent).edns == nil)
  }

  @Test func truncationGoesToTCP() throws {
    var resolver = resolver()
    _ = try pending(resolver.query(name, .a, now: start))
    try answerNext(&resolver) {
      $0.header.isTruncated = true
      $0.answers = [address(name)]
    }
    #expect(resolver.nextEvent() == nil)
    let sent = try next(&resolver)
    #expect(sent.server == Self.first)
    #expect(sent.transport == .tcp)
    try answer(&resolver, sent) { $0.answers = [address(name)] }
    guard case .answered = resolver.nextEvent() else {
      Issue.record("no answer")
      return
    }
  }

  @Test func forgeriesAreIgnoredAndManyOfThemLeadToTCP() throws {
    var resolver = resolver([Self.first])
    let id = try pending(resolver.query(name, .a, now: start))
    let sent = try next(&resolver)
    let forged = try response(to: sent) { $0.answers = [address(name)] }

    resolver.receive(forged, from: Self.second, over: .udp, flow: sent.flow, now: start)
    resolver.receive(forged, from: Self.first, over: .tcp, flow: sent.flow, now: start)
    #expect(resolver.counters.strays == 2)

    let wrongQuestion = try response(to: sent) { $0.questions = [Question(self.name, .aaaa)] }
    let notAResponse = try response(to: sent) { $0.header.isResponse = false }
    let noQuestion = try response(to: sent) { $0.questions = [] }
    for bytes in [wrongQuestion, notAResponse, noQuestion] {
      resolver.receive(bytes, from: Self.first, over: .udp, flow: sent.flow, now: start)
    }
    #expect(resolver.counters.mismatches == 3)
    #expect(resolver.nextEvent() == nil)
    #expect(resolver.nextTransmission() == nil)

    var wrongID = forged
    wrongID[0] ^= 0x55
    for _ in 0..<6 { resolver.receive(wrongID, from: Self.first, over: .udp, flow: sent.flow, now: start) }
    let retry = try next(&resolver)
    #expect(retry.transport == .tcp)
    try answer(&resolver, retry) { $0.answers = [address(name)] }
    guard case .answered(id, _) = resolver.nextEvent() else {
      Issue.record("no answer")
      return
    }
  }

  @Test func anAnswerThatLosesTheCaseIsAskedForOverTCP() throws {
    var resolver = resolver()
    _ = try pending(resolver.query(try DNSName("mixed-case-name.pop.example"), .a, now: start))
    let sent = try next(&resolver)
    let lower = try DNSName("mixed-case-name.pop.example")
    #expect(try query(in: sent).questions[0].name.wire != lower.wire)
    try answer(&resolver, sent) {
      $0.questions = [Question(lower, .a)]
      $0.answers = [address(lower)]
    }
    #expect(resolver.nextEvent() == nil)
    #expect(resolver.nextTransmission()?.transport == .tcp)
  }

  @Test func aliasesAreFollowedInOneAnswerAndByAskingAgain() throws {
    var resolver = resolver()
    let middle = try DNSName("middle.example")
    let end = try DNSName("end.example")
    _ = try pending(resolver.query(name, .a, now: start))
    try answerNext(&resolver) {
      $0.answers = [Record(name, ttl: 30, .cname(middle))]
    }
    let sent = try next(&resolver)
    #expect(try query(in: sent).questions == [Question(middle, .a)])
    try answer(&resolver, sent) {
      // In no order, with a record that is off the path.
      $0.answers = [address(end), address(try DNSName("evil.example")), Record(middle, ttl: 90, .cname(end))]
    }
    guard case .answered(_, let answer) = resolver.nextEvent() else {
      Issue.record("no answer")
      return
    }
    #expect(answer.canonicalName == end)
    #expect(answer.records == [address(end)])
    #expect(answer.aliases.count == 2)
    #expect(answer.expires == start + .seconds(30))
  }

  @Test func aliasLoopsEnd() throws {
    var resolver = resolver()
    let other = try DNSName("other.example")
    let id = try pending(resolver.query(name, .a, now: start))
    try answerNext(&resolver) {
      $0.answers = [Record(name, ttl: 30, .cname(other)), Record(other, ttl: 30, .cname(name))]
    }
    #expect(resolver.nextEvent() == .failed(id, .aliasChainTooLong))
    #expect(resolver.nextTransmission() == nil)
  }

  @Test func absenceIsKeptAsLongAsTheSOASays() throws {
    var resolver = resolver()
    let id = try pending(resolver.query(name, .a, now: start))
    try answerNext(&resolver) {
      $0.authorities = [soa(try DNSName("example"), ttl: 100, minimum: 20)]
    }
    #expect(resolver.nextEvent() == .failed(id, .noData))
    #expect(resolver.query(name, .a, now: start + .seconds(19)) == .failed(.noData))
    _ = try pending(resolver.query(name, .a, now: start + .seconds(20)))
    // NODATA is of one type; NXDOMAIN of all.
    let txt = try pending(resolver.query(name, .txt, now: start))
    _ = resolver.nextTransmission()
    try answerNext(&resolver) {
      $0.header.responseCode = .nameError
      $0.authorities = [soa(try DNSName("example"), ttl: 100, minimum: 20)]
    }
    #expect(resolver.nextEvent() == .failed(txt, .nameError))
    #expect(resolver.query(name, .aaaa, now: start) == .failed(.nameError))
  }

  @Test func absenceWithoutSOAOrUnderAnothersIsNotKept() throws {
    var resolver = resolver()
    for authorities in [[], [soa(try DNSName("elsewhere"), ttl: 100, minimum: 100)]] {
      let id = try pending(resolver.query(name, .a, now: start))
      try answerNext(&resolver) {
        $0.header.responseCode = .nameError
        $0.authorities = authorities
      }
      #expect(resolver.nextEvent() == .failed(id, .nameError))
    }
  }

  @Test func aReferralIsNoAnswer() throws {
    var resolver = resolver { $0.attempts = 1 }
    let id = try pending(resolver.query(name, .a, now: start))
    for _ in 0..<2 {
      try answerNext(&resolver) {
        $0.authorities = [Record(try DNSName("example"), ttl: 1, .ns(try DNSName("ns.example")))]
      }
    }
    #expect(resolver.nextEvent() == .failed(id, .referral))
  }

  @Test func boundsHold() throws {
    var resolver = resolver {
      $0.maximumLookups = 3
      $0.cacheCapacity = 2
    }
    for index in 0..<3 { _ = try pending(resolver.query(try DNSName("n\(index).example"), .a, now: start)) }
    #expect(resolver.query(try DNSName("n3.example"), .a, now: start) == .failed(.overloaded))
    for index in 0..<3 {
      try answerNext(&resolver) {
        $0.answers = [address(try DNSName("n\(index).example"), ttl: UInt32(10 + index))]
      }
    }
    #expect(resolver.cache.count == 2)
    // What expires soonest has gone.
    _ = try pending(resolver.query(try DNSName("n0.example"), .a, now: start))
  }

  @Test func ttlsAreClampedAndZeroIsNotKept() throws {
    var resolver = resolver()
    for ttl in [0, UInt32.max >> 1] {
      _ = try pending(resolver.query(name, .a, now: start))
      try answerNext(&resolver) { $0.answers = [address(name, ttl: ttl)] }
      guard case .answered(_, let answer) = resolver.nextEvent() else {
        Issue.record("no answer")
        return
      }
      #expect(answer.expires == start + .seconds(ttl == 0 ? 0 : 86_400))
    }
  }

  @Test func cancelledQueriesLeaveNothing() throws {
    var resolver = resolver()
    let one = try pending(resolver.query(name, .a, now: start))
    let two = try pending(resolver.query(name, .a, now: start))
    resolver.cancel(one)
    #expect(resolver.deadline != .distantFuture)
    resolver.cancel(two)
    #expect(resolver.deadline == .distantFuture)
    #expect(resolver.nextTransmission() == nil)
    #expect(resolver.nextClosedFlow() != nil)
    #expect(resolver.nextEvent() == nil)
  }

  @Test func changingServersStartsAnew() throws {
    var resolver = resolver([Self.first])
    _ = try pending(resolver.query(name, .a, now: start))
    let stale = try next(&resolver)
    resolver.setServers([Self.second], now: start)
    #expect(resolver.nextClosedFlow() == stale.flow)
    #expect(resolver.nextTransmission()?.server == Self.second)
    var none = self.resolver([])
    #expect(none.query(name, .a, now: start) == .failed(.noServers))
  }

  @Test func localhostNeedsNoServer() throws {
    var resolver = resolver([])
    guard case .answered(let answer) = resolver.query(try DNSName("x.LocalHost"), .aaaa, now: start) else {
      Issue.record("no answer")
      return
    }
    #expect(answer.records[0].data == .aaaa(.loopback))
    #expect(resolver.query(try DNSName("localhost"), .any, now: start) == .failed(.unsupportedType))
  }

  @Test func mutatedResponsesNeverCrashOrHang() throws {
    let random = SeededEntropy(seed: 5452)
    for _ in 0..<3_000 {
      var resolver = resolver { $0.attempts = 1 }
      _ = try pending(resolver.query(name, .a, now: start))
      var now = start
      var sends = 0
      while let sent = resolver.nextTransmission() {
        sends += 1
        var bytes = try response(to: sent) {
          $0.answers = [Record(name, ttl: 9, .cname(try DNSName("x.example"))), address(try DNSName("x.example"))]
          $0.authorities = [soa(try DNSName("example"), ttl: 100, minimum: 20)]
        }
        for _ in 0..<3 { bytes[Int(random.nextUInt64() % UInt64(bytes.count))] ^= UInt8(random.nextUInt64() % 256) }
        resolver.receive(bytes, from: sent.server, over: sent.transport, flow: sent.flow, now: now)
        if resolver.deadline < .distantFuture {
          now = resolver.deadline
          resolver.handleTimeout(now: now)
        }
      }
      #expect(sends < 100)
      #expect(resolver.nextEvent() != nil)
      #expect(resolver.transactions.isEmpty)
    }
  }
}
