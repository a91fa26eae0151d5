import CBActors
import Foundation
import Health
import Logging
import Netlink
import QUIC
import QUICTLS
import Ring
import Wire

/// What holds the PoP's prefixes announced: its own listeners, asked for a handshake each, its interfaces, and no file
/// that says to drain.
struct ServiceHealth {
  let monitor: HealthMonitor
  private let probe: HandshakeProbe

  /// - Parameters:
  ///   - listeners: the PoP's own.
  ///   - identity: the certificate by whose key they are known.
  init(
    _ settings: PoPSettings.BGP.Health, ring: RingExecutor, listeners: [SocketAddress], identity: TLSIdentity,
    watch: NetworkWatch, logger: Logger,
    onChange: @escaping @Sendable (Announcement.State) -> Void
  ) throws {
    let tls = try ClientTLSContext(
      trust: .pinnedPublicKeys(identity.publicKeyPin), applicationProtocols: ["h3"])
    let probe = HandshakeProbe(ring: ring, .tunnels, timeout: settings.timeout, tls: tls, logger: logger)
    let configuration = HealthCheck.Configuration(settings)
    let addresses = settings.addresses.isEmpty ? listeners.map(Self.reachable) : settings.addresses
    var checks = addresses.map { address in
      HealthMonitor.Check("QUIC \(address)", configuration) { await probe.isAnswered(by: address) }
    }
    checks += settings.interfaces.map { name in
      HealthMonitor.Check("interface \(name)", configuration) {
        await watch.networks.links.values.contains { $0.name == name && $0.isUsable }
      }
    }
    if let file = settings.drainFile {
      var immediate = configuration
      immediate.rise = 1
      immediate.fall = 1
      checks.append(HealthMonitor.Check("no \(file)", immediate) { !FileManager.default.fileExists(atPath: file) })
    }
    self.probe = probe
    monitor = HealthMonitor(
      ring: ring, checks: checks, Announcement.Configuration(settings), logger: logger, onChange: onChange)
  }

  func stop() async {
    await monitor.stop()
    await probe.stop()
  }

  /// A listener on any address is asked at the loopback.
  private static func reachable(_ listener: SocketAddress) -> SocketAddress {
    guard listener.ip.isUnspecified else { return listener }
    return SocketAddress(listener.ip.isIPv4 ? .v4(.loopback) : .v6(.loopback), port: listener.port)
  }
}
