import BFD
import BGP
import CBActors
import Foundation
import Health
import Identity
import Logging
import Netlink
import Nftables
import QUICTLS
import Ring
import Wire

/// The PoP's place in the routing around it: the sessions with its neighbors and what they are told, on a ring of their
/// own, so that a full table holds up no packet.
struct Routing {
  let ring: RingExecutor
  let speaker: BGPSpeaker
  let watch: NetworkWatch
  let bfd: BFDSpeaker?
  let health: ServiceHealth?
  private let hooks: HealthHooks?
  private let announcer: Announcer
  let kernel: KernelRoutes?
  let validation: OriginValidation?
  let monitoring: Monitoring
  private let desk: RequestDesk
  private let filter: FlowspecFilter?
  let settings: PoPSettings.BGP
  let logger: Logger

  /// Begins to listen and to connect. Nil without neighbors. Prefixes are announced from when the service is healthy on.
  ///
  /// - Parameters:
  ///   - name: the PoP's.
  ///   - service: what its health is judged by.
  static func start(
    _ settings: PoPSettings.BGP, name: String, _ service: ServedEndpoints, logger: Logger
  ) async throws -> Routing? {
    guard !settings.neighbors.isEmpty, let identifier = settings.routerID else { return nil }
    let neighbors = try settings.neighbors.map {
      try BGPSession.Neighbor($0, settings.policies, localAS: settings.localAS, identifier: identifier)
    }
    if neighbors.contains(where: { $0.protection.authentication != nil }) {
      do { try TCPAuthentication.requireKernelSupport() } catch { throw PoPStartError.noTCPAuthentication("\(error)") }
    }
    warn(settings, logger)
    let ring = RingExecutor()
    try ring.start(name: "bgp")
    do {
      return try await start(settings, name, service, neighbors, identifier, on: ring, logger)
    } catch {
      await ring.shutdown()
      throw error
    }
  }

