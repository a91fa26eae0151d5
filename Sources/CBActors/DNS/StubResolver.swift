public import Wire

/// A resolver that asks recursive servers (RFC 1035 §7, hardened as RFC 5452 and RFC 6891 say), without
/// sockets or a clock.
///
/// ```
/// query → nextTransmission → (the network) → receive → nextEvent
/// ```
/// Call ``handleTimeout(now:)`` when ``deadline`` has come. Equal questions share one lookup; a lookup has
/// one transaction at a time and goes through the servers in turn.
public struct StubResolver {
  public struct Configuration: Hashable, Sendable {
    public var servers: [SocketAddress]
    /// How long the first round waits for each server; every further round doubles it.
    public var timeout: Interval = .seconds(2)
    /// What doubling stops at.
    public var maximumTimeout: Interval = .seconds(10)
    /// Rounds through all servers.
    public var attempts = 2
    /// Spread lookups over the servers instead of staying with the one that answers.
    public var rotate = false
    /// Ask over TCP alone (`use-vc`).
    public var useTCP = false
    /// Mix the case of each question's letters, and hold the answer to it.
    public var randomizesCase = true
    /// The UDP payload that EDNS announces, in octets.
    public var udpPayloadSize = EDNS.safePayloadSize
    /// Lookups under way at a time; one more is refused as ``Failure/overloaded``.
    public var maximumLookups = 64
    /// Queries that wait for one lookup; one more is refused as ``Failure/overloaded``.
    public var maximumWaiters = 64
    public var cacheCapacity = 512
    /// The longest that an answer is kept, in seconds.
    public var maximumTTL: UInt32 = 86_400
    /// The longest that a negative answer is kept, in seconds (RFC 2308 §5 suggests one to three hours).
    public var maximumNegativeTTL: UInt32 = 3_600

    public init(servers: [SocketAddress]) { self.servers = servers }
  }

  public enum Transport: Hashable, Sendable { case udp, tcp }

  /// A query that ``query(_:_:now:)`` took.
  public struct QueryID: Hashable, Sendable { let rawValue: UInt64 }

  /// A transaction's own socket, or TCP connection.
  public struct FlowID: Hashable, Sendable { let rawValue: UInt64 }

  public struct Answer: Hashable, Sendable {
    /// As asked for.
    public var question: Question
    /// Where the aliases led: the owner of ``records``.
    public var canonicalName: DNSName
    /// The CNAME records on the way.
    public var aliases: [Record]
    /// At least one, all of the type asked for.
    public var records: [Record]
    /// When the first TTL among them runs out.
    public var expires: Instant

    public init(question: Question, canonicalName: DNSName, aliases: [Record], records: [Record], expires: Instant) {
      self.question = question
      self.canonicalName = canonicalName
      self.aliases = aliases
      self.records = records
      self.expires = expires
    }
  }

  public enum Failure: Error, Hashable, Sendable {
    /// NXDOMAIN: there is no such name.
    case nameError
    /// The name exists without a record of this type.
    case noData
    case timedOut
    /// The driver could not reach any server.
    case unreachable
    /// The last server's response code, when every server failed.
    case serverFailed(ResponseCode)
    /// The last server sent what is no answer to the question.
    case malformedResponse
    /// The server only named others to ask; it does no recursion.
    case referral
    /// More than ``StubResolver/maximumAliases`` CNAMEs in a row.
    case aliasChainTooLong
    case overloaded
    case noServers
    /// A QTYPE that is no data, such as ANY.
    case unsupportedType
  }

  public enum QueryResult: Hashable, Sendable {
    case answered(Answer)
    case failed(Failure)
    /// An ``Event`` follows.
    case pending(QueryID)
  }

  public enum Event: Hashable, Sendable {
    case answered(QueryID, Answer)
    case failed(QueryID, Failure)
  }

  public struct Transmission: Hashable, Sendable {
    /// Each flow wants its own socket or connection; hand what comes back in with it.
    public var flow: FlowID
    public var server: SocketAddress
    public var transport: Transport
    /// An unpredictable port to bind (RFC 5452 §9.2). Any other that is free and hard to guess will do.
    public var suggestedLocalPort: UInt16
    /// The message; for TCP with its two-octet length before it.
    public var bytes: [UInt8]
  }

  /// What came in and led to nothing.
  public struct Counters: Hashable, Sendable {
    /// Datagrams for no open flow, or from another address than the one asked.
    public var strays = 0
    /// A wrong identifier or question: late, or forged.
    public var mismatches = 0
    public var malformed = 0
  }

  public static let maximumAliases = 8
  /// Mismatches after which a transaction changes to TCP, where a blind forger has no chance.
  static let toleratedMismatches = 8

  public private(set) var configuration: Configuration
  public internal(set) var counters = Counters()

