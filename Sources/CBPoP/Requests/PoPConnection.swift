import CBActors
import DNS
import Foundation
import HTTP3
import Identity
import Logging
import MASQUE
import QUIC
import Ring
import Wire

/// One client's connection at a PoP: who the client is, and what it asks for.
///
/// The first request must carry a bearer token (RFC 6750 §2.1); what it says then holds for the
/// connection until the token expires.
actor PoPConnection {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let services: PoPServices
  private let template: URITemplate
  private let logger: Logger
  private var user = SignedInUser()
  private var signInTimer: RingTimer?
  /// Grows with whatever is served of `pages.directory`, and where it stood when the sign-in timer was last set.
  private var servedPieces = 0
  private var servedBefore = 0

  init(ring: RingExecutor, services: PoPServices, remote: SocketAddress) throws {
    self.ring = ring
    self.services = services
    // Only path and query are matched: a PoP answers for every name that its certificate has.
    template = try URITemplate.default(authority: services.name)
    var logger = services.logger
    logger[metadataKey: "client"] = "\(remote)"
    self.logger = logger
  }

  // MARK: Requests

  private func route(_ fields: HeaderList, on stream: StreamID, of session: HTTP3Session)
    -> (any RequestStreamHandler)?
  {
    // RFC 8470 §3: what may be a replay is served only when serving it twice does no harm.
    if session.assumeIsolated({ $0.isInEarlyData }) {
      guard fields.method == "GET" || fields.method == "HEAD" else {
        tooEarly(fields, on: stream, of: session)
        return nil
      }
      services.counters.count { $0.early += 1 }
    }
    if ConnectUDP.isRequest(fields) {
      let account = TunnelAccount(services)
      let tunnel = UDPTunnel(session: session, stream: stream, idleTimeout: services.udpIdleTimeout) { traffic in
        account.close(bytesToTarget: traffic.bytesToTarget, bytesToClient: traffic.bytesToClient)
      }
      Task { await self.open(tunnel, account, fields) }
      return tunnel
    }
    if ConnectTCP.isRequest(fields) {
      let account = TunnelAccount(services)
      let tunnel = TCPTunnel(session: session, stream: stream, idleTimeout: services.tcpIdleTimeout) { traffic in
        account.close(bytesToTarget: traffic.bytesToConnection, bytesToClient: traffic.bytesToStream)
      }
      Task { await self.open(tunnel, account, fields) }
      return tunnel
    }
    if fields.path != PoPPage.healthPath, let page = services.pages?.answer(fields) {
      return serve(page, isHead: fields.method == "HEAD", on: stream, of: session)
    }
    Task { await self.answerPage(fields, on: stream, of: session) }
    return nil
  }

  /// Serves a page of `pages.directory`.
  private func serve(
    _ page: PoPPage, isHead: Bool, on stream: StreamID, of session: HTTP3Session
  ) -> (any RequestStreamHandler)? {
    services.counters.count { $0.pages += 1 }
    servedPieces += 1
    let isWhole = isHead || page.body.isEmpty
    session.assumeIsolated { $0.respond(page.dated(Date()), on: stream, finish: isWhole) }
    guard !isWhole else { return nil }
    let transfer = PageTransfer(page.body, on: stream, of: session) { [weak self] in
      self?.assumeIsolated { $0.servedPieces += 1 }
    }
    transfer.assumeIsolated { $0.proceed() }
    return transfer
  }

  private func open<Tunnel: RequestedTunnel>(_ tunnel: Tunnel, _ account: TunnelAccount, _ fields: HeaderList) async {
    do throws(Rejection) {
      let target =
        ConnectUDP.isRequest(fields)
        ? try ConnectUDP.target(of: fields, template) : try ConnectTCP.target(of: fields)
      let subject = try await authenticate(fields).subject
      try account.open(for: subject)
      try await tunnel.open(to: try await resolve(target), connectTimeout: services.connectTimeout)
      services.counters.count { $0.tunnels[Tunnel.name, default: 0] += 1 }
      logger.debug("\(Tunnel.name) tunnel to \(target)", metadata: ["user": "\(subject)"])
    } catch {
      refused(error, fields)
      await tunnel.refuse(response(to: error))
    }
  }

  /// The target's addresses that the policy allows; at least one.
  private func resolve(_ target: Target) async throws(Rejection) -> [SocketAddress] {
    let found: [IPAddress]
    switch target.host {
    case .address(let address): found = [address]
    case .name(let name):
      do {
        found = try await services.resolver.addresses(of: name)
      } catch let failure as StubResolver.Failure where failure == .timedOut {
        throw Rejection(.dnsTimeout, "\(name): no answer from DNS")
      } catch {
        throw Rejection(.dnsError, "\(name): \(error)")
      }
    }
    var denied: TargetPolicy.Reason?
    let allowed = found.filter { address in
      switch services.policy.decide(host: target.host, address: address, port: target.port) {
      case .allow: return true
      case .deny(let reason):
        denied = reason
        return false
      }
    }
    guard !allowed.isEmpty else {
      throw denied?.rejection ?? Rejection(.dnsError, "\(target.host) has no address")
    }
    return allowed.map { SocketAddress($0, port: target.port) }
  }

  // MARK: Who asks

  /// On whose account the request is. Throws what to answer instead.
  private func authenticate(_ fields: HeaderList) async throws(Rejection) -> VerifiedIdentity {
    switch user.judge(fields, by: services.issuers, at: Date()) {
    case .known(let verdict): return try verdict.get()
    case .verifying(let task, let number):
      let verdict = await task.value
      if let number { user.verified(verdict, number: number) }
      do throws(TokenRefusal) {
        let identity = try verdict.get()
        signInTimer?.cancel()
        signInTimer = nil
        return identity
      } catch {
        if number != nil { countRefusal(error) }
        if case .keysUnavailable = error { throw Rejection(status: 503, "\(error)") }
        throw Rejection(status: 401, "\(error)")
      }
    }
  }

  private func countRefusal(_ refusal: TokenRefusal) {
    services.counters.count { $0.tokensRefused[refusal.label, default: 0] += 1 }
    logger.info("token refused: \(refusal)")
  }

  private func refused(_ rejection: Rejection, _ fields: HeaderList) {
    services.counters.count { $0.refused[rejection.status, default: 0] += 1 }
    logger.info("refused \(fields.method ?? "?"): \(rejection.status) \(rejection.reason)")
  }

  private func response(to rejection: Rejection) -> HeaderList {
    var list = rejection.response(proxy: services.name)
    if rejection.status == 401 {
      // RFC 6750 §3: the reason, in the characters that error_description allows.
      let reason = rejection.reason.map { $0.isASCII && $0 != "\"" && $0 != "\\" && !$0.isNewline ? $0 : "?" }
      list.append(
        "www-authenticate",
        "Bearer realm=\"cloudbridge\", error=\"invalid_token\", error_description=\"\(String(reason))\"")
    }
    return list
  }

  /// RFC 8470 §5.2.
  private func tooEarly(_ fields: HeaderList, on stream: StreamID, of session: HTTP3Session) {
    refused(Rejection(status: 425, "in early data"), fields)
    let page = PoPPage(status: 425, text: "\(fields.method ?? "This") is not served in early data: send it again.")
    session.assumeIsolated { $0.respond(page.dated(Date()), body: page.body, on: stream) }
  }

  // MARK: Pages

  private func answerPage(_ fields: HeaderList, on stream: StreamID, of session: HTTP3Session) async {
    var page: PoPPage
    switch (fields.method, fields.path?.split(separator: "?").first.map(String.init)) {
    case ("GET", PoPPage.sessionPath), ("HEAD", PoPPage.sessionPath):
      do throws(Rejection) {
        page = .session(pop: services.name, identity: try await authenticate(fields))
      } catch {
        refused(error, fields)
        page = PoPPage(fields: response(to: error), text: error.reason)
      }
    case ("GET", let path?), ("HEAD", let path?): page = .open(path: path, pop: services.name)
    default:
      page = PoPPage(
        status: 405, text: "GET, HEAD and CONNECT are served here.", extra: ["allow": "GET, HEAD, CONNECT"])
    }
    services.counters.count { $0.pages += 1 }
    let sendsBody = fields.method != "HEAD" && !page.body.isEmpty
    await session.respond(page.dated(Date()), body: sendsBody ? page.body : [], on: stream)
  }

  // MARK: Life

  private func began(_ session: HTTP3Session) {
    services.counters.count { $0.connections += 1 }
    logger.debug("connected")
    guard services.signInTimeout != .infinite else { return }
    signInTimer = RingTimer(on: ring) { [weak self, weak session] in
      guard let session else { return }
      self?.assumeIsolated { $0.signInRanOut(session) }
    }
    signInTimer?.schedule(at: ring.now + services.signInTimeout)
  }

  /// A page on its way is not cut off, as long as the client goes on taking it.
  private func signInRanOut(_ session: HTTP3Session) {
    guard servedPieces > servedBefore, session.assumeIsolated({ $0.isServing }) else {
      return session.assumeIsolated { $0.close(.noError, reason: "no valid token came in time") }
    }
    servedBefore = servedPieces
    signInTimer?.schedule(at: ring.now + services.signInTimeout)
  }

  private func ended(_ reason: CloseReason) {
    signInTimer?.cancel()
    signInTimer = nil
    logger.debug("disconnected: \(reason)")
  }
}

extension PoPConnection: HTTP3SessionDelegate {
  nonisolated func sessionBecameReady(_ session: HTTP3Session) { assumeIsolated { $0.began(session) } }

  nonisolated func session(
    _ session: HTTP3Session, request fields: HeaderList, on stream: StreamID, finished: Bool
  ) -> (any RequestStreamHandler)? {
    assumeIsolated { $0.route(fields, on: stream, of: session) }
  }

  nonisolated func session(_ session: HTTP3Session, closed reason: CloseReason) {
    assumeIsolated { $0.ended(reason) }
  }
}
