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
  private var identity: VerifiedIdentity?
  private var signInTimer: RingTimer?

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
    if ConnectUDP.isRequest(fields) {
      let user = UserOfTunnel()
      let tunnel = UDPTunnel(session: session, stream: stream, idleTimeout: services.udpIdleTimeout) {
        [services] traffic in
        user.release(services.limits)
        services.counters.count {
          $0.bytesToTargets += traffic.bytesToTarget
          $0.bytesToClients += traffic.bytesToClient
        }
      }
      Task { await self.open(tunnel, user, fields) }
      return tunnel
    }
    if ConnectTCP.isRequest(fields) {
      let user = UserOfTunnel()
      let tunnel = TCPTunnel(session: session, stream: stream, idleTimeout: services.tcpIdleTimeout) {
        [services] traffic in
        user.release(services.limits)
        services.counters.count {
          $0.bytesToTargets += traffic.bytesToConnection
          $0.bytesToClients += traffic.bytesToStream
        }
      }
      Task { await self.open(tunnel, user, fields) }
      return tunnel
    }
    Task { await self.answerPage(fields, on: stream, of: session) }
    return nil
  }

  private func open(_ tunnel: UDPTunnel, _ user: UserOfTunnel, _ fields: HeaderList) async {
    do throws(Rejection) {
      let target = try ConnectUDP.target(of: fields, template)
      let subject = try await authenticate(fields)
      try user.acquire(subject, services.limits)
      let address = try await resolve(target)[0]
      do {
        try await tunnel.open(to: address, response: ConnectUDP.success)
      } catch {
        throw Rejection(.destinationIPUnroutable, "\(error)")
      }
      services.counters.count { $0.udpTunnels += 1 }
      logger.debug("UDP tunnel to \(target)", metadata: ["user": "\(subject)"])
    } catch {
      refused(error, fields)
      await tunnel.refuse(response(to: error))
    }
  }

  private func open(_ tunnel: TCPTunnel, _ user: UserOfTunnel, _ fields: HeaderList) async {
    do throws(Rejection) {
      let target = try ConnectTCP.target(of: fields)
      let subject = try await authenticate(fields)
      try user.acquire(subject, services.limits)
      try await connect(tunnel, to: try await resolve(target))
      await tunnel.accept(ConnectTCP.success)
      services.counters.count { $0.tcpTunnels += 1 }
      logger.debug("TCP tunnel to \(target)", metadata: ["user": "\(subject)"])
    } catch {
      refused(error, fields)
      await tunnel.refuse(response(to: error))
    }
  }

  /// Tries the addresses in turn, and reports the last failure.
  private func connect(_ tunnel: TCPTunnel, to addresses: [SocketAddress]) async throws(Rejection) {
    var last = Rejection(.destinationUnavailable, "no address")
    for address in addresses {
      do {
        return try await tunnel.connect(to: address, timeout: services.connectTimeout)
      } catch let error as RingError {
        last = Rejection(error)
      } catch {
        throw Rejection(.connectionTerminated, "the client left")
      }
    }
    throw last
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

  /// The subject on whose account the request is. Throws what to answer instead.
  private func authenticate(_ fields: HeaderList) async throws(Rejection) -> String {
    let now = Date()
    let token = Self.bearerToken(fields)
    if token == nil, let identity {
      guard identity.expiresAt > now else { throw Rejection(status: 401, "the token has expired") }
      return identity.subject
    }
    guard let token else { throw Rejection(status: 401, "a bearer token is needed") }
    do throws(TokenRefusal) {
      let verified = try await services.issuers.verify(token, at: now)
      identity = verified
      signInTimer?.cancel()
      signInTimer = nil
      return verified.subject
    } catch {
      services.counters.count { $0.tokensRefused[error.label, default: 0] += 1 }
      logger.info("token refused: \(error)")
      if case .keysUnavailable = error { throw Rejection(status: 503, "\(error)") }
      throw Rejection(status: 401, "\(error)")
    }
  }

  private static func bearerToken(_ fields: HeaderList) -> String? {
    for name in ["authorization", "proxy-authorization"] {
      guard let value = fields[name] else { continue }
      let parts = value.split(separator: " ", maxSplits: 1)
      // RFC 9110 §11.1: the scheme is compared without regard to case.
      if parts.count == 2, parts[0].lowercased() == "bearer" {
        return String(parts[1]).trimmingCharacters(in: .whitespaces)
      }
    }
    return nil
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

  // MARK: Pages

  private func answerPage(_ fields: HeaderList, on stream: StreamID, of session: HTTP3Session) async {
    var page: PoPPage
    switch (fields.method, fields.path?.split(separator: "?").first.map(String.init)) {
    case ("GET", PoPPage.sessionPath), ("HEAD", PoPPage.sessionPath):
      do throws(Rejection) {
        _ = try await authenticate(fields)
        page = .session(pop: services.name, identity: identity)
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
    await session.respond(page.fields, body: sendsBody ? page.body : [], on: stream)
  }

  // MARK: Life

  private func began(_ session: HTTP3Session) {
    services.counters.count { $0.connections += 1 }
    logger.debug("connected")
    guard services.signInTimeout != .infinite else { return }
    let timer = RingTimer(on: ring) { [weak session] in
      session?.assumeIsolated { $0.close(.noError, reason: "no valid token came in time") }
    }
    timer.schedule(at: ring.now + services.signInTimeout)
    signInTimer = timer
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

/// On whose account a tunnel is, once that is known. Touched only on the ring of its tunnel.
///
/// `@unchecked Sendable`: the connection and the tunnel that share one are actors of the same ring.
private final class UserOfTunnel: @unchecked Sendable {
  private var subject: String?
  private var isOver = false

  func acquire(_ subject: String, _ limits: TunnelLimits) throws(Rejection) {
    guard !isOver else { throw Rejection(.connectionTerminated, "the client left") }
    do throws(TunnelLimits.Refusal) {
      try limits.acquire(subject)
    } catch {
      throw Rejection(status: 429, "\(error)", error: .connectionLimitReached)
    }
    self.subject = subject
  }

  func release(_ limits: TunnelLimits) {
    isOver = true
    if let subject { limits.release(subject) }
    subject = nil
  }
}

extension Rejection {
  /// What a failed connection to the target is called (RFC 9209 §2.3).
  init(_ error: RingError) {
    switch (error.code, error.errno) {
    case (.timedOut, _): self.init(.connectionTimeout, "\(error)")
    case (.system, ECONNREFUSED): self.init(.connectionRefused, "\(error)")
    case (.system, ENETUNREACH), (.system, EHOSTUNREACH): self.init(.destinationIPUnroutable, "\(error)")
    case (.closed, _): self.init(.connectionTerminated, "\(error)")
    default: self.init(.destinationUnavailable, "\(error)")
    }
  }
}
