public import Wire

extension StubResolver {
  /// Takes in one message.
  ///
  /// - Parameters:
  ///   - bytes: The message; for TCP without its length (see ``TCPMessageReader``).
  ///   - server: Where it came from.
  ///   - flow: Where it arrived; nil when one socket serves all flows.
  public mutating func receive(
    _ bytes: UnsafeRawBufferPointer, from server: SocketAddress, over transport: Transport, flow: FlowID? = nil,
    now: Instant
  ) {
    guard bytes.count >= Header.length else {
      counters.malformed += 1
      return
    }
    let id = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    guard let flow = flow ?? self.flow(expecting: id, from: server, over: transport),
      let transaction = transactions[flow], transaction.server == server, transaction.transport == transport
    else {
      counters.strays += 1
      return
    }
    // RFC 5452 §9.1 lists what an answer must match: addresses and ports, the identifier, the question.
    guard id == transaction.id, bytes[2] & 0x80 != 0 else {
      noteMismatch(flow, now: now)
      return
    }
    do throws(MessageError) {
      let response = try Message(bytes)
      switch match(response, to: transaction) {
      case .no: noteMismatch(flow, now: now)
      case .differsInCase: ask(transaction.lookup, failingWith: .malformedResponse, over: .tcp, now: now)
      case .yes: take(response, for: transaction, now: now)
      }
    } catch {
      counters.malformed += 1
      tryNextServer(transaction.lookup, because: .malformedResponse, now: now)
    }
  }

  public mutating func receive(
    _ bytes: [UInt8], from server: SocketAddress, over transport: Transport, flow: FlowID? = nil, now: Instant
  ) {
    bytes.withUnsafeBytes { receive($0, from: server, over: transport, flow: flow, now: now) }
  }

  private func flow(expecting id: UInt16, from server: SocketAddress, over transport: Transport) -> FlowID? {
    transactions.first { $0.value.id == id && $0.value.server == server && $0.value.transport == transport }?.key
  }

  /// A wrong answer does not end the wait, or a forger could end it; but many of them mean that someone
  /// guesses, and over TCP there is nothing to guess.
  private mutating func noteMismatch(_ flow: FlowID, now: Instant) {
    counters.mismatches += 1
    guard let transaction = transactions[flow] else { return }
    transactions[flow]?.mismatches += 1
    if transaction.transport == .udp, transaction.mismatches >= Self.toleratedMismatches {
      ask(transaction.lookup, failingWith: .malformedResponse, over: .tcp, now: now)
    }
  }

  private enum QuestionMatch { case yes, no, differsInCase }

  private func match(_ response: Message, to transaction: Transaction) -> QuestionMatch {
    guard response.header.opcode == .query else { return .no }
    guard let question = response.questions.first else {
      // A server that could not read the question does not repeat it.
      return response.header.responseCode == .noError || response.header.responseCode == .nameError ? .no : .yes
    }
    guard question == transaction.question else { return .no }
    let comparesCase = configuration.randomizesCase && transaction.transport == .udp
    return comparesCase && question.name.wire != transaction.question.name.wire ? .differsInCase : .yes
  }

  private mutating func take(_ response: Message, for transaction: Transaction, now: Instant) {
    let key = transaction.lookup
    if response.header.isTruncated {
      // RFC 2181 §9: what is truncated is not used; the query goes again over TCP.
      if transaction.transport == .udp {
        ask(key, failingWith: .malformedResponse, over: .tcp, now: now)
      } else {
        tryNextServer(key, because: .malformedResponse, now: now)
      }
      return
    }
    switch response.header.responseCode {
    case .noError, .nameError:
      takeAnswer(response, for: key, now: now)
    case .formatError, .notImplemented, .badVersion:
      // RFC 6891 §7: a server may not know EDNS and say so; without it, the same server is asked again.
      if transaction.usesEDNS {
        serversWithoutEDNS.insert(transaction.server)
        ask(key, failingWith: .serverFailed(response.header.responseCode), over: transaction.transport, now: now)
      } else {
        tryNextServer(key, because: .serverFailed(response.header.responseCode), now: now)
      }
    default:
      tryNextServer(key, because: .serverFailed(response.header.responseCode), now: now)
    }
  }

  /// Follows the aliases through the answer section to the data, to the proof that there is none, or to
  /// the next name to ask for. Records off that path are not looked at, whoever sent them.
  private mutating func takeAnswer(_ response: Message, for key: LookupKey, now: Instant) {
    guard var lookup = lookups[key] else { return }
    let answers = response.answers.filter { $0.recordClass == .internet }
    var isNew = false
    while true {
      let records = answers.filter { $0.type == key.type && $0.name == lookup.name }
      if !records.isEmpty {
        let answer = Answer(
          question: lookup.question, canonicalName: lookup.name, aliases: lookup.aliases, records: records,
          expires: expiry(of: records + lookup.aliases, now: now))
        keep(.success(answer), for: key, until: answer.expires, now: now)
        finish(key, .success(answer))
        return
      }
      guard let alias = answers.first(where: { $0.type == .cname && $0.name == lookup.name }),
        case .cname(let target) = alias.data
      else { break }
      guard lookup.aliases.count < Self.maximumAliases else {
        finish(key, .failure(.aliasChainTooLong))
        return
      }
      lookup.aliases.append(alias)
      lookup.name = target
      isNew = true
    }

    let authority = startOfAuthority(over: lookup.name, in: response)
    if response.header.responseCode == .nameError {
      finishNegative(.nameError, lookup, key, authority: authority, now: now)
    } else if isNew, authority == nil {
      // The server followed the aliases no further; the same server is asked for where they led.
      lookup.firstServer += lookup.attempt
      lookup.attempt = 0
      lookups[key] = lookup
      ask(key, failingWith: .timedOut, now: now)
    } else if authority == nil, response.authorities.contains(where: { $0.type == .ns }) {
      // RFC 2308 §2.2: NS records without SOA are a referral, not NODATA.
      tryNextServer(key, because: .referral, now: now)
    } else {
      finishNegative(.noData, lookup, key, authority: authority, now: now)
    }
  }

  private func startOfAuthority(over name: DNSName, in response: Message) -> Record? {
    response.authorities.first { $0.type == .soa && $0.recordClass == .internet && name.isEqualOrUnder($0.name) }
  }

  private mutating func finishNegative(
    _ failure: Failure, _ lookup: Lookup, _ key: LookupKey, authority: Record?, now: Instant
  ) {
    // RFC 2308 §5: kept for the lesser of the SOA's minimum and its TTL; without an SOA not at all.
    if let authority, case .soa(let soa) = authority.data {
      let ttl = min(soa.minimum, authority.ttl, configuration.maximumNegativeTTL)
      let expires = min(now + .seconds(Int64(ttl)), expiry(of: lookup.aliases, now: now))
      let isForEveryType = failure == .nameError && lookup.aliases.isEmpty
      keep(
        .failure(failure), for: isForEveryType ? LookupKey(name: key.name, type: .any) : key, until: expires, now: now)
    }
    finish(key, .failure(failure))
  }

  private mutating func keep(_ outcome: AnswerCache.Outcome, for key: LookupKey, until expires: Instant, now: Instant) {
    cache.insert(outcome, at: AnswerCache.Key(name: key.name, type: key.type), until: expires, now: now)
  }

  private func expiry(of records: [Record], now: Instant) -> Instant {
    let ttl = min(records.map(\.ttl).min() ?? configuration.maximumTTL, configuration.maximumTTL)
    return now + .seconds(Int64(ttl))
  }
}
