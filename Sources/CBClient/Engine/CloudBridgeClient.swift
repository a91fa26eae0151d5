import AsyncHTTPClient
import CBActors
import DNS
import Foundation
import HTTP3
import Logging
import MASQUE
import QUIC
import QUICTLS
import Ring
import Wire

/// The client engine: one ring, one link to a PoP, and what applications reach it by.
actor CloudBridgeClient: ClientEngine {
  private let profile: Profile
  private let ring: RingExecutor
  private let qlogs: QLogDirectory?
  private let link: PoPLink
  private let finder: PoPFinder
  private let endpoints: LocalEndpoints
  private let flows: Flows
  private let signIn: SignIn
  private nonisolated let clientLog: ClientLog
  private nonisolated let broadcast: EventBroadcast

  private var socks: (listener: ProxyListener, address: SocketAddress)?
  private var http: (listener: ProxyListener, address: SocketAddress)?
  private var forwards: [PortForward] = []
  private var isShutDown = false

  init(
    profile: Profile, stateDirectory: String?, logLevel: LogLine.Level, keyLogFile: String? = nil
  ) throws(ClientError) {
    let log = ClientLog(level: logLevel)
    let broadcast = EventBroadcast()
    clientLog = log
    self.broadcast = broadcast
    self.profile = profile
    let signIn = try SignIn(profile: profile, stateDirectory: stateDirectory)
    self.signIn = signIn
    let tls = try ClientTLSContext(profile.pop, keyLogFile: keyLogFile)
    if let keyLogFile { log.write(.warning, "link", "every connection's secrets are written to \(keyLogFile)") }
    let qlogs: QLogDirectory?
    do throws(QLogDirectoryError) {
      qlogs = if let directory = profile.transport.qlogDirectory { try QLogDirectory(directory) } else { nil }
    } catch {
      throw ClientError(.configuration, "transport.qlogDirectory: \(error)", hint: "the directory must exist")
    }
    self.qlogs = qlogs
    let ring = RingExecutor()
    do throws(RingError) {
      try ring.start(name: "client")
    } catch {
      throw ClientError(.failure, "\(error)")
    }
    self.ring = ring
    let resolver = Resolver(ring: ring, configuration: StubResolver.Configuration(profile.dns))
    var configuration = QUIC.Configuration(profile.transport)
    if let qlogs { configuration.qlog = { qlogs.sink($0) } }
    let endpoints = LocalEndpoints(ring: ring) { [configuration] in
      QUICEndpoint(ring: $0, configuration: configuration, acceptance: nil, logger: log.logger("quic"))
    }
    self.endpoints = endpoints
    let finder = PoPFinder(profile: profile, resolver: resolver, tls: tls, endpoints: endpoints)
    self.finder = finder
    let report: @Sendable (ClientEvent) -> Void = { event in
      broadcast.send(event)
      log.write(event)
    }
    let link = PoPLink(
      profile: profile, finder: finder, logger: log.logger("link"),
      token: { renew async throws(ClientError) in try await signIn.token(renew: renew) }, report: report)
    self.link = link
    Task { for await _ in endpoints.networkChanges { await link.networkChanged() } }
    flows = Flows(link: link, report: report)
  }

  // MARK: Identity

  func login(progress: @escaping @Sendable (LoginProgress) -> Void) async throws(ClientError) -> Account {
    let account = try await signIn.login(progress: progress)
    clientLog.write(.notice, "identity", "signed in as \(account.name ?? account.subject)")
    return account
  }

  func logout() async throws(ClientError) -> LogoutResult {
    // A connection opened with the old sign-in must not outlive it.
    await link.disconnect()
    return try await signIn.logout()
  }

  func whoami() async throws(ClientError) -> Account { try await signIn.account() }

  // MARK: Connection

  func discover() async throws(ClientError) -> [PoPCandidate] {
    let measured = await finder.measure(try await finder.candidates())
    if Task.isCancelled { throw ClientError(.cancelled, "cancelled") }
    return measured
  }

  func connect(pop: String?) async throws(ClientError) -> ConnectionStatus {
    _ = try await signIn.token(renew: false)
    let connected = try await link.connect(pop: pop)
    try await startListeners()
    return await status(of: connected)
  }

  func disconnect() async throws(ClientError) {
    await stopListeners()
    await link.disconnect()
  }

  func status() async -> ClientStatus {
    let connection = await link.connection
    let account = try? await signIn.account()
    var listeners: [ClientStatus.Listener] = []
    for (name, entry) in [("socks", socks), ("http", http)] {
      guard let entry else { continue }
      listeners.append(
        ClientStatus.Listener(
          name: name, address: "\(entry.address)", openConnections: await entry.listener.openConnections))
    }
    return ClientStatus(
      profile: profile.name, state: await link.state, connection: await status(ofOptional: connection),
      account: account.map { $0.name ?? $0.subject }, tokenExpiresAt: account?.expiresAt, listeners: listeners,
      tunnels: await listTunnels(), lastError: await link.lastError)
  }

  private func status(ofOptional connected: PoPLink.Connected?) async -> ConnectionStatus? {
    guard let connected else { return nil }
    return await status(of: connected)
  }

  private func status(of connected: PoPLink.Connected) async -> ConnectionStatus {
    let statistics = await connected.session.statistics
    return ConnectionStatus(
      pop: connected.name, address: "\(connected.candidate.address)",
      localAddress: await connected.session.localAddress.map { "\($0)" }, migrations: statistics.migrations,
      hasNetwork: await connected.session.hasNetwork, connectedAt: connected.since,
      keyExchange: await connected.session.keyExchange, cipher: await connected.session.cipherSuite,
      resumption: await connected.session.resumption,
      congestion: profile.transport.congestion.rawValue,
      smoothedRTTMilliseconds: Double(statistics.smoothedRTT.microseconds) / 1_000,
      minimumRTTMilliseconds: Double(statistics.minimumRTT.microseconds) / 1_000,
      congestionWindowBytes: Int(statistics.congestionWindow), mtuBytes: statistics.mtu,
      bytesSent: statistics.bytesSent, bytesReceived: statistics.bytesReceived, packetsLost: statistics.packetsLost)
  }

  // MARK: Listeners

  /// Opens the profile's proxies and tunnels that are not open yet.
  private func startListeners() async throws(ClientError) {
    if socks == nil, let address = profile.proxy.socks {
      let listener = ProxyListener(ring: ring) { [flows] ring, done in
        NegotiatingConnection(SOCKS5.Negotiation(), ring: ring, flows: flows, done: done)
      }
      socks = (listener, try await listener.start(on: address, called: "proxy.socks"))
    }
    if http == nil, let address = profile.proxy.http {
      let listener = ProxyListener(ring: ring) { [flows] ring, done in
        NegotiatingConnection(HTTPConnectRequest(), ring: ring, flows: flows, done: done)
      }
      http = (listener, try await listener.start(on: address, called: "proxy.http"))
    }
    for tunnel in profile.tunnels where !forwards.contains(where: { $0.name == tunnel.name }) {
      _ = try await addTunnel(tunnel)
    }
  }

  private func stopListeners() async {
    await socks?.listener.stop()
    await http?.listener.stop()
    socks = nil
    http = nil
    for forward in forwards {
      await forward.stop()
      broadcast.send(.tunnelClosed(name: forward.name, reason: "disconnected"))
    }
    forwards = []
  }

  // MARK: Tunnels

  func addTunnel(_ tunnel: TunnelRequest) async throws(ClientError) -> TunnelStatus {
    let name = tunnel.name ?? freeTunnelName(tunnel.transport)
    guard !forwards.contains(where: { $0.name == name }) else {
      throw ClientError(.usage, "a tunnel is called '\(name)' already")
    }
    guard let listen = SocketAddress(tunnel.listen) else {
      throw ClientError(.usage, "'\(tunnel.listen)' is no address:port", hint: "such as 127.0.0.1:5353")
    }
    guard let target = Profile.HostPort(tunnel.target), let host = ProxyDestination.Host(target.host.utf8) else {
      throw ClientError(.usage, "'\(tunnel.target)' is no host:port", hint: "such as example.com:53")
    }
    let forward = PortForward(
      ring: ring, name: name, transport: tunnel.transport, target: ProxyDestination(host, port: target.port),
      flows: flows)
    let bound = try await forward.start(on: listen)
    forwards.append(forward)
    broadcast.send(.tunnelOpened(name: name, listen: "\(bound)", target: tunnel.target))
    clientLog.write(.info, "tunnel", "\(name): \(bound) to \(tunnel.target) opened")
    return await forward.status(connected: await link.state == .connected)
  }

  private func freeTunnelName(_ transport: TunnelTransport) -> String {
    var number = 1
    while forwards.contains(where: { $0.name == "\(transport.rawValue)\(number)" }) { number += 1 }
    return "\(transport.rawValue)\(number)"
  }

  func listTunnels() async -> [TunnelStatus] {
    let connected = await link.state == .connected
    var all: [TunnelStatus] = []
    for forward in forwards { all.append(await forward.status(connected: connected)) }
    return all
  }

  func removeTunnel(named name: String) async throws(ClientError) -> TunnelStatus {
    guard let index = forwards.firstIndex(where: { $0.name == name }) else {
      throw ClientError(.usage, "no tunnel is called '\(name)'", hint: "'tunnel list' shows them")
    }
    let forward = forwards.remove(at: index)
    await forward.stop()
    broadcast.send(.tunnelClosed(name: name, reason: "removed"))
    return await forward.status(connected: false)
  }

  // MARK: Ping and get

  func ping(host: String?, sequence: Int) async throws(ClientError) -> PingReply {
    guard let host else { return try await pingPoP(sequence) }
    let target = Profile.HostPort(host) ?? Profile.HostPort(host: host, port: 443)
    guard let parsed = ProxyDestination.Host(target.host.utf8) else {
      throw ClientError(.usage, "'\(host)' is no host or host:port")
    }
    let began = ContinuousClock.now
    let tunnel = try await flows.openTCP(to: ProxyDestination(parsed, port: target.port))
    let elapsed = ContinuousClock.now - began
    await tunnel.abandon()
    return PingReply(sequence: sequence, target: "\(target)", rttMilliseconds: elapsed / .milliseconds(1))
  }

  /// Measures a request that the PoP answers itself.
  private func pingPoP(_ sequence: Int) async throws(ClientError) -> PingReply {
    do {
      let profile = profile
      return try await link.onSession { connected in
        let began = ContinuousClock.now
        let answer = try await BufferedExchange.perform(
          [
            ":method": "HEAD", ":scheme": "https",
            ":authority": profile.serverName(for: connected.candidate.name), ":path": "/healthz",
          ], on: connected.session)
        guard answer.fields.isSuccessful else {
          throw ClientError(.failure, "\(connected.name) says that it is not well")
        }
        return PingReply(
          sequence: sequence, target: "\(connected.name) (\(connected.candidate.address))",
          rttMilliseconds: (ContinuousClock.now - began) / .milliseconds(1))
      }
    } catch let error as ClientError {
      throw error
    } catch is CancellationError {
      throw ClientError(.cancelled, "cancelled")
    } catch {
      throw ClientError(.connectionLost, "no answer from the PoP")
    }
  }

  func get(_ request: GetRequest) async throws(ClientError) -> GetResponse {
    _ = try await link.session()
    return try await TunnelledRequest.perform(request, ring: ring, flows: flows)
  }

  // MARK: Watching

  nonisolated func log(tail: Int, follow: Bool) -> AsyncStream<LogLine> {
    clientLog.stream(tail: tail, follow: follow)
  }

  nonisolated func events() -> AsyncStream<ClientEvent> { broadcast.stream() }

  func shutdown() async {
    guard !isShutDown else { return }
    isShutDown = true
    await stopListeners()
    await link.disconnect()
    await endpoints.stop()
    clientLog.finish()
    broadcast.finish()
    await ring.shutdown()
    qlogs?.flush()
  }
}