  let entropy: any EntropySource
  var cache: AnswerCache
  var lookups: [LookupKey: Lookup] = [:]
  var transactions: [FlowID: Transaction] = [:]
  var serversWithoutEDNS: Set<SocketAddress> = []
  private var preferredServer = 0
  private var lastQuery: UInt64 = 0
  private var lastFlow: UInt64 = 0
  private var outbox: [Transmission] = []
  private var events: [Event] = []
  private var closedFlows: [FlowID] = []

  struct LookupKey: Hashable {
    var name: DNSName
    var type: RecordType
  }

  struct Lookup {
    let question: Question
    var waiters: [QueryID]
    /// What is being asked now: the question's name, or where aliases have led.
    var name: DNSName
    var aliases: [Record] = []
    var firstServer: Int
    /// Servers tried for ``name``.
    var attempt = 0
    var flow: FlowID?
  }

  struct Transaction {
    let lookup: LookupKey
    let server: SocketAddress
    let transport: Transport
    let id: UInt16
    /// In the case that was sent.
    let question: Question
    let usesEDNS: Bool
    let deadline: Instant
    var mismatches = 0
  }

  public init(_ configuration: Configuration, entropy: any EntropySource) {
    self.configuration = configuration
    self.entropy = entropy
    cache = AnswerCache(capacity: configuration.cacheCapacity)
  }

  /// Changes to other servers, as after a change of network: forgets what was cached, and starts the lookups
  /// under way anew with them.
  public mutating func setServers(_ servers: [SocketAddress], now: Instant) {
    configuration.servers = servers
    preferredServer = 0
    serversWithoutEDNS = []
    cache.removeAll()
    for (key, var lookup) in lookups {
      close(lookup.flow)
      lookup.flow = nil
      lookup.name = lookup.question.name
      lookup.aliases = []
      lookup.firstServer = 0
      lookup.attempt = 0
      lookups[key] = lookup
      ask(key, failingWith: .noServers, now: now)
    }
  }

  // MARK: Queries

  /// Asks for the records of `type` at `name`, which is absolute.
  public mutating func query(_ name: DNSName, _ type: RecordType, now: Instant) -> QueryResult {
    // QTYPEs and meta-TYPEs are 128 to 255 (RFC 6895 §3.1), and OPT.
    guard !(128...255).contains(type.rawValue), type != .opt else { return .failed(.unsupportedType) }
    if let loopback = loopbackAnswer(name, type) { return loopback }
    switch cache.outcome(name, type, now: now) {
    case .success(let answer): return .answered(answer)
    case .failure(let failure): return .failed(failure)
    case nil: break
    }
    guard !configuration.servers.isEmpty else { return .failed(.noServers) }
    let key = LookupKey(name: name, type: type)
    lastQuery += 1
    let query = QueryID(rawValue: lastQuery)
    if let waiting = lookups[key]?.waiters.count {
      guard waiting < configuration.maximumWaiters else { return .failed(.overloaded) }
      lookups[key]?.waiters.append(query)
      return .pending(query)
    }
    guard lookups.count < configuration.maximumLookups else { return .failed(.overloaded) }
    if configuration.rotate { preferredServer += 1 }
    lookups[key] = Lookup(
      question: Question(name, type), waiters: [query], name: name,
      firstServer: preferredServer % configuration.servers.count)
    ask(key, failingWith: .timedOut, now: now)
    return .pending(query)
  }

  /// Forgets a query: no event follows. The last one takes its lookup with it.
  public mutating func cancel(_ query: QueryID) {
    guard let (key, lookup) = lookups.first(where: { $0.value.waiters.contains(query) }) else { return }
    lookups[key]?.waiters.removeAll { $0 == query }
    guard lookup.waiters.count == 1 else { return }
    close(lookup.flow)
    lookups[key] = nil
  }

  /// `localhost` and all names under it are the loopback address (RFC 6761 §6.3), whatever a server says.
  private func loopbackAnswer(_ name: DNSName, _ type: RecordType) -> QueryResult? {
    guard name.isEqualOrUnder(Self.localhost) else { return nil }
    let data: RecordData
    switch type {
    case .a: data = .a(.loopback)
    case .aaaa: data = .aaaa(.loopback)
    default: return .failed(.noData)
    }
    return .answered(
      Answer(
        question: Question(name, type), canonicalName: name, aliases: [], records: [Record(name, ttl: 0, data)],
        expires: .distantFuture))
  }

  private static let localhost = DNSName(validatedWire: [9] + Array("localhost".utf8) + [0])

  // MARK: What the driver takes

  /// The next message to send, or nil.
  public mutating func nextTransmission() -> Transmission? {
    while !outbox.isEmpty {
      let transmission = outbox.removeFirst()
      if transactions[transmission.flow] != nil { return transmission }
    }
    return nil
  }

  public mutating func nextEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  /// The next flow whose socket or connection has done its work, or nil.
  public mutating func nextClosedFlow() -> FlowID? { closedFlows.isEmpty ? nil : closedFlows.removeFirst() }

