import DNS
import Wire

/// Finds a domain's PoPs in DNS, without sockets or a clock.
///
/// Three sources are asked at once and rank in this order:
/// 1. HTTPS records at the domain (RFC 9460), those that offer `h3`;
/// 2. SRV records at `_cloudbridge._udp.<domain>` (RFC 2782);
/// 3. the domain's own addresses, at port 443.
///
/// All that they give become candidates: a lower source is the fallback when every candidate of a higher
/// one is dead. Hand the lookups of ``nextLookup()`` to a resolver and each result to
/// ``resolved(_:_:)``, until ``result`` is there.
struct Discovery {
  struct Lookup: Hashable, Sendable {
    var name: DNSName
    var type: RecordType
  }

  /// Why a domain has no candidate.
  enum Failure: Error, Hashable, Sendable {
    /// The domain says so itself: an SRV or HTTPS target of `.`.
    case notOffered
    /// Nothing usable; holds what each source said.
    case nothingFound([Finding])
  }

  /// What became of one lookup that gave nothing usable.
  struct Finding: Hashable, Sendable {
    var lookup: Lookup
    var reason: Reason

    enum Reason: Hashable, Sendable {
      case unresolved(StubResolver.Failure)
      /// RFC 9460 §2.2: one malformed record spoils its set.
      case malformedRecord
      /// No record offers `h3`, or each demands parameters that are not understood here.
      case noUsableRecord
      case tooManyAliases
    }
  }

  static let defaultPort: UInt16 = 443
  static let service = "_cloudbridge._udp"
  /// AliasMode records followed (RFC 9460 §3 leaves the limit to the client).
  static let maximumAliases = 8
  /// Records used of one HTTPS or SRV set.
  static let maximumTargets = 8
  /// Addresses used of one host.
  static let maximumAddresses = 8
  static let maximumCandidates = 32

  /// A host that a record names, and what to join to its addresses.
  private struct Target {
    var name: DNSName
    var port: UInt16
    var source: PoPCandidate.Source
    var hints: [IPAddress] = []
  }

  let domain: DNSName
  private let explicitPort: UInt16?
  private let entropy: any EntropySource

  private var unsent: [Lookup] = []
  private var open: Set<Lookup> = []
  private var asked: Set<Lookup> = []
  private var addresses: [DNSName: [IPAddress]] = [:]
  private var findings: [Finding] = []
  /// By source, best first, each in the order to try.
  private var httpsTargets: [Target] = []
  private var srvTargets: [Target] = []
  /// Where the HTTPS lookups have come to: the domain, or the last alias.
  private var httpsName: DNSName
  private var aliasCount = 0
  private var isDenied = false

  /// - Parameter port: a port that the user wrote. It names one endpoint, so only addresses are looked up.
  init(domain: DNSName, port: UInt16? = nil, entropy: any EntropySource) {
    self.domain = domain
    explicitPort = port
    self.entropy = entropy
    httpsName = domain
    if port == nil {
      ask(domain, .https)
      if let service = (try? DNSName(Self.service))?.appending(domain) { ask(service, .srv) }
    }
    askAddresses(domain)
  }

  // MARK: Lookups

  /// The next lookup to hand to the resolver, or nil.
  mutating func nextLookup() -> Lookup? { unsent.isEmpty ? nil : unsent.removeFirst() }

  /// Takes in what a lookup gave. One that was not asked for, or twice, is ignored.
  mutating func resolved(_ lookup: Lookup, _ result: Result<StubResolver.Answer, StubResolver.Failure>) {
    guard open.remove(lookup) != nil else { return }
    switch result {
    case .failure(let failure): note(lookup, .unresolved(failure))
    case .success(let answer):
      switch lookup.type {
      case .https: takeHTTPS(answer, lookup)
      case .srv: takeSRV(answer)
      default: takeAddresses(answer, of: lookup.name)
      }
    }
  }

  private mutating func ask(_ name: DNSName, _ type: RecordType) {
    let lookup = Lookup(name: name, type: type)
    guard asked.insert(lookup).inserted else { return }
    open.insert(lookup)
    unsent.append(lookup)
  }

  private mutating func askAddresses(_ name: DNSName) {
    // RFC 8305 §3 asks for AAAA first.
    ask(name, .aaaa)
    ask(name, .a)
  }

  private mutating func note(_ lookup: Lookup, _ reason: Finding.Reason) {
    findings.append(Finding(lookup: lookup, reason: reason))
  }

  // MARK: Answers

  private mutating func takeHTTPS(_ answer: StubResolver.Answer, _ lookup: Lookup) {
    var bindings: [ServiceBinding] = []
    for record in answer.records {
      guard case .https(let binding) = record.data else {
        note(lookup, .malformedRecord)
        return
      }
      bindings.append(binding)
    }
    // RFC 9460 §2.4.1: with an AliasMode record present, ServiceMode ones are ignored; of several, one at random.
    let aliases = bindings.filter(\.isAlias)
    guard aliases.isEmpty else {
      follow(aliases[Int(entropy.nextUInt64() % UInt64(aliases.count))].target, lookup)
      return
    }
    let usable = bindings.filter { $0.parameters.isCompatible && $0.parameters.offers(alpn: "h3") }
    guard !usable.isEmpty else {
      note(lookup, .noUsableRecord)
      return
    }
    // RFC 9460 §2.4.1: equal priorities are shuffled.
    let ordered = shuffled(usable).sorted { $0.priority < $1.priority }
    for binding in ordered.prefix(Self.maximumTargets) {
      let target = binding.target.isRoot ? answer.canonicalName : binding.target
      httpsTargets.append(
        Target(
          name: target, port: binding.parameters.port ?? Self.defaultPort, source: .https,
          hints: binding.parameters.ipv6Hints.map { .v6($0) } + binding.parameters.ipv4Hints.map { .v4($0) }))
      askAddresses(target)
    }
  }

