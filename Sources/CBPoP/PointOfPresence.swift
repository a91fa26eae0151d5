import CBActors
import DNS
public import Foundation
import HTTP3
import Identity
public import Logging
import MASQUE
import QUIC
import QUICTLS
import Ring
public import ServiceLifecycle
import UnixSignals
import Wire

/// One PoP, from its settings to its last datagram: rings, endpoints, resolver and, with `--dev`, what
/// stands in for the world around it.
public struct PointOfPresence: Service {
  private let settings: PoPSettings
  private let development: Development?
  private let logger: Logger
  private let onReady: @Sendable (Ready) -> Void
  private let keyLogFile: String?

  /// What `--dev` adds.
  public struct Development: Sendable {
    /// Keeps the certificate authority and keys.
    public var stateDirectory: URL
    public init(stateDirectory: URL) { self.stateDirectory = stateDirectory }
  }

  /// What a started PoP listens on.
  public struct Ready: Sendable {
    public var addresses: [String]
    public var issuer: String?
    public var dns: String?
    public var certificateAuthorityFile: String?
  }

  /// - Parameter keyLogFile: gets the TLS secrets of every connection; for debugging only.
  public init(
    settings: PoPSettings, development: Development?, logger: Logger, keyLogFile: String? = nil,
    onReady: @escaping @Sendable (Ready) -> Void = { _ in }
  ) {
    self.settings = settings
    self.development = development
    self.logger = logger
    self.onReady = onReady
    self.keyLogFile = keyLogFile
  }

  /// Serves until the service group shuts down, then drains: refuses new connections, sends clients elsewhere (GOAWAY), and
  /// gives open tunnels `limits.drainTimeout` to end.
  public func run() async throws {
    let pages = try settings.pagesDirectory.map { try PageDirectory($0) }
    let qlogs = try settings.transport.qlogDirectory.map { try QLogDirectory($0) }
    var rings: [RingExecutor] = []
    do {
      for index in 0..<settings.transport.ringCount {
        let ring = RingExecutor()
        try ring.start(name: "ring-\(index)")
        rings.append(ring)
      }
      try await run(on: rings, qlogs, pages)
    } catch {
      for ring in rings { await ring.shutdown() }
      throw error
    }
    for ring in rings { await ring.shutdown() }
    qlogs?.flush()
  }

