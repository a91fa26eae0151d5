import CBActors
import Foundation
import HTTP3
import Identity
import Logging
import MASQUE
import QUIC
import Ring
import Wire

/// The client's one connection to a PoP, kept up for as long as it is wanted.
///
/// When the connection is lost, the link opens it anew by itself, waiting longer after each failure, with
/// jitter. When the PoP says that it is going away (RFC 9114 §5.2), the link opens another connection at once, to another
/// PoP if there is one, and leaves the old one to the tunnels that it carries. Whoever asks for the session meanwhile waits
/// a while for it.
actor PoPLink {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let profile: Profile
  private let finder: PoPFinder
  private let logger: Logger
  /// The access token; `true` asks for a fresh one because the PoP refused the last.
  private let token: @Sendable (_ renew: Bool) async throws(ClientError) -> Secret
  private let report: @Sendable (ClientEvent) -> Void

  private var current: Connected?
  /// Connections whose PoPs take no new requests, until they end.
  private var leaving: [Connected] = []
  private var wanted: Wanted?
  private var reconnecting: Task<Void, Never>?
  private var waiters: [Int: CheckedContinuation<Connected?, Never>] = [:]
  private var lastWaiter = 0
  private(set) var state = ConnectionState.disconnected
  private(set) var lastError: String?

  struct Connected: Sendable {
    var session: HTTP3Session
    var name: String
    var candidate: Candidate
    var since: Date
    var template: URITemplate
  }

  /// What ``connect(pop:)`` asked for, so that a reconnect asks for the same.
  private struct Wanted {
    var pop: String?
  }

  /// How long a request waits for a connection that is being opened again.
  private static let patience = Interval.seconds(15)

  init(
    profile: Profile, finder: PoPFinder, logger: Logger,
    token: @escaping @Sendable (_ renew: Bool) async throws(ClientError) -> Secret,
    report: @escaping @Sendable (ClientEvent) -> Void
  ) {
    ring = finder.ring
    self.profile = profile
    self.finder = finder
    self.logger = logger
    self.token = token
    self.report = report
  }

  // MARK: Connecting

  /// Connects, unless it is connected to that PoP already. Throws what made it impossible; nothing is
  /// tried again by itself before the first success.
  func connect(pop: String?) async throws(ClientError) -> Connected {
    if let current, pop == nil || current.matches(pop) { return current }
    if current != nil { await disconnect() }
    reconnecting?.cancel()
    reconnecting = nil
    wanted = Wanted(pop: pop)
    setState(.connecting, pop: pop)
    do throws(ClientError) {
      return try await open()
    } catch {
      wanted = nil
      lastError = error.message
      setState(.disconnected, pop: nil)
      throw error
    }
  }

  func disconnect() async {
    wanted = nil
    reconnecting?.cancel()
    reconnecting = nil
    let open = leaving + (current.map { [$0] } ?? [])
    guard let last = open.last else { return setState(.disconnected, pop: nil) }
    setState(.disconnecting, pop: last.name)
    current = nil
    leaving = []
    for connected in open { await connected.session.close() }
    for connected in open { _ = await connected.session.waitUntilClosed() }
    setState(.disconnected, pop: nil)
  }

  private func open() async throws(ClientError) -> Connected {
    var candidates = try await finder.candidates()
    if let pop = wanted?.pop {
      let all = candidates
      candidates = all.filter { $0.name == pop || $0.name.hasPrefix(pop + ".") || "\($0.address)" == pop }
      guard !candidates.isEmpty else {
        throw ClientError(
          .noPoPReachable, "no PoP is called '\(pop)'",
          hint: "known are: " + all.map { "\($0.name) (\($0.address))" }.joined(separator: ", "))
      }
    }
    // A PoP that is going away refuses, unless another process has taken its place: it is asked last.
    let left = Set(leaving.map(\.candidate.address))
    let last = (candidates.map(\.priority).max() ?? 0) + 1
    for index in candidates.indices where left.contains(candidates[index].address) { candidates[index].priority = last }
    let secret = try await token(false)
    let earlyRequest: PoPFinder.EarlyRequest = { Self.sessionRequest(secret, authority: $0) }
    let found = try await finder.connectToNearest(of: candidates, early: earlyRequest)
    do throws(ClientError) {
      let name = try await signIn(found)
      guard wanted != nil, !Task.isCancelled else { throw ClientError(.cancelled, "disconnected") }
      let template: URITemplate
      do throws(URITemplate.Invalid) {
        template = try URITemplate(profile.connectUDPTemplate(for: found.candidate.name))
      } catch {
        throw ClientError(.configuration, "pop.template: \(error)")
      }
      let connected = Connected(
        session: found.session, name: name, candidate: found.candidate, since: Date(), template: template)
      established(connected)
      return connected
    } catch {
      await found.session.close()
      throw error
    }
  }

  /// Shows the token to the PoP, and learns its name.
  private func signIn(_ found: PoPFinder.Found) async throws(ClientError) -> String {
    struct Session: Decodable { var pop: String }
    for renew in [false, true] {
      let response: BufferedExchange.Response
      do {
        if !renew, let early = found.early, let answer = try? await early.value, answer.fields.status != 425 {
          response = answer
        } else {
          let authority = profile.serverName(for: found.candidate.name)
          let request = Self.sessionRequest(try await token(renew), authority: authority)
          response = try await BufferedExchange.perform(request, on: found.session)
        }
      } catch let error as ClientError {
        throw error
      } catch is CancellationError {
        throw ClientError(.cancelled, "cancelled")
      } catch RequestStreamEnd.connectionClosed(let reason) {
        throw ClientError(.connectionLost, reason.explanation)
      } catch {
        throw ClientError(.connectionLost, "the PoP did not answer: \(error)")
      }
      switch response.fields.status {
      case 200:
        return (try? JSONDecoder().decode(Session.self, from: Data(response.body)))?.pop ?? found.candidate.name
      case 401 where !renew: continue
      case 401:
        let reason = String(decoding: response.body, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        throw ClientError(.notSignedIn, "the PoP does not accept the sign-in: \(reason)", hint: "run 'login'")
      case let status:
        let reason = String(decoding: response.body, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        throw ClientError(.refused, "the PoP answered \(status.map(String.init) ?? "nothing"): \(reason)")
      }
    }
    throw ClientError(.notSignedIn, "the PoP does not accept the sign-in", hint: "run 'login'")
  }

  /// Asks the PoP who we are. A replay of it tells nobody anything: it may leave in early data.
  private static func sessionRequest(_ secret: Secret, authority: String) -> HeaderList {
    var request: HeaderList = [
      ":method": "GET", ":scheme": "https", ":authority": authority, ":path": "/.well-known/cloudbridge/session",
    ]
    request.append("authorization", "Bearer \(secret.exposed)", neverIndexed: true)
    return request
  }

  private func established(_ connected: Connected) {
    current = connected
    lastError = nil
    setState(.connected, pop: connected.name)
    wake(connected)
    Task {
      if await connected.session.waitUntilGoingAway() { self.leave(connected) }
      let reason = await connected.session.waitUntilClosed()
      self.lost(connected, reason)
    }
    Task { await self.watchMoves(of: connected) }
  }

  // MARK: Reconnecting

  private func lost(_ connected: Connected, _ reason: CloseReason) {
    let wasLeaving = leaving.contains { $0.session === connected.session }
    leaving.removeAll { $0.session === connected.session }
    guard current?.session === connected.session else {
      // Its successor may listen at the same address from now on.
      if wasLeaving, current == nil, wanted != nil { reconnect(reason.explanation, after: .zero) }
      return
    }
    current = nil
    lastError = reason.explanation
    logger.warning("connection lost: \(reason.explanation)")
    report(.connectionLost(reason: reason.explanation))
    guard wanted != nil else { return setState(.disconnected, pop: nil) }
    setState(.reconnecting, pop: connected.name)
    reconnect(reason.explanation, after: profile.reconnect.initialDelay)
  }

  /// The PoP takes no new requests.
  private func leave(_ connected: Connected) {
    guard current?.session === connected.session, wanted != nil else { return }
    current = nil
    leaving.append(connected)
    report(.popLeaving(pop: connected.name))
    setState(.reconnecting, pop: connected.name)
    reconnect("\(connected.name) is going away", after: .zero)
  }

  /// Tells of each move to another address of this machine.
  private func watchMoves(of connected: Connected) async {
    var moves: UInt64 = 0
    var place = await connected.session.localAddress?.ip
    while let seen = await connected.session.waitUntilMoved(since: moves) {
      moves = seen
      guard let present = await connected.session.localAddress?.ip, present != place else { continue }
      if let place, current?.session === connected.session { report(.moved(from: "\(place)", to: "\(present)")) }
      place = present
    }
  }

  /// The machine is on another network: connections that live move along, and what failed before may succeed.
  func networkChanged() {
    if state == .reconnecting, current == nil, wanted != nil {
      reconnect(lastError ?? "the network has changed", after: .zero)
    }
  }

  private func reconnect(_ reason: String, after delay: Interval) {
    reconnecting?.cancel()
    reconnecting = Task { await self.keepReconnecting(reason, after: delay) }
  }

  private func keepReconnecting(_ firstReason: String, after firstDelay: Interval) async {
    var reason = firstReason
    var delay = firstDelay
    for attempt in 1... {
      // Jitter spreads the clients of a PoP that came back: half of the delay is certain, half is luck.
      if delay > .zero {
        let wait = delay.seconds * Double.random(in: 0.5...1)
        report(.reconnecting(seconds: wait, attempt: attempt, reason: reason))
        try? await Task.sleep(for: .seconds(wait))
      }
      guard !Task.isCancelled, wanted != nil else { return }
      do throws(ClientError) {
        _ = try await open()
        return
      } catch {
        guard !Task.isCancelled, wanted != nil else { return }
        reason = error.message
        lastError = reason
        logger.info("reconnect \(attempt): \(reason)")
        if error.kind == .notSignedIn {
          // Trying again would not help: the user must sign in.
          report(.signInNeeded(reason: reason))
          wanted = nil
          setState(.disconnected, pop: nil)
          return wake(nil)
        }
      }
      delay = min(max(delay * 2, profile.reconnect.initialDelay), profile.reconnect.maxDelay)
    }
  }

  // MARK: For the proxies

  /// The connection, waiting for one that is being opened. Throws kind `connectionLost` when there is none in time.
  func session() async throws(ClientError) -> Connected {
    if let current { return current }
    guard wanted != nil else { throw ClientError(.connectionLost, "not connected", hint: "run 'connect'") }
    lastWaiter += 1
    let id = lastWaiter
    let patience = Task {
      try await Task.sleep(for: .nanoseconds(Self.patience.nanoseconds))
      self.giveUp(id)
    }
    defer { patience.cancel() }
    let connected = await withCheckedContinuation { waiters[id] = $0 }
    guard let connected else {
      throw ClientError(.connectionLost, "no connection to a PoP" + (lastError.map { ": \($0)" } ?? ""))
    }
    return connected
  }

  var connection: Connected? { current }

  /// How often a request is sent that no PoP has processed.
  private static let mostSendings = 4

  /// Has `body` send a request, and send it again on the next connection where the first certainly did not process it.
  nonisolated func onSession<Result: Sendable>(
    _ body: @Sendable (Connected) async throws -> Result
  ) async throws -> Result {
    var sendings = 0
    while true {
      let connected = try await session()
      sendings += 1
      do {
        return try await body(connected)
      } catch  where error.leavesRequestUnprocessed && sendings < Self.mostSendings {
        await giveUp(connected)
      }
    }
  }

  /// Takes note of what a request was told before the watch over the connection was.
  private func giveUp(_ connected: Connected) async {
    if let reason = await connected.session.endReason {
      lost(connected, reason)
    } else if await connected.session.isGoingAway {
      leave(connected)
    }
  }

  private func giveUp(_ id: Int) { waiters.removeValue(forKey: id)?.resume(returning: nil) }

  private func wake(_ connected: Connected?) {
    let all = waiters
    waiters = [:]
    for waiter in all.values { waiter.resume(returning: connected) }
  }

  private func setState(_ new: ConnectionState, pop: String?) {
    guard state != new else { return }
    state = new
    report(.stateChanged(new, pop: pop))
    if new == .disconnected { wake(nil) }
  }
}

extension PoPLink.Connected {
  func matches(_ pop: String?) -> Bool {
    pop == name || pop == candidate.name || pop == "\(candidate.address)"
  }
}
