import BFD
import BGP
import CBActors
import Health
import Identity
import Logging
import Netlink
import QUICTLS
import Ring
import Wire

/// The PoP's place in the routing around it: the sessions with its neighbors and what they are told, on a ring of their
/// own, so that a full table holds up no packet.
struct Routing {
  private let ring: RingExecutor
  private let speaker: BGPSpeaker
  private let watch: NetworkWatch
  private let bfd: BFDSpeaker?
  private let health: ServiceHealth?
  private let kernel: KernelRoutes?
  private let monitoring: Monitoring
  private let settings: PoPSettings.BGP
  private let logger: Logger

  /// Begins to listen and to connect. Nil without neighbors. Prefixes are announced from when the service is healthy on.
  ///
  /// - Parameters:
  ///   - name: the PoP's.
  ///   - listeners: the PoP's own, whose answers its health is judged by.
  ///   - identity: the certificate that they show.
  static func start(
    _ settings: PoPSettings.BGP, name: String, listeners: [SocketAddress], identity: TLSIdentity, logger: Logger
  ) async throws -> Routing? {
    guard !settings.neighbors.isEmpty, let identifier = settings.routerID else { return nil }
    let neighbors = try settings.neighbors.map {
      try BGPSession.Neighbor($0, localAS: settings.localAS, identifier: identifier)
    }
    let ring = RingExecutor()
    try ring.start(name: "bgp")
    do {
      return try await start(settings, name, listeners, identity, neighbors, identifier, on: ring, logger)
    } catch {
      await ring.shutdown()
      throw error
    }
  }

  private static func start(
    _ settings: PoPSettings.BGP, _ name: String, _ listeners: [SocketAddress], _ identity: TLSIdentity,
    _ neighbors: [BGPSession.Neighbor], _ identifier: IPv4Address, on ring: RingExecutor, _ logger: Logger
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
      for neighbor in neighbors where networks.interface(toward: neighbor.address.ip) == link.index {
        bfd?.assumeIsolated { $0.pathFailed(neighbor.address.ip) }
        speaker.assumeIsolated { $0.pathFailed(to: neighbor.address.ip) }
      }
    }
    var health: ServiceHealth?
    if settings.health.isOff || settings.announce.isEmpty {
      for prefix in settings.announce { await speaker.announce(prefix) }
    } else {
      let service = try ServiceHealth(
        settings.health, ring: ring, listeners: listeners, identity: identity, watch: watch, logger: logger
      ) { state in
        speaker.assumeIsolated { speaker in
          for prefix in settings.announce {
            if state.isAnnounced { speaker.announce(prefix) } else { speaker.withdraw(prefix) }
          }
        }
      }
      await service.monitor.start()
      // Neighbors that kept our routes through a restart are not to hear an empty table first (RFC 4724 §4.1).
      await service.monitor.untilAnnounced(atMost: .seconds(3))
      health = service
    }
    let addresses = settings.listen.filter { address in
      settings.neighbors.contains { $0.address.isIPv4 == address.ip.isIPv4 }
    }
    do {
      try await speaker.start(listening: addresses)
    } catch {
      await monitoring.stop()
      await health?.stop()
      await bfd?.stop()
      await watch.stop()
      throw PoPStartError.cannotListenForNeighbors("\(error)")
    }
    return Routing(
      ring: ring, speaker: speaker, watch: watch, bfd: bfd, health: health, kernel: forwarding?.kernel,
      monitoring: monitoring, settings: settings, logger: logger)
  }

  var lookingGlass: LookingGlass { LookingGlass(speaker: speaker, monitoring: monitoring) }

  /// Has traffic go elsewhere: first asks for it (RFC 8326), then takes the prefixes back.
  func drain() async {
    let isAnnounced = await health?.monitor.state.isAnnounced ?? true
    // From here on the operator decides.
    await health?.stop()
    guard isAnnounced, await speaker.status().contains(where: { $0.state == .established }) else { return }
    var attributes = PathAttributes()
    attributes.communities = [.gracefulShutdown]
    // RFC 8326 §4.2: within the AS the preference says it, where the community may not be heard.
    attributes.localPreference = 0
    for prefix in settings.announce { await speaker.announce(prefix, attributes) }
    try? await Task.sleep(for: .nanoseconds(settings.shutdownDelay.nanoseconds))
    for prefix in settings.announce { await speaker.withdraw(prefix) }
  }

  /// Ends the sessions, so that the neighbors hear why.
  func stop() async {
    await health?.stop()
    await speaker.stop("the PoP stops")
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

extension BGPSession.Neighbor {
  /// Throws what is wrong with the password's file.
  init(_ settings: PoPSettings.BGP.Neighbor, localAS: UInt32, identifier: IPv4Address) throws {
    var peer = PeerConfiguration(localAS: localAS, identifier: identifier, peerAS: settings.remoteAS)
    peer.holdTime = UInt16(clamping: Int(settings.holdTime.seconds))
    peer.connectRetryTime = settings.connectRetry
    peer.isPassive = settings.isPassive
    peer.families = []
    if settings.isIPv4Offered { peer.families.insert(.ipv4Unicast) }
    if settings.isIPv6Offered { peer.families.insert(.ipv6Unicast) }
    peer.sendHoldTime = settings.sendHoldTime
    if settings.takesSeveralPaths { peer.addPathFamilies = peer.families }
    if let time = settings.restartTime {
      var restart = GracefulRestartConfiguration()
      restart.restartTime = UInt16(clamping: Int(time.seconds))
      peer.gracefulRestart = restart
    }
    peer.role = settings.role.flatMap { Capability.Role(settingsText: $0)?.counterpart }
    self.init(name: settings.name, address: SocketAddress(settings.address, port: settings.port), peer: peer)
    localAddress = settings.localAddress
    for hop in settings.nextHops {
      switch hop {
      case .v4(let four): nextHopIPv4 = four
      case .v6(let six): nextHopIPv6 = six
      }
    }
    passesOn = settings.isTransit
    if settings.hasBFD {
      var configuration = BFD.Session.Configuration()
      configuration.desiredMinTxInterval = settings.bfdInterval
      configuration.requiredMinRxInterval = settings.bfdInterval
      configuration.detectMultiplier = UInt8(clamping: settings.bfdMultiplier)
      bfd = configuration
    }
    maximumPrefixes = settings.maximumPrefixes == 0 ? nil : settings.maximumPrefixes
    protection.isFromNextHopOnly = settings.hasTTLSecurity
    if let file = settings.passwordFile {
      protection.signatureKey = Array(try Secret(file: file).exposed.utf8)
      guard (1...80).contains(protection.signatureKey.count) else { throw SecretFileError.noPassword(file) }
    }
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
