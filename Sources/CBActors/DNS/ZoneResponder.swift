/// Answers queries from one zone, with authority and without recursion (RFC 1034 §4.3.1).
public struct ZoneResponder: Sendable {
  public var zone: Zone

  public init(_ zone: Zone) { self.zone = zone }

  /// CNAMEs followed in one answer.
  static let maximumAliases = 8

  /// The response's bytes, or nil when none is due.
  ///
  /// - Parameters:
  ///   - bytes: A query; for TCP without its length.
  ///   - transport: UDP is limited to 512 octets, or to what EDNS announces up to
  ///     ``EDNS/safePayloadSize``; what is longer is cut with TC set.
  public func respond(to bytes: UnsafeRawBufferPointer, over transport: StubResolver.Transport) -> [UInt8]? {
    // To answer a response would let two servers talk to each other forever.
    guard bytes.count >= Header.length, bytes[2] & 0x80 == 0 else { return nil }
    let id = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    var response: Message
    do throws(MessageError) {
      response = self.response(to: try Message(bytes))
    } catch {
      response = Message(header: Header(id: id))
      response.header.isResponse = true
      response.header.responseCode = .formatError
    }
    guard transport == .udp else { return response.serialized() }
    let limit = min(max(response.edns == nil ? 512 : requestedSize(bytes), 512), Int(EDNS.safePayloadSize))
    if let whole = response.serialized(limit: limit) { return whole }
    response.additionals = []
    if let withoutAdditionals = response.serialized(limit: limit) { return withoutAdditionals }
    response.header.isTruncated = true
    response.answers = []
    response.authorities = []
    return response.serialized(limit: limit)
  }

  public func respond(to bytes: [UInt8], over transport: StubResolver.Transport) -> [UInt8]? {
    bytes.withUnsafeBytes { respond(to: $0, over: transport) }
  }

  private func requestedSize(_ bytes: UnsafeRawBufferPointer) -> Int {
    Int((try? Message(bytes))?.edns?.udpPayloadSize ?? 512)
  }

  /// The whole response, whatever its length.
  public func response(to query: Message) -> Message {
    var response = Message(header: Header(id: query.header.id))
    response.header.isResponse = true
    response.header.opcode = query.header.opcode
    response.header.recursionDesired = query.header.recursionDesired
    response.questions = query.questions
    // RFC 6891 §6.1.1: a response to a query with OPT carries one.
    if query.edns != nil { response.edns = EDNS() }
    guard query.edns?.version ?? 0 == 0 else {
      response.header.responseCode = .badVersion
      return response
    }
    guard query.header.opcode == .query else {
      response.header.responseCode = .notImplemented
      return response
    }
    guard let question = query.questions.first else {
      response.header.responseCode = .formatError
      return response
    }
    guard question.recordClass == .internet, question.name.isEqualOrUnder(zone.origin) else {
      response.header.responseCode = .refused
      return response
    }
    response.header.isAuthoritative = true
    answer(question, in: &response)
    return response
  }

  private func answer(_ question: Question, in response: inout Message) {
    var name = question.name
    for _ in 0...Self.maximumAliases {
      let records = zone.records(name)
      // RFC 8482 §4.1: ANY gets one of the sets, not all.
      let type = question.type == .any ? records.first?.type : question.type
      let matching = records.filter { $0.type == type }
      if !matching.isEmpty {
        response.answers += matching
        response.additionals = addresses(for: matching)
        return
      }
      guard let alias = records.first(where: { $0.type == .cname }), case .cname(let target) = alias.data else {
        if !zone.exists(name) { response.header.responseCode = .nameError }
        // RFC 2308 §3: the SOA says how long the absence may be remembered.
        response.authorities = [zone.soa]
        return
      }
      response.answers.append(alias)
      name = target
      // Where the alias leaves the zone, the resolver goes on by itself.
      guard name.isEqualOrUnder(zone.origin) else { return }
    }
    response.answers = []
    response.header.isAuthoritative = false
    response.header.responseCode = .serverFailure
  }

  /// The addresses of the hosts that SRV, SVCB and HTTPS records name.
  private func addresses(for records: [Record]) -> [Record] {
    var targets: [DNSName] = []
    for record in records {
      let target: DNSName
      switch record.data {
      case .srv(let srv): target = srv.target
      case .svcb(let binding), .https(let binding):
        target = binding.target.isRoot && !binding.isAlias ? record.name : binding.target
      default: continue
      }
      if !targets.contains(target) { targets.append(target) }
    }
    return targets.flatMap { zone.records($0).filter { $0.type == .a || $0.type == .aaaa } }
  }
}
