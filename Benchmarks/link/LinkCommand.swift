import ArgumentParser
import CLinux
import Glibc
import Wire

/// A link between two network namespaces, for real programs: rate, delay, queue and chance loss, from one seed.
@main
struct LinkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cblink",
    abstract: "A link with a bottleneck between two network namespaces, in real time.",
    discussion: """
      Makes a TUN device at each end and carries packets between them until it gets SIGTERM or SIGINT; then it prints \
      what it did as JSON. Give the devices addresses and set them up with ip(8) once it has printed "ready". Needs \
      CAP_NET_ADMIN. Holds up to some 200 Mbit/s; higher rates are the simulator's.
      """)

  @Option(help: "The left end: NAMESPACE/DEVICE, or DEVICE in this namespace.") var left: End
  @Option(help: "The right end, likewise.") var right: End
  @Option(help: "Mbit/s of IP packets, each way.") var rate: Double
  @Option(help: "Milliseconds of propagation, each way.") var delay: Double
  @Option(help: "Bytes that may wait at the bottleneck, each way.") var queue: Int
  @Option(help: "Per cent of packets lost by chance, each way.") var loss = 0.0
  @Option(help: "What chance draws from.") var seed: UInt64 = 1
  @Option(help: "A file that is written with a record of each packet (PacketLog.swift has its form).") var log: String?

  func validate() throws {
    guard rate >= 0.001, rate <= 10_000 else { throw ValidationError("--rate: 0.001 to 10000 Mbit/s") }
    guard delay >= 0, delay <= 10_000 else { throw ValidationError("--delay: 0 to 10000 ms") }
    guard queue >= 1500, queue <= 1 << 30 else { throw ValidationError("--queue: 1500 bytes to 1 GiB") }
    guard loss >= 0, loss <= 100 else { throw ValidationError("--loss: 0 to 100 per cent") }
  }

  func run() throws {
    // Blocked and read from a descriptor, so that the last packets are written and counted.
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    sigaddset(&signals, SIGINT)
    sigprocmask(SIG_BLOCK, &signals, nil)
    let stop = signalfd(-1, &signals, 0)
    guard stop >= 0 else { throw LinkFailure("signalfd", errno: errno) }

    func bottleneck(_ seed: UInt64) -> Bottleneck {
      Bottleneck(
        rate: Int64(rate * 1e6), delay: .nanoseconds(Int64(delay * 1e6)), limit: queue, loss: loss / 100, seed: seed)
    }
    var link = Link(
      left: try TUNDevice(name: left.device, namespace: left.namespace),
      right: try TUNDevice(name: right.device, namespace: right.namespace),
      toRight: bottleneck(seed), toLeft: bottleneck(seed &+ 1),
      log: try log.map { path throws(LinkFailure) in try PacketLog(path) })
    print("ready")
    fflush(nil)
    link.run(until: stop)
    let counts = link.counts
    print(
      """
      {"passed": \(counts.passed), "lostByChance": \(counts.lostByChance), "queueFull": \(counts.queueFull), \
      "notTaken": \(counts.notTaken), "meanLatenessMicroseconds": \(counts.meanLateness), \
      "latestMicroseconds": \(Double(counts.latest) / 1000)}
      """)
  }
}

/// Where a device stands.
struct End: ExpressibleByArgument {
  var namespace: String?
  var device: String

  init?(argument: String) {
    let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard (1...2).contains(parts.count), let device = parts.last, (1...15).contains(device.utf8.count),
      !parts.contains("")
    else { return nil }
    self.device = device
    namespace = parts.count == 2 ? parts[0] : nil
  }
}