  private static func start(
    _ settings: PoPSettings.BGP, _ name: String, _ service: ServedEndpoints, _ neighbors: [BGPSession.Neighbor],
    _ identifier: IPv4Address, on ring: RingExecutor, _ logger: Logger
  ) async throws -> Routing {
    let watch = NetworkWatch(ring: ring, logger: logger)
    try await watch.start()
    let bfd = neighbors.contains { $0.bfd != nil } ? BFDSpeaker(ring: ring, logger: logger) : nil
    do { try await bfd?.start() } catch { throw PoPStartError.cannotListenForBFD("\(error)") }
    var forwarding: BGPSpeaker.Forwarding?
    if settings.kernel.isOn {
      var configuration = KernelRoutes.Configuration()
      configuration.routes.tables = [settings.kernel.table]
      configuration.routes.origin = RouteOrigin(rawValue: settings.kernel.origin)
      let kernel = KernelRoutes(ring: ring, configuration, watch: watch, logger: logger)
      try await kernel.start()
      for rule in settings.kernel.everyRule { await kernel.set(rule) }
      forwarding = BGPSpeaker.Forwarding(
        kernel, table: settings.kernel.table, metric: settings.kernel.metric, paths: settings.kernel.paths)
    }
    let speaker = BGPSpeaker(
      ring: ring, localAS: settings.localAS, identifier: identifier, neighbors: neighbors,
      seed: SystemEntropy.shared.nextUInt64(), bfd: bfd, forwarding: forwarding, logger: logger)
    let monitoring = try await Monitoring.start(settings, name: name, speaker: speaker, logger: logger)
    await watch.observe { change in
      guard case .link(let link, isUsable: false) = change else { return }
      // All of these live on one ring, and are called on its thread.
      let networks = watch.assumeIsolated { $0.networks }
      for neighbor in neighbors {
        let isThere = neighbor.interface.map { $0 == link.name }
        guard isThere ?? (networks.interface(toward: neighbor.address.ip) == link.index) else { continue }
        bfd?.assumeIsolated { $0.pathFailed(neighbor.address.ip, over: link.index) }
        speaker.assumeIsolated { $0.pathFailed(to: neighbor) }
      }
    }
    let isChecked = !settings.health.isOff && !settings.groups.isEmpty
    let hooks =
      settings.health.hooks.isEmpty
      ? nil
      : HealthHooks(
        ring: ring, settings.health.hooks.map(HealthHooks.Hook.init),
        path: ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", logger: logger)
    let announcer = Announcer(settings.groups, to: speaker, hooks: hooks, at: isChecked ? .down : .up)
    await announcer.start()
    var health: ServiceHealth?
    if isChecked {
      let checked = try ServiceHealth(settings, ring: ring, service, watch: watch, logger: logger) { group, state in
        announcer.assumeIsolated { $0.changed(group, to: state) }
      }
      await checked.monitor.start()
      // Neighbors that kept our routes through a restart are not to hear an empty table first (RFC 4724 §4.1).
      await checked.monitor.untilAnnounced(atMost: .seconds(3))
      health = checked
    }
    // Before what outlives a start that fails: the filter's table is the kernel's.
    let validation = try await OriginValidation.start(settings.caches, for: speaker, logger: logger)
    let filter = FlowspecFilter(settings.flowspec, logger: logger)
    if let filter {
      await filter.start()
      await speaker.observeFlowspecs { filter.take($0) }
    }
    var requests = RoutingRequests.Configuration()
    requests.announced = settings.groups.flatMap(\.prefixes)
    requests.lifetime = settings.requests.lifetime
    requests.longestLifetime = settings.requests.longestLifetime
    let desk = RequestDesk(requests, file: settings.requests.file, speaker: speaker, logger: logger)
    await desk.start()
    let addresses = settings.listen.filter { address in
      settings.neighbors.contains { $0.address.isIPv4 == address.ip.isIPv4 }
    }
    do {
      try await speaker.start(listening: addresses)
    } catch {
      await validation?.stop()
      await monitoring.stop()
      await health?.stop()
      await filter?.stop()
      await bfd?.stop()
      await watch.stop()
      throw PoPStartError.cannotListenForNeighbors("\(error)")
    }
    return Routing(
      ring: ring, speaker: speaker, watch: watch, bfd: bfd, health: health, hooks: hooks, announcer: announcer,
      kernel: forwarding?.kernel, validation: validation, monitoring: monitoring, desk: desk, filter: filter,
      settings: settings, logger: logger)
  }

  var lookingGlass: LookingGlass {
    LookingGlass(
      speaker: speaker, validation: validation, desk: desk, filter: filter, monitoring: monitoring,
      announcer: announcer, health: health)
  }

  /// Has traffic go elsewhere: first asks for it (RFC 8326), then takes the prefixes back.
  func drain() async {
    // From here on the operator decides.
    await health?.stop()
    let isAnnounced = await announcer.announceDeparture()
    let isRequested = await !desk.views().isEmpty
    await desk.drain()
    if isAnnounced || isRequested, await speaker.status().contains(where: { $0.state == .established }) {
      try? await Task.sleep(for: .nanoseconds(settings.shutdownDelay.nanoseconds))
    }
    await announcer.withdrawAll()
    await desk.withdraw()
  }

  /// Ends the sessions, so that the neighbors hear why.
  func stop() async {
    await health?.stop()
    await validation?.stop()
    await speaker.stop("the PoP stops")
    for rule in settings.kernel.everyRule { await kernel?.set(rule, isWanted: false) }
    await kernel?.settle()
    await hooks?.settle(atMost: .seconds(2))
    await filter?.stop()
    await monitoring.stop()
    await kernel?.stop()
    await bfd?.stop()
    await watch.stop()
    await ring.shutdown()
  }

  /// Says in the log how the sessions stand.
  func report() async {
    let now = RingExecutor.monotonicNow()
    for status in await speaker.status() {
      logger.notice(
        "BGP neighbor",
        metadata: [
          "neighbor": "\(status.name)", "address": "\(status.address)", "AS": "\(status.remoteAS)",
          "state": "\(status.state)", "seconds": "\(Int((now - status.since).seconds))",
          "received": "\(status.received)", "advertised": "\(status.advertised)",
          "faulty": "\(status.faultyUpdates)", "last": "\(status.lastCause.map { "\($0)" } ?? "-")",
        ])
    }
    let counts = await speaker.counts()
    logger.notice(
      "BGP tables",
      metadata: [
        "destinations": "\(counts.destinations)", "routes": "\(counts.routes)",
        "attributeSets": "\(counts.attributeSets)",
      ])
    guard let kernel = await kernel?.status() else { return }
    logger.notice(
      "kernel routes",
      metadata: [
        "wanted": "\(kernel.counts.wanted)", "stale": "\(kernel.counts.stale)", "refused": "\(kernel.counts.refused)",
        "conflicts": "\(kernel.counts.conflicts)", "nextHops": "\(kernel.nextHopObjects)",
        "last": "\(kernel.lastRefusal.map { "\($0)" } ?? "-")",
      ])
  }
}

extension FlowspecFilter {
  /// Nil where nothing is to be enforced.
  fileprivate init?(_ settings: PoPSettings.BGP.Flowspec, logger: Logger) {
    guard settings.isEnforced else { return nil }
    var configuration = FlowspecRuleset.Configuration()
    configuration.table = settings.table
    configuration.interfaces = settings.interfaces
    self.init(configuration, program: settings.program, logger: logger)
  }
}

extension BGPSession.Neighbor {
  /// Throws what is wrong with the password's file.
  init(
    _ settings: PoPSettings.BGP.Neighbor, _ policies: PoPSettings.BGP.Policies, localAS: UInt32, identifier: IPv4Address
  ) throws {
    var peer = PeerConfiguration(localAS: localAS, identifier: identifier, peerAS: settings.remoteAS)
    peer.holdTime = UInt16(clamping: Int(settings.holdTime.seconds))
    peer.connectRetryTime = settings.connectRetry
    peer.isPassive = settings.isPassive
    peer.families = []
    if settings.isIPv4Offered { peer.families.insert(.ipv4Unicast) }
    if settings.isIPv6Offered { peer.families.insert(.ipv6Unicast) }
    if settings.families.contains("flowspec4") { peer.families.insert(.ipv4Flowspec) }
    if settings.families.contains("flowspec6") { peer.families.insert(.ipv6Flowspec) }
    peer.sendHoldTime = settings.sendHoldTime
    if settings.takesSeveralPaths { peer.addPathFamilies = peer.families.intersection(.unicast) }
    if let time = settings.restartTime {
      var restart = GracefulRestartConfiguration()
      restart.restartTime = UInt16(clamping: Int(time.seconds))
      peer.gracefulRestart = restart
    }
    peer.role = settings.role.flatMap { Capability.Role(settingsText: $0)?.counterpart }
    self.init(name: settings.name, address: SocketAddress(settings.address, port: settings.port), peer: peer)
    interface = settings.interface
    localAddress = settings.localAddress
    for hop in settings.nextHops {
      switch hop {
      case .v4(let four): nextHopIPv4 = four
      case .v6(let six): nextHopIPv6 = six
      }
    }
    passesOn = settings.passesOn(localAS: localAS)
    policy = settings.policy(policies, localAS: localAS)
    if settings.hasBFD {
      var configuration = BFD.Session.Configuration()
      configuration.desiredMinTxInterval = settings.bfdInterval
      configuration.requiredMinRxInterval = settings.bfdInterval
      configuration.detectMultiplier = UInt8(clamping: settings.bfdMultiplier)
      bfd = configuration
    }
    maximumPrefixes = settings.maximumPrefixes == 0 ? nil : settings.maximumPrefixes
    validatesFlowspec = settings.validatesFlowspec
    protection.isFromNextHopOnly = settings.hasTTLSecurity
    if let file = settings.passwordFile {
      protection.signatureKey = Array(try Secret(file: file).exposed.utf8)
      guard (1...80).contains(protection.signatureKey.count) else { throw SecretFileError.noPassword(file) }
    }
    protection.authentication = try settings.authentication.map { try TCPAuthentication($0) }
  }
}

extension HealthHooks.Hook {
  fileprivate init(_ settings: PoPSettings.BGP.Health.Command) {
    self.init(settings.name, settings.arguments, timeout: settings.timeout)
  }
}

extension Capability.Role {
  /// The role by its name in the settings.
  fileprivate init?(settingsText text: String) {
    switch text {
    case "provider": self = .provider
    case "customer": self = .customer
    case "peer": self = .peer
    case "route-server": self = .routeServer
    case "route-server-client": self = .routeServerClient
    default: return nil
    }
  }
}