  private func run(on rings: [RingExecutor], _ qlogs: QLogDirectory?, _ pages: PageDirectory?) async throws {
    let counters = RequestCounters()
    let limits = TunnelLimits(total: settings.limits.tunnels, perUser: settings.limits.tunnelsPerUser)

    guard let development else {
      guard let files = settings.tls else { throw PoPStartError.noCertificate }
      let identity = try TLSIdentity(
        certificateChainFile: files.certificateFile, privateKeyFile: files.privateKeyFile)
      let issuers = TrustedIssuers(try settings.trustProfiles.map { try Identity.TrustProfile($0) })
      let serving = try await serve(
        on: rings, qlogs, pages, identity: identity, keyFile: files.privateKeyFile, issuers: issuers, limits: limits,
        counters: counters, ready: Ready(addresses: []))
      try await waitAndDrain(serving.endpoints, serving.ready, identity, limits, counters)
      return
    }

    let certificate = try DevelopmentCertificate(
      directory: development.stateDirectory, names: [settings.dev.domain, "pop.\(settings.dev.domain)", "localhost"],
      now: Date())
    let identity = try TLSIdentity(
      certificateChainFile: certificate.chainFile.path, privateKeyFile: certificate.keyFile.path)
    var issuerSettings = DevIssuer.Configuration()
    issuerSettings.address = settings.dev.issuerAddress
    issuerSettings.keyFile = development.stateDirectory.appendingPathComponent("issuer-key.pem")
    // Its server calls every connection that a stop cuts an error.
    var issuerLogger = logger
    issuerLogger.logLevel = .critical
    let issuer = try DevIssuer(configuration: issuerSettings, logger: issuerLogger)
    let dns = DevelopmentDNS(
      ring: rings[0], zone: try DevelopmentDNS.zone(domain: settings.dev.domain, listening: settings.listen))
    let dnsAddress = try await dns.start(on: settings.dev.dnsAddress)

    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await issuer.run() }
      let name = try await issuer.issuer()
      var profiles = try settings.trustProfiles.map { try Identity.TrustProfile($0) }
      profiles.append(try Identity.TrustProfile(issuer: name, audiences: [issuerSettings.audience]))
      let ready = Ready(
        addresses: [], issuer: name, dns: "\(dnsAddress)",
        certificateAuthorityFile: certificate.certificateAuthorityFile.path)
      let serving = try await serve(
        on: rings, qlogs, pages, identity: identity, keyFile: certificate.keyFile.path,
        issuers: TrustedIssuers(profiles), limits: limits, counters: counters, ready: ready)
      try await waitAndDrain(serving.endpoints, serving.ready, identity, limits, counters)
      await dns.stop()
      group.cancelAll()
    }
  }

  // MARK: Serving

  private func serve(
    on rings: [RingExecutor], _ qlogs: QLogDirectory?, _ pages: PageDirectory?, identity: TLSIdentity, keyFile: String,
    issuers: TrustedIssuers, limits: TunnelLimits, counters: RequestCounters, ready: Ready
  ) async throws -> (endpoints: [QUICEndpoint], ready: Ready) {
    var configuration = QUIC.Configuration(settings.transport)
    if let qlogs { configuration.qlog = { qlogs.sink($0) } }
    let timeOfDay = Interval.milliseconds(Int64(Date().timeIntervalSince1970 * 1_000))
    let keys = try ServiceKeys(
      settings.tickets, name: settings.name, privateKeyFile: keyFile,
      timeOfDay: timeOfDay - (RingExecutor.monotonicNow() - .zero), clock: RingExecutor.monotonicNow)
    configuration.statelessResetKey = keys.statelessReset
    configuration.addressTokens = keys.addressTokens
    if let balancing = settings.transport.loadBalancing {
      configuration.connectionIDs = ConnectionIDFormat(try RoutableServer(balancing))
    }
    let tls = try ServerTLSContext(
      identity: identity, applicationProtocols: ["h3"],
      clientAuthentication: ClientAuthentication(settings.clientCertificates),
      earlyDataContext: configuration.earlyDataContext + HTTP3.Settings.tunnel.encoded,
      tickets: keys.tickets, replays: ReplayRegister { RingExecutor.monotonicNow().nanoseconds / 1_000_000_000 },
      keyLogFile: keyLogFile)
    if let keyLogFile { logger.warning("every connection's secrets are written", metadata: ["file": "\(keyLogFile)"]) }
    let services = try rings.map { ring in
      PoPServices(
        name: settings.name, issuers: issuers, policy: TargetPolicy(settings), limits: limits,
        resolver: Resolver(ring: ring, configuration: try resolverConfiguration()),
        udpIdleTimeout: settings.limits.udpIdleTimeout, tcpIdleTimeout: settings.limits.tcpIdleTimeout,
        connectTimeout: settings.limits.connectTimeout, signInTimeout: settings.limits.signInTimeout,
        pages: pages, counters: counters, logger: logger)
    }
    let acceptance = QUICEndpoint.Acceptance(
      maximumConnections: settings.limits.connections, retry: .init(settings.transport.retry),
      makeDelegate: { ring, remote in
        // Proof for the unwrap: the endpoint of a connection runs on one of these rings.
        let index = rings.firstIndex { $0 === ring }!
        return try PoPConnection(ring: ring, services: services[index], remote: remote)
      },
      makeTLS: { tls.makeSession() })
    let ringKey = SystemEntropy.shared.nextUInt64()
    let endpoints = rings.enumerated().map { index, ring in
      var configuration = configuration
      configuration.connectionIDs.ring = RingShare(index: index, count: rings.count, key: ringKey)
      return QUICEndpoint(ring: ring, configuration: configuration, acceptance: acceptance, logger: logger)
    }
    var ready = ready
    do {
      for address in settings.listen { ready.addresses.append("\(try await listen(on: address, endpoints))") }
      for address in settings.transport.preferredAddresses where !settings.listen.contains(address) {
        _ = try await listen(on: address, endpoints)
      }
    } catch {
      for endpoint in endpoints { await endpoint.stop() }
      throw error
    }
    for endpoint in endpoints { await endpoint.join(endpoints) }
    await issuers.warm(at: Date())
    return (endpoints, ready)
  }

  /// Opens one address on every ring: in their order, by which the kernel steers.
  private func listen(on address: SocketAddress, _ endpoints: [QUICEndpoint]) async throws -> SocketAddress {
    var bound = address
    do {
      for endpoint in endpoints { bound = try await endpoint.start(on: bound) }
    } catch {
      throw PoPStartError.cannotListen("\(address)", "\(error)")
    }
    return bound
  }

  private func waitAndDrain(
    _ endpoints: [QUICEndpoint], _ ready: Ready, _ identity: TLSIdentity, _ limits: TunnelLimits,
    _ counters: RequestCounters
  ) async throws {
    // From here on: one that came before its sequence would end the process.
    let signals = await UnixSignalsSequence(trapping: .sigusr1, .sighup)
    // Announced when there is something to come to.
    let routing: Routing?
    do {
      let bound = await endpoints.first?.localAddresses ?? []
      let listeners = bound.filter { address in settings.listen.contains { $0.ip == address.ip } }
      let most = settings.limits.connections
      let service = ServedEndpoints(
        listeners: listeners, rings: endpoints.count > 1 ? endpoints.compactMap(\.share) : [], identity: identity
      ) {
        await connectionCount(endpoints) * 100 / most
      }
      routing = try await Routing.start(settings.bgp, name: settings.name, service, logger: logger)
    } catch {
      for endpoint in endpoints { await endpoint.stop() }
      throw error
    }
    let reporting = Task {
      for await signal in signals {
        guard signal == .sigusr1 else {
          // What is wrong with it is in the log.
          _ = try? await routing?.reload()
          continue
        }
        await PoPReport(endpoints, counters).write(to: logger)
        await routing?.report()
      }
    }
    let (orders, order) = AsyncStream.makeStream(of: StopOrder.self)
    let control = await control(routing, order)
    onReady(ready)
    var isRestart = false
    for await order in orders.cancelOnGracefulShutdown() {
      isRestart = order.isRestart
      break
    }
    reporting.cancel()
    if isRestart, let routing, await routing.mayRestart() {
      logger.notice("leaving for a restart", metadata: ["tunnels": "\(limits.usage.tunnels)"])
      await PoPReport(endpoints, counters).write(to: logger)
      await end(control)
      await routing.stopForRestart()
    } else {
      logger.notice("draining", metadata: ["tunnels": "\(limits.usage.tunnels)"])
      await routing?.drain()
      for endpoint in endpoints { await endpoint.drain() }
      let end = ContinuousClock.now + .nanoseconds(settings.limits.drainTimeout.nanoseconds)
      while await connectionCount(endpoints) > 0, ContinuousClock.now < end, !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(50))
      }
      await PoPReport(endpoints, counters).write(to: logger)
      await self.end(control)
      await routing?.stop()
    }
    for endpoint in endpoints { await endpoint.stop() }
  }

  /// What an operator orders over the control socket.
  private struct StopOrder { var isRestart: Bool }

  private func end(_ control: Task<Void, Never>?) async {
    control?.cancel()
    await control?.value
  }

  /// Answers operators until it is cancelled. A PoP that cannot be asked still serves.
  private func control(
    _ routing: Routing?, _ order: AsyncStream<StopOrder>.Continuation
  ) async -> Task<Void, Never>? {
    do {
      let socket = try await ControlSocket.open(settings.controlSocket, logger: logger)
      return Task {
        await socket.serve { request, emit in
          if case .stop(isRestart: false) = request { return }
          guard let routing else { throw LookingGlassError.noNeighbors }
          try await routing.answer(request, emit)
        } answered: { request in
          // Not before the operator knows.
          if case .stop(let isRestart) = request { order.yield(StopOrder(isRestart: isRestart)) }
        }
      }
    } catch {
      logger.warning("cannot be asked", metadata: ["control.socket": "\(settings.controlSocket)", "error": "\(error)"])
      return nil
    }
  }

  private func connectionCount(_ endpoints: [QUICEndpoint]) async -> Int {
    var count = 0
    for endpoint in endpoints { count += await endpoint.connectionCount }
    return count
  }

  private func resolverConfiguration() throws -> StubResolver.Configuration {
    if !settings.dnsServers.isEmpty { return StubResolver.Configuration(servers: settings.dnsServers) }
    return StubResolver.Configuration(ResolvConf.ofSystem)
  }
}

/// Why a PoP does not start.
public enum PoPStartError: Error, Hashable, Sendable, CustomStringConvertible {
  case cannotListen(String, String)
  case cannotListenForNeighbors(String)
  case cannotListenForBFD(String)
  case noTCPAuthentication(String)
  case noCertificate
  public var description: String {
    switch self {
    case .noCertificate: "no certificate: set tls.certificateFile and tls.privateKeyFile, or start with --dev"
    case .cannotListen(let address, let reason): "cannot listen on \(address) (UDP): \(reason)"
    case .cannotListenForNeighbors(let reason): "cannot listen on bgp.listen (TCP): \(reason)"
    case .noTCPAuthentication(let reason): "cannot use keyFile of bgp.neighbors: \(reason); passwordFile needs less"
    case .cannotListenForBFD(let reason): "cannot listen for BFD (UDP 3784): \(reason)"
    }
  }
}

extension PointOfPresence: CustomStringConvertible {
  /// The name alone: a service is printed whole by whoever runs it.
  public var description: String { "PointOfPresence(\(settings.name))" }
}