extension ClientLog {
  /// Events are also log lines.
  func write(_ event: ClientEvent) {
    switch event {
    case .stateChanged(let state, let pop): write(.notice, "link", state.rawValue + (pop.map { " (\($0))" } ?? ""))
    case .connectionLost: break
    case .moved(let from, let to): write(.notice, "link", "the network has changed: at \(to) now, before at \(from)")
    case .popLeaving(let pop): write(.notice, "link", "\(pop) is going away: new tunnels open elsewhere")
    case .reconnecting(let seconds, let attempt, let reason):
      write(.info, "link", "attempt \(attempt) in \(String(format: "%.1f", seconds)) s: \(reason)")
    case .tunnelOpened, .tunnelClosed: break
    case .flowRefused(let target, let reason): write(.warning, "proxy", "\(target): \(reason)")
    case .signInNeeded(let reason): write(.error, "identity", reason)
    }
  }
}

extension ClientTLSContext {
  convenience init(_ pop: Profile.PoP, keyLogFile: String?) throws(ClientError) {
    let trust = pop.trust
    let policy = TrustPolicy(
      system: trust.systemRoots, certificateFiles: trust.caFile.map { [$0] } ?? [],
      pinnedPublicKeys: trust.pins.compactMap { Data(base64Encoded: $0).map { Array($0) } })
    var identity: TLSIdentity?
    if let files = pop.clientCertificate {
      do throws(TLSConfigurationError) {
        identity = try TLSIdentity(
          certificateChainFile: files.certificateFile, privateKeyFile: files.privateKeyFile)
      } catch {
        throw ClientError(.configuration, "pop.clientCertificate: \(error)")
      }
    }
    do throws(TLSConfigurationError) {
      try self.init(
        trust: policy, applicationProtocols: ["h3"], identity: identity, offersEarlyData: true, keyLogFile: keyLogFile)
    } catch {
      throw ClientError(
        .configuration, "pop.trust: \(error)", hint: "'cbpop --dev' writes its certificate authority when it starts")
    }
  }
}

extension QUIC.Configuration {
  init(_ transport: Profile.Transport) {
    self = .tunnels
    maxIdleTimeout = transport.idleTimeout
    handshakeTimeout = transport.handshakeTimeout
    keepAliveInterval = transport.keepAlive
    initialMTU = max(1_200, transport.initialMTU)
    maximumMTU = transport.maximumMTU
    congestion = transport.congestion
  }
}

extension StubResolver.Configuration {
  /// The profile's servers, else the system's.
  init(_ dns: Profile.DNS) {
    if dns.servers.isEmpty { self.init(ResolvConf.ofSystem) } else { self.init(servers: dns.servers) }
  }
}

extension HTTP3Session {
  fileprivate var resumption: ConnectionStatus.Resumption {
    switch earlyData {
    case .accepted: .earlyData
    case .notOffered, .offered, .rejected: isResumed ? .resumed : .none
    }
  }
}
