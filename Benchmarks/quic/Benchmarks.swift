import CMemory
import Glibc

/// What connections cost. `quicbench handshakes [N] [runs]`: how many a second on one core. `quicbench memory [N]`:
/// bytes of idle ones. `quicbench sessions [N]`: the same of a PoP's actors, behind a real socket. `quicbench controllers
/// [N]`: what congestion control costs a packet.
@main enum Benchmarks {
  static func main() throws {
    let arguments = CommandLine.arguments
    func number(_ index: Int, otherwise: Int) -> Int {
      arguments.count > index ? max(1, Int(arguments[index]) ?? otherwise) : otherwise
    }
    // The allocator accounts for its main arena alone.
    cb_use_one_arena()
    switch arguments.dropFirst().first {
    case "handshakes": try Handshakes.measure(count: number(2, otherwise: 1_000), runs: number(3, otherwise: 5))
    case "memory": try Memory.measure(number(2, otherwise: 1_000))
    case "sessions": try SessionMemory.measure(number(2, otherwise: 1_000))
    case "controllers": try Controllers.measure(number(2, otherwise: 2_000), only: arguments.dropFirst(3).first)
    default:
      print("usage: quicbench handshakes [N] [runs] | memory [N] | sessions [N] | controllers [N] [NAME]")
      exit(64)
    }
  }
}

/// CPU time of this thread, in seconds.
enum Processor {
  static func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// What asking costs, which each measured stretch holds once: it is a system call.
  static let cost: Double = {
    let rounds = 100_000
    let start = seconds()
    for _ in 0..<rounds { _ = seconds() }
    return (seconds() - start) / Double(rounds)
  }()

  /// Seconds since `start`, without the clock's own.
  static func since(_ start: Double) -> Double { max(0, seconds() - start - cost) }
}

extension [Double] {
  var median: Double { sorted()[count / 2] }
}