  /// When to call ``handleTimeout(now:)``; ``Instant/distantFuture`` when nothing is under way.
  public var deadline: Instant { transactions.values.map(\.deadline).min() ?? .distantFuture }

  public mutating func handleTimeout(now: Instant) {
    for transaction in transactions.values where transaction.deadline <= now {
      tryNextServer(transaction.lookup, because: .timedOut, now: now)
    }
  }

  /// The driver could not send or connect, or an ICMP error or reset came: on to the next server.
  public mutating func flowFailed(_ flow: FlowID, now: Instant) {
    guard let transaction = transactions[flow] else { return }
    tryNextServer(transaction.lookup, because: .unreachable, now: now)
  }

  // MARK: Transactions

  /// Opens a transaction with the server whose turn it is; after the last one the lookup fails.
  mutating func ask(
    _ key: LookupKey, failingWith failure: Failure, over transport: Transport? = nil, now: Instant
  ) {
    guard let lookup = lookups[key] else { return }
    let servers = configuration.servers
    guard !servers.isEmpty, lookup.attempt < servers.count * max(1, configuration.attempts) else {
      finish(key, .failure(failure))
      return
    }
    let server = servers[(lookup.firstServer + lookup.attempt) % servers.count]
    let round = min(lookup.attempt / servers.count, 16)
    let timeout = min(configuration.timeout * (1 << Int64(round)), configuration.maximumTimeout)
    let transport = transport ?? (configuration.useTCP ? .tcp : .udp)
    let randomizesCase = configuration.randomizesCase && transport == .udp
    let transaction = Transaction(
      lookup: key, server: server, transport: transport, id: freshID(),
      question: Question(
        randomizesCase ? lookup.name.withRandomizedCase(entropy) : lookup.name, lookup.question.type),
      usesEDNS: !serversWithoutEDNS.contains(server), deadline: now + timeout)
    guard let bytes = encode(transaction) else {
      finish(key, .failure(.malformedResponse))
      return
    }
    lastFlow += 1
    let flow = FlowID(rawValue: lastFlow)
    close(lookup.flow)
    lookups[key]?.flow = flow
    transactions[flow] = transaction
    let port = 1024 + UInt16(entropy.nextUInt64() % (65_536 - 1024))
    outbox.append(
      Transmission(flow: flow, server: server, transport: transport, suggestedLocalPort: port, bytes: bytes))
  }

  mutating func tryNextServer(_ key: LookupKey, because failure: Failure, now: Instant) {
    guard let lookup = lookups[key] else { return }
    let count = max(1, configuration.servers.count)
    let server = (lookup.firstServer + lookup.attempt) % count
    // After silence the next lookups begin with another server; an error may be this name's alone.
    if failure == .timedOut || failure == .unreachable, server == preferredServer % count {
      preferredServer = (server + 1) % count
    }
    lookups[key]?.attempt += 1
    ask(key, failingWith: failure, now: now)
  }

  /// Ends a lookup and tells everyone who waits for it.
  mutating func finish(_ key: LookupKey, _ outcome: Result<Answer, Failure>) {
    guard let lookup = lookups.removeValue(forKey: key) else { return }
    close(lookup.flow)
    for query in lookup.waiters {
      switch outcome {
      case .success(let answer): events.append(.answered(query, answer))
      case .failure(let failure): events.append(.failed(query, failure))
      }
    }
  }

  private mutating func close(_ flow: FlowID?) {
    guard let flow, transactions.removeValue(forKey: flow) != nil else { return }
    closedFlows.append(flow)
  }

  /// Unpredictable (RFC 5452 §9.2), and like no other under way.
  private func freshID() -> UInt16 {
    while true {
      let id = UInt16(truncatingIfNeeded: entropy.nextUInt64())
      // At most `maximumLookups` are taken, so this ends; a source that repeats itself is not followed forever.
      if transactions.count >= 0x8000 || !transactions.values.contains(where: { $0.id == id }) { return id }
    }
  }

  private func encode(_ transaction: Transaction) -> [UInt8]? {
    var message = Message(header: Header(id: transaction.id))
    message.header.recursionDesired = true
    message.questions = [transaction.question]
    if transaction.usesEDNS { message.edns = EDNS(udpPayloadSize: configuration.udpPayloadSize) }
    guard let bytes = message.serialized() else { return nil }
    return transaction.transport == .tcp ? TCPMessageReader.frame(bytes) : bytes
  }
}

extension StubResolver.Failure: CustomStringConvertible {
  /// A few words for a user.
  public var description: String {
    switch self {
    case .nameError: "no such name"
    case .noData: "no such record"
    case .timedOut: "no answer in time"
    case .unreachable: "no server reachable"
    case .serverFailed(let code): "server failed (\(code))"
    case .malformedResponse: "malformed response"
    case .referral: "server does not recurse"
    case .aliasChainTooLong: "too many aliases"
    case .overloaded: "too many queries"
    case .noServers: "no server configured"
    case .unsupportedType: "unsupported type"
    }
  }
}