  /// Goes on at an AliasMode target.
  private mutating func follow(_ target: DNSName, _ lookup: Lookup) {
    guard !target.isRoot else {
      // RFC 9460 §2.5.1: the service is not available or does not exist.
      isDenied = true
      return
    }
    aliasCount += 1
    guard aliasCount <= Self.maximumAliases, !asked.contains(Lookup(name: target, type: .https)) else {
      note(lookup, .tooManyAliases)
      return
    }
    httpsName = target
    ask(target, .https)
    // RFC 9460 §3: without a record at its end, the alias still stands for the target's addresses.
    askAddresses(target)
  }

  private mutating func takeSRV(_ answer: StubResolver.Answer) {
    let records = answer.records.compactMap { if case .srv(let srv) = $0.data { srv } else { nil } }
    // RFC 2782: `A Target of "." means that the service is decidedly not available at this domain.`
    if records.count == 1, records[0].target.isRoot {
      isDenied = true
      return
    }
    let ordered = ServiceLocation.selectionOrder(records.filter { !$0.target.isRoot }, entropy: entropy)
    for srv in ordered.prefix(Self.maximumTargets) {
      srvTargets.append(Target(name: srv.target, port: srv.port, source: .srv))
      askAddresses(srv.target)
    }
  }

  private mutating func takeAddresses(_ answer: StubResolver.Answer, of name: DNSName) {
    let found: [IPAddress] = answer.records.compactMap {
      switch $0.data {
      case .a(let address): .v4(address)
      case .aaaa(let address): .v6(address)
      default: nil
      }
    }
    addresses[name, default: []] += found.prefix(Self.maximumAddresses)
  }

  private func shuffled(_ bindings: [ServiceBinding]) -> [ServiceBinding] {
    var bindings = bindings
    for index in bindings.indices.dropFirst() {
      bindings.swapAt(index, Int(entropy.nextUInt64() % UInt64(index + 1)))
    }
    return bindings
  }

  // MARK: The result

  /// What has been found, once every lookup has come back: at least one candidate, best first.
  var result: Result<[Candidate], Failure>? {
    guard open.isEmpty else { return nil }
    let candidates = candidates
    if !candidates.isEmpty { return .success(candidates) }
    return .failure(isDenied ? .notOffered : .nothingFound(findings))
  }

  /// What the lookups that have come back give: what to race when the rest are late.
  var candidates: [Candidate] {
    var targets = httpsTargets + srvTargets
    // At the end of aliases without HTTPS records there, the target's addresses count as that source's.
    if httpsTargets.isEmpty, httpsName != domain {
      targets.insert(Target(name: httpsName, port: Self.defaultPort, source: .https), at: 0)
    }
    // A domain that denies the service is not asked for it at its own address either.
    if !isDenied { targets.append(Target(name: domain, port: explicitPort ?? Self.defaultPort, source: .address)) }

    var candidates: [Candidate] = []
    var seen: Set<SocketAddress> = []
    for (priority, target) in targets.enumerated() {
      // RFC 9460 §7.3: hints serve until the addresses themselves are known.
      let known = addresses[target.name] ?? []
      for ip in (known.isEmpty ? target.hints : known).prefix(2 * Self.maximumAddresses) {
        let address = SocketAddress(ip, port: target.port)
        guard Self.isPlausible(address), candidates.count < Self.maximumCandidates, seen.insert(address).inserted
        else { continue }
        candidates.append(
          Candidate(name: target.name.description, address: address, priority: priority, source: target.source))
      }
    }
    return Candidate.ordered(candidates)
  }

  /// False for what no PoP listens at: port 0, the unspecified address, multicast and broadcast.
  private static func isPlausible(_ address: SocketAddress) -> Bool {
    guard address.port != 0 else { return false }
    switch address.ip.unmapped {
    case .v4(let four): return four.rawValue >> 24 != 0 && four.rawValue >> 28 < 0xe
    case .v6(let six): return six != .any && six.high >> 56 != 0xff
    }
  }
}

extension Discovery.Failure: CustomStringConvertible {
  var description: String {
    switch self {
    case .notOffered: "the domain says that it offers no such service"
    case .nothingFound(let findings):
      "no usable record: "
        + findings.map { "\($0.lookup.name) \($0.lookup.type): \($0.reason)" }.joined(separator: "; ")
    }
  }
}

extension Discovery.Finding.Reason: CustomStringConvertible {
  var description: String {
    switch self {
    case .unresolved(let failure): failure.description
    case .malformedRecord: "malformed record"
    case .noUsableRecord: "no record offers h3"
    case .tooManyAliases: "too many aliases"
    }
  }
}
