import BGP
import CBActors
import Identity
import Logging
import Ring
import Wire

/// The PoP's place in the routing around it: the sessions with its neighbors and what they are told, on a ring of their
/// own, so that a full table holds up no packet.
struct Routing {
  private let ring: RingExecutor
  private let speaker: BGPSpeaker
  private let settings: PoPSettings.BGP
  private let logger: Logger

  /// Begins to listen and to connect. Nil without neighbors.
  static func start(_ settings: PoPSettings.BGP, logger: Logger) async throws -> Routing? {
    guard !settings.neighbors.isEmpty, let identifier = settings.routerID else { return nil }
    let neighbors = try settings.neighbors.map {
      try BGPSession.Neighbor($0, localAS: settings.localAS, identifier: identifier)
    }
    let ring = RingExecutor()
    try ring.start(name: "bgp")
    let speaker = BGPSpeaker(
      ring: ring, localAS: settings.localAS, identifier: identifier, neighbors: neighbors,
      seed: SystemEntropy.shared.nextUInt64(), logger: logger)
    for prefix in settings.announce { await speaker.announce(prefix) }
    let addresses = settings.listen.filter { address in
      settings.neighbors.contains { $0.address.isIPv4 == address.ip.isIPv4 }
    }
    do {
      try await speaker.start(listening: addresses)
    } catch {
      await ring.shutdown()
      throw PoPStartError.cannotListenForNeighbors("\(error)")
    }
    return Routing(ring: ring, speaker: speaker, settings: settings, logger: logger)
  }

  var lookingGlass: LookingGlass { LookingGlass(speaker: speaker) }

  /// Has traffic go elsewhere: first asks for it (RFC 8326), then takes the prefixes back.
  func drain() async {
    guard await speaker.status().contains(where: { $0.state == .established }) else { return }
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
    await speaker.stop("the PoP stops")
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
