import CBActors
import Foundation
import Health
import Logging
import Netlink
import QUIC
import QUICTLS
import Ring
import Synchronization
import Wire

/// What the PoP serves, as its health is judged by it.
struct ServedEndpoints: Sendable {
  /// The PoP's own listeners.
  var listeners: [SocketAddress]
  /// Those that share them, each to be asked for itself; nil where there is one alone.
  var rings: [RingShare]
  /// The certificate by whose key the listeners are known.
  var identity: TLSIdentity
  /// Connections in percent of the most that are taken.
  var connectionUse: @Sendable () async -> Int
}

/// What holds the PoP's prefixes announced: its own listeners, asked for a handshake each on each of their rings, its
/// interfaces, programs of the operator's, a bearable load, and no file that says to drain.
struct ServiceHealth {
  let monitor: HealthMonitor
  private let probe: HandshakeProbe

  init(
    _ settings: PoPSettings.BGP, ring: RingExecutor, _ service: ServedEndpoints, watch: NetworkWatch, logger: Logger,
    onChange: @escaping @Sendable (Int, Announcement.State) -> Void
  ) throws {
    let health = settings.health
    let tls = try ClientTLSContext(
      trust: .pinnedPublicKeys(service.identity.publicKeyPin), applicationProtocols: ["h3"])
    let probe = HandshakeProbe(ring: ring, .tunnels, timeout: health.timeout, tls: tls, logger: logger)
    let listeners = Self.listeners(health, service, probe)
    let interfaces = health.interfaces.map { name in
      HealthMonitor.Check("interface \(name)", .withdraws, HealthCheck.Configuration(health)) {
        guard let link = await watch.networks.links.values.first(where: { $0.name == name }) else {
          return Finding(false, "there is no such interface")
        }
        return Finding(link.isUsable, link.isUsable ? "up" : link.isUp ? "no carrier" : "set down")
      }
    }
    let others = Self.load(health, service) + Self.drain(health) + Self.commands(health, on: ring)
    let checks = listeners + interfaces + others
    let groups = settings.groups.map { group in
      let names = checks.map(\.name).filter { name in
        guard !group.checks.isEmpty else { return true }
        if listeners.contains(where: { $0.name == name }) { return group.checks.contains("listeners") }
        if interfaces.contains(where: { $0.name == name }) { return group.checks.contains("interfaces") }
        return group.checks.contains(name)
      }
      return HealthMonitor.Group(group.name, checks: Set(names), Announcement.Configuration(health))
    }
    self.probe = probe
    monitor = HealthMonitor(ring: ring, checks: checks, groups: groups, logger: logger, onChange: onChange)
  }

  func stop() async {
    await monitor.stop()
    await probe.stop()
  }

  // MARK: Checks

  private static func listeners(
    _ health: PoPSettings.BGP.Health, _ service: ServedEndpoints, _ probe: HandshakeProbe
  ) -> [HealthMonitor.Check] {
    let own = service.listeners.map(reachable)
    let addresses = health.addresses.isEmpty ? own : health.addresses
    return addresses.flatMap { address -> [HealthMonitor.Check] in
      // Of another process it is not known how it shares its listeners out.
      let rings = own.contains(address) ? service.rings.map(Optional.some) : [nil]
      return (rings.isEmpty ? [nil] : rings).map { ring in
        let name = "QUIC \(address)" + (ring.map { " ring \($0.index)" } ?? "")
        return HealthMonitor.Check(name, .withdraws, HealthCheck.Configuration(health)) {
          await probe.ask(address, on: ring)
        }
      }
    }
  }

  private static func drain(_ health: PoPSettings.BGP.Health) -> [HealthMonitor.Check] {
    guard let file = health.drainFile else { return [] }
    let immediate = HealthCheck.Configuration(every: health.interval, timeout: health.timeout)
    return [
      HealthMonitor.Check("drain", .drains, immediate) {
        let isThere = FileManager.default.fileExists(atPath: file)
        return Finding(!isThere, isThere ? "\(file) is there" : "\(file) is not there")
      }
    ]
  }

  private static func load(_ health: PoPSettings.BGP.Health, _ service: ServedEndpoints) -> [HealthMonitor.Check] {
    guard !health.load.limits.isEmpty else { return [] }
    // The water marks see to it that it does not come and go.
    let immediate = HealthCheck.Configuration(every: health.load.interval, timeout: .seconds(5))
    let load = MachineLoad(health.load.limits)
    return [
      HealthMonitor.Check("load", health.load.degrades ? .degrades : .withdraws, immediate) {
        load.measure(connections: await service.connectionUse())
      }
    ]
  }

  private static func commands(
    _ health: PoPSettings.BGP.Health, on ring: RingExecutor
  ) -> [HealthMonitor.Check] {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return health.commands.map { command in
      var configuration = HealthCheck.Configuration(health)
      configuration.interval = command.interval
      configuration.fastInterval = min(command.interval, .seconds(1))
      // Beyond that of the program, which ends it with its status known.
      configuration.timeout = command.timeout + .seconds(1)
      let runner = ProgramCheck(ring: ring, command.arguments, timeout: command.timeout, path: path)
      return HealthMonitor.Check(command.name, command.degrades ? .degrades : .withdraws, configuration) {
        await runner.run()
      }
    }
  }

  /// A listener on any address is asked at the loopback.
  private static func reachable(_ listener: SocketAddress) -> SocketAddress {
    guard listener.ip.isUnspecified else { return listener }
    return SocketAddress(listener.ip.isIPv4 ? .v4(.loopback) : .v6(.loopback), port: listener.port)
  }
}

extension HealthCheck.Configuration {
  /// What each probe says holds.
  fileprivate init(every interval: Interval, timeout: Interval) {
    self.init()
    self.interval = interval
    fastInterval = interval
    self.timeout = timeout
    rise = 1
    fall = 1
  }
}

/// Measures what there is to do on this machine. Reads files, so not on a ring.
private final class MachineLoad: Sendable {
  private let check: Mutex<LoadCheck>

  init(_ limits: [LoadCheck.Quantity: LoadCheck.Limit]) { check = Mutex(LoadCheck(limits)) }

  func measure(connections: Int) -> Finding {
    var sample: [LoadCheck.Quantity: Int] = [.connections: connections]
    let processors = ProcessInfo.processInfo.activeProcessorCount
    let average = try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8)
    sample[.processors] = average.flatMap { LoadCheck.processorLoad($0, processors: processors) }
    let memory = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)
    sample[.memory] = memory.flatMap { LoadCheck.memoryUse($0) }
    return check.withLock { Finding($0.judge(sample), $0.account(of: sample)) }
  }
}

/// A program that says by its exit status whether all is well.
private actor ProgramCheck {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
  private let arguments: [String]
  private let timeout: Interval
  private let path: String

  init(ring: RingExecutor, _ arguments: [String], timeout: Interval, path: String) {
    self.ring = ring
    self.arguments = arguments
    self.timeout = timeout
    self.path = path
  }

  func run() async -> Finding {
    switch await ChildProcess.run(arguments, environment: ["PATH": path], timeout: timeout, on: ring) {
    case .exited(let status): Finding(status == 0, "exit status \(status)")
    case .killed(let signal): Finding(false, "ended by signal \(signal)")
    case .timedOut: Finding(false, "killed after \(timeout.nanoseconds / 1_000_000) ms")
    case .notStarted(let error): Finding(false, "cannot be started: \(error)")
    }
  }
}
