import CBActors
import DNS
import HTTP3
import PacketCrypto
import QUIC
import QUICTLS
import Ring
import Wire

/// Finds a profile's PoPs and opens connections to them: drives ``Discovery`` and ``Race`` on a ring.
actor PoPFinder {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let profile: Profile
  private let resolver: Resolver
  private let tls: ClientTLSContext
  private let endpoints: LocalEndpoints
  private var systemServers: [SocketAddress]?

  init(profile: Profile, resolver: Resolver, tls: ClientTLSContext, endpoints: LocalEndpoints) {
    ring = resolver.ring
    self.profile = profile
    self.resolver = resolver
    self.tls = tls
    self.endpoints = endpoints
  }

  /// Makes the request for a server's name.
  typealias EarlyRequest = @Sendable (_ authority: String) -> HeaderList

  /// A connection that is ready for requests, and how it was found.
  struct Found: Sendable {
    var session: HTTP3Session
    var candidate: Candidate
    /// The handshake's round trip.
    var rtt: Interval
    /// The answer to a request that left in early data.
    var early: Task<BufferedExchange.Response, any Error>?
  }

  // MARK: Candidates

  /// What the profile and DNS name, best first. Throws ``ClientError`` of kind `noPoPReachable` when
  /// nothing is named.
  func candidates() async throws(ClientError) -> [Candidate] {
    await followServers()
    var found: [Candidate] = []
    var failures: [String] = []
    for address in profile.pop.addresses {
      do {
        for ip in try await resolver.addresses(of: address.host) {
          found.append(
            Candidate(
              name: address.host, address: SocketAddress(ip, port: address.port), priority: found.count,
              source: .profile))
        }
      } catch {
        failures.append("\(address.host): \(error)")
      }
    }
    if let domain = profile.pop.domain {
      do {
        let first = found.count
        for var candidate in try await discover(domain)
        where !found.contains(where: { $0.address == candidate.address }) {
          candidate.priority += first
          found.append(candidate)
        }
      } catch {
        failures.append("\(domain): \(error)")
      }
    }
    guard !found.isEmpty else {
      throw ClientError(
        .noPoPReachable, "no PoP was found: \(failures.joined(separator: "; "))",
        hint: "check pop.domain, pop.addresses and dns.servers of profile '\(profile.name)'")
    }
    return found
  }

  /// The system's DNS servers are those of the network that the machine is on.
  private func followServers() async {
    guard profile.dns.servers.isEmpty else { return }
    let present = ResolvConf.ofSystem.servers
    if present != systemServers {
      if systemServers != nil { await resolver.setServers(present) }
      systemServers = present
    }
  }

  private func discover(_ domain: String) async throws -> [Candidate] {
    // 443 is the default of every source; a profile that names another port means just that one.
    let port = profile.pop.port == Discovery.defaultPort ? nil : profile.pop.port
    var core = try Discovery(domain: DNSName(domain), port: port, entropy: SystemEntropy.shared)
    while true {
      if let result = core.result { return try result.get() }
      var lookups: [Discovery.Lookup] = []
      while let lookup = core.nextLookup() { lookups.append(lookup) }
      let answers = await resolve(lookups)
      try Task.checkCancellation()
      for (lookup, result) in answers { core.resolved(lookup, result) }
    }
  }

  private typealias LookupResult = (Discovery.Lookup, Result<StubResolver.Answer, StubResolver.Failure>)

  /// Asks for all of them at once.
  private func resolve(_ lookups: [Discovery.Lookup]) async -> [LookupResult] {
    let tasks = lookups.map { lookup in
      Task { [resolver] () -> Result<StubResolver.Answer, StubResolver.Failure> in
        do {
          return .success(try await resolver.query(lookup.name, lookup.type))
        } catch {
          return .failure(error as? StubResolver.Failure ?? .timedOut)
        }
      }
    }
    return await withTaskCancellationHandler {
      var results: [LookupResult] = []
      for (lookup, task) in zip(lookups, tasks) { results.append((lookup, await task.value)) }
      return results
    } onCancel: {
      for task in tasks { task.cancel() }
    }
  }

  // MARK: Connections

  /// Opens one connection and waits until it is ready; a second one where the PoP offers another version of QUIC. Throws
  /// ``ClientError`` of kind `noPoPReachable`.
  ///
  /// - Parameter early: sent in early data where the connection resumes one that allowed it; must be safe to replay.
  func connect(to candidate: Candidate, early: EarlyRequest? = nil) async throws(ClientError) -> Found {
    do {
      do {
        return try await attempt(candidate, early: early)
      } catch CloseReason.versionMismatch(let offered) {
        // RFC 9368 §2.1: "it SHALL select a mutually supported version and send a new first flight with that version".
        // Once: an attacker could go on sending Version Negotiation packets.
        return try await attempt(candidate, early: early, following: offered)
      }
    } catch let error as ClientError {
      throw error
    } catch let reason as CloseReason {
      throw ClientError(.noPoPReachable, "\(candidate.address): \(reason.explanation)", hint: reason.hint)
    } catch is CancellationError {
      throw ClientError(.cancelled, "cancelled")
    } catch {
      throw ClientError(.noPoPReachable, "\(candidate.address): \(error)")
    }
  }

  private func attempt(
    _ candidate: Candidate, early: EarlyRequest?, following offered: [Version]? = nil
  ) async throws -> Found {
    let endpoint = try await endpoints.endpoint(for: candidate.address)
    let session = try tls.makeSession(serverName: profile.serverName(for: candidate.name))
    let opened: HTTP3Session
    do {
      opened = try await endpoint.connect(
        to: candidate.address, tls: RingBound(session), following: offered, delegate: nil)
    } catch QUICEndpointError.noCommonVersion {
      throw CloseReason.versionMismatch(offered: offered ?? [])
    }
    return try await withTaskCancellationHandler {
      var answer: Task<BufferedExchange.Response, any Error>?
      if let early, await opened.takesEarlyRequests {
        let request = early(profile.serverName(for: candidate.name))
        answer = Task { try await BufferedExchange.perform(request, on: opened) }
      }
      try await opened.ready()
      let statistics = await opened.statistics
      return Found(session: opened, candidate: candidate, rtt: statistics.minimumRTT, early: answer)
    } onCancel: {
      Task { await opened.close() }
    }
  }

  /// Races the candidates and keeps the one that answers fastest.
  func connectToNearest(of candidates: [Candidate], early: EarlyRequest?) async throws(ClientError) -> Found {
    var race = Race(candidates)
    var attempts: [Int: Task<Void, Never>] = [:]
    var sessions: [Int: Found] = [:]
    let (results, report) = AsyncStream.makeStream(of: RaceReport.self)
    let timer = RingTimer(on: ring) { report.yield(.timer) }
    defer {
      timer.cancel()
      report.finish()
    }
    race.start(now: ring.refreshNow())
    while true {
      while let action = race.nextAction() {
        switch action {
        case .start(let index):
          let candidate = race.candidates[index]
          attempts[index] = Task {
            do throws(ClientError) {
              report.yield(.succeeded(index, try await self.connect(to: candidate, early: early)))
            } catch {
              report.yield(.failed(index, error.message))
            }
          }
        case .cancel(let index):
          attempts.removeValue(forKey: index)?.cancel()
          await sessions.removeValue(forKey: index)?.session.close()
        case .won(let index, _):
          if let winner = sessions[index] { return winner }
        case .lost(let failure):
          throw ClientError(
            .noPoPReachable, "no PoP answered: \(failure)",
            hint: "is UDP to the port of the PoP allowed on this network?")
        }
      }
      timer.schedule(at: race.deadline)
      var iterator = results.makeAsyncIterator()
      guard let next = await iterator.next(isolation: self), !Task.isCancelled else {
        race.cancel()
        for attempt in attempts.values { attempt.cancel() }
        for found in sessions.values { await found.session.close() }
        throw ClientError(.cancelled, "cancelled")
      }
      let now = ring.refreshNow()
      switch next {
      case .timer: race.handleTimeout(now: now)
      case .succeeded(let index, let found):
        sessions[index] = found
        race.succeeded(index, rtt: found.rtt, now: now)
      case .failed(let index, let reason): race.failed(index, reason, now: now)
      }
    }
  }

  private enum RaceReport: Sendable {
    case timer
    case succeeded(Int, Found)
    case failed(Int, String)
  }

  /// How long a candidate may take to answer before a list is shown without it.
  private static let measurementTime = 3

  private nonisolated func measure(_ candidate: Candidate) async -> PoPCandidate {
    var measured = PoPCandidate(name: candidate.name, address: "\(candidate.address)", source: candidate.source)
    let attempt = Task { () async throws(ClientError) in try await self.connect(to: candidate) }
    let watch = Task {
      try await Task.sleep(for: .seconds(Self.measurementTime))
      attempt.cancel()
    }
    defer { watch.cancel() }
    do {
      let found = try await withTaskCancellationHandler {
        try await attempt.value
      } onCancel: {
        attempt.cancel()
      }
      measured.rttMilliseconds = Double(found.rtt.microseconds) / 1_000
      await found.session.close()
    } catch let error as ClientError where !attempt.isCancelled {
      measured.failure = error.message
    } catch {
      measured.failure = "no answer in \(Self.measurementTime) s"
    }
    return measured
  }

  /// Measures the handshake with every candidate, all at once.
  nonisolated func measure(_ candidates: [Candidate]) async -> [PoPCandidate] {
    let tasks = candidates.enumerated().map { index, candidate in
      Task { (index, await self.measure(candidate)) }
    }
    var all: [(Int, PoPCandidate)] = []
    await withTaskCancellationHandler {
      for task in tasks { all.append(await task.value) }
    } onCancel: {
      for task in tasks { task.cancel() }
    }
    all.sort { a, b in
      switch (a.1.rttMilliseconds, b.1.rttMilliseconds) {
      case (let x?, let y?): x < y
      case (_?, nil): true
      case (nil, _?): false
      case (nil, nil): a.0 < b.0
      }
    }
    return all.map(\.1)
  }
}
